"""Processes that share work with the one that starts them: to record, or to score."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Literal


def worker_pool(processes: int, *, start: Literal["spawn", "forkserver"] = "spawn") -> ProcessPoolExecutor:
    """
    Processes that leave Ctrl-C to the one that starts them: a terminal sends it to all.

    Args:
        processes (`int`):
            Their number.
        start (`str`, *optional*, defaults to `"spawn"`):
            How they begin: `"spawn"`, or `"forkserver"`, which is faster the second time. Never as a fork: threads of
            the libraries that are loaded, torch among them, and the state of a GPU do not survive it.

    Returns:
        `ProcessPoolExecutor`: to use as a context, or to keep.

    Example:

    ```python
    >>> with worker_pool(2) as pool:
    ...     list(pool.map(abs, [-1, 2]))
    [1, 2]

    ```
    """
    return ProcessPoolExecutor(
        processes,
        mp_context=get_context(start),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
