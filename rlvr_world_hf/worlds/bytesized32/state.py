"""
States of text games: objects with properties and contents, and a score (ByteSized32).

The form is that of ByteSized32-State-Prediction (https://huggingface.co/papers/2406.06485): a list of objects, each
with `name`, `uuid`, `type`, `properties` and `contains` (names), and at its end the score, which has no `uuid`. The
`uuid` tells objects apart. Two states are equal if objects have equal properties and contain the same, in any order,
and the scores are equal. Names and types are labels and are not compared, as in the authors' code.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectState:
    """
    What is in a text game at one moment.

    Example:

    ```python
    >>> text = '{"game_state": [{"uuid": 2, "properties": {"isOn": false}, "contains": []}, {"score": 0}]}'
    >>> state = parse_object_state(text)
    >>> state.objects[2]["properties"], state.score
    ({'isOn': False}, {'score': 0})
    >>> object_state_text(state) == text
    True

    ```
    """

    objects: dict[int, dict[str, Any]]
    """The objects by `uuid`, in the order of the game."""

    score: dict[str, Any]
    """`score`, `gameOver` and `gameWon`; empty if the state has none."""


Entry = tuple[Hashable, str, str]
"""One thing that can be right or wrong: `uuid`, `"properties"` or `"contains"`, and the property's name."""


def parse_object_state(text: str) -> ObjectState:
    """
    Read a recorded state.

    Args:
        text (`str`):
            JSON: `{"game_state": [object, ..., score]}`.

    Returns:
        `ObjectState`: the state.

    Raises:
        ValueError: if it is no such JSON: a recorded state is never unreadable by chance.

    Example:

    ```python
    >>> parse_object_state('{"game_state": [{"score": 0}]}')
    ObjectState(objects={}, score={'score': 0})

    ```
    """
    parsed = json.loads(text)
    listed = parsed.get("game_state") if isinstance(parsed, dict) else None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise ValueError(f'Expected a state as {{"game_state": [object, ..., score]}}, got {text:.80}.')
    return state_of(listed)


def state_of(listed: list[dict[str, Any]]) -> ObjectState:
    """
    The state that a list of objects and a score describes.

    Args:
        listed (`list[dict[str, Any]]`):
            The objects, and dictionaries without `uuid`, the last of which is the score.

    Returns:
        `ObjectState`: the state; of two objects with one `uuid` the later one.
    """
    objects = {item["uuid"]: item for item in listed if "uuid" in item}
    return ObjectState(objects=objects, score=next((item for item in reversed(listed) if "uuid" not in item), {}))


def object_state_text(state: ObjectState) -> str:
    """
    Write a state as [`parse_object_state`] reads it.

    Args:
        state (`ObjectState`):
            The state.

    Returns:
        `str`: JSON in ASCII, with the separators that the authors' code uses.

    Example:

    ```python
    >>> object_state_text(ObjectState(objects={}, score={"score": 0}))
    '{"game_state": [{"score": 0}]}'

    ```
    """
    return json.dumps({"game_state": [*state.objects.values(), state.score]})


def state_entries(state: ObjectState) -> dict[Entry, Any]:
    """
    All that can be right or wrong about the objects of a state, property by property.

    Args:
        state (`ObjectState`):
            The state, read from a recording or from a model's answer: parts of a wrong type are no entries.

    Returns:
        `dict[Entry, Any]`: the value of each entry; of contents a sorted tuple of names.

    Example:

    ```python
    >>> box = {"uuid": 3, "properties": {"isOpen": True}, "contains": ["cup", "ball"]}
    >>> state_entries(ObjectState(objects={3: box}, score={}))
    {(3, 'properties', 'isOpen'): True, (3, 'contains', ''): ('ball', 'cup')}

    ```
    """
    entries: dict[Entry, Any] = {}
    for uuid, item in state.objects.items():
        properties, contains = item.get("properties"), item.get("contains")
        if isinstance(properties, dict):
            entries |= {(uuid, "properties", name): value for name, value in properties.items()}
        if isinstance(contains, list) and all(isinstance(name, str) for name in contains):
            entries[uuid, "contains", ""] = tuple(sorted(contains))
    return entries


