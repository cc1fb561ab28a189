"""Clean: frees what a run keeps of settings that it no longer has."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runs.echo import echo
from ...runs.keys import fill, key, keys_of
from ...runs.lock import locked
from ...runs.outputs import SettingsFolder, settings_folders
from ...runs.recipe import parse_overrides
from ..help import describe


USAGE = """usage: rlvr-world clean RUN [--key value ...]

A run keeps what its stages made with other settings, so that going back to these trains nothing again. This lists such
folders of the output folder RUN with their sizes, asks, and deletes them. What `base`, `rlvr` and the other names in
RUN show stays, and so does the work of the settings that each stage was asked for last.

keys:
{keys}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanSettings:
    """How it is asked."""

    yes: bool = key(False, "Whether to delete without asking.")


def clean(words: Sequence[str]) -> int:
    """
    Say what of a run can be freed, ask, and free it.

    Args:
        words (`Sequence[str]`):
            The run's folder and `--key value` pairs, as after `rlvr-world clean`.

    Returns:
        `int`: 0, also when the answer is no; 2 without a folder.

    Raises:
        FileNotFoundError: If there is no run in the folder.
        RunInUseError: If another process works in it.
    """
    if {"-h", "--help"} & set(words) or not words or words[0].startswith("-"):
        echo(USAGE.format(keys="\n".join(describe(keys_of(CleanSettings)))))
        return 0 if {"-h", "--help"} & set(words) else 2
    run = Path(words[0])
    settings = fill(CleanSettings, parse_overrides(words[1:]), where="clean")
    if not (run / "stages").is_dir():
        raise FileNotFoundError(
            f"{run}: expected the output folder of a run, with `stages/` in it, got none; give one."
        )
    with locked(run):
        old = [folder for folder in settings_folders(run) if not folder.is_current]
        if not old:
            echo(f"{run}: nothing to free; all work is of the settings that its stages were asked for last.")
            return 0
        echo("\n".join([*map(_line, old), f"in all {_megabytes(sum(folder.size for folder in old))}"]))
        if not settings.yes and not _agrees():
            echo("Nothing was deleted.")
            return 0
        for folder in old:
            shutil.rmtree(folder.folder)
        echo(f"Freed {_megabytes(sum(folder.size for folder in old))}.")
    return 0


def _line(folder: SettingsFolder) -> str:
    state = "finished" if folder.is_done else "not finished"
    return f"{folder.folder}: {_megabytes(folder.size)}, {state}"


def _agrees() -> bool:
    sys.stdout.write("Delete these? [y/N] ")
    sys.stdout.flush()
    # Without a terminal there is no answer, and nothing is deleted.
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
