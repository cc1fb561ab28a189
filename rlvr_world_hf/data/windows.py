"""Cuts episodes into windows, the pieces that a world model is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .episode import Episode


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """
    What a world model sees and what it must predict, cut from one episode.

    Example:

    ```python
    >>> import numpy as np
    >>> frames, actions = np.zeros((6, 3, 8, 8), np.uint8), np.zeros((6, 2), np.float32)
    >>> episode = Episode(episode_id="0", frames=frames, actions=actions, fps=2.0)
    >>> [window.start for window in windows(episode, context_frames=1, observed_steps=1, horizon=2)]
    [0, 1, 2, 3]

    ```
    """

    episode_id: str
    """Name of the episode it was cut from."""

    start: int
    """Index of its first frame in the episode."""

    context: np.ndarray
    """
    Frames that are given, shape `(context_frames + observed_steps, 3, H, W)`, uint8 RGB; in a world of sensors the
    states, shape `(context_frames + observed_steps, P)`, float32.
    """

    actions: np.ndarray
    """
    Actions of shape `(max(observed_steps, 1) + horizon, A)`, float32: from the last context frame on, or from the
    first observed step if there is one. The last is taken at the last predicted frame and influences nothing.
    """

    reference: np.ndarray
    """The `horizon` frames or states to predict, in the form of `context`; padded by repeating the last one."""

    reference_mask: np.ndarray
    """Shape `(horizon,)`, bool: true where `reference` was recorded, false where it is padding."""

    context_states: np.ndarray | None
    """
    Low-dimensional states of the given frames, shape `(context_frames + observed_steps, P)`, float32; `None` if
    unknown, and in a world of sensors, whose states are the context itself.
    """

    reference_states: np.ndarray | None
    """Low-dimensional states of the frames to predict, shape `(horizon, P)`, float32; `None` as above."""


def count_windows(episode: Episode, *, context_frames: int, observed_steps: int, stride: int = 1) -> int:
    """Number of windows that [`cut_window`] finds in `episode`: every start that leaves one frame to predict."""
    starts = len(episode) - context_frames - observed_steps
    return max(0, -(-starts // stride))


def cut_window(
    episode: Episode,
    start: int,
    *,
    context_frames: int,
    observed_steps: int,
    horizon: int,
    context_start: int | None = None,
) -> Window:
    """
    Cut the window that begins at frame `start`.

    Args:
        episode (`Episode`):
            Where to cut.
        start (`int`):
            Index of the first context frame.
        context_frames (`int`):
            Frames given in full; 0 where each frame is coded on its own.
        observed_steps (`int`):
            Further frames given, each as one step block.
        horizon (`int`):
            Frames to predict. Those beyond the end of the episode are padding, see `Window.reference_mask`.
        context_start (`int`, *optional*):
            Index of the first context frame, if the context does not directly precede the other frames; `start` by
            default.

    Returns:
        `Window`: The window.

    Raises:
        `ValueError`: If no frame is given, or none is left to predict.

    Example:

    ```python
    >>> import numpy as np
    >>> frames, actions = np.zeros((4, 3, 8, 8), np.uint8), np.zeros((4, 2), np.float32)
    >>> episode = Episode(episode_id="0", frames=frames, actions=actions, fps=2.0)
    >>> window = cut_window(episode, 1, context_frames=1, observed_steps=0, horizon=3)
    >>> window.context.shape, window.actions.shape, window.reference_mask.tolist()
    ((1, 3, 8, 8), (4, 2), [True, True, False])

    ```
    """
    observed = start + context_frames + observed_steps
    if context_frames + observed_steps < 1:
        raise ValueError("A window without context frames needs at least 1 observed step, got 0; give some history.")
    if start < 0 or observed >= len(episode):
        raise ValueError(
            f"Episode {episode.episode_id!r} has {len(episode)} frames: a window that starts at frame {start} and is "
            f"given {context_frames + observed_steps} frames leaves none to predict; start from 0 to "
            f"{len(episode) - context_frames - observed_steps - 1}, or drop the episode."
        )
    last = len(episode) - 1
    future = np.arange(observed, observed + horizon)
    first_action = observed - max(observed_steps, 1)
    states = None if episode.frames is None else episode.states
    # Where frames are padding, so are actions: the last one is repeated.
    acting = np.minimum(np.arange(first_action, observed + horizon), last)
    context_from = start if context_start is None else context_start
    given = np.concatenate(
        [np.arange(context_from, context_from + context_frames), np.arange(start + context_frames, observed)]
    )
    return Window(
        episode_id=episode.episode_id,
        start=start,
        context=episode.observations[given],
        actions=episode.actions[acting],
        reference=episode.observations[np.minimum(future, last)],
        reference_mask=future <= last,
        context_states=None if states is None else states[given],
        reference_states=None if states is None else states[np.minimum(future, last)],
    )


def draw_context(start: int, *, context_reach: int, seed: list[int]) -> int:
    """
    Draw the index of a window's first context frame, uniformly.

    Args:
        start (`int`):
            Index of the window's first frame.
        context_reach (`int`):
            How many indices to draw from: `start + 1` and those before it, fewer at the beginning of an episode. With
            `start + 1`, the context ends with the first frame that otherwise follows it. With 0, nothing is drawn and
            the index is `start`.
        seed (`list[int]`):
            Seed of the draw.

    Returns:
        `int`: The index.

    Example:

    ```python
    >>> [draw_context(20, context_reach=15, seed=[number]) for number in range(3)]
    [19, 14, 19]
    >>> draw_context(20, context_reach=0, seed=[0])
    20

    ```
    """
    if context_reach == 0:
        return start
    nearest = start + 1  # as the authors draw it: the context may contain the first frame after it
    farthest = max(0, nearest - context_reach + 1)
    return int(np.random.default_rng(seed).integers(farthest, nearest + 1))


def windows(
    episode: Episode, *, context_frames: int, observed_steps: int, horizon: int, stride: int = 1
) -> Iterator[Window]:
    """
    All windows of an episode, in order.

    Args:
        episode (`Episode`):
            Where to cut.
        context_frames (`int`):
            See [`cut_window`].
        observed_steps (`int`):
            See [`cut_window`].
        horizon (`int`):
            See [`cut_window`].
        stride (`int`, *optional*, defaults to 1):
            Frames between the starts of two windows.

    Yields:
        `Window`: The windows; the last ones are padded, see `Window.reference_mask`.
    """
    number = count_windows(episode, context_frames=context_frames, observed_steps=observed_steps, stride=stride)
    for index in range(number):
        yield cut_window(
            episode,
            index * stride,
            context_frames=context_frames,
            observed_steps=observed_steps,
            horizon=horizon,
        )
