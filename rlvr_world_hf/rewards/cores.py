"""Cores that this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """
    Number of cores that this process may use; in a container, or on a shared machine, fewer than the machine has.

    Returns:
        `int`: At least 1. Where the system does not tell which cores a process may use, such as macOS, all of them.

    Example:

    ```python
    >>> usable_cores() >= 1
    True

    ```
    """
    # `os.process_cpu_count` came with Python 3.13; before, Linux alone knows.
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
