from torchvision.utils import save_image

from rlvr_world_hf import WorldModelPipeline


world = WorldModelPipeline.from_pretrained("pusht-rlvr")  # comes with the library
start = world.example()  # 6 recorded frames of PushT, 0.5 s apart, where the agent was, and the actions taken
futures = world(start.frames[:2], start.actions[1:], states=start.states[:2], num_samples=4)["predicted"]
save_image(futures.flatten(0, 1), "futures.png", nrow=4)  # (4, 4, 3, 64, 64): a row a future of 2 seconds
