"""Episodes whose every value tells where it was recorded."""

from collections.abc import Callable

import numpy as np
import pytest

from rlvr_world_hf.data.episode import Episode


def numbered_episode(name: str, length: int, *, with_states: bool = True, with_frames: bool = True) -> Episode:
    """Frame, action and state number t of an episode hold t in all their elements."""
    times = np.arange(length)
    ones = np.ones((length, 2), np.float32) * times[:, None]
    frames = np.ones((length, 3, 4, 4), np.uint8) * times[:, None, None, None].astype(np.uint8)
    return Episode(
        episode_id=name,
        frames=frames if with_frames else None,
        actions=ones.astype(np.float32),
        fps=2.0,
        states=ones.astype(np.float32) if with_states else None,
    )


@pytest.fixture
def number() -> Callable[..., Episode]:
    return numbered_episode
