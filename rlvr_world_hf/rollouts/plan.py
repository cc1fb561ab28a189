"""A plan of completions: who writes each position, which ids are valid there, and which ids end a completion."""

from dataclasses import dataclass

import torch


Range = tuple[int, int]
"""Lowest valid id, and one past the highest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What is known of completions before they are sampled.

    Worlds of steps have a fixed plan, in which the world writes some of the positions; in worlds of text the model
    writes until it ends.

    Example:
        >>> steps = Plan.of_steps(torch.tensor([[-1, 9, -1]]), torch.tensor([[0, 4], [8, 10], [5, 6]]))
        >>> steps.positions, steps.ranges[2]
        ([0, 2], (5, 6))
        >>> Plan(length=3, end_ids=(7,)).positions
        [0, 1, 2]
    """

    length: int
    """Tokens of a completion, at most."""
    world_tokens: torch.Tensor | None = None
    """`(N, L)`, int64: what the world writes, -1 where the model does, at the same positions in all rows; `None` where
    the model writes everything."""
    ranges: list[Range] | None = None
    """The valid ids of each position; `None`: all of them everywhere."""
    end_ids: tuple[int, ...] = ()
    """Ids that end a completion; without any it ends at its length."""

    @classmethod
    def of_steps(cls, world_tokens: torch.Tensor, token_ranges: torch.Tensor) -> "Plan":
        """
        The plan of completions of fixed steps.

        Args:
            world_tokens (`torch.Tensor` of shape `(N, L)`, int64): as in the plan.
            token_ranges (`torch.Tensor` of shape `(L, 2)`, int64): lowest valid id, and one past the highest.

        Returns:
            [`Plan`]
        """
        ranges = [(low, high) for low, high in token_ranges.tolist()]
        return cls(length=world_tokens.shape[1], world_tokens=world_tokens, ranges=ranges)

    @property
    def positions(self) -> list[int]:
        """The positions that the model writes."""
        if self.world_tokens is None:
            return list(range(self.length))
        return (self.world_tokens[0] < 0).nonzero()[:, 0].tolist()
