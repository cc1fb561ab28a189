"""
How a window slides: where a model goes on once it has predicted the steps of its window.

    states     given | predicted                       the next window is given the last K + M of them
    actions    max(M, 1) - 1 past ones | one a step    the next window takes the last max(M, 1) - 1 with it

`K` context frames and `M` observed steps are the processor's, see `processors/layout.py`. All given states slide: from
the second window on the context frames are predicted ones, too, as in RLVR-World's policy evaluation
(https://huggingface.co/papers/2505.13934).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..processors.layout import TokenLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which states a window is given and which actions it takes, as slices of all that there are up to its end."""

    done: int
    """Steps predicted before it."""

    steps: int
    """Steps that it predicts."""

    given: slice
    """Of the states, the first given one first, then all predicted ones: the `K + M` that the window is given."""

    actions: slice
    """Of the actions, the first of the first prompt first: those up to the one that leads to its last step."""


def window_after(layout: TokenLayout, done: int, *, steps: int) -> Window:
    """
    The window that begins after so many predicted steps.

    Args:
        layout (`TokenLayout`):
            That of the model's processor.
        done (`int`):
            Steps predicted so far; 0 for the first window.
        steps (`int`):
            Steps to predict from there.

    Returns:
        [`Window`]: its place.

    Example:

    ```python
    >>> from rlvr_world_hf import SensorWorldModelProcessor
    >>> processor = SensorWorldModelProcessor.from_ranges([0.0], [1.0], [-1.0], [1.0], observed_steps=2)
    >>> window = window_after(processor.layout, 3, steps=3)
    >>> "g0 g1 p1 p2 p3".split()[window.given]  # two given states, three predicted ones
    ['p2', 'p3']
    >>> "a-1 a0 a1 a2 a3 a4 a5".split()[window.actions]  # a0 is taken at g1, a3 at p3, where the window begins
    ['a2', 'a3', 'a4', 'a5']

    ```
    """
    return Window(
        done=done,
        steps=steps,
        given=slice(done, done + layout.context_frames + layout.observed_steps),
        actions=slice(done, done + layout.prompt_actions - 1 + steps),
    )


def slide_windows(layout: TokenLayout, *, steps: int, horizon: int) -> Iterator[Window]:
    """
    The windows that together predict some steps, one after the other.

    Args:
        layout (`TokenLayout`):
            That of the model's processor.
        steps (`int`):
            Steps to predict in all.
        horizon (`int`):
            Most steps of a window, such as those that the model was trained on.

    Yields:
        [`Window`]: all of `horizon` steps, but for the last one, which may be shorter.

    Raises:
        ValueError: If there is no step to predict, or windows have none.

    Example:

    ```python
    >>> from rlvr_world_hf import SensorWorldModelProcessor
    >>> processor = SensorWorldModelProcessor.from_ranges([0.0], [1.0], [-1.0], [1.0], observed_steps=2)
    >>> [(window.done, window.steps) for window in slide_windows(processor.layout, steps=7, horizon=3)]
    [(0, 3), (3, 3), (6, 1)]

    ```
    """
    if min(steps, horizon) < 1:
        raise ValueError(f"Expected at least 1 step in windows of at least 1, got {steps} in windows of {horizon}.")
    for done in range(0, steps, horizon):
        yield window_after(layout, done, steps=min(horizon, steps - done))
