"""
BridgeData (https://huggingface.co/papers/2308.12952): a real WidowX arm at a toy sink, in 64x64 frames at 5 Hz.

The episodes are those of the debug data set in the tests of Octo, https://github.com/octo-models/octo (MIT; for the
data's own terms see the BridgeData project), as `{number}.npz` with `frames` `(10, 64, 64, 3)` of the fixed camera,
`actions` `(10, 7)`: the change of the hand's pose in m and rad, and 1 to open or 0 to close the gripper; and `state`
`(10, 7)`: the pose in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..data import folder


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEpisodes(folder.RecordedEpisodes):
    """
    First steps of BridgeData episodes.

    Example:

    ```python
    >>> RecordedEpisodes().alignment
    'taken_at'

    ```
    """

    world: ClassVar[str] = "BridgeData"
    source: ClassVar[str] = (
        "BridgeData (toy sink, WidowX) as in the debug data set of [Octo](https://github.com/octo-models/octo)'s "
        "tests, converted to `{number}.npz` with `frames` (10, 64, 64, 3) uint8, `actions` and `state` (10, 7) "
        "float32; for its terms see the [BridgeData project](https://rail-berkeley.github.io/bridgedata)."
    )

    alignment: Literal["taken_at", "led_to"] | None = folder.described("taken_at", "actions[t] is taken_at frames[t].")
    """`actions[t]` is taken at `frames[t]`; the last one has no next frame."""

    fps: float = folder.described(5.0, "Frames a second.")
    """Frames a second."""

    states_field: str | None = folder.described("state", "Array with the pose of the hand.")
    """Pose of the hand, and how far the gripper is open."""
