"""
A measurement shared out among processes: each computes whole batches, and each gets what all of them computed.

Whole batches, because a prediction may differ in its last bits with the predictions computed beside it: as they are
those of a single process, so are all numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar


Item = TypeVar("Item")


def _only_own(own: Any) -> list[Any]:
    return [own]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """
    The batches that one of several processes computes. All of them must be in the same measurement.

    Example:

    ```python
    >>> second = Share(process=1, processes=2, exchange=lambda own: [["a", "c"], own])
    >>> ["a", "b", "c"][second.part]
    ['b']
    >>> second.join(["b"])
    ['a', 'b', 'c']

    ```
    """

    process: int = 0
    """Number of this process, from 0."""

    processes: int = 1
    """Number of processes."""

    exchange: Callable[[Any], Sequence[Any]] = _only_own
    """Takes what this process has to give, and returns what each of them gave, in the order of their numbers."""

    @property
    def part(self) -> slice:
        """The batches of this process among those of all."""
        return slice(self.process, None, self.processes)

    @property
    def is_first(self) -> bool:
        """Whether this process shows how far the measurement is."""
        return self.process == 0

    def join(self, own: Sequence[Item]) -> list[Item]:
        """What all processes made of their batches, in the order of the batches, given what this one made."""
        given = self.exchange(list(own))
        return [some[place] for place in range(max(map(len, given))) for some in given if place < len(some)]

    def fill(self, own: Sequence[list[Item]]) -> list[list[Item]]:
        """Lists, one an item, of which each process has filled those of its batches and left the others empty."""
        return [next(filter(None, lists)) for lists in zip(*self.exchange(list(own)), strict=True)]


ALONE = Share()
"""All batches: the share of a single process."""