def differing(one: Mapping[Any, Any], other: Mapping[Any, Any], *, true_is_one: bool = False) -> list[Any]:
    """
    Keys whose values differ as JSON, or that only one of two mappings has.

    Args:
        one (`Mapping`):
            A mapping, such as the entries of a state or its score.
        other (`Mapping`):
            Another.
        true_is_one (`bool`, *optional*, defaults to `False`):
            Whether `True` equals 1 and `False` equals 0, as in Python and in the authors' code.

    Returns:
        `list`: the keys, those of `one` first.

    Example:

    ```python
    >>> differing({"a": 1, "b": 2}, {"b": 3, "c": 4})
    ['a', 'b', 'c']
    >>> differing({"a": True, "b": 2}, {"a": 1, "b": 2.0})
    ['a']

    ```
    """
    # Not None, which a value may be.
    absent = object()
    equal = operator.eq if true_is_one else _equal_as_json
    return [key for key in {**one, **other} if not equal(one.get(key, absent), other.get(key, absent))]


def state_difference(current: ObjectState, following: ObjectState) -> dict[str, Any]:
    """
    What a step changed, in the form in which a model answers.

    Where an object was added, the authors' code writes all objects of the following state as one entry, and it does
    not see a property that is new to an object; here both are reported like any other change.

    Args:
        current (`ObjectState`):
            The state before.
        following (`ObjectState`):
            The state afterwards.

    Returns:
        `dict[str, Any]`: `modified`: the objects that changed or were added, in full, in the order of the current
        state, those added last; `removed`: `uuid` of each object that is gone; `score`: the following score in full
        if it changed, else empty.

    Example:

    ```python
    >>> lamp = {"uuid": 2, "properties": {"isOn": False}, "contains": []}
    >>> now, later = ({2: lamp | {"properties": {"isOn": value}}} for value in (False, True))
    >>> state_difference(ObjectState(objects=now, score={}), ObjectState(objects=later, score={}))
    {'modified': [{'uuid': 2, 'properties': {'isOn': True}, 'contains': []}], 'removed': [], 'score': {}}

    ```
    """
    changed = {uuid for uuid, _, _ in differing(state_entries(current), state_entries(following))}
    order = [*current.objects, *(uuid for uuid in following.objects if uuid not in current.objects)]
    return {
        "modified": [following.objects[uuid] for uuid in order if uuid in changed and uuid in following.objects],
        "removed": [uuid for uuid in current.objects if uuid not in following.objects],
        "score": dict(following.score) if differing(current.score, following.score) else {},
    }


def apply_difference(state: ObjectState, difference: Mapping[str, Any]) -> ObjectState:
    """
    The state that a difference leads to.

    Args:
        state (`ObjectState`):
            The state before.
        difference (`Mapping[str, Any]`):
            As [`state_difference`] gives it, or read from an answer: entries of `modified` without a number as `uuid`
            are passed over; without `score` the state has none; an empty one leaves the score as it is.

    Returns:
        `ObjectState`: with changed objects in the place of the old ones, added ones at the end, removed ones gone.

    Example:

    ```python
    >>> cup = {"uuid": 7, "properties": {"isFull": True}, "contains": []}
    >>> before = ObjectState(objects={2: {"uuid": 2}}, score={"score": 0})
    >>> apply_difference(before, {"modified": [cup], "removed": [2], "score": {}})
    ObjectState(objects={7: {'uuid': 7, 'properties': {'isFull': True}, 'contains': []}}, score={'score': 0})

    ```
    """
    modified = {item["uuid"]: item for item in difference["modified"] if _is_object(item)}
    removed = [uuid for uuid in difference["removed"] if is_number(uuid)]
    objects = {uuid: item for uuid, item in {**state.objects, **modified}.items() if uuid not in removed}
    score = difference.get("score")
    if score == {}:
        score = state.score
    return ObjectState(objects=objects, score=score if isinstance(score, dict) else {})


def is_number(uuid: Any) -> bool:
    """Whether a `uuid`, which a model may have written, is a number, as the games number their objects."""
    # True is 1 to a dictionary and would stand for object 1; 2.0 finds object 2.
    return isinstance(uuid, int | float) and not isinstance(uuid, bool)


def _is_object(item: Any) -> bool:
    return isinstance(item, dict) and is_number(item.get("uuid"))


def _equal_as_json(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal_as_json, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal_as_json(value, other[key]) for key, value in one.items())
    return bool(one == other)
