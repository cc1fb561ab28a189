import math

import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht.policies import MARGIN, WORLD_SIZE
from rlvr_world_hf.worlds.pusht.simulator import record_policy
from rlvr_world_hf.worlds.pusht.task import GOAL_STEPS, MOVES, PushTTask, attempt, distances, targets_after


@pytest.fixture(scope="module")
def task() -> PushTTask:
    return PushTTask(11, image_size=64, lead=4)


def test_the_goal_is_a_later_frame_of_the_episode(task: PushTTask) -> None:
    later = record_policy(11, length=4 + GOAL_STEPS, image_size=64, frame_interval=0.5, states="agent_and_block")
    assert np.array_equal(task.goal_frame, later.frame())
    assert np.array_equal(task.goal_state, later.state)
    assert task.solution.shape == (5, 2)


def test_what_the_policy_did_reaches_it(task: PushTTask) -> None:
    targets = iter(task.solution)
    done = attempt(task, lambda world: next(targets), decisions=GOAL_STEPS)
    assert done.is_success and done.position_distance < 20
    assert len(done.targets) == len(done.seconds) <= GOAL_STEPS


def test_an_attempt_that_stays_away_ends_after_its_decisions(task: PushTTask) -> None:
    corner = np.array([MARGIN, MARGIN])
    done = attempt(task, lambda world: corner, decisions=3)
    assert not done.is_success and done.position_distance > 20
    assert done.targets == ((MARGIN, MARGIN),) * 3 and min(done.seconds) >= 0
    start = task.start().state
    assert done.block_path == np.linalg.norm(start[2:4] - task.goal_state[2:4])


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
