"""One process at a time works in the folder of a run."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']}, since {holder['since']},"
    except (OSError, ValueError, KeyError, TypeError):  # it has not written it yet
        return "one"
