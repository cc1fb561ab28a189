"""
Drafts: files and folders that are being written, beside what they will replace.

A reader sees the old one or the new one, never a part. The name of a draft says which process writes it, so that what
a killed process left can be told from what another one is at work on:

    .<name>.<machine>.<process id>.<8 digits>.draft     becomes `<name>`
    .<name>.<machine>.<process id>.<8 digits>.old       what `<name>` was, set aside while a folder is replaced
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path


_NAME = re.compile(r"\.(.+)\.([0-9A-Za-z-]+)\.(\d+)\.[0-9a-f]{8}\.(draft|old)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftName:
    """What the name of a draft says."""

    target: str
    """Name of the file or folder that it was to become, or was."""

    machine: str
    """Where its process runs, see [`this_machine`]."""

    process: int
    """The process's id there."""

    is_old: bool
    """Whether it is what its target was, and not what it was to become."""


def draft_path(target: Path, *, is_old: bool = False) -> Path:
    """
    A new place for a draft, in the folder of what it becomes: only within a file system is a rename atomic.

    Args:
        target (`Path`):
            What the draft becomes.
        is_old (`bool`, *optional*, defaults to `False`):
            Whether it is to hold what `target` was.

    Returns:
        `Path`: Where nothing is yet.

    Example:

    ```python
    >>> draft = draft_path(Path("run", "results.json"))
    >>> draft.parent.name, read_draft_name(draft.name).target
    ('run', 'results.json')

    ```
    """
    kind = "old" if is_old else "draft"
    return target.with_name(f".{target.name}.{this_machine()}.{os.getpid()}.{secrets.token_hex(4)}.{kind}")


def read_draft_name(name: str) -> DraftName | None:
    """
    What the name of a draft says.

    Args:
        name (`str`):
            Name of a file or folder.

    Returns:
        [`DraftName`]: `None` if it is no draft's.

    Example:

    ```python
    >>> draft = read_draft_name(".base.node-7.4711.0a1b2c3d.draft")
    >>> draft.target, draft.machine, draft.process, draft.is_old
    ('base', 'node-7', 4711, False)
    >>> read_draft_name("thesis.draft") is None
    True

    ```
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        return None
    target, machine, process, kind = parts.groups()
    return DraftName(target=target, machine=machine, process=int(process), is_old=kind == "old")


@cache
def this_machine() -> str:
    """
    Identifies where process ids are counted as they are here: the machine, or a container on it.

    Returns:
        `str`: Letters, digits and hyphens.

    Example:

    ```python
    >>> this_machine() == this_machine()
    True

    ```
    """
    name = re.sub(r"[^0-9A-Za-z]+", "-", socket.gethostname())[:64]
    # Containers may share the name of their host, but count their processes apart.
    namespace = Path("/proc/self/ns/pid")
    return f"{name}-{re.sub(r'[^0-9]', '', os.readlink(namespace))}" if namespace.is_symlink() else name


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """
    A draft that becomes `target` at the end of the block, and is removed if the block fails.

    Args:
        target (`Path`):
            The file; its folder exists.

    Yields:
        `Path`: Where to write.

    Example:

    ```python
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "note.txt")
    >>> with whole_file(file) as draft:
    ...     characters = draft.write_text("done")
    >>> [path.name for path in file.parent.iterdir()]
    ['note.txt']

    ```
    """
    draft = draft_path(target)
    try:
        yield draft
        os.replace(draft, target)
    finally:  # also after Ctrl-C
        draft.unlink(missing_ok=True)
