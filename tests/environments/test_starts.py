import numpy as np
import pytest
import torch

from rlvr_world_hf.data import window_rows
from rlvr_world_hf.environments.starts import read_start
from tests.environments.worlds import make_episodes
from tests.tiny import tiny_joint_processor, tiny_processor, tiny_sensor_processor


VIDEO = tiny_processor(observed_steps=2)  # 1 context frame, 2 observed steps: 3 frames, 1 past action
EPISODE = make_episodes(("frames",), length=6)[0]


def test_an_episode_gives_its_first_frames_and_the_actions_between_them() -> None:
    start = read_start(EPISODE, VIDEO)
    assert torch.equal(start.given["context"], torch.from_numpy(EPISODE.frames[:3]).float() / 255)
    assert torch.equal(start.past_actions, torch.from_numpy(EPISODE.actions[1:2]))  # of the first observed step


def test_a_row_gives_the_same_as_the_episode_it_was_cut_from() -> None:
    rows = window_rows([EPISODE], context_frames=1, observed_steps=2, horizon=2)
    start = read_start(rows[0], VIDEO)
    expected = read_start(EPISODE, VIDEO)
    assert torch.equal(start.given["context"], expected.given["context"])
    assert torch.equal(start.past_actions, expected.past_actions)
    later = read_start(rows[1], VIDEO)
    assert torch.equal(later.given["context"], torch.from_numpy(EPISODE.frames[1:4]).float() / 255)
    assert torch.equal(later.past_actions, torch.from_numpy(EPISODE.actions[2:3]))


def test_one_given_state_needs_no_actions() -> None:
    start = read_start({"context": [[0.5, 0.0, -0.5]]}, tiny_sensor_processor())
    assert start.given["context"].tolist() == [[0.5, 0.0, -0.5]] and start.past_actions.shape == (0, 2)


def test_frames_and_sensors_go_together() -> None:
    (episode,) = make_episodes(("frames", "sensors"), count=1)
    start = read_start(episode, tiny_joint_processor())
    assert start.given["context"].shape == (1, 3, 16, 16)
    assert torch.equal(start.given["context_states"], torch.from_numpy(episode.states[:1]))


@pytest.mark.parametrize(
    ("start", "error", "words"),
    [
        (EPISODE.frames, TypeError, "got ndarray"),
        ({"actions": EPISODE.actions}, ValueError, "with `context`"),
        ({"context": EPISODE.frames[:2], "actions": EPISODE.actions}, ValueError, r"\(3, 3, 16, 16\), got \(2, 3"),
        ({"context": EPISODE.frames[:3, :, :8], "actions": EPISODE.actions}, ValueError, "size it was made for"),
        ({"context": EPISODE.frames[:3]}, ValueError, "with `actions`"),
        ({"context": EPISODE.frames[:3], "actions": EPISODE.actions[:0]}, ValueError, "at least 1 `actions`"),
        ({"context": EPISODE.frames[:3], "actions": EPISODE.actions[:, :1]}, ValueError, r"\(T, 2\)"),
        ({"context": EPISODE.frames[:3] * 1.0, "actions": EPISODE.actions}, ValueError, "divide by 255"),
        ({"context": np.full((3, 3, 16, 16), np.nan), "actions": EPISODE.actions}, ValueError, "not finite"),
        (make_episodes(("frames",), length=2)[0], ValueError, "got \\(2, 3, 16, 16\\)"),
    ],
)
def test_what_does_not_fit_is_refused(start, error, words) -> None:
    with pytest.raises(error, match=words):
        read_start(start, VIDEO)


def test_sensors_that_are_missing_are_named() -> None:
    frames = np.zeros((1, 3, 16, 16), np.uint8)
    with pytest.raises(ValueError, match="with `context_states`, got \\['context'\\]"):
        read_start({"context": frames}, tiny_joint_processor())
