"""
Data parallelism where no trainer of transformers sees to it: each process of `accelerate launch` works on its part of
a batch, and their gradients are averaged, so that together they make the step that one would make.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import distributed


def is_distributed() -> bool:
    """
    Whether several processes may train together; never in a build of torch that cannot.

    Returns:
        `bool`

    Example:

    ```python
    >>> is_distributed()
    False

    ```
    """
    return distributed.is_available() and distributed.is_initialized()


def process_part(items: int) -> slice:
    """
    The items of a batch that this process works on.

    Args:
        items (`int`):
            Items of the whole batch.

    Returns:
        `slice`: All of them if there is one process.

    Raises:
        ValueError: If they cannot be shared out evenly, so that an average of averages would not be their average.

    Example:

    ```python
    >>> process_part(8)
    slice(0, None, 1)

    ```
    """
    if not is_distributed():
        return slice(0, None, 1)
    rank, processes = distributed.get_rank(), distributed.get_world_size()
    if items % processes:
        raise ValueError(
            f"Expected a `batch_size` that {processes} processes can share evenly, got {items}; give a multiple."
        )
    return slice(rank, None, processes)


def is_first_process() -> bool:
    """Whether this process writes what all of them made."""
    return not is_distributed() or distributed.get_rank() == 0


def share_weights(module: torch.nn.Module) -> None:
    """
    Give all processes the weights of the first; nothing happens where there is one.

    Args:
        module (`torch.nn.Module`):
            Changed in place: parameters and buffers.
    """
    if is_distributed():
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, src=0)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """
    Replace the gradients by their mean over all processes; nothing happens where there is one.

    Args:
        parameters (`Iterable[torch.nn.Parameter]`):
            Parameters, the same ones with a gradient in each process.
    """
    if not is_distributed():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    # One message for all gradients: with one for each parameter, every one of them waits for the slowest process.
    together = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    pieces = together.split([gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))
