"""
Where a stage of a run keeps its work, and whether it is finished.

Each set of settings has a folder of its own below the stage's, named by their fingerprint, so what was made with other
settings stays. `started.json` is written before the work, with the settings, and `done.json` after it, with a
description of every file that was made. A folder without `done.json`, or whose files were damaged, is taken up again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..data.drafts import draft_path, whole_file
from ..hub.manifest import DamagedFileError, damaged, describe
from .drafts import remove_drafts


logger = logging.getLogger(__name__)

STARTED, DONE = "started.json", "done.json"
"""Names of a stage's two records."""

STOPPED = "stopped.json"
"""Name of the record of what has stopped a stage; it is gone when the stage goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """
    The state of one stage, with some settings, on disk.

    Example:

    ```python
    >>> import tempfile
    >>> progress = Progress(folder=Path(tempfile.mkdtemp()) / "collect" / "a1", fingerprint="a1")
    >>> progress.start({"train": 4}), progress.is_done()
    (False, False)
    >>> progress.start({"train": 4})
    True
    >>> progress.finish(seconds=1.0, outputs=[])
    >>> progress.is_done()
    True

    ```
    """

    folder: Path
    """Folder of the stage with these settings."""

    fingerprint: str
    """Fingerprint of the settings of the stage and of those it needs."""

    def is_done(self) -> bool:
        """Whether the stage finished with these settings and its outputs are as it wrote them; else a warning says."""
        record = self.record()
        if record.get("fingerprint") != self.fingerprint:
            return False
        losses = [
            loss
            for name, description in record["outputs"].items()
            for loss in damaged(self.folder / name, description)  # an absolute name stays as it is
        ]
        if losses:
            logger.warning("%s: made again, as %s.", self.folder, "; ".join(losses))
        return not losses

    def record(self) -> dict[str, Any]:
        """What `done.json` says; empty before the stage is finished, and, with a warning, where it cannot be read."""
        file = self.folder / DONE
        try:
            record = read_json(file)
        except DamagedFileError as error:
            logger.warning("%s The stage is taken up from its last checkpoint.", error)
            return {}
        if record and not isinstance(record.get("outputs"), dict):
            return {}
        return record

    def start(self, settings: Mapping[str, Any]) -> bool:
        """Prepare the folder and note the settings; returns whether earlier work in it is taken up."""
        resumes = (self.folder / STARTED).exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._set_damaged_aside()
        for record in (DONE, STOPPED):
            (self.folder / record).unlink(missing_ok=True)
        write_json(self.folder / STARTED, {"fingerprint": self.fingerprint, "settings": settings})
        return resumes

    def _set_damaged_aside(self) -> None:
        """Move outputs that were damaged out of the way of those to come; nothing of a user's in them is lost."""
        described: dict[str, Any] = self.record().get("outputs", {})
        # Of a stage without a record: a checkpoint whose settings are gone could not be replaced.
        unfinished: dict[str, Any] = {
            path.parent.name: {}
            for path in self.folder.glob("*/*.safetensors")
            if not path.parent.name.startswith(".") and ".damaged-" not in path.parent.name
        }
        for name, description in (unfinished | described).items():
            place = self.folder / name
            is_checkpoint = place.name.startswith("checkpoint-")
            if Path(name).is_absolute() or is_checkpoint or not place.is_dir():
                continue
            if damaged(place, description) or (name not in described and not (place / "config.json").is_file()):
                aside = next(path for path in _numbered(place) if not path.exists())
                os.replace(place, aside)
                logger.warning("%s: what is left of it lies in %s now", place, aside.name)

    def finish(self, *, seconds: float, outputs: Iterable[Path]) -> None:
        """Mark the stage as finished. `seconds` include interrupted attempts up to their last checkpoint."""
        from ..evaluation.provenance import commit

        record = {
            "fingerprint": self.fingerprint,
            "seconds": round(seconds, 1),
            "commit": commit(),
            "outputs": {self._seen_from_here(output): describe(output) for output in outputs},
        }
        write_json(self.folder / DONE, record)

    def stop(self, error: BaseException) -> None:
        """Note what has stopped the stage, as far as that can be written."""
        by_user = isinstance(error, KeyboardInterrupt)
        reason = "interrupted" if by_user else f"{type(error).__name__}: {error}".splitlines()[0]
        with suppress(OSError):  # a full disk is what may have stopped it
            write_json(self.folder / STOPPED, {"is_failure": not by_user, "reason": reason})

    def published(self) -> list[str]:
        """Names of the outputs that a run shows: those in the stage's folder, its own records left out."""
        names = [name for name in self.record().get("outputs", {}) if not Path(name).is_absolute()]
        return [name for name in names if name != HISTORY]

    def _seen_from_here(self, output: Path) -> str:
        """The name of an output of the stage, so that the run may be moved; of any other, its whole path."""
        here, place = self.folder.resolve(), output.resolve()
        return str(place.relative_to(here)) if place.is_relative_to(here) else str(place)


HISTORY = "history.json"
"""Curves of a stage that trains, in its folder."""


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
    The content of a JSON file that holds a mapping.

    Args:
        path (`Path`):
            The file.

    Returns:
        `dict`: empty if there is no such file.

    Raises:
        DamagedFileError: If the file holds anything else.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    # What is not UTF-8 is a ValueError, too.
    except ValueError as error:
        raise DamagedFileError(f"{path}: expected JSON, and cannot read it: {error}; delete the file.") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path}: expected a JSON mapping, got {type(content).__name__}; delete the file.")
    return content


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
    A folder in the user's cache, built once, and again if it was damaged.

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
    if folder.exists() and _is_intact(folder):
        return folder
    lock = cache_folder("locks", f"{kind}-{name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Of processes that need the same, one builds it and the others wait.
    with FileLock(lock):
        return _build(folder, build)


def _build(folder: Path, build: Callable[[Path], None]) -> Path:
    if folder.exists() and not _is_intact(folder):
        # Renamed first: a kill while it is deleted leaves nothing under its name.
        rest = draft_path(folder)
        os.replace(folder, rest)
        shutil.rmtree(rest, ignore_errors=True)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_drafts(folder.parent)
        draft = draft_path(folder)
        draft.mkdir()
        try:
            build(draft)
            if not folder.exists():  # another process may have built it meanwhile
                write_json(_manifest(folder), describe(draft))
                os.replace(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def cache_folder(kind: str, name: str) -> Path:
    """Folder in which [`cached`][] keeps a content of that kind and name."""
    root = os.environ.get("RLVR_WORLD_CACHE") or Path.home() / ".cache" / "rlvr_world_hf"
    return Path(root).expanduser() / kind / name


def _numbered(place: Path) -> Iterator[Path]:
    """`base.damaged-1`, `base.damaged-2`, ..."""
    return (place.with_name(f"{place.name}.damaged-{number}") for number in count(1))


def _is_intact(folder: Path) -> bool:
    try:
        losses = damaged(folder, read_json(_manifest(folder)))
    except DamagedFileError as error:  # without its description it cannot be trusted
        losses = [str(error)]
    if losses:
        logger.warning("%s: made again, as %s.", folder, "; ".join(losses))
    return not losses


def _manifest(folder: Path) -> Path:
    """Description of a cached folder, beside it: what reads the folder need not know of it."""
    return folder.with_name(f"{folder.name}.json")
