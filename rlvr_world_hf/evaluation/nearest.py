r"""
What can be predicted without a model: the change that the nearest recorded state went through under the same action.

    nearest(s, a) = argmin of |parts(s) \ parts(s')| + |parts(s') \ parts(s)| over training transitions (s', a)

The parts of a state are what its world says, such as facts; by default the lines of its text, each counted once. Of
equally near states the first in the training split counts. Where no training transition has the action, there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from typing import Any


def nearest_transitions(
    rows: Any, transitions: Any, *, parts: Callable[[str], Iterable[Hashable]] = str.splitlines
) -> list[int | None]:
    r"""
    For each row the training transition that has its action and the nearest state.

    Args:
        rows (`datasets.Dataset`):
            Rows to predict, with `data_state` and `data_action`.
        transitions (`datasets.Dataset`):
            Rows of the training split.
        parts (`Callable[[str], Iterable[Hashable]]`, *optional*, defaults to `str.splitlines`):
            What the text of a state is compared by.

    Returns:
        `list[int | None]`: one a row: index of the transition; `None` where none has the action.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> known = [("box shut", "open box"), ("box shut\nlamp on", "open box"), ("box shut", "look")]
    >>> transitions, rows = (
    ...     Dataset.from_list([{"data_state": state, "data_action": action} for state, action in pairs])
    ...     for pairs in (known, [("lamp on\nbox shut", "open box"), ("box shut", "open box"), ("box shut", "sing")])
    ... )
    >>> nearest_transitions(rows, transitions)
    [1, 0, None]

    ```
    """
    known: dict[str, list[int]] = defaultdict(list)
    for index, action in enumerate(transitions["data_action"]):
        known[action].append(index)
    states = list(transitions["data_state"])  # a column of a dataset reads each entry anew

    @cache
    def parts_of(state: str) -> frozenset[Hashable]:
        return frozenset(parts(state))

    def distance(index: int, sought: frozenset[Hashable]) -> int:
        return len(sought ^ parts_of(states[index]))

    found: list[int | None] = []
    for state, action in zip(rows["data_state"], rows["data_action"], strict=True):
        # `min` takes the first of equals, and the lists are in the order of the split.
        sought = parts_of(state)
        found.append(min(known.get(action, ()), key=lambda index: distance(index, sought), default=None))
    return found
