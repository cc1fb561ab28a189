"""Demo: a page in the browser on which you play with world models beside the true world."""

from __future__ import annotations

import runpy
from collections.abc import Sequence

from ...runs.echo import echo
from ...runs.locations import shipped_folder
from .push_space import PAGE


USAGE = """usage: rlvr-world demo [FOLDER ...]

Serves the page until it is interrupted. A FOLDER is the output folder of a run of PushT or of TextWorld, or
`hf://owner/name` for the repositories `owner/name-base` and `owner/name-rlvr` on the Hub; the page shows at most one
of each world. By default outputs/quickstart and outputs/textworld, or what ships with the library in their place.
"""


def demo(words: Sequence[str]) -> int:
    """
    Serve the page until it is interrupted.

    Args:
        words (`Sequence[str]`):
            Folders, or nothing.

    Returns:
        `int`: Exit code.

    Raises:
        ValueError: If there are more than two words, or options.
        FileNotFoundError: If the checkpoints are not there; it says what makes them.
    """
    if {"-h", "--help"} & set(words):
        echo(USAGE)
        return 0
    if len(words) > 2 or any(word.startswith("-") for word in words):
        raise ValueError(f"demo: expected at most two folders, got {' '.join(words)}; see `rlvr-world demo --help`.")
    # By its path: `spaces/` is no package, and on a Space `import spaces` is Hugging Face's.
    page = runpy.run_path(str(shipped_folder("spaces") / PAGE / "app.py"))
    page["main"](*words)
    return 0
