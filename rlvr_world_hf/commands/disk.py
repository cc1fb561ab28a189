"""
What a full disk, or a folder that cannot be written to, means to the user: the folder, the cause and the remedy.

Libraries report a full disk in their own ways: as an `OSError` with or without the file's name, as a message of
safetensors, or as a failed write of torch's.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError


DISK_ERRORS = (OSError, RuntimeError, SafetensorError)
"""Errors that a disk may cause: those of Python, of torch and of safetensors."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that has no room left for the file."""

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)
"""Errors of a folder in which nothing can be written."""

FULL_TEXTS = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), os.strerror(errno.EFBIG))
"""How errors that are no `OSError`, such as those of safetensors, name a full disk."""

TORCH_TEXTS = ("PytorchStreamWriter", "inline_container")
"""How torch names a failed write, whose cause it does not tell."""

NO_ROOM = 2**20
"""Bytes: where torch fails to write and less than this is free, the disk is full."""


def disk_trouble(error: BaseException, folders: Mapping[Path, str]) -> str | None:
    """
    One sentence on an error that comes from the disk and not from the program.

    Args:
        error (`BaseException`):
            What was raised; what it was raised from counts, too.
        folders (`Mapping[Path, str]`):
            Folder that is written to -> how to choose another.

    Returns:
        `str`: folder, cause and remedy; `None` for any other error.

    Example:

    ```python
    >>> full = OSError(errno.ENOSPC, "No space left on device", "/data/run/base/model.safetensors")
    >>> disk_trouble(full, {Path("/data/run"): "`--output_dir PATH`"})
    '/data/run/base: No space left on device; free some, or choose another folder by `--output_dir PATH`, and give the same command again.'
    >>> disk_trouble(OSError(errno.EIO, "Input/output error"), {}) is None
    True

    ```
    """  # noqa: E501
    for cause in _causes(error):
        number, file = (cause.errno, cause.filename) if isinstance(cause, OSError) else (None, None)
        place = Path(os.fsdecode(file)).absolute() if isinstance(file, str | bytes) else None
        full = _full_text(cause, number, folders)
        if full:
            folder = place.parent if place is not None else _fullest(folders)
            return f"{folder}: {full}; free some, or {_another(folder, folders)}, and give the same command again."
        # Without a folder of ours it is a file of the user's that cannot be read, or a bug.
        if number in REFUSED and place is not None and _owner(place, folders) is not None:
            return f"{place}: cannot be written ({os.strerror(number)}); {_another(place, folders)}."
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _full_text(cause: BaseException, number: int | None, folders: Mapping[Path, str]) -> str | None:
    """How the system calls a full disk, if that is the cause."""
    if number in FULL:
        return os.strerror(number)
    text = str(cause)
    named = next((full for full in FULL_TEXTS if full in text), None)
    if named is None and any(torch in text for torch in TORCH_TEXTS) and _free(_fullest(folders)) < NO_ROOM:
        return FULL_TEXTS[0]
    return named


def _fullest(folders: Mapping[Path, str]) -> Path:
    return min(folders, key=_free, default=Path.cwd()).absolute()


def _free(folder: Path) -> int:
    there = next((parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir()), None)
    # A folder on a disk that cannot be asked is not the one that is full.
    return 2**63 if there is None else shutil.disk_usage(there).free


def _owner(place: Path, folders: Mapping[Path, str]) -> Path | None:
    """The folder that holds a place, or would: an error may name the parent that could not be made."""
    known = {folder.absolute(): folder for folder in folders}
    inside = [folder for folder in known if place.is_relative_to(folder) or folder.is_relative_to(place)]
    return known[max(inside, key=lambda folder: len(folder.parts))] if inside else None


def _another(place: Path, folders: Mapping[Path, str]) -> str:
    owner = _owner(place, folders)
    return "choose another folder" if owner is None else f"choose another folder by {folders[owner]}"
