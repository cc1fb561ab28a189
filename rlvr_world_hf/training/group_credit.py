"""
What rewards of whole groups ask of the trainer: all completions of a prompt, wherever they were sampled, and, where
they are a credit by themselves (see `rewards/energy.py`), settings that leave it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object


if TYPE_CHECKING:  # the config, which is read before anything else, asks only what is refused
    from .grouped_rows import GroupedRows


LEAVES_CREDIT: Mapping[str, tuple[Any, str]] = {
    "scale_rewards": ("none", "divided by the deviation of its group or batch, it is one of another law"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalized before it is added, it is one of another law"),
    "credit": ("completion", "it is of a whole answer, and not of its steps"),
    "temperature": (1.0, "it is of answers that are drawn as the policy has them"),
    "top_k": (0, "it is of answers that are drawn as the policy has them"),
    "top_p": (1.0, "it is of answers that are drawn as the policy has them"),
    "min_p": (None, "it is of answers that are drawn as the policy has them"),
    "repetition_penalty": (1.0, "it is of answers that are drawn as the policy has them"),
}
"""Setting -> the value that leaves a credit as it is, and why no other does."""


def refuse_bent_credit(args: Any, rewards: Sequence[Any]) -> None:
    """
    Holds the settings of a training to its rewards that are a credit by themselves; without any, all settings will do.

    Args:
        args ([`WorldModelGRPOConfig`]):
            The settings.
        rewards (`Sequence[Callable]`):
            The rewards.

    Raises:
        ValueError: if one of `LEAVES_CREDIT` has another value, or groups are too small, in training or where the
            trainer evaluates rows of its own.

    Example:

    ```python
    >>> from rlvr_world_hf import WorldModelGRPOConfig
    >>> from rlvr_world_hf.rewards import EnergyScoreReward
    >>> refuse_bent_credit(WorldModelGRPOConfig("rlvr"), [EnergyScoreReward()])
    Traceback (most recent call last):
    ...
    ValueError: `energy_score` is a credit: divided by the deviation of its group or batch, it is one of another law.
    Expected `scale_rewards='none'`, got 'group'; set it so, or leave the reward out.

    ```
    """
    sizes = {"num_generations": args.num_generations, "num_generations_eval": args.num_generations_eval}
    for reward in rewards:
        for name, size in sizes.items():  # without one of its own, an evaluation has groups as in training
            if size and getattr(reward, "needs_group", False) and size < reward.smallest_group:
                raise ValueError(
                    f"`{reward.name}` compares the completions of a prompt: expected `{name}` of at least "
                    f"{reward.smallest_group}, got {size}; raise it, or leave the reward out."
                )
        if not getattr(reward, "is_credit", False):
            continue
        for name, (value, reason) in LEAVES_CREDIT.items():
            if getattr(args, name) != value:
                raise ValueError(
                    f"`{reward.name}` is a credit: {reason}. Expected `{name}={value!r}`, got "
                    f"{getattr(args, name)!r}; set it so, or leave the reward out."
                )


def whole_groups(columns: Mapping[str, Sequence[Any]], groups: GroupedRows) -> tuple[dict[str, list[Any]], list[int]]:
    """
    Columns of all processes, the completions of a group together, by the ids that `groups` gives them.

    Args:
        columns (`Mapping[str, Sequence]`):
            Columns of this process, one entry a completion.
        groups ([`GroupedRows`]):
            Of this process.

    Returns:
        `tuple`: columns of all completions, and the places of this process's own among them.

    Raises:
        RuntimeError: if the processes together do not hold whole groups, each completion once.
    """
    own = [
        {"id": completion, **{name: _on_cpu(column[row]) for name, column in columns.items()}}
        for row, completion in enumerate(groups.ids)
    ]
    every = sorted(gather_object(own), key=lambda row: row["id"])
    places = {row["id"]: place for place, row in enumerate(every)}
    size = groups.group_size
    expected = [(group, member) for group in dict.fromkeys(group for group, _ in places) for member in range(size)]
    if [row["id"] for row in every] != expected:
        raise RuntimeError(
            f"Expected all processes to hold whole groups of {size} completions, each once, got the completions "
            f"{[row['id'] for row in every]}; give every process the same number of rows."
        )
    return {name: [row[name] for row in every] for name in columns}, [places[completion] for completion in groups.ids]


def _on_cpu(entry: Any) -> Any:
    """A tensor sent to another process would come back on the sender's device."""
    return entry.cpu() if isinstance(entry, torch.Tensor) else entry
