r"""
A web page as its accessibility tree in text: one element a line, indented by a tab a level.

The lines have the form of WebArena (https://huggingface.co/papers/2307.13854): `[id] role 'name' property: value`, the
name as a Python literal. Only elements that say something are written: those with a name or a value, and controls.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


ELEMENT = re.compile(
    r"(?P<indent>\t*)\[(?P<id>\d+)\] (?P<role>\S+) (?P<name>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")(?: (?P<rest>.+))?"
)
"""A line of a page."""

UNWRITTEN_ROLES = {"InlineTextBox", "LabelText", "LineBreak", "ListMarker", "MenuListPopup", "generic", "none"}
"""Roles that hold the page together and tell nothing; their children stand in their place."""

FIELD_ROLES = {"searchbox", "spinbutton", "textbox"}
"""Roles whose content is their value."""

NAMED_BY_CONTENT = {"button", "cell", "checkbox", "columnheader", "gridcell", "heading", "link", "menuitem", "option",
                    "radio", "row", "rowheader", "switch", "tab", "DisclosureTriangle"}  # fmt: skip
"""Roles whose name repeats the text in them, which is not written again."""

PROPERTIES = {"checked": True, "pressed": True, "expanded": True, "selected": False, "required": False,
              "disabled": False, "readonly": False}  # fmt: skip
"""Properties that are written, and whether they are also when false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageElement:
    """
    One element of a page.

    Example:

    ```python
    >>> PageElement(element_id=4, depth=1, role="textbox", name="Email", properties="value: 'ann'").line
    "[4] textbox 'Email' value: 'ann'"

    ```
    """

    element_id: int
    """Its number in this snapshot of the page; another snapshot may give it another one."""

    depth: int
    """Number of its ancestors; 0 for the root."""

    role: str
    """Its role, such as `button`."""

    name: str
    """Its accessible name; may be empty."""

    properties: str = ""
    """What else is known of it, such as `checked: True`, as it is written."""

    @property
    def line(self) -> str:
        """How it stands in a page change."""
        return f"[{self.element_id}] {self.role} {self.name!r}" + (f" {self.properties}" if self.properties else "")


def parse_page(text: str) -> list[PageElement]:
    r"""
    Read a page from its text.

    Args:
        text (`str`):
            One element a line, indented by a tab a level; blank lines are passed over.

    Returns:
        `list[PageElement]`: In the order of the text.

    Raises:
        ValueError: if a line is no element, or its name no Python literal.

    Example:

    ```python
    >>> [element.name for element in parse_page("[1] RootWebArea 'Shop'\n\t[2] link 'Cart'")]
    ['Shop', 'Cart']

    ```
    """
    return [_read_line(line) for line in text.split("\n") if line.strip()]


def write_page(elements: Sequence[PageElement]) -> str:
    r"""
    Write a page as [`parse_page`] reads it.

    Args:
        elements (`Sequence[PageElement]`):
            In the order of the document.

    Returns:
        `str`: The text.

    Example:

    ```python
    >>> page = "[1] RootWebArea 'Shop'\n\t[2] link 'Cart'"
    >>> write_page(parse_page(page)) == page
    True

    ```
    """
    return "\n".join("\t" * element.depth + element.line for element in elements)


def read_accessibility_tree(nodes: Sequence[Mapping[str, Any]]) -> list[PageElement]:
    """
    The elements of a page as Chromium tells them.

    Args:
        nodes (`Sequence[Mapping[str, Any]]`):
            What the method `Accessibility.getFullAXTree` of the Chrome DevTools protocol returns under `nodes`; the
            first is the root.

    Returns:
        `list[PageElement]`: Numbered from 1 in the order of the document, so that the same page gives the same text.

    Example:

    ```python
    >>> root = {"nodeId": "7", "ignored": False, "role": {"value": "RootWebArea"}, "name": {"value": "Shop"}}
    >>> write_page(read_accessibility_tree([root]))
    "[1] RootWebArea 'Shop'"

    ```
    """
    return [element for element, _ in numbered_nodes(nodes)]


def numbered_nodes(nodes: Sequence[Mapping[str, Any]]) -> list[tuple[PageElement, Mapping[str, Any]]]:
    """
    The elements of a page, each with the node it was read from.

    Args:
        nodes (`Sequence[Mapping[str, Any]]`):
            See [`read_accessibility_tree`].

    Returns:
        `list[tuple[PageElement, Mapping[str, Any]]]`: In the order of the document.
    """
    by_id = {node["nodeId"]: node for node in nodes}
    written = _written(nodes[0], by_id, 0, "")
    return [
        (
            PageElement(
                element_id=number,
                depth=depth,
                role=_value(node, "role"),
                name=_name(node),
                properties=_properties(node),
            ),
            node,
        )
        for number, (depth, node) in enumerate(written, start=1)
    ]


def _read_line(line: str) -> PageElement:
    found = ELEMENT.fullmatch(line.rstrip())
    try:
        name = ast.literal_eval(found["name"]) if found else None
    except (SyntaxError, ValueError):  # an escape without its digits, as in `'a\x'`
        name = None
    if found is None or name is None:
        raise ValueError(f"Expected lines like \"[3] link 'Cart'\" indented by tabs, got {line!r:.80}.")
    return PageElement(
        element_id=int(found["id"]),
        depth=len(found["indent"]),
        role=found["role"],
        name=name,
        properties=found["rest"] or "",
    )


def _written(
    node: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]], depth: int, said: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Nodes that are written, with their depth; text within `said`, the name of the element around them, is not."""
    role, name = _value(node, "role"), _name(node)
    if role == "StaticText":
        if name and not node["ignored"] and name not in said:
            yield depth, node
        return
    unwritten = node["ignored"] or role in UNWRITTEN_ROLES
    if depth == 0 or not unwritten and (name or "value" in node or _property(node, "focusable")):
        yield depth, node
        depth, said = depth + 1, name if role in NAMED_BY_CONTENT else ""
    for child in [] if role in FIELD_ROLES else node.get("childIds", []):
        # The text of a label is the name of its field, and would stand twice.
        if child in by_id and not (role == "LabelText" and _value(by_id[child], "role") == "StaticText"):
            yield from _written(by_id[child], by_id, depth, said)


def _value(node: Mapping[str, Any], key: str) -> str:
    return str(node.get(key, {}).get("value", ""))


def _name(node: Mapping[str, Any]) -> str:
    return " ".join(_value(node, "name").split())


def _property(node: Mapping[str, Any], name: str) -> Any:
    return next((item["value"].get("value") for item in node.get("properties", []) if item["name"] == name), None)


def _properties(node: Mapping[str, Any]) -> str:
    has_value = "value" in node or _value(node, "role") in FIELD_ROLES  # an empty field is said to have none
    written = [f"value: {_value(node, 'value')!r}"] if has_value else []
    for name, when_false in PROPERTIES.items():
        value = _property(node, name)
        # Chromium gives properties of two values as booleans and those of three, such as `checked`, as texts.
        is_true = value in (True, "true")
        if value is not None and (is_true or when_false):
            written.append(f"{name}: {'Mixed' if value == 'mixed' else is_true}")
    return " ".join(written)
