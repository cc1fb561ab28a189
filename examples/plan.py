import sys
from functools import partial

import numpy as np

from rlvr_world_hf import AgentPositionReward, MAEReward, WorldModelPipeline
from rlvr_world_hf.environments import WorldModelEnv
from rlvr_world_hf.planning import CrossEntropyPlanner, GoalCost, ImaginedCost
from rlvr_world_hf.worlds.pusht.simulator import record_policy
from rlvr_world_hf.worlds.pusht.task import RELATIVE_MOVES, actions_after


physics = {"image_size": 64, "frame_interval": 0.5}
episode = record_policy(7_000_143, length=6, **physics).episode()  # its second frame is the start, its last the goal
real = record_policy(7_000_143, length=1, **physics)  # the real physics, at the start
world = WorldModelPipeline.from_pretrained(sys.argv[1] if len(sys.argv) > 1 else "pusht-rlvr")

# Plan in the model: where the agent goes in each half second, as the five relative targets that lead there.
cost = GoalCost(episode.frames[5], {MAEReward(): 1.0, AgentPositionReward(): 0.1})  # of frames, against the goal's
to_actions = partial(actions_after, real.agent, real.velocity, action_law="relative", control_steps=5)
objective = ImaginedCost(world, episode.frames[:2], cost, states=episode.states[:2], to_actions=to_actions)
plan = CrossEntropyPlanner(horizon=4, iterations=4).plan(objective, RELATIVE_MOVES, seed=0)  # plan.actions: (4, 2)

# Carry the plan out in the real physics.
imagined = objective.predict(plan.actions[None])["predicted"][0, -1].numpy()
for action in to_actions(plan.actions[None])[0].numpy():
    real.act(action)
frames = {"start": episode.frames[1] / 255, "imagined": imagined, "reached": real.frame() / 255}
errors = {name: float(np.abs(frame - episode.frames[5] / 255).mean()) for name, frame in frames.items()}
before, after = (float(np.linalg.norm(agent - episode.states[5])) for agent in (episode.states[1], real.agent))

# Let a random policy play in the model.
env = WorldModelEnv(world, [episode], reward=lambda seen: -cost(seen["frame"][None, None]))  # gymnasium's interface
env.reset(seed=0)
env.action_space.seed(0)
rewards = [env.step(env.action_space.sample())[1] for _ in range(4)]

report = [
    "mean absolute error to the goal frame: " + ", ".join(f"{name} {error:.4f}" for name, error in errors.items()),
    f"the agent's distance from where it is in the goal: {before:.0f}, then {after:.0f}, in a world of 512 x 512",
    "rewards of a random policy in the model: " + ", ".join(f"{reward:.4f}" for reward in rewards),
]
print("\n".join(report))
