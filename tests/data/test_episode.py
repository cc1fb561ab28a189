from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from rlvr_world_hf.data import Episode


def arrays(**changes: Any) -> dict[str, Any]:
    return {
        "episode_id": "push 7",
        "frames": np.zeros((3, 3, 4, 6), np.uint8),
        "actions": np.zeros((3, 2), np.float32),
        "fps": 2.0,
        "states": np.zeros((3, 5), np.float32),
    } | changes


def test_an_episode_counts_its_frames_and_does_not_change() -> None:
    episode = Episode(**arrays())
    assert len(episode) == 3
    assert Episode(**arrays(states=None)).states is None
    with pytest.raises(FrozenInstanceError):
        episode.fps = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"frames": np.zeros((3, 4, 6, 3), np.uint8)}, r"shape \(T, 3, H, W\).*got \(3, 4, 6, 3\) uint8; transpose"),
        ({"frames": np.zeros((3, 3, 4, 6), np.float32)}, "dtype uint8, got .* float32"),
        ({"frames": np.zeros((3, 4, 6), np.uint8)}, r"got \(3, 4, 6\)"),
        ({"actions": np.zeros((2, 2), np.float32)}, r"`actions` of shape \(3, dims\).*got \(2, 2\)"),
        ({"actions": np.zeros((3, 2), np.float64)}, "`actions`.* float32, one row a frame, got .* float64"),
        ({"actions": np.zeros(3, np.float32)}, r"`actions`.*got \(3,\)"),
        ({"states": np.zeros((4, 5), np.float32)}, r"`states` of shape \(3, dims\).*got \(4, 5\)"),
        (
            {"states": np.array([[0], [1], [np.nan]], np.float32)},
            "`states` holds .* not finite in row 2; repair or drop",
        ),
        ({"actions": np.array([[0], [np.inf], [0]], np.float32)}, "`actions` holds .* not finite in row 1"),
        ({"fps": 0.0}, "`fps` > 0, got 0.0"),
    ],
)
def test_arrays_that_disagree_are_refused_by_name(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)^Episode 'push 7': .*{told}"):
        Episode(**arrays(**changes))


def test_a_world_of_sensors_has_no_frames() -> None:
    states = np.zeros((3, 2), np.float32)
    episode = Episode(episode_id="0", frames=None, actions=np.zeros((3, 1), np.float32), fps=2.0, states=states)
    assert len(episode) == 3 and episode.observations is states
    with pytest.raises(ValueError, match="`frames`, `states` or both, got neither"):
        Episode(episode_id="0", frames=None, actions=np.zeros((3, 1), np.float32), fps=2.0)
    with pytest.raises(ValueError, match=r"`actions` of shape \(3, dims\)"):
        Episode(episode_id="0", frames=None, actions=np.zeros((2, 1), np.float32), fps=2.0, states=states)
