"""Reads YAML, from files and from the command line; an error is one line that says where the text is wrong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml


MOST_VALUES = 100_000
"""Values of a text with those of each anchor counted wherever it is named: few letters may stand for billions."""


def read_yaml(path: Path) -> Any:
    """
    The content of a YAML file.

    Args:
        path (`Path`):
            The file, in UTF-8.

    Returns:
        `Any`: The content; `None` of an empty file.

    Raises:
        ValueError: If the file is not UTF-8, or not YAML; it names the file and the place.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), where=str(path))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected text in UTF-8, got the byte 0x{error.object[error.start]:02x} at position "
            f"{error.start}; save the file as UTF-8."
        ) from error


def parse_yaml(text: str, *, where: str) -> Any:
    """
    The value of a text in YAML.

    Args:
        text (`str`):
            The text.
        where (`str`):
            Name of the file or key that it belongs to, for the error.

    Returns:
        `Any`: The value.

    Raises:
        ValueError: If the text is not YAML, is nested too deeply, or repeats itself by anchors more than a recipe can.

    Example:

    ```python
    >>> parse_yaml("[1, 2]", where="evaluate.sampling_seeds")
    [1, 2]
    >>> parse_yaml("[1, 2", where="evaluate.sampling_seeds")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ValueError: evaluate.sampling_seeds: expected YAML, got text that is not, at line 1, column 7: ...

    ```
    """
    try:
        value = yaml.safe_load(text)
        if _size_of(value, {}) <= MOST_VALUES:
            return value
        problem = f"as its anchors stand for more than {MOST_VALUES} values"
    except RecursionError:
        problem = "as it is nested too deeply"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"at line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = place + " ".join(str(error.problem or error.context).split())
    # What no YAML may hold, such as control characters; a ValueError is a date such as 2026-13-01.
    except (yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).split())
    raise ValueError(
        f"{where}: expected YAML, got text that is not, {problem}; correct it, or put quotes around text."
    )


def _size_of(value: Any, sizes: dict[int, float]) -> float:
    """Number of values in a value; infinite if it holds itself. `sizes` are those known, by identity."""
    if not isinstance(value, (dict, list, tuple)):
        return 1
    if id(value) not in sizes:
        sizes[id(value)] = math.inf  # until it is known: met again below, it holds itself
        inner = value.values() if isinstance(value, dict) else value
        sizes[id(value)] = 1 + sum(_size_of(part, sizes) for part in inner)
    return sizes[id(value)]
