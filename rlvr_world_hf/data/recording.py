"""Records many episodes, or games of a text world, in one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from ..workers import worker_pool


Recorded = TypeVar("Recorded")


def record_episodes(
    record: Callable[[int], Recorded], seeds: list[int], *, processes: int, chunk: int = 4
) -> Iterator[Recorded]:
    """
    Record one episode for each seed, in order.

    Args:
        record (`Callable[[int], Recorded]`):
            Records the episode of a seed, or the transitions of a game; must be picklable.
        seeds (`list[int]`):
            One per episode.
        processes (`int`):
            Processes that share the work; the episodes do not depend on their number. With 1, this process records.
        chunk (`int`, *optional*, defaults to 4):
            Episodes handed to a process at a time.

    Yields:
        `Recorded`: The episodes, as `record` returns them.
    """
    if processes == 1:
        yield from map(record, seeds)
        return
    with worker_pool(processes) as pool:
        yield from pool.map(record, seeds, chunksize=chunk)
