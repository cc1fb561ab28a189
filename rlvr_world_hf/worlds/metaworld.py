"""
Meta-World demonstrations (https://huggingface.co/papers/1910.10897): a simulated Sawyer arm in 64x64 frames.

The episodes are those that iVideoGPT ships for its model-based RL experiments, https://github.com/thuml/iVideoGPT
(MIT; the episodes state no licence of their own), as `{task}/{episode}.npz` with `frames` `(101, 64, 64, 3)` and
`actions` `(101, 4)`: the motion of the hand's target in x, y, z, and the gripper's effort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..data import folder


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEpisodes(folder.RecordedEpisodes):
    """
    Episodes of Meta-World tasks, one subfolder a task.

    The arm follows its target with a lag of about a frame: give a model two frames.

    Example:

    ```python
    >>> RecordedEpisodes().clip_actions
    (-1.0, 1.0)

    ```
    """

    world: ClassVar[str] = "Meta-World"
    source: ClassVar[str] = (
        "Meta-World demonstrations as shipped with [iVideoGPT](https://github.com/thuml/iVideoGPT) (MIT), converted "
        "to `{task}/{episode}.npz` with `frames` (101, 64, 64, 3) uint8 and `actions` (101, 4) float32."
    )

    alignment: Literal["taken_at", "led_to"] | None = folder.described("led_to", "actions[t] led_to frames[t].")
    """`actions[t]` belongs to the step that ended in `frames[t]`; `actions[0]` is zero and stands for none."""

    fps: float = folder.described(40.0, "Frames a second.")
    """80 simulator steps a second, two of them a frame."""

    clip_actions: tuple[float, float] | None = folder.described((-1.0, 1.0), "Where the environment clips actions.")
    """Actions are stored as commanded; the environment clips them."""
