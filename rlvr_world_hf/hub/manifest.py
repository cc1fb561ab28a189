"""What a file or folder held when it was written, and what of it was damaged since."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


EDITED = (".md",)
"""Endings of files that people may edit afterwards: of these, only the presence counts."""


class DamagedFileError(ValueError):
    """A file that was written whole is not what it was; the error names it, and what to do."""


def describe(place: Path) -> dict[str, dict[str, Any]]:
    """
    Size, times and hash of a file, or of each file below a folder.

    Args:
        place (`Path`):
            The file or folder.

    Returns:
        `dict`: path within `place` (`.` is a file itself) -> `size` in bytes, `times` of modification and change in
        nanoseconds, and `sha256`, 64 hexadecimal digits. JSON can hold it.

    Example:

    ```python
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "base.json")
    >>> file.write_text("{}"), describe(file)["."]["size"]
    (2, 2)

    ```
    """
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return {file.relative_to(place).as_posix(): _describe_file(file) for file in files}


def damaged(place: Path, description: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """
    What is no longer as it was described. A file of the same size and times counts as the same without being read.

    Args:
        place (`Path`):
            The file or folder.
        description (`Mapping`):
            What [`describe`][] returned.

    Returns:
        `list[str]`: a sentence without its full stop for each damaged or missing file; files added since do not count.

    Example:

    ```python
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "base.json").write_text("{}")
    2
    >>> written = describe(folder)
    >>> damaged(folder, written)
    []
    >>> (folder / "base.json").unlink()
    >>> damaged(folder, written)[0].endswith("base.json is gone")
    True

    ```
    """
    if not description:
        return [] if place.exists() else [f"{place} is gone"]
    found = (_damage(place / name, known) for name, known in description.items())
    return [sentence for sentence in found if sentence is not None]


def file_hash(file: Path) -> str:
    """
    SHA-256 of a file.

    Args:
        file (`Path`):
            The file; it is read in pieces.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_times(file: Path) -> list[int]:
    """
    When a file was last modified, and last changed in any way.

    Args:
        file (`Path`):
            The file.

    Returns:
        `list[int]`: two times in nanoseconds; the second cannot be set by hand.
    """
    stat = file.stat()
    return [stat.st_mtime_ns, stat.st_ctime_ns]


def _describe_file(file: Path) -> dict[str, Any]:
    return {"size": file.stat().st_size, "times": file_times(file), "sha256": file_hash(file)}


def _damage(file: Path, known: Mapping[str, Any]) -> str | None:
    if not file.is_file():
        return f"{file} is gone"
    if file.suffix in EDITED:
        return None
    size = file.stat().st_size
    if size != known["size"]:
        return f"{file} has {size} of its {known['size']} bytes"
    if file_times(file) != known["times"] and file_hash(file) != known["sha256"]:
        return f"{file} holds other bytes than were written"
    return None
