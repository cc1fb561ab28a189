"""Progress bars of all libraries: as they are on a terminal, a line a minute where there is none."""

from __future__ import annotations

import re
import sys
from functools import partialmethod


LINE_EVERY = 60.0
"""Seconds between two lines of a bar."""


def one_line_a_minute() -> None:
    """
    Have tqdm's bars of this process write a line a minute, if stderr is no terminal.

    A bar that is over within a minute writes nothing.
    """
    from tqdm.std import tqdm

    usual = vars(tqdm)["__init__"]
    # tqdm has one already, for defaults that are set in the environment; and a process may come here more than once.
    is_changed = isinstance(usual, partialmethod) and isinstance(usual.keywords.get("file"), Lines)
    if not sys.stderr.isatty() and not is_changed:
        pace = dict.fromkeys(["delay", "mininterval", "maxinterval"], LINE_EVERY)
        tqdm.__init__ = partialmethod(usual, file=Lines(), ncols=100, **pace)


class Lines:
    r"""
    Takes what tqdm writes over itself, and writes it to stderr as lines.

    Example:

    ```python
    >>> import io
    >>> from contextlib import redirect_stderr
    >>> with redirect_stderr(io.StringIO()) as written:
    ...     _ = [Lines().write(text) for text in ("\r 50%|##  |", "\n", "\x1b[A", "\r    ")]
    >>> written.getvalue()
    ' 50%|##  |\n'

    ```
    """

    # No `isatty`, by which tqdm would turn off bars that are for terminals.

    def write(self, text: str) -> int:
        """Writes a line, if there is anything in it."""
        line = re.sub(r"[\r\n]|\x1b\[A", "", text).rstrip()
        if line:
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        """Flushes stderr."""
        sys.stderr.flush()
