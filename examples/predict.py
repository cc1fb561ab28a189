from torchvision.utils import save_image

from rlvr_world_hf import WorldModelPipeline


world = WorldModelPipeline.from_pretrained("pusht-rlvr")  # comes with the library
start = world.example()  # 6 recorded frames of PushT, 0.5 s apart, and the actions taken
futures = world(start.frames[:2], start.actions[1:], num_samples=4)  # (4, 4, 3, 64, 64): 4 futures of 2 seconds
save_image(futures.flatten(0, 1), "futures.png", nrow=4)  # a row a future
