r"""
A short text of an object state, for small models that learn to read and write from it alone.

A line an object, `uuid|name|type|items`, and a last line `score|items`. The items, between `;`, are the properties
(see `compact_items.py`), and `>5` for each object that it contains. ` (ID: uuid)` at the end of an object's name is
left out; a name without it begins with `=`. A difference has the same lines for objects that were added or renamed,
and for others only what changed:

    5|+isOn;temperature=36;~cover;>7;<8     values, a property that is gone, what came into it, what left it
    -5                                      the object is gone
    score|score=1                           what changed of the score
    .                                       nothing changed
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ...states.answer import UnreadableAnswerError
from .compact_items import BARE, read_item, write_item
from .state import ObjectState, differing


UNCHANGED = "."
"""The difference of a step that changed nothing."""

WHOLE_STATE = "state"
"""First line of an answer that is no difference but all of the following state."""

# At most 9 digits, as `int` refuses the thousands of them that a model may write.
LINE = re.compile(r"-(\d{1,9})|(\d{1,9}|score)\|(?:([^|]*)\|([^|]*)\|)?([^|]*)")
MOVE = re.compile(r"[<>]\d{1,9}")


def write_compact_state(state: ObjectState) -> str:
    """
    Write a state as lines.

    Args:
        state (`ObjectState`):
            The state, its objects with `name`, `uuid`, `type`, `properties` and `contains`.

    Returns:
        `str`: the lines, without a line break at the end. Nothing is lost.

    Raises:
        ValueError: if a name or type contains `|`, `;` or a line break, a property is not named like a variable, or
            an object contains what is not in the state.

    Example:

    ```python
    >>> cup = {"name": "cup (ID: 2)", "uuid": 2, "type": "Cup", "properties": {"isFull": True}, "contains": []}
    >>> box = {"name": "box (ID: 1)", "uuid": 1, "type": "Box", "properties": {"size": 3}, "contains": ["cup (ID: 2)"]}
    >>> text = write_compact_state(ObjectState(objects={1: box, 2: cup}, score={"score": 0, "gameOver": False}))
    >>> text.splitlines()
    ['1|box|Box|size=3;>2', '2|cup|Cup|+isFull', 'score|score=0;-gameOver']
    >>> read_compact_state(text).objects == {1: box, 2: cup}
    True

    ```
    """
    uuids = _inverted(_names(state))
    score = ";".join(write_item(key, value, uuids) for key, value in state.score.items())
    return "\n".join([*(_object_line(item, uuids) for item in state.objects.values()), f"score|{score}"])


def read_compact_state(text: str) -> ObjectState:
    """
    Read what [`write_compact_state`] wrote.

    Args:
        text (`str`):
            The lines.

    Returns:
        `ObjectState`: the state.

    Raises:
        UnreadableAnswerError: if a line is neither that of an object nor that of the score.

    Example:

    ```python
    >>> read_compact_state("score|score=0;-gameOver")
    ObjectState(objects={}, score={'score': 0, 'gameOver': False})

    ```
    """
    # Not `splitlines`, which also splits at separators that a name may hold, such as U+2028.
    return _apply(ObjectState(objects={}, score={}), text.split("\n"))


def write_compact_difference(current: ObjectState, following: ObjectState) -> str:
    r"""
    Write what a step changed as lines.

    Args:
        current (`ObjectState`):
            The state before.
        following (`ObjectState`):
            The state afterwards.

    Returns:
        `str`: the lines; `"."` if nothing changed.

    Raises:
        ValueError: as [`write_compact_state`].

    Example:

    ```python
    >>> before = read_compact_state("1|box|Box|-isOpen;>2\n2|cup|Cup|\nscore|score=0")
    >>> after = read_compact_state("1|box|Box|+isOpen\nscore|score=1")
    >>> write_compact_difference(before, after).splitlines()
    ['1|+isOpen;<2', '-2', 'score|score=1']

    ```
    """
    # As the reader resolves them: what leaves an object by the names before, all else by both.
    left, uuids = _inverted(_names(current)), _inverted(_names(current) | _names(following))
    lines = []
    for uuid, old in current.objects.items():
        new = following.objects.get(uuid)
        if new is None:
            lines.append(f"-{uuid}")
        elif (old["name"], old["type"]) != (new["name"], new["type"]):
            lines.append(_object_line(new, uuids))
        elif items := _changes(old["properties"], new["properties"], uuids) + _moves(old, new, left, uuids):
            lines.append(f"{uuid}|{';'.join(items)}")
    lines += [_object_line(item, uuids) for uuid, item in following.objects.items() if uuid not in current.objects]
    if items := _changes(current.score, following.score, uuids):
        lines.append(f"score|{';'.join(items)}")
    return "\n".join(lines) or UNCHANGED


def is_compact(answer: str) -> bool:
    """
    Whether an answer is in lines and not in JSON, by its first line.

    Args:
        answer (`str`):
            The answer, stripped.

    Returns:
        `bool`: whether it is in lines.

    Example:

    ```python
    >>> is_compact("5|+isOn"), is_compact("{'modified': []}")
    (True, False)

    ```
    """
    first = answer.partition("\n")[0].rstrip()
    return first in (UNCHANGED, WHOLE_STATE) or LINE.fullmatch(first) is not None


def apply_compact_answer(state: ObjectState, answer: str) -> ObjectState:
    r"""
    The state that an answer in lines leads to.

    Args:
        state (`ObjectState`):
            The state before.
        answer (`str`):
            A difference as [`write_compact_difference`] writes it; or `state` in a line of its own, and the following
            state as [`write_compact_state`] writes it.

    Returns:
        `ObjectState`: the following state; what came into an object stands at the end of what it contains.

    Raises:
        UnreadableAnswerError: if a line is none of those, changes an object that does not exist, or says another thing
            than an earlier one.

    Example:

    ```python
    >>> before = read_compact_state("1|box|Box|-isOpen;>2\n2|cup|Cup|\nscore|score=0")
    >>> after = apply_compact_answer(before, "1|+isOpen;<2\n-2\nscore|score=1")
    >>> print(write_compact_state(after))
    1|box|Box|+isOpen
    score|score=1

    ```
    """
    first, _, rest = answer.strip().partition("\n")
    if first.rstrip() == WHOLE_STATE:
        return read_compact_state(rest)
    return _apply(state, [] if answer.strip() == UNCHANGED else answer.strip().split("\n"))


def _names(state: ObjectState) -> dict[int, str]:
    return {uuid: item["name"] for uuid, item in state.objects.items() if "name" in item}


def _inverted(names: Mapping[int, str]) -> dict[str, int]:
    """The object of each name; of several the first."""
    return {name: uuid for uuid, name in reversed(list(names.items()))}


def _object_line(item: Mapping[str, Any], uuids: Mapping[str, int]) -> str:
    uuid, name = item["uuid"], item["name"]
    short = name.removesuffix(f" (ID: {uuid})")
    shown = short if short != name and not short.startswith("=") else f"={name}"
    for label in (shown, item["type"]):
        if not BARE.fullmatch(label):
            raise ValueError(f"Expected a name or type without `|`, `;` and line breaks, got {label!r}.")
    items = _changes({}, item["properties"], uuids) + _moves({}, item, {}, uuids)
    return f"{uuid}|{shown}|{item['type']}|{';'.join(items)}"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], uuids: Mapping[str, int]) -> list[str]:
    return [write_item(key, new[key], uuids) if key in new else f"~{key}" for key in differing(old, new)]


def _moves(
    old: Mapping[str, Any], new: Mapping[str, Any], left: Mapping[str, int], came: Mapping[str, int]
) -> list[str]:
    old_names, new_names = old.get("contains", []), new["contains"]
    if strangers := [name for name in new_names if name not in came]:
        raise ValueError(f"Expected objects of the state as contents, got {strangers[0]!r}.")
    return [f">{came[name]}" for name in _surplus(new_names, old_names)] + [
        f"<{left[name]}" for name in _surplus(old_names, new_names)
    ]


def _surplus(names: list[str], others: list[str]) -> list[str]:
    """What one list has more often than another, in its order, the last ones of equal names."""
    spare, surplus = Counter(others), []
    for name in names:
        spare[name] -= 1
        if spare[name] < 0:
            surplus.append(name)
    return surplus


def _apply(state: ObjectState, lines: Iterable[str]) -> ObjectState:
    parts = []
    for line in lines:
        match = LINE.fullmatch(line.rstrip("\r"))
        if match is None:
            raise UnreadableAnswerError(f"Expected lines such as `5|+isOn`, got {line:.80}")
        parts.append(match.groups())
    _refuse_two([gone or key for gone, key, *_ in parts], "object")
    objects, score, left = dict(state.objects), dict(state.score), _names(state)
    # Names first, as a line may refer to an object that a later line adds.
    labels = [(key, short) for _, key, short, _, _ in parts if short is not None and key != "score"]
    came = left | {int(key): _full(key, short) for key, short in labels}
    for gone, key, short, kind, items in parts:
        if gone is not None:
            objects.pop(int(gone), None)  # as in JSON, to remove what is not there changes nothing
        elif key == "score":
            score, _ = _changed(score, [], items, left, came)
        elif short is not None:
            label = {"name": came[int(key)], "uuid": int(key), "type": kind}
            properties, contains = _changed({}, [], items, left, came)
            objects[int(key)] = label | {"properties": properties, "contains": contains}
        elif int(key) in objects:
            old = objects[int(key)]
            properties, contains = _changed(old["properties"], old["contains"], items, left, came)
            objects[int(key)] = old | {"properties": properties, "contains": contains}
        else:
            raise UnreadableAnswerError(f"Expected changes of an object of the state, got object {key}.")
    return ObjectState(objects=objects, score=score)


def _refuse_two(names: Iterable[str], what: str) -> None:
    """Refuse a name that comes twice: such an answer could say both of two things."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UnreadableAnswerError(f"Expected one answer about each {what}, got two about {twice[0]}.")


def _full(uuid: str, short: str) -> str:
    return short[1:] if short.startswith("=") else f"{short} (ID: {int(uuid)})"


def _changed(
    properties: Mapping[str, Any], contains: list[str], items: str, left: Mapping[int, str], came: Mapping[int, str]
) -> tuple[dict[str, Any], list[str]]:
    properties, contains = dict(properties), list(contains)
    listed = items.split(";") if items else []
    # Not contents: an object that got another name leaves by its old one and comes by its new one.
    _refuse_two((item.lstrip("+-~").partition("=")[0] for item in listed if not MOVE.fullmatch(item)), "property")
    for item in listed:
        read = read_item(item, came)
        if read is not None:
            properties[read[0]] = read[1]
        elif item.startswith("~"):
            properties.pop(item[1:], None)
        elif MOVE.fullmatch(item) and item[0] == ">":
            # An unknown object gets a name that no object has: a wrong entry, in an answer that can be read.
            contains.append(came.get(int(item[1:]), f"@{item[1:]}"))
        elif MOVE.fullmatch(item):
            contains = _surplus(contains, [left.get(int(item[1:]), "")])
        else:
            raise UnreadableAnswerError(f"Expected items such as `+isOn`, got {item:.80}")
    return properties, contains
