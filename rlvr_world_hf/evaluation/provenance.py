"""Where a number was measured: commit, machine and versions, as every `results.json` names them."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ..rewards.cores import usable_cores


PACKAGES = ("rlvr-world-hf", "torch", "transformers", "trl", "diffusers", "datasets", "numpy")

WRITTEN = ("README.md", "docs", "*/results.json", "*/README.md", "*.png", "*.gif", "*.csv")
"""What results are written to: a change there changes no number that is measured later."""


def commit() -> str:
    """
    Commit of the library's source.

    Returns:
        `str`: 40 hex digits, with `-dirty` appended when tracked files differ from it, other than the documents and
        pictures that results are written to; `unknown` where the library is not a part of a git checkout (installed
        from a wheel) or git is missing.

    Example:

    ```python
    >>> commit() == "unknown" or len(commit().removesuffix("-dirty")) == 40
    True

    ```
    """
    head = _git("rev-parse", "HEAD")
    # An installed copy may lie inside of someone else's checkout, whose commit is not ours.
    if head is None or _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "unknown"
    # `reproduce` writes results as it goes; without this, its second measurement would always be of a dirty tree.
    but = [f":(top,exclude){place}" for place in WRITTEN]
    return head + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *but) else "")


def machine() -> str:
    """
    The machine in words: processor, usable cores, system and, where there is one, GPU. It names no host.

    Returns:
        `str`: for example `"AMD EPYC 7B13, 2 cores, Linux"`.

    Example:

    ```python
    >>> "core" in machine()
    True

    ```
    """
    cores = usable_cores()
    parts = [_processor(), f"{cores} core{'s' if cores > 1 else ''}", platform.system()]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def versions() -> dict[str, str]:
    """
    Versions of Python and of the packages that the numbers depend on; a package that is not installed is left out.

    Returns:
        `dict[str, str]`: version by package name.

    Example:

    ```python
    >>> sorted(versions())[:3]
    ['datasets', 'diffusers', 'numpy']

    ```
    """
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ("git", *arguments), cwd=Path(__file__).parent, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    description = Path("/proc/cpuinfo")
    if description.is_file():
        for line in description.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()
