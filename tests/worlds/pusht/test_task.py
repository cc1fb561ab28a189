import math

import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht.law import ActionLaw, follow_actions
from rlvr_world_hf.worlds.pusht.policies import MARGIN, WORLD_SIZE
from rlvr_world_hf.worlds.pusht.simulator import record_policy
from rlvr_world_hf.worlds.pusht.task import (
    GOAL_STEPS,
    MOVES,
    PushTTask,
    actions_after,
    attempt,
    distances,
    targets_after,
)


@pytest.fixture(scope="module", params=["relative", "absolute"])
def law(request: pytest.FixtureRequest) -> ActionLaw:
    return request.param


@pytest.fixture(scope="module")
def task(law: ActionLaw) -> PushTTask:
    return PushTTask(11, image_size=64, lead=4, action_law=law)


def test_the_goal_is_a_later_frame_of_the_episode(task: PushTTask, law: ActionLaw) -> None:
    settings = {"image_size": 64, "frame_interval": 0.5, "states": "agent_and_block", "action_law": law}
    later = record_policy(11, length=4 + GOAL_STEPS, **settings)
    assert np.array_equal(task.goal_frame, later.frame())
    assert np.array_equal(task.goal_state, later.state)
    assert task.solution.shape == (5, 10 if law == "relative" else 2)


def test_what_the_policy_did_reaches_it(task: PushTTask) -> None:
    actions = iter(task.solution)
    done = attempt(task, lambda world: next(actions), decisions=GOAL_STEPS)
    assert done.is_success and done.position_distance < 20
    assert len(done.actions) == len(done.seconds) <= GOAL_STEPS


def test_an_attempt_that_stays_away_ends_after_its_decisions(task: PushTTask) -> None:
    corner = np.array([MARGIN, MARGIN])
    done = attempt(task, lambda world: world.aim(corner), decisions=3)
    assert not done.is_success and done.position_distance > 20
    assert len(done.actions) == 3 and min(done.seconds) >= 0
    if len(done.actions[0]) == 2:
        assert done.actions == ((MARGIN, MARGIN),) * 3
    start = task.start().state
    assert done.block_path == np.linalg.norm(start[2:4] - task.goal_state[2:4])
    assert done.block_turn == distances(start, task.goal_state)[1] and done.control_steps == 15


def test_the_goal_may_be_reached_in_the_middle_of_a_decision() -> None:
    """The agent passes its goal on the way to somewhere else; the block is not touched."""
    task = PushTTask(11, image_size=32, lead=4)
    world = task.start()
    onward = world.aim(np.array([256.0, 256.0]) + 2 * (256.0 - world.agent))
    states = [world.state.copy() for _ in world.walk(onward)]
    passed = next(step for step, state in enumerate(states) if np.linalg.norm(state[:2] - states[-1][:2]) > 25)
    task.goal_state = states[passed]
    done = attempt(task, lambda world: onward, decisions=2)
    assert done.is_success and len(done.actions) == 1 and done.control_steps <= passed + 1 < 5
    assert distances(states[-1], task.goal_state)[0] > 20


def test_distances_are_of_places_and_of_the_angle() -> None:
    def state(*place: float, degrees: float) -> np.ndarray:
        angle = math.radians(degrees)
        return np.array([*place, math.cos(angle), math.sin(angle)])

    first, second = state(0, 0, 3, 0, degrees=170), state(0, 4, 0, 0, degrees=-170)
    place, angle = distances(first, second)
    assert place == 5.0 and math.degrees(angle) == pytest.approx(20)
    assert distances(first, first) == (0.0, 0.0)


def test_targets_follow_each_other_within_the_walls() -> None:
    moves = torch.tensor([[[30.0, 0.0], [30.0, 0.0], [-30.0, 10.0]]])
    targets = targets_after(np.array([440.0, 256.0]), moves)
    assert targets.tolist() == [[[470.0, 256.0], [480.0, 256.0], [450.0, 266.0]]]
    wild = targets_after(np.array([0.0, 600.0]), 1000 * torch.randn(50, 3, 2))
    assert wild.min() >= MARGIN and wild.max() <= WORLD_SIZE - MARGIN


def test_a_move_is_no_longer_than_those_that_were_recorded() -> None:
    low, high = MOVES.ends
    assert torch.equal(low, -high) and float(high.norm()) == pytest.approx(72.0)


def test_relative_actions_walk_to_the_targets_of_moves() -> None:
    agent, velocity = np.array([256.0, 200.0]), np.array([30.0, 0.0])
    moves = torch.tensor([[[60.0, -20.0], [0.0, 80.0]], [[-90.0, 0.0], [-90.0, 0.0]]])
    targets = targets_after(agent, moves)
    actions = actions_after(agent, velocity, moves, action_law="relative", control_steps=5)
    assert actions.shape == (2, 2, 10) and actions.dtype == torch.float32 and actions.abs().max() <= 1
    for way, sequence in zip(targets.numpy(), actions.numpy(), strict=True):
        at, speed = agent, velocity
        for target, action in zip(way, sequence, strict=True):
            at, speed = follow_actions(at, speed, action)
            assert np.linalg.norm(at - target) < 6
    assert torch.equal(actions_after(agent, velocity, moves, action_law="absolute", control_steps=5), targets)
