"""What happened: one recorded sequence of frames and actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """
    One recorded sequence. `actions[t]` is the action that leads from `frames[t]` to `frames[t + 1]`.

    Sources with another alignment (an action stored with the frame it led to) shift it before they build an episode,
    so that nothing downstream has to know. The last action leads nowhere that was recorded.

    Raises:
        `ValueError`: If the arrays disagree in length, or are not of the stated shape and type.

    Example:

    ```python
    >>> import numpy as np
    >>> episode = Episode(
    ...     episode_id="0", frames=np.zeros((3, 3, 8, 8), np.uint8), actions=np.zeros((3, 2), np.float32), fps=2.0
    ... )
    >>> len(episode)
    3

    ```
    """

    episode_id: str
    """Name of the episode, unique in its source; splits are made by it."""

    frames: np.ndarray
    """Frames of shape `(T, 3, H, W)`, uint8 RGB."""

    actions: np.ndarray
    """Actions of shape `(T, A)`, float32, in the unit of the source."""

    fps: float
    """Frames a second."""

    states: np.ndarray | None = None
    """Low-dimensional state of each frame, shape `(T, P)`, float32, in the unit of the source; `None` if unknown."""

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(
                f"Episode {self.episode_id!r}: expected `frames` of shape (T, 3, H, W) and dtype uint8, got "
                f"{self.frames.shape} {self.frames.dtype}; transpose channel-last frames by `.transpose(0, 3, 1, 2)`."
            )
        for name in ("actions", "states"):
            array = getattr(self, name)
            if array is None and name == "states":
                continue
            if array.ndim != 2 or len(array) != len(self.frames) or array.dtype != np.float32:
                raise ValueError(
                    f"Episode {self.episode_id!r}: expected `{name}` of shape ({len(self.frames)}, dims) and dtype "
                    f"float32, one row a frame, got {array.shape} {array.dtype}."
                )
            if not np.isfinite(array).all():
                raise ValueError(
                    f"Episode {self.episode_id!r}: `{name}` holds a value that is not finite in row "
                    f"{int(np.argwhere(~np.isfinite(array))[0, 0])}; repair or drop the episode."
                )
        if self.fps <= 0:
            raise ValueError(f"Episode {self.episode_id!r}: expected `fps` > 0, got {self.fps}.")

    def __len__(self) -> int:
        return len(self.frames)
