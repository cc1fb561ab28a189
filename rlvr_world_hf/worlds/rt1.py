"""
RT-1 (https://huggingface.co/papers/2212.06817): a real mobile manipulator, in frames of 256x320 at 3 Hz.

The episodes are those of Open X-Embodiment's `fractal20220817_data`, as the converter of RLVR-World's authors writes
them (https://github.com/thuml/RLVR-World): an `.npz` file each, `image` `(T, 256, 320, 3)` and `action` `(T, 13)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..data import folder


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEpisodes(folder.RecordedEpisodes):
    """
    Episodes of RT-1.

    Example:

    ```python
    >>> RecordedEpisodes().frames_field, RecordedEpisodes().fps
    ('image', 3.0)

    ```
    """

    world: ClassVar[str] = "RT-1"
    source: ClassVar[str] = (
        "RT-1, `fractal20220817_data` of [Open X-Embodiment](https://robotics-transformer-x.github.io) (CC BY 4.0), "
        "converted to `.npz` by the script of [RLVR-World](https://github.com/thuml/RLVR-World)."
    )

    alignment: Literal["taken_at", "led_to"] | None = folder.described("taken_at", "actions[t] is taken_at frames[t].")
    """`actions[t]` is taken at `frames[t]`."""

    fps: float = folder.described(3.0, "Frames a second.")
    """Frames a second."""

    frames_field: str = folder.described("image", "Array that holds the frames.")
    """Name of the array of frames."""

    actions_field: str = folder.described("action", "Array that holds the actions.")
    """Name of the array of actions."""
