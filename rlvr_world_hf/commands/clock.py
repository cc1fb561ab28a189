"""How long a stage computed, over interruptions: what was done after the last checkpoint is lost, and so is its time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class Clock:
    """
    Seconds a stage has computed.

    Example:

    ```python
    >>> clock = Clock()
    >>> clock.continue_from(60.0)
    >>> 60 <= clock.seconds < 61
    True

    ```
    """

    def __init__(self) -> None:
        self._earlier = 0.0
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds up to now."""
        return self._earlier + time.monotonic() - self._begin

    def continue_from(self, seconds: float) -> None:
        """Add the seconds an interrupted run had computed at the checkpoint that this one continues."""
        self._earlier = seconds


def checkpoint_callback(clock: Clock) -> Any:
    """
    A callback of transformers' `Trainer` that keeps a clock's time in every checkpoint.

    Args:
        clock (`Clock`):
            The stage's clock.

    Returns:
        `transformers.TrainerCallback`: The callback.
    """
    from transformers import TrainerCallback
    from transformers.trainer_callback import ExportableState

    class WallClock(TrainerCallback, ExportableState):
        def state(self) -> dict[str, Any]:
            return {"args": {}, "attributes": {"seconds": clock.seconds}}

    return WallClock()


def last_checkpoint(folder: Path) -> Path | None:
    """
    The last complete checkpoint of transformers' `Trainer` in a folder.

    The trainer's state is what it writes last: a checkpoint that was being written when the process ended has none.

    Args:
        folder (`Path`):
            The trainer's output folder.

    Returns:
        `Path` or `None`: The checkpoint; `None` if there is none.
    """
    steps = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*") if path.is_dir()}
    return next((steps[step] for step in sorted(steps, reverse=True) if _state(steps[step])), None)


def checkpoint_seconds(checkpoint: Path) -> float:
    """Seconds that the run had computed when it wrote a checkpoint."""
    clocks = _state(checkpoint).get("stateful_callbacks", {}).get("WallClock", {})
    return clocks.get("attributes", {}).get("seconds", 0.0)


def _state(checkpoint: Path) -> dict[str, Any]:
    try:
        return json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
