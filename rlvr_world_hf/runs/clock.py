"""How long a stage computed, over interruptions. Work after the last checkpoint is lost and its time not counted."""

from __future__ import annotations

import time


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
        """Add the seconds that an interrupted run had computed up to the checkpoint from which this one continues."""
        self._earlier = seconds
