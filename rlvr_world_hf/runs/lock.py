"""One process at a time works in the folder of a run."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


class RunFolderError(ValueError):
    """The folder of a run cannot be used as it is; the error says what to do."""


class RunInUseError(RunFolderError):
    """Another process works in the run's folder."""


LOCK = ".lock"
"""File of the lock, in the run's folder."""

HOLDER = ".lock.json"
"""File beside it that says who holds the lock."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """
    Hold the folder of a run.

    The lock ends with the process that holds it, however that ends.

    Args:
        folder (`Path`):
            The run's folder; it is made if it is not there.

    Returns:
        `ContextManager`: the block in which it is held.

    Raises:
        RunInUseError: If another process holds it, saying which.

    Example:

    ```python
    >>> import tempfile
    >>> with locked(Path(tempfile.mkdtemp(), "run")):
    ...     pass

    ```
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunInUseError(
            f"{folder}: expected that no other process works in it, but {_holder(folder)} does; wait for it, or give "
            "another `--output_dir`."
        ) from error
    try:
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        (folder / HOLDER).write_text(json.dumps(holder) + "\n", encoding="utf-8")
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def holder(folder: Path) -> dict[str, Any] | None:
    """
    Who works in the folder of a run.

    Args:
        folder (`Path`):
            The run's folder.

    Returns:
        `dict`: its `process`, `host` and `since` when; `None` if nobody does.

    Example:

    ```python
    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> with locked(run):
    ...     holder(run)["process"] == os.getpid()
    True
    >>> holder(run) is None
    True

    ```
    """
    try:
        found = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        is_gone = found["host"] == socket.gethostname() and not _lives(int(found["process"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if is_gone else found


def _lives(process: int) -> bool:
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _holder(folder: Path) -> str:
    found = holder(folder)
    if found is None:  # it has not written it yet
        return "one"
    return f"process {found['process']} on {found['host']}, since {found['since']},"
