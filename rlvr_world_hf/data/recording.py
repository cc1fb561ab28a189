"""Recording of many episodes of an embedded world, by one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from .episode import Episode


def record_episodes(
    record: Callable[[int], Episode], seeds: list[int], *, processes: int, chunk: int = 4
) -> Iterator[Episode]:
    """
    Record one episode for each seed, in order.

    Args:
        record (`Callable[[int], Episode]`):
            Records the episode of a seed; can be sent to another process.
        seeds (`list[int]`):
            One an episode.
        processes (`int`):
            Processes that share the work; the episodes do not depend on it. With 1 they are recorded here.
        chunk (`int`, *optional*, defaults to 4):
            Episodes that a process is given at a time.

    Yields:
        `Episode`: The episodes.
    """
    if processes == 1:
        yield from map(record, seeds)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(record, seeds, chunksize=chunk)
