"""JSON as language models write it: with comments, prose, Python's constants, or cut short; read in bounded time."""

from __future__ import annotations

import json
import re
from typing import Any, SupportsIndex

from json_repair import repair_json

from .answer import UnreadableAnswerError


MAX_CHARACTERS = 200_000
"""A longer text is not read; recorded states have at most 5,000 characters."""

MAX_REPAIRED_CHARACTERS = 16_384
"""A longer text is read only if it is proper JSON."""

MAX_DEPTH = 64
"""Deeper nested brackets are not read; recorded states nest 5 deep."""

MAX_STEPS = 100_000
"""How often a repair may look at its text: some texts of a few kilobytes would keep it busy for minutes."""

BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""A string, which may lack its end, or a bracket; nothing is looked at twice."""

IN_JSON = {"True": "true", "False": "false", "None": "null"}
PYTHON_TOKEN = re.compile(r"""("(?:[^"\\]++|\\.?)*+"?)|'((?:[^'\\]++|\\.?)*+)'?|\b(True|False|None)\b""", re.DOTALL)
PYTHON_CONSTANT = re.compile(
    r"""("(?:[^"\\]++|\\.?)*+"?)|(?<=[\[{(:,\s])(True|False|None)(?=[\s,\]})]|$)""", re.DOTALL
)


class _TooManyStepsError(Exception):
    """No `ValueError`, which the repair itself would catch."""


class _CountedText(str):
    """A text that stops who looks at it too often."""

    steps: list[int]

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        self.steps[0] += 1
        if self.steps[0] > MAX_STEPS:
            raise _TooManyStepsError
        found = super().__getitem__(key)
        if not isinstance(key, slice):
            return found
        self.steps[0] += len(found) // 64
        return _counted(found, self.steps)

    def __add__(self, other: str) -> str:
        return _counted(super().__add__(other), self.steps)


def _counted(text: str, steps: list[int]) -> _CountedText:
    counted = _CountedText(text)
    counted.steps = steps
    return counted


def read_repaired_json(text: str) -> Any:
    """
    Read JSON, or what was meant as such.

    Proper JSON is read as it is, and so are most literals of Python; anything else after a repair by `json_repair`.

    Args:
        text (`str`):
            What a model wrote, without its reasoning.

    Returns:
        `Any`: the value; of several values a list.

    Raises:
        UnreadableAnswerError: if there is no value, or finding it would take more than about a second: the text is
            too long, its brackets too deep, or its repair too long-winded.

    Example:

    ```python
    >>> read_repaired_json("Here: {'isOn': True, 'names': ['cup',]")
    {'isOn': True, 'names': ['cup']}

    ```
    """
    if len(text) > MAX_CHARACTERS:
        raise UnreadableAnswerError(f"Expected an answer of at most {MAX_CHARACTERS} characters, got {len(text)}.")
    _refuse_deep(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass  # a model may have meant it
    if len(text) > MAX_REPAIRED_CHARACTERS:
        raise UnreadableAnswerError(
            f"Expected JSON, or at most {MAX_REPAIRED_CHARACTERS} characters to repair, got {len(text)}: {text:.80}"
        )
    try:
        return json.loads(PYTHON_TOKEN.sub(_python_as_json, text))
    except (ValueError, RecursionError):
        pass  # nor is it a literal of Python
    proper = PYTHON_CONSTANT.sub(lambda match: match[1] or IN_JSON[match[2]], text)
    try:
        return json.loads(repair_json(_counted(proper, [0]), skip_json_loads=True))
    except (ValueError, RecursionError, _TooManyStepsError) as error:
        raise UnreadableAnswerError(f"Expected JSON, got {text:.80}") from error


def _python_as_json(match: re.Match[str]) -> str:
    if match[2] is None:
        return match[1] or IN_JSON[match[3]]
    return '"{}"'.format(match[2].replace("\\'", "'").replace('"', '\\"'))


def _refuse_deep(text: str) -> None:
    depth = 0
    for match in BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise UnreadableAnswerError(f"Expected brackets at most {MAX_DEPTH} deep, got more: {text:.80}")
        depth = max(depth, 0)
