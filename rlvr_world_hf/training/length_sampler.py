"""Rows in random updates, and within an update by length: little is padded, and no update has short rows alone."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class LengthSampler(Sampler[int]):
    """
    A random order of rows in which those of an update are sorted by length, the longest first.

    transformers' `group_by_length` sorts fifty batches at a time. Each update then has rows of one length, training
    swings from long to short ones, and what is measured after an update depends on where in the swing it is.

    Args:
        lengths (`Sequence[int]`):
            Tokens of each row.
        update_size (`int`):
            Rows of an update, in all processes and parts.
        seed (`int`):
            Decides the order, with the epoch.

    Example:
        >>> sampler = LengthSampler([5, 1, 9, 3, 7, 2], update_size=3, seed=0)
        >>> order = list(sampler)
        >>> [[sampler.lengths[row] for row in order[start : start + 3]] for start in (0, 3)]
        [[9, 3, 2], [7, 5, 1]]
    """

    def __init__(self, lengths: Sequence[int], *, update_size: int, seed: int) -> None:
        self.lengths, self.update_size, self.seed = lengths, update_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called when an epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(self.seed + self.epoch))
        for update in order.split(self.update_size):
            yield from sorted(update.tolist(), key=lambda row: -self.lengths[row])
