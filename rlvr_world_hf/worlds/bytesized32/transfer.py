"""The change of one recorded step, carried over to another state: what the row `nearest` of a table predicts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from .prompts import Answer, ObjectStep, write_answer
from .state import ObjectState, differing, is_number, parse_object_state, state_entries


DIGITS = 9
"""Digits after the point to which a changed number is kept: recorded ones have fewer, and a sum of floats more."""


def state_parts(state: str) -> Iterable[Hashable]:
    """
    What two states are compared by: each property and the contents of each object, and each key of the score.

    Args:
        state (`str`):
            The state, as JSON.

    Returns:
        `Iterable[Hashable]`: its parts, each with its value.

    Example:

    ```python
    >>> state = '{"game_state": [{"uuid": 1, "properties": {"isOn": true}, "contains": []}, {"score": 0}]}'
    >>> len(list(state_parts(state)))
    3

    ```
    """
    parsed = parse_object_state(state)
    # As JSON: lists cannot be hashed, and to Python, True is 1.
    return [(key, json.dumps(value)) for key, value in [*state_entries(parsed).items(), *parsed.score.items()]]


def transfer_change(
    transition: Mapping[str, Any], state: str, *, answer: Answer = "difference", compact: bool = False
) -> str:
    """
    The answer that a state changes as it did in a recorded transition.

    Numbers among properties and parts of the score change by the amount that they changed by there, all else gets the
    value that it got there. An object that was added or removed is so here, and what came into an object or left it
    does so here. What cannot be, as an object is not in this state, is left out.

    Args:
        transition (`Mapping[str, Any]`):
            A recorded row, with `data_state` and `ground_truth`.
        state (`str`):
            The state, as JSON.
        answer (`str`, *optional*, defaults to `"difference"`):
            What is asked for, see [`RecordedTransitions`].
        compact (`bool`, *optional*, defaults to `False`):
            Whether answers are short lines.

    Returns:
        `str`: The answer.

    Example:

    ```python
    >>> lamp = '{"name": "lamp (ID: 1)", "uuid": 1, "type": "Lamp", "properties": {"isOn": %s%s}, "contains": []}'
    >>> shown = '{"game_state": [' + lamp + ', {"score": 0}]}'
    >>> recorded = {"data_state": shown % ("false", ""), "ground_truth": shown % ("true", "")}
    >>> transfer_change(recorded, shown % ("false", ', "isRed": true'), compact=True)
    '1|+isOn'

    ```
    """
    current = parse_object_state(state)
    before, after = (parse_object_state(transition[name]) for name in ("data_state", "ground_truth"))
    step = ObjectStep(
        game="", goal="", action="", next_uuid=0, current=current, following=_transferred(current, before, after)
    )
    return write_answer(step, answer, compact=compact)


def _transferred(current: ObjectState, before: ObjectState, after: ObjectState) -> ObjectState:
    """The state that follows `current` if the change from `before` to `after` happens to it."""
    gone = before.objects.keys() - after.objects.keys()
    objects = {uuid: item for uuid, item in current.objects.items() if uuid not in gone}
    for uuid, new in after.objects.items():
        old = before.objects.get(uuid)
        if old is None:
            objects[uuid] = new
        elif uuid in objects:
            objects[uuid] = _changed(objects[uuid], old, new)
    known = {item.get("name") for item in objects.values()}
    # Nothing can be in an object that is not in the state, or no longer.
    strangers = {item.get("name") for state in (current, before, after) for item in state.objects.values()} - known
    kept = {
        uuid: item | {"contains": [name for name in item["contains"] if name not in strangers]}
        for uuid, item in objects.items()
    }
    return ObjectState(objects=kept, score=_values_changed(current.score, before.score, after.score))


def _changed(item: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """An object changed as another one was from `old` to `new`."""
    came, left = (Counter(one["contains"]) - Counter(other["contains"]) for one, other in ((new, old), (old, new)))
    contains = []
    for name in item["contains"]:
        if left[name] > 0:
            left[name] -= 1
        else:
            contains.append(name)
    contains += [name for name in came.elements() if name not in contains]
    labels = {key: new[key] for key in ("name", "type") if key in new and old.get(key) != new[key]}
    properties = _values_changed(item["properties"], old["properties"], new["properties"])
    return {**item, **labels, "properties": properties, "contains": contains}


def _values_changed(values: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Values changed as others were from `old` to `new`."""
    changed = dict(values)
    for key in differing(old, new):
        if key not in new:
            changed.pop(key, None)
        elif all(is_number(of.get(key)) for of in (values, old, new)):
            changed[key] = round(values[key] + new[key] - old[key], DIGITS)
        else:
            changed[key] = new[key]
    return changed
