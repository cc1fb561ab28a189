"""Removes the drafts that killed processes left, see `data/drafts.py`, and those of earlier versions."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..data.drafts import read_draft_name, this_machine


logger = logging.getLogger(__name__)

STALE_DAYS = 7.0
"""Days without a change after which a draft is left over where its process cannot be asked for."""

_EARLIER = re.compile(
    r"(.+\.json\.\d+|resume\.pt|history\.json|seconds)\.draft"  # files of a run
    r"|\.[^/]+\.json\.[a-z0-9_]{8}"  # results
    r"|\.[0-9a-f]{16}-[a-z0-9_]{8}"  # folders of the cache
)
"""Names that earlier versions gave to drafts: they do not say whose they are."""


def remove_drafts(folder: Path, *, nested: bool = False, stale_days: float = STALE_DAYS) -> list[Path]:
    """
    Remove drafts whose process no longer runs.

    A draft of this machine goes if its process is gone, at once; one of another machine, or of an earlier version, if
    nothing in it has changed for some days. All else stays: drafts of running processes, and files with other names. A
    checkpoint that was set aside to be replaced, and never was, is put back.

    Processes may call this at the same time, and while others write.

    Args:
        folder (`Path`):
            Where to look. There need not be such a folder.
        nested (`bool`, *optional*, defaults to `False`):
            Whether to look in the folders below, too.
        stale_days (`float`, *optional*, defaults to 7):
            Days without a change that make a draft stale if its process cannot be asked for.

    Returns:
        `list[Path]`: What was removed.

    Example:

    ```python
    >>> import tempfile
    >>> from rlvr_world_hf.data.drafts import draft_path
    >>> target = Path(tempfile.mkdtemp(), "episodes")
    >>> draft_path(target).mkdir()  # this process still runs
    >>> remove_drafts(target.parent)
    []

    ```
    """
    removed = []
    for path in _entries(folder, nested=nested):
        draft = read_draft_name(path.name)
        if draft is None and not _EARLIER.fullmatch(path.name):
            continue
        if draft is not None and draft.machine == this_machine():
            is_left = not _runs(draft.process)
        else:
            is_left = time.time() - _last_change(path) > stale_days * 86_400
        if not is_left:
            continue
        if draft is not None and draft.is_old and not (path.parent / draft.target).exists():
            _put_back(path, path.parent / draft.target)
        elif _remove(path):
            removed.append(path)
    return removed


def _entries(folder: Path, *, nested: bool) -> Iterator[Path]:
    """Files and folders within a folder, not those within drafts; what others remove meanwhile is left out."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in [*folders, *files])
        # Changed in place, this says where to go on.
        folders[:] = [name for name in folders if nested and read_draft_name(name) is None]


def _runs(process: int) -> bool:
    if os.name != "posix":  # elsewhere, a signal of 0 may end the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _last_change(path: Path) -> float:
    """Time of the last change of a file, or of anything in a folder; now, if it is gone."""
    within = [Path(parent, name) for parent, _, files in os.walk(path) for name in ("", *files)]
    times = []
    for place in (path, *within):
        try:
            times.append(place.lstat().st_mtime)
        except OSError:
            return time.time()
    return max(times)


def _put_back(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:  # another process was first
        return
    logger.warning("%s was being replaced when its process was killed; the one before is there again", target)


def _remove(path: Path) -> bool:
    """Remove a file or folder; whether it is gone. Other processes may remove the same, or it may not be ours."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    return not os.path.lexists(path)
