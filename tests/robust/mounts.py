"""Small file systems in memory, where this machine lets us mount them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


CANNOT = "no file system can be mounted here (needs root)"


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


@contextmanager
def mounted(folder: Path, *, size: str) -> Iterator[bool]:
    """A file system in memory of so many bytes; yields whether it could be mounted."""
    folder.mkdir(parents=True)
    try:
        is_mounted = _mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    except OSError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, size: str) -> None:
    """Give a mounted file system another size."""
    assert _mount("-o", f"remount,size={size}", str(folder))


def make_read_only(folder: Path) -> None:
    """Refuse writes to a mounted file system from now on."""
    assert _mount("-o", "remount,ro", str(folder))
