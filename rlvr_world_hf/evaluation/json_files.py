"""Numbers on disk: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.drafts import whole_file


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
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json({"mae": 0.5}, Path(folder, "numbers.json")).read_text()
    '{\n  "mae": 0.5\n}\n'

    ```
    """
    target = Path(path)
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as draft:
        draft.write_text(text, encoding="utf-8")
    return target
