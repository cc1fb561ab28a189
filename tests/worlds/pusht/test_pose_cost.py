import math

import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht.ladder import read_frames, read_states
from rlvr_world_hf.worlds.pusht.pose_cost import LOST, PoseCost
from rlvr_world_hf.worlds.pusht.simulator import record_policy
from rlvr_world_hf.worlds.pusht.task import ANGLE_TOLERANCE, POSITION_TOLERANCE, distances


def states(count: int) -> np.ndarray:
    """Random states of agent and block."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(-math.pi, math.pi, count)
    return np.column_stack([rng.uniform(0, 512, (count, 4)), np.cos(angle), np.sin(angle)])


def test_it_is_the_distances_of_the_task_in_its_tolerances() -> None:
    goal, *others = states(20)
    cost = PoseCost(read_states(torch.from_numpy(goal)))
    found = cost.of_places(read_states(torch.from_numpy(np.stack(others)))[:, None])
    for state, value in zip(others, found.tolist(), strict=True):
        position, angle = distances(state, goal)
        assert value == pytest.approx(position / POSITION_TOLERANCE + angle / ANGLE_TOLERANCE)


def test_the_least_of_all_steps_counts() -> None:
    some = read_states(torch.from_numpy(states(5)))
    cost = PoseCost(some[2])
    alone = cost.of_places(some[:, None])
    assert cost.of_places(some[None]).tolist() == [0.0] and alone[2] == 0
    assert cost.of_places(some[None, :2])[0] == alone[:2].min()


def test_frames_cost_what_their_states_do_but_for_reading() -> None:
    recording = record_policy(7, length=4, image_size=64, frame_interval=0.5, states="agent_and_block")
    episode = recording.episode()
    frames, true = torch.from_numpy(episode.frames) / 255, read_states(torch.from_numpy(episode.states))
    by_frames, by_states = PoseCost(read_frames(frames[3])), PoseCost(true[3])
    read = by_frames(frames[:, None])
    assert read[3] == 0
    torch.testing.assert_close(read, by_states.of_places(true[:, None]), atol=0.4, rtol=0)


def test_what_is_lost_is_far_away_and_what_the_goal_does_not_show_is_free() -> None:
    place = torch.tensor([0.5, 0.5, 0.3, 0.3, 0.0])
    lost = place.clone()
    lost[2:] = torch.nan
    cost = PoseCost(place)
    assert cost.of_places(torch.stack([lost, lost])[None]).tolist() == [pytest.approx(LOST)]
    assert cost.of_places(torch.stack([lost, place])[None]).tolist() == [0.0]
    farthest = torch.tensor([0.0, 0.0, 0.0, 0.0, math.pi])
    assert float(cost.of_places(farthest[None, None])) < LOST
    assert PoseCost(lost).of_places(torch.stack([place, farthest])[:, None])[0] == 0
    assert PoseCost(lost).of_places(lost[None, None]).tolist() == [0.0]
    with pytest.raises(ValueError, match="a goal of 5 numbers"):
        PoseCost(place[:2])
