"""Progress bars of all libraries: as they are on a terminal, a line a minute where there is none."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


LINE_EVERY = 60.0
"""Seconds between two lines of a bar."""


@contextmanager
def one_line_a_minute() -> Iterator[None]:
    """
    Context in which all of tqdm's bars write a line a minute, if stderr is no terminal.

    A bar that is over within a minute writes nothing.
    """
    from tqdm.std import tqdm

    # A descriptor of tqdm's, for defaults that are set in the environment.
    usual = vars(tqdm)["__init__"]
    if sys.stderr.isatty():
        yield
        return

    def begin(bar: tqdm, *given: Any, **how: Any) -> None:
        pace = dict.fromkeys(["delay", "mininterval", "maxinterval"], LINE_EVERY)
        # At one position: a bar within another would move the cursor.
        usual.__get__(bar, type(bar))(*given, **{"file": Lines(), "ncols": 100, "position": 0, **pace, **how})

    tqdm.__init__ = begin
    try:
        yield
    finally:
        tqdm.__init__ = usual


class Lines:
    r"""
    Takes what one of tqdm's bars writes over itself, and writes a line a minute of it to stderr, and its last.

    Example:

    ```python
    >>> lines = Lines(every=0.0)
    >>> [lines.line_of(text) for text in ("\r 50%|##  |", "\x1b[A", "\r    ", "\r100%|####|")]
    [' 50%|##  |', '', '', '100%|####|']

    ```
    """

    # No `isatty`, by which tqdm would turn off bars that are for terminals.

    def __init__(self, *, every: float | None = None) -> None:
        self.every = LINE_EVERY if every is None else every
        self.last = time.monotonic()
        self.waiting = ""
        self.has_written = False

    def line_of(self, text: str) -> str:
        """What of a text is for a reader."""
        return re.sub(r"[\r\n]|\x1b\[A", "", text).rstrip()

    def write(self, text: str) -> int:
        """Writes a line if it is time, or if the bar ends, which is over a minute old."""
        self.waiting = self.line_of(text) or self.waiting
        now = time.monotonic()
        if self.waiting and (now - self.last >= self.every or (text == "\n" and self.has_written)):
            sys.stderr.write(self.waiting + "\n")
            self.last, self.waiting, self.has_written = now, "", True
        return len(text)

    def flush(self) -> None:
        """Flushes stderr."""
        sys.stderr.flush()
