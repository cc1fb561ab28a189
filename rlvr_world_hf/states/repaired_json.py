"""Reads JSON in bounded time as language models write it: with comments, prose or Python's constants, or cut short."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any, SupportsIndex

from json_repair import repair_json

from .answer import UnreadableAnswerError


MAX_CHARACTERS = 200_000
"""A longer text is not read; recorded states have at most 5,000 characters."""

MAX_REPAIRED_CHARACTERS = 16_384
"""A longer text is read only if it is valid JSON."""

MAX_DEPTH = 64
"""A text whose brackets nest deeper is not read; recorded states nest 5 deep."""

MAX_STEPS = 100_000
"""How often a repair may index its text: for some texts of a few kilobytes `json_repair` would take minutes."""

BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""A string, which may lack its end, or a bracket. Possessive quantifiers (`++`) never go back, so time is linear."""

IN_JSON = {"True": "true", "False": "false", "None": "null"}
PYTHON_TOKEN = re.compile(r"""("(?:[^"\\]++|\\.?)*+"?)|'((?:[^'\\]++|\\.?)*+)'?|\b(True|False|None)\b""", re.DOTALL)
PYTHON_CONSTANT = re.compile(
    r"""("(?:[^"\\]++|\\.?)*+"?)|(?<=[\[{(:,\s])(True|False|None)(?=[\s,\]})]|$)""", re.DOTALL
)


class _TooManyStepsError(Exception):
    """Not a `ValueError`, which the repair itself would catch."""


class _ContradictionError(Exception):
    """Not a `ValueError`, after which the text would be repaired."""


class _CountedText(str):
    """A text that raises when it has been indexed too often. Pieces of it share its count."""

    steps: list[int]

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        self.steps[0] += 1
        if self.steps[0] > MAX_STEPS:
            raise _TooManyStepsError
        found = super().__getitem__(key)
        if not isinstance(key, slice):
            return found
        self.steps[0] += len(found) // 64  # a slice costs what it copies
        return _counted(found, self.steps)

    def __add__(self, other: str) -> str:
        return _counted(super().__add__(other), self.steps)


def _counted(text: str, steps: list[int]) -> _CountedText:
    counted = _CountedText(text)
    counted.steps = steps
    return counted


def read_repaired_json(text: str, *, refuses_contradictions: bool = False) -> Any:
    """
    Read JSON, or text that was meant to be JSON.

    Valid JSON and most Python literals are read as they are, any other text after a repair by `json_repair`.

    Args:
        text (`str`):
            What a model wrote, without its reasoning.
        refuses_contradictions (`bool`, *optional*, defaults to `False`):
            Whether an object that gives a key two values is refused; else the last one counts, as everywhere in
            Python.

    Returns:
        `Any`: the value; a list if there are several.

    Raises:
        UnreadableAnswerError: if there is no value, or it contradicts itself; or if finding it would take more than
            about a second: the text is too long, its brackets nest too deep, or its repair takes too many steps.

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
        return _read(text, refuses_contradictions)
    except _ContradictionError as error:
        raise UnreadableAnswerError(f"Expected one value of each key, got two of {error}: {text:.80}") from error


def _read(text: str, refuses_contradictions: bool) -> Any:
    load = partial(json.loads, object_pairs_hook=_one_value_a_key) if refuses_contradictions else json.loads
    try:
        return load(text)
    except (ValueError, RecursionError):
        pass  # not JSON: perhaps a Python literal
    if len(text) > MAX_REPAIRED_CHARACTERS:
        raise UnreadableAnswerError(
            f"Expected JSON, or at most {MAX_REPAIRED_CHARACTERS} characters to repair, got {len(text)}: {text:.80}"
        )
    try:
        return load(PYTHON_TOKEN.sub(_python_as_json, text))
    except (ValueError, RecursionError):
        pass  # not a Python literal either: repair it
    proper = PYTHON_CONSTANT.sub(lambda match: match[1] or IN_JSON[match[2]], text)
    try:
        return load(repair_json(_counted(proper, [0]), skip_json_loads=True))
    except (ValueError, RecursionError, _TooManyStepsError) as error:
        raise UnreadableAnswerError(f"Expected JSON, got {text:.80}") from error


def _one_value_a_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        # By type too: to Python, True is 1.
        if key in found and (type(found[key]), found[key]) != (type(value), value):
            raise _ContradictionError(repr(key))
        found[key] = value
    return found


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
