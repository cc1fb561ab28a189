from functools import partial

import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht.agent import locate_agent
from rlvr_world_hf.worlds.pusht.law import ActionLaw
from rlvr_world_hf.worlds.pusht.simulated_cost import SimulatedCost
from rlvr_world_hf.worlds.pusht.simulator import Recording, record_policy
from rlvr_world_hf.worlds.pusht.task import actions_after


def recorded(seed: int, law: ActionLaw) -> Recording:
    settings = {"image_size": 64, "frame_interval": 0.5}
    return record_policy(seed, length=6, **settings, states="agent_and_block", action_law=law)


@pytest.mark.parametrize("law", ["relative", "absolute"])
def test_it_shows_what_then_happens(law: ActionLaw) -> None:
    for seed in range(4):
        world = recorded(seed, law)
        moves = 50 * torch.randn(2, 2, 2, generator=torch.Generator().manual_seed(seed))
        now = (world.agent.copy(), world.velocity)
        to_actions = partial(actions_after, *now, action_law=law, control_steps=world.control_steps)
        before = world.state.copy()
        predicted = SimulatedCost(world, lambda frames: frames.mean(dim=(1, 2, 3, 4)), to_actions).predict(moves)
        assert predicted.shape == (2, 2, 3, 64, 64)
        assert np.array_equal(world.state, before), "the world is left as it is"
        for action in to_actions(moves)[1].numpy().astype(np.float64):
            world.act(action)
        happened = torch.from_numpy(world.seen(2)).float() / 255
        assert torch.equal(predicted[1], happened)


def test_noise_that_happened_is_known_and_noise_to_come_is_not() -> None:
    world = record_policy(3, length=4, image_size=64, frame_interval=0.5, action_noise=20.0)
    cost = SimulatedCost(world, lambda frames: frames.mean(dim=(1, 2, 3, 4)), lambda actions: actions)
    stays = torch.zeros(1, 1, 10)
    predicted = cost.predict(stays)
    assert torch.equal(cost.predict(stays), predicted), "a plan has one cost"
    now = torch.from_numpy(world.frame()).float() / 255
    world.act(np.zeros(10))
    happened = torch.from_numpy(world.frame()).float() / 255
    moved = [(locate_agent(after) - locate_agent(now)).norm() for after in (predicted[0, 0], happened)]
    assert not torch.equal(predicted[0, 0], happened) and max(moved) < 0.3


def test_a_cost_that_asks_what_was_done_is_given_the_actions() -> None:
    class Obedience:
        needs_actions = True

        def __call__(self, predicted: torch.Tensor, *, actions: torch.Tensor) -> torch.Tensor:
            return actions.sum(dim=(1, 2))

    world = recorded(0, "absolute")
    moves = torch.full((2, 1, 2), 200.0)
    turned: list[torch.Tensor] = []
    objective = SimulatedCost(world, Obedience(), lambda moves: turned.append(moves) or moves + 1)
    assert objective(moves).tolist() == [402.0, 402.0] and len(turned) == 1


def test_states_are_those_of_its_frames() -> None:
    world = recorded(1, "relative")
    actions = torch.zeros(2, 3, 10)
    actions[1] = -0.3  # from a corner towards the middle
    shown = {
        shows: SimulatedCost(world, lambda seen: seen.sum(), lambda actions: actions, shows=shows).predict(actions)
        for shows in ("frames", "states")
    }
    assert shown["states"].shape == (2, 3, 6)
    torch.testing.assert_close(locate_agent(shown["frames"]) * 512, shown["states"][..., :2], atol=1.5, rtol=0)
