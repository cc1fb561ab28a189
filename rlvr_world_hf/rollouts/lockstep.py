"""
In how many forward passes a batch is sampled: as many as memory asks for, and in every process equally many where a
forward pass gathers weights that the processes share out among themselves, as each process waits there for all others.
"""

from collections.abc import Callable

import torch
from torch import distributed, nn


class Lockstep:
    """
    Numbers that processes agree on where they share out a model's weights; alone, a process agrees with itself.

    Args:
        model (`torch.nn.Module`):
            The model that is sampled from.

    Example:
        >>> Lockstep(torch.nn.Linear(2, 2)).most(3)
        3
    """

    def __init__(self, model: nn.Module) -> None:
        self.is_needed = are_weights_shared_out(model)
        self._device = next(model.parameters()).device

    def most(self, number: int) -> int:
        """
        The largest of the processes' numbers.

        Args:
            number (`int`): that of this process.

        Returns:
            `int`: the same in all of them.
        """
        if not self.is_needed:
            return number
        largest = torch.tensor(number, device=self._device)
        distributed.all_reduce(largest, op=distributed.ReduceOp.MAX)
        return int(largest)


def are_weights_shared_out(model: nn.Module) -> bool:
    """
    Whether a forward pass gathers weights of which each process has a part: by FSDP, or by ZeRO-3.

    Args:
        model (`torch.nn.Module`): the model.

    Returns:
        `bool`

    Example:
        >>> are_weights_shared_out(torch.nn.Linear(2, 2))
        False
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return False
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        return True
    # DeepSpeed marks its parameters, and leaves them empty between forward passes.
    is_shared_out = (isinstance(x, DTensor) or (hasattr(x, "ds_id") and not x.numel()) for x in model.parameters())
    return any(is_shared_out)


def in_parts(work: Callable[[slice], None], count: int, *, at_once: int, lockstep: Lockstep) -> None:
    """
    Work on a batch in parts; where the device's memory does not suffice for a part, in parts of half its size.

    Processes in lockstep work on equally many parts: one that has done all of its own does the first again.

    Args:
        work (`Callable[[slice], None]`):
            Works on some items; the same items may be given again.
        count (`int`):
            Number of items.
        at_once (`int`):
            Most items of a part.
        lockstep ([`Lockstep`]):
            Which processes work together.

    Raises:
        torch.OutOfMemoryError: if memory does not suffice for one item, or for a part of processes in lockstep: one
            process alone cannot begin again.

    Example:
        >>> in_parts(print, 5, at_once=3, lockstep=Lockstep(torch.nn.Linear(2, 2)))
        slice(0, 3, None)
        slice(3, 5, None)
    """
    parts = lockstep.most(-(-count // at_once))
    start = 0
    while start < count:
        try:
            work(slice(start, min(start + at_once, count)))
        except torch.OutOfMemoryError:
            if at_once == 1 or lockstep.is_needed:
                raise
            at_once = -(-min(at_once, count - start) // 2)
        else:
            start, parts = start + at_once, parts - 1
    if lockstep.is_needed:
        for _ in range(parts):
            work(slice(0, min(at_once, count)))
