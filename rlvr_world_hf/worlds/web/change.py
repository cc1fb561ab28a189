r"""
What an action changes on a web page, as a text of three sections: new, deleted and updated elements.

```
New items:
[9] status 'Mug is in the cart.'

Deleted items:
None

Updated items:
[4] textbox 'Search' value: ''
```

The form is that of the authors' data (RLVR-World, https://huggingface.co/papers/2505.13934, made of the transitions of
https://huggingface.co/papers/2410.13232). `None` says that a section is empty, so that a page on which nothing changes
has a text too: three sections of `None`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...states.answer import UnreadableAnswerError
from .tree import PageElement, parse_page


HEADERS = {"New items:": "new", "Deleted items:": "deleted", "Updated items:": "updated"}
"""How a line begins that opens a section, and the name of the section."""

EMPTY = "None"
"""The line of a section without items."""

Identity = tuple[tuple[tuple[str, str], ...], str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageChange:
    r"""
    The elements an action adds, removes and alters, one line each, in the order in which they are written.

    Example:

    ```python
    >>> print(PageChange(updated=("[4] checkbox 'News' checked: True",)).text)
    New items:
    None
    <BLANKLINE>
    Deleted items:
    None
    <BLANKLINE>
    Updated items:
    [4] checkbox 'News' checked: True

    ```
    """

    new: tuple[str, ...] = ()
    """Elements that the page gains."""

    deleted: tuple[str, ...] = ()
    """Elements that it loses."""

    updated: tuple[str, ...] = ()
    """Elements that stay and have other properties than before; as they are afterwards."""

    @property
    def sections(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """New, deleted and updated elements."""
        return self.new, self.deleted, self.updated

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not any(self.sections)

    @property
    def text(self) -> str:
        """The change as [`parse_page_change`] reads it."""
        parts = zip(HEADERS, self.sections, strict=True)
        return "\n\n".join("\n".join([header, *(items or [EMPTY])]) for header, items in parts)


def parse_page_change(text: str, *, none_is_item: bool = False) -> PageChange:
    r"""
    Read a page change.

    A line that starts with `New items:`, `Deleted items:` or `Updated items:` opens a section, and what follows the
    colon is passed over; every other line after the first of them that is not blank is an item. A section may be
    opened again.

    Args:
        text (`str`):
            The text.
        none_is_item (`bool`, *optional*, defaults to `False`):
            Whether a line `None` is an item like others, as in the authors' code.

    Returns:
        `PageChange`: The items, without the white space around them.

    Raises:
        UnreadableAnswerError: if the text has no section.

    Example:

    ```python
    >>> parse_page_change("New items:\nNone\nDeleted items:\n[3] link 'Cart'\n")
    PageChange(new=(), deleted=("[3] link 'Cart'",), updated=())

    ```
    """
    items: dict[str, list[str]] = {section: [] for section in HEADERS.values()}
    section = None
    for line in map(str.strip, text.split("\n")):
        opened = next((name for header, name in HEADERS.items() if line.startswith(header)), None)
        if opened:
            section = opened
        elif section and line and (none_is_item or line != EMPTY):
            items[section].append(line)
    if section is None:
        raise UnreadableAnswerError(f"Expected a section such as {next(iter(HEADERS))!r}, got {text!r:.80}.")
    return PageChange(**{name: tuple(lines) for name, lines in items.items()})


def page_difference(before: Sequence[PageElement], after: Sequence[PageElement]) -> PageChange:
    r"""
    What changes from one snapshot of a page to the next.

    An element is the same in both if role, name and path agree, the path being role and name of each of its ancestors
    below the root; the number in brackets is not compared, as it belongs to a snapshot. Of several alike, the first is
    the first, and so on. The root is always the same element: a page that is left for another is updated.

    Deleted and updated elements bear their number before; new ones are numbered on from the largest of those, in the
    order of the document. So every number can be predicted from the page before.

    Args:
        before (`Sequence[PageElement]`):
            The page before the action, the root first; see [`parse_page`].
        after (`Sequence[PageElement]`):
            The page after it.

    Returns:
        `PageChange`: Empty if nothing changes.

    Example:

    ```python
    >>> from rlvr_world_hf.worlds.web.tree import parse_page
    >>> before = parse_page("[1] RootWebArea 'Tasks'\n\t[2] checkbox 'Milk' checked: False\n\t[3] button 'Save'")
    >>> after = parse_page("[5] RootWebArea 'Tasks'\n\t[6] checkbox 'Milk' checked: True\n\t[7] link 'Undo'")
    >>> page_difference(before, after).sections
    (("[4] link 'Undo'",), ("[3] button 'Save'",), ("[2] checkbox 'Milk' checked: True",))

    ```
    """
    known: dict[Identity, deque[PageElement]] = defaultdict(deque)
    for element, identity in zip(before, _identities(before), strict=True):
        known[identity].append(element)
    number = max((element.element_id for element in before), default=0)
    new, updated, kept = [], [], set()
    for element, identity in zip(after, _identities(after), strict=True):
        if not known[identity]:
            number += 1
            new.append(_numbered(element, number))
            continue
        same = known[identity].popleft()
        kept.add(same.element_id)
        now = _numbered(element, same.element_id)
        if now != same.line:
            updated.append(now)
    deleted = [element.line for element in before if element.element_id not in kept]
    return PageChange(new=tuple(new), deleted=tuple(deleted), updated=tuple(updated))


def apply_page_change(before: Sequence[PageElement], change: PageChange) -> list[PageElement]:
    r"""
    The page after a change, as far as the change describes it.

    A change does not say where new elements stand: they come last, below the root. Their lines are those of the true
    page, but for the number. Items about elements that are not on the page are ignored.

    Args:
        before (`Sequence[PageElement]`):
            The page before, the root first.
        change (`PageChange`):
            What changes, by the numbers before, as [`page_difference`] gives it.

    Returns:
        `list[PageElement]`: What is kept, as it is afterwards, then what is new.

    Raises:
        UnreadableAnswerError: if an item is no element.

    Example:

    ```python
    >>> from rlvr_world_hf.worlds.web.tree import parse_page, write_page
    >>> page = parse_page("[1] RootWebArea 'Tasks'\n\t[2] checkbox 'Milk' checked: False\n\t[3] button 'Save'")
    >>> change = PageChange(new=("[4] link 'Undo'",), deleted=("[3] button 'Save'",))
    >>> print(write_page(apply_page_change(page, change)).expandtabs(2))
    [1] RootWebArea 'Tasks'
      [2] checkbox 'Milk' checked: False
      [4] link 'Undo'

    ```
    """
    try:
        new, deleted, updated = (parse_page("\n".join(items)) for items in change.sections)
    except ValueError as error:  # `parse_page` reads recorded pages, too; these lines are an answer's
        raise UnreadableAnswerError(str(error)) from error
    gone, now = {element.element_id for element in deleted}, {element.element_id: element for element in updated}
    kept = [
        replace(now.get(element.element_id, element), depth=element.depth)  # lines of a change are not indented
        for element in before
        if element.element_id not in gone
    ]
    return kept + [replace(element, depth=1) for element in new]


def _identities(page: Sequence[PageElement]) -> list[Identity]:
    """Path, role and name of each element; nothing of the root, which is what all others have in common."""
    path: list[tuple[str, str]] = []
    identities: list[Identity] = []
    for element in page:
        # The root is not in the path, so an element of depth d has d - 1 ancestors there.
        del path[max(element.depth - 1, 0) :]
        if element.depth == 0:
            identities.append(((), "", ""))
        else:
            identities.append((tuple(path), element.role, element.name))
            path.append((element.role, element.name))
    return identities


def _numbered(element: PageElement, number: int) -> str:
    return f"[{number}]{element.line.partition(']')[2]}"
