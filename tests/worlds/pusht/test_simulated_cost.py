from functools import partial

import numpy as np
import torch

from rlvr_world_hf.worlds.pusht.simulated_cost import SimulatedCost
from rlvr_world_hf.worlds.pusht.simulator import Recording, record_policy
from rlvr_world_hf.worlds.pusht.task import targets_after


def recorded(seed: int) -> Recording:
    return record_policy(seed, length=6, image_size=64, frame_interval=0.5, states="agent_and_block")


def test_it_shows_what_then_happens() -> None:
    for seed in range(4):
        world = recorded(seed)
        moves = 50 * torch.randn(2, 2, 2, generator=torch.Generator().manual_seed(seed))
        to_actions = partial(targets_after, world.agent.copy())
        before = world.state.copy()
        predicted = SimulatedCost(world, lambda frames: frames.mean(dim=(1, 2, 3, 4)), to_actions).predict(moves)
        assert predicted.shape == (2, 2, 3, 64, 64)
        assert np.array_equal(world.state, before), "the world is left as it is"
        for target in to_actions(moves)[1].numpy().astype(np.float64):
            world.hold(target)
        happened = torch.from_numpy(world.seen(2)).float() / 255
        assert torch.equal(predicted[1], happened)
