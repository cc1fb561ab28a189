"""What happened: one recorded sequence of frames, low-dimensional states, or both, and actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """
    One recorded sequence. `actions[t]` is the action that leads from `frames[t]` to `frames[t + 1]`, and from
    `states[t]` to `states[t + 1]`. A world of sensors has states and no frames.

    A source that stores each action with the frame it led to shifts its actions before it builds an episode, so that
    nothing downstream has to know. The last action leads to a frame that was not recorded.

    Raises:
        `ValueError`: If the arrays disagree in length, do not have the stated shape and type, or if both frames and
            states are missing.

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
    """Name of the episode, unique in its source; splits are made by name."""

    frames: np.ndarray | None
    """Frames of shape `(T, 3, H, W)`, uint8 RGB; `None` in a world of sensors."""

    actions: np.ndarray
    """Actions of shape `(T, A)`, float32, in the unit of the source."""

    fps: float
    """Frames a second."""

    states: np.ndarray | None = None
    """Low-dimensional state of each step, shape `(T, P)`, float32, in the unit of the source; `None` if unknown."""

    def __post_init__(self) -> None:
        frames = self.frames
        if frames is None and self.states is None:
            raise ValueError(f"Episode {self.episode_id!r}: expected `frames`, `states` or both, got neither.")
        if frames is not None and (frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != np.uint8):
            raise ValueError(
                f"Episode {self.episode_id!r}: expected `frames` of shape (T, 3, H, W) and dtype uint8, got "
                f"{frames.shape} {frames.dtype}; transpose channel-last frames by `.transpose(0, 3, 1, 2)`."
            )
        for name in ("actions", "states"):
            array = getattr(self, name)
            if array is None and name == "states":
                continue
            if array.ndim != 2 or len(array) != len(self) or array.dtype != np.float32:
                raise ValueError(
                    f"Episode {self.episode_id!r}: expected `{name}` of shape ({len(self)}, dims) and dtype "
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
        return len(self.observations)

    @property
    def required_frames(self) -> np.ndarray:
        """The frames, never `None`: raises `ValueError` for an episode without frames."""
        if self.frames is None:
            raise ValueError(
                f"Episode {self.episode_id!r}: expected frames, got states only; record it with frames, or set the "
                "tokenizer's source to none."
            )
        return self.frames

    @property
    def observations(self) -> np.ndarray:
        """What a model sees of each step: the frames, or the states where there are no frames."""
        observed = self.states if self.frames is None else self.frames
        assert observed is not None  # checked when the episode was made
        return observed
