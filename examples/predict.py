from rlvr_world_hf import WorldModelPipeline
from rlvr_world_hf.worlds.pusht.simulator import collect_episode


episode = collect_episode(seed=7_000_000, length=6, image_size=64, frame_interval=0.5)  # the real physics
world = WorldModelPipeline.from_pretrained("outputs/quickstart/rlvr")
predicted = world(episode.frames[:2], episode.actions[1:], num_samples=4)  # (4, 4, 3, 64, 64): 4 futures of 2 seconds
