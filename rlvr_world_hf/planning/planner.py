r"""
What every planner is: a search for the actions of least cost.

    a^* = \arg\min_{a \in box} J(a),     J(a) = cost(what is predicted after a_1, ..., a_H)

The objective J is called with all candidates of an iteration at once, so that they can be predicted together. A
planner knows neither the world nor the goal, and the same seed and objective give the same plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import repeat


Objective = Callable[[Any], torch.Tensor]
"""
Costs `(N,)` of N candidates: lower is better, infinity is never chosen, nan and minus infinity are refused. Candidates
are a tensor `(N, H, A)`, or a list of N sequences of actions.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionBox:
    """
    The actions that are allowed at each step: between `low` and `high`.

    Raises:
        ValueError: If the two differ in length, are empty or not finite, or an end is above the other.

    Example:

    ```python
    >>> box = ActionBox(low=(-1.0, 0.0), high=(1.0, 512.0))
    >>> box.project(torch.tensor([[-3.0, 100.0]]))
    tensor([[ -1., 100.]])

    ```
    """

    low: Sequence[float]
    """Lowest value of each action dimension, length `A`."""

    high: Sequence[float]
    """Highest value of each action dimension, length `A`."""

    def __post_init__(self) -> None:
        low, high = torch.tensor(list(self.low)), torch.tensor(list(self.high))
        # The width must be finite, too: that of two finite ends may overflow.
        fits = low.shape == high.shape and len(low) and bool((low <= high).all() and (high - low).isfinite().all())
        if not fits:
            raise ValueError(
                f"Expected the lowest and highest value of each action dimension, got {list(self.low)} and "
                f"{list(self.high)}; give finite ends, the lower one first."
            )

    @property
    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`low` and `high` as tensors `(A,)`, float32."""
        return torch.tensor(list(self.low), dtype=torch.float32), torch.tensor(list(self.high), dtype=torch.float32)

    @property
    def centre(self) -> torch.Tensor:
        """The middle of the box `(A,)`."""
        low, high = self.ends
        return (low + high) / 2

    def project(self, actions: torch.Tensor) -> torch.Tensor:
        """The nearest allowed actions to `actions` `(..., A)`."""
        low, high = self.ends
        return actions.clamp(low, high)

    def contains(self, actions: torch.Tensor) -> bool:
        """Whether all of `actions` `(..., A)` are allowed."""
        low, high = self.ends
        return bool(((actions >= low) & (actions <= high)).all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What a planner found.

    Raises:
        ValueError: If the cost is not finite: infinity is never chosen.

    Example:

    ```python
    >>> Plan(actions=torch.zeros(3, 2), cost=0.5, evaluations=64, history=(0.7, 0.5)).cost
    0.5

    ```
    """

    actions: Any
    """The actions to take: a tensor `(H, A)`, float32 in the unit of the box; or a tuple of `H` actions."""

    cost: float
    """Their cost."""

    evaluations: int
    """Sequences whose cost was evaluated."""

    history: tuple[float, ...]
    """Lowest cost that was known after each iteration; never rising."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.cost):
            raise ValueError(
                f"Expected at least one finite cost, got {self.cost} as the lowest of {self.evaluations} candidates; "
                "allow more actions, or let the cost be finite."
            )


class Planner(Protocol):
    """
    Finds actions of low cost in a space: an [`ActionBox`] or options to choose from.

    Attributes:
        horizon (`int`): steps of a plan, `H`.
    """

    horizon: int

    def plan(self, objective: Objective, space: Any, *, seed: int, guess: Any = None) -> Plan:
        """
        Plan.

        Args:
            objective (`Callable`): costs `(N,)` of N candidates.
            space ([`ActionBox`], or options): what is allowed.
            seed (`int`): decides what is drawn.
            guess (`torch.Tensor` of shape `(H, A)`, *optional*): where to begin, such as what is left of an earlier
                plan; planners over options ignore it.

        Returns:
            [`Plan`]: the best sequence of actions.

        Raises:
            ValueError: if no candidate has a finite cost; and as [`evaluate`].
        """


def check_sizes(**sizes: int) -> None:
    """
    Refuses sizes below one.

    Args:
        sizes (`int`): by their names.

    Raises:
        ValueError: if one is below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, got {size}.")


