"""
Properties of an object as short items: `+isOpen`, `-isOn`, `temperature=35`, `color=red`, `foodMessName=@11`.

A value is bare text where it could not be taken for JSON, else JSON without spaces; `@11` stands for the name of
object 11, and `@@` for one `@` at the start of a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


KEY = re.compile(r"[A-Za-z_]\w*")
BARE = re.compile(r"[^|;\r\n]*")
REFERENCE = re.compile(r"@(\d{1,9})")
# Items are split at these characters before JSON is read, and JSON's own escapes bring them back.
ESCAPES = {"|": "\\u007c", ";": "\\u003b"}
MAX_BRACKETS = 64
"""A value with more opening brackets is read as a text."""


def write_item(key: str, value: Any, uuids: Mapping[str, int]) -> str:
    """
    Write a property.

    Args:
        key (`str`):
            Its name, like that of a variable.
        value (`Any`):
            Its value, anything that JSON can hold.
        uuids (`Mapping[str, int]`):
            The objects by name, for references.

    Returns:
        `str`: the item, without `|`, `;` and line breaks.

    Raises:
        ValueError: if the property is not named like a variable.

    Example:

    ```python
    >>> write_item("isOn", False, {}), write_item("on", ["cup (ID: 3)", None], {"cup (ID: 3)": 3})
    ('-isOn', 'on=["@3",null]')

    ```
    """
    if not KEY.fullmatch(key):
        raise ValueError(f"Expected a property named like a variable, got {key!r}.")
    if isinstance(value, bool):
        return f"{'+' if value else '-'}{key}"
    referring = _map_texts(value, lambda text: f"@{uuids[text]}" if text in uuids else _escaped(text))
    if isinstance(referring, str) and BARE.fullmatch(referring) and _read_json(referring) == referring:
        return f"{key}={referring}"
    written = json.dumps(referring, separators=(",", ":"))
    return f"{key}={re.sub('[|;]', lambda match: ESCAPES[match[0]], written)}"


def read_item(item: str, names: Mapping[int, str]) -> tuple[str, Any] | None:
    """
    Read a property.

    Args:
        item (`str`):
            As [`write_item`] writes it.
        names (`Mapping[int, str]`):
            Names of the objects, for references; one to another object stays as it is.

    Returns:
        `tuple[str, Any]`: name and value; `None` if it is no item.

    Example:

    ```python
    >>> read_item("size=[1,2]", {}), read_item("in=@3", {3: "cup (ID: 3)"}), read_item("isOn", {})
    (('size', [1, 2]), ('in', 'cup (ID: 3)'), None)

    ```
    """
    key, equals, written = item.partition("=")
    if not equals:
        return (key[1:], key[0] == "+") if key[:1] in ("+", "-") and KEY.fullmatch(key[1:]) else None
    if not KEY.fullmatch(key):
        return None
    return key, _map_texts(_read_json(written), lambda text: _resolved(text, names))


def _read_json(text: str) -> Any:
    """The value of a text as JSON; the text itself if it is no JSON."""
    # On deep nesting, which a model may write, `json.loads` raises a RecursionError.
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        return text
    try:
        return json.loads(text)
    except ValueError:  # no JSON, or an integer of more digits than Python reads
        return text


def _map_texts(value: Any, function: Any) -> Any:
    if isinstance(value, str):
        return function(value)
    if isinstance(value, list):
        return [_map_texts(item, function) for item in value]
    if isinstance(value, dict):
        return {key: _map_texts(item, function) for key, item in value.items()}
    return value


def _escaped(text: str) -> str:
    return f"@{text}" if text.startswith("@") else text


def _resolved(text: str, names: Mapping[int, str]) -> str:
    reference = REFERENCE.fullmatch(text)
    if reference is not None:
        return names.get(int(reference[1]), text)
    return text[1:] if text.startswith("@@") else text
