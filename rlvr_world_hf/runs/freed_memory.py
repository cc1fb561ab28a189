"""
Memory that was freed stays with the process, for the next step of a training on a CPU.

A step frees its large tensors, and the next one asks for as many. By its defaults glibc gives blocks of 32 MiB and
more back to the system at once, and gets them again page by page, each filled with zeros first.
"""

from __future__ import annotations

import ctypes
import os
import sys


TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
"""Numbers of `mallopt`'s parameters in glibc's `malloc.h`."""

SET_BY_USERS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Variables by which users choose another allocator, or how this one works."""


def keep_freed_memory() -> bool:
    """
    Tell glibc to keep what the process frees. It takes as much memory as at its peak, until it ends.

    Nothing is done where another allocator is in use, or a variable of `SET_BY_USERS` is set. See
    https://man7.org/linux/man-pages/man3/mallopt.3.html.

    Returns:
        `bool`: whether memory is kept from now on.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in SET_BY_USERS):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl has no `mallopt` that does anything
        return False
    wanted = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
    accepted = [library.mallopt(number, value) == 1 for number, value in wanted.items()]
    return all(accepted)