def evaluate(objective: Objective, candidates: Any) -> torch.Tensor:
    """
    Costs of candidates, refused where they are not what `Objective` promises.

    Args:
        objective (`Callable`): costs of candidates.
        candidates (`torch.Tensor` of shape `(N, H, A)`, or `list` of N sequences): what to try.

    Returns:
        `torch.Tensor` of shape `(N,)`, float64, on the CPU.

    Raises:
        ValueError: if there is not one cost a candidate, or one is nan or minus infinity.

    Example:

    ```python
    >>> evaluate(lambda candidates: candidates.square().sum(dim=(1, 2)), torch.ones(2, 3, 1))
    tensor([3., 3.], dtype=torch.float64)

    ```
    """
    # In double precision on the CPU, so that planners add and compare alike whatever computes the costs.
    costs = torch.as_tensor(objective(candidates)).detach().to("cpu", torch.float64)
    if costs.shape != (len(candidates),):
        raise ValueError(
            f"Expected one cost for each of {len(candidates)} candidates, got shape {tuple(costs.shape)}; let the "
            "cost return a tensor (N,)."
        )
    refused = costs[costs.isnan() | costs.isneginf()]
    if len(refused):
        raise ValueError(
            f"Expected finite costs or infinity, got {' and '.join(sorted(set(map(str, refused.tolist()))))} for "
            f"{len(refused)} of {len(costs)} candidates; give infinity to what must not be chosen."
        )
    return costs


def draw_candidates(
    mean: torch.Tensor, std: torch.Tensor, box: ActionBox, *, count: int, generator: torch.Generator
) -> torch.Tensor:
    """
    Sequences around a mean: the mean itself, and draws from a normal distribution, projected onto the box.

    Args:
        mean (`torch.Tensor` of shape `(H, A)`): middle of the distribution.
        std (`torch.Tensor` of shape `(H, A)`): its standard deviation, each entry independent of the others.
        box ([`ActionBox`]): what is allowed.
        count (`int`): number of candidates, the mean included.
        generator (`torch.Generator`): source of the draws.

    Returns:
        `torch.Tensor` of shape `(N, H, A)`: the first is the mean.

    Example:

    ```python
    >>> box, zeros = ActionBox(low=(-1.0,), high=(1.0,)), torch.zeros(2, 1)
    >>> draw_candidates(zeros, zeros + 9, box, count=4, generator=torch.Generator()).abs().max()
    tensor(1.)

    ```
    """
    noise = torch.randn(count, *mean.shape, generator=generator)
    noise[0] = 0
    return box.project(mean + std * noise)


def start(box: ActionBox, *, horizon: int, spread: float, guess: torch.Tensor | None) -> tuple[Any, Any]:
    """
    Where a search in a box begins.

    Args:
        box ([`ActionBox`]): what is allowed.
        horizon (`int`): steps of a plan, `H`.
        spread (`float`): standard deviation as a fraction of the width of the box.
        guess (`torch.Tensor` of shape `(H, A)`, *optional*): the mean; the centre of the box by default.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: mean and standard deviation, each `(H, A)`.

    Raises:
        ValueError: if the guess is of another shape.
    """
    low, high = box.ends
    shape = (horizon, len(low))
    if guess is not None and tuple(guess.shape) != shape:
        raise ValueError(
            f"Expected a guess of shape {shape}, got {tuple(guess.shape)}; give an action a step of the horizon."
        )
    mean = repeat(box.centre, "a -> h a", h=horizon) if guess is None else box.project(guess.float())
    return mean, repeat((high - low) * spread, "a -> h a", h=horizon)
