"""
Records which stages are finished and which can be resumed: two small files in the folder of a stage.

`started.json` is written before the work, with a fingerprint of the settings, and `done.json` after it. A folder with
the same fingerprint and no `done.json` was interrupted and is resumed; one with another fingerprint is started afresh.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.drafts import draft_path, whole_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """
    The state of one stage on disk.

    Example:

    ```python
    >>> import tempfile
    >>> progress = Progress(folder=Path(tempfile.mkdtemp()) / "collect", fingerprint="a1")
    >>> progress.start(), progress.is_done()
    (False, False)
    >>> progress.start()
    True
    >>> progress.finish(seconds=1.0, outputs=[])
    >>> progress.is_done()
    True

    ```
    """

    folder: Path
    """Folder of the stage."""

    fingerprint: str
    """Fingerprint of the settings of the stage and of those it needs."""

    def is_done(self) -> bool:
        """Whether the stage finished with these settings and its outputs still exist."""
        record = read_json(self.folder / "done.json")
        return record.get("fingerprint") == self.fingerprint and all(
            (self.folder / output).exists() or (not output.startswith("..") and Path(output).exists())
            for output in record["outputs"]  # earlier versions wrote paths relative to the working directory
        )

    def start(self) -> bool:
        """Prepare the folder; returns whether it holds an interrupted run to resume."""
        # A finished stage that runs again has other settings or lost its outputs: there is nothing to resume.
        finished = (self.folder / "done.json").exists()
        resumes = not finished and read_json(self.folder / "started.json").get("fingerprint") == self.fingerprint
        if not resumes:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            write_json(self.folder / "started.json", {"fingerprint": self.fingerprint})
        return resumes

    def finish(self, *, seconds: float, outputs: Iterable[Path]) -> None:
        """Mark the stage as finished. `seconds` include interrupted attempts up to their last checkpoint."""
        from ..evaluation.provenance import commit

        record = {
            "fingerprint": self.fingerprint,
            "seconds": round(seconds, 1),
            "commit": commit(),
            "outputs": [self._seen_from_here(output) for output in outputs],
        }
        write_json(self.folder / "done.json", record)

    def _seen_from_here(self, output: Path) -> str:
        """A path within the run relative to the stage's folder, so that the run may be moved; any other in full."""
        here, place = self.folder.resolve(), output.resolve()
        within = place.is_relative_to(here.parent.parent)
        return os.path.relpath(place, here) if within else str(place)


def fingerprint(content: Mapping[str, Any]) -> str:
    """
    Sixteen hexadecimal digits that change when `content` does; the order of its keys does not matter.

    Args:
        content (`Mapping`):
            What JSON can hold; anything else counts by its `str`.

    Returns:
        `str`: the digits.

    Example:

    ```python
    >>> fingerprint({"a": 1, "b": 2.0}) == fingerprint({"b": 2.0, "a": 1})
    True

    ```
    """
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    """
    The content of a JSON file.

    Args:
        path (`Path`):
            The file.

    Returns:
        `dict`: empty if there is no such file.
    """
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """
    Write a JSON file that is, at any moment, either the old one or the new one.

    Args:
        path (`Path`):
            The file.
        content (`Mapping`):
            What it is to hold.
    """
    with whole_file(path) as draft:
        draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def cached(kind: str, name: str, build: Callable[[Path], None]) -> Path:
    """
    A folder in the user's cache, built once.

    Args:
        kind (`str`):
            Kind of its content, such as `episodes`.
        name (`str`):
            Fingerprint of what the content is made from.
        build (`Callable[[Path], None]`):
            Fills an empty folder. If it is interrupted, nothing is left that could be taken for the result.

    Returns:
        `Path`: The folder, below the environment variable `RLVR_WORLD_CACHE` (default `~/.cache/rlvr_world_hf`).
    """
    folder = cache_folder(kind, name)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = draft_path(folder)
        draft.mkdir()
        try:
            build(draft)
            if not folder.exists():  # another process may have built it meanwhile
                os.replace(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def cache_folder(kind: str, name: str) -> Path:
    """Folder in which [`cached`][] keeps a content of that kind and name."""
    root = os.environ.get("RLVR_WORLD_CACHE") or Path.home() / ".cache" / "rlvr_world_hf"
    return Path(root).expanduser() / kind / name
