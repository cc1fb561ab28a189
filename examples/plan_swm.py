import sys

from stable_worldmodel import PlanConfig, World
from stable_worldmodel.policy import WorldModelPolicy
from stable_worldmodel.solver import CEMSolver

from rlvr_world_hf import MAEReward, WorldModelPipeline
from rlvr_world_hf.integrations.stable_worldmodel import HistoryPolicy, WorldModelCost


cost = WorldModelCost(WorldModelPipeline.from_pretrained(sys.argv[1]), {MAEReward(): 1.0})  # relative actions
policy = WorldModelPolicy(CEMSolver(cost, num_samples=64, n_steps=4, topk=8), PlanConfig(5, 1, action_block=5))
world = World("swm/PushT-v1", 1, image_shape=(512, 512), resolution=512, max_episode_steps=50)
world.set_policy(HistoryPolicy(policy))
print(world.evaluate(episodes=1, seed=0, options={"variation": ["agent.color"]}))
