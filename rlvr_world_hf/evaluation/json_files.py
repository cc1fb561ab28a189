"""Numbers on disk: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(record: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    r"""
    Write a record as JSON, atomically.

    Args:
        record (`Mapping`):
            What JSON can hold, without nan and infinity.
        path (`str` or `PathLike`):
            File to write; missing folders are made.

    Returns:
        `Path`: the file.

    Raises:
        `ValueError`: If a number is not finite.

    Example:

    ```python
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json({"mae": 0.5}, Path(folder, "numbers.json")).read_text()
    '{\n  "mae": 0.5\n}\n'

    ```
    """
    target = Path(path)
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    target.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a file is replaced atomically only within a file system.
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)  # mkstemp makes files private to the user
        os.replace(temporary, target)
    except BaseException:  # also Ctrl-C, which must not leave a draft behind
        Path(temporary).unlink(missing_ok=True)
        raise
    return target
