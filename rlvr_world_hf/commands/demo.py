"""Demo: a page in the browser on which one steers a run's world models beside the true simulator."""

from __future__ import annotations

import runpy
from collections.abc import Sequence

from .locations import shipped_folder
from .say import say


USAGE = """usage: rlvr-world demo [FOLDER]

Serves the page until it is interrupted. FOLDER is the output folder of a run of PushT, by default outputs/quickstart,
or `hf://owner/name` for the repositories `owner/name-base` and `owner/name-rlvr` on the Hub.
"""


def demo(words: Sequence[str]) -> int:
    """
    Serve the page until it is interrupted.

    Args:
        words (`Sequence[str]`):
            FOLDER, or nothing.

    Returns:
        `int`: Exit code.

    Raises:
        ValueError: If there are more words, or options.
        FileNotFoundError: If the checkpoints are not there; it says what makes them.
    """
    if {"-h", "--help"} & set(words):
        say(USAGE)
        return 0
    if len(words) > 1 or any(word.startswith("-") for word in words):
        raise ValueError(f"demo: expected at most one folder, got {' '.join(words)}; see `rlvr-world demo --help`.")
    page = runpy.run_path(str(shipped_folder("spaces") / "pusht" / "app.py"))
    page["main"](*words)
    return 0
