r"""
Random shooting draws candidates evenly from the box and takes the best; other planners are compared with it (Nagabandi
et al. 2018, https://huggingface.co/papers/1708.02596):

    a^{(n)} ~ U(box),   a^* = a^{(n^*)},   n^* = \arg\min_n J(a^{(n)})
"""

from __future__ import annotations

import torch

from .planner import ActionBox, Objective, Plan, check_sizes, evaluate, start


class RandomShootingPlanner:
    """
    Plans by drawing once and taking the best; a guess, if given, is one of the candidates.

    Args:
        horizon (`int`):
            Steps of a plan, `H`.
        candidates (`int`, *optional*, defaults to 64):
            Sequences, `N`.

    Raises:
        ValueError: If a size is below 1.

    Example:

    ```python
    >>> planner = RandomShootingPlanner(horizon=1, candidates=256)
    >>> box = ActionBox(low=(-1.0,), high=(1.0,))
    >>> plan = planner.plan(lambda a: (a - 0.25).square().sum(dim=(1, 2)), box, seed=0)
    >>> plan.actions.shape, plan.evaluations, plan.cost < 1e-3
    (torch.Size([1, 1]), 256, True)

    ```
    """

    def __init__(self, *, horizon: int, candidates: int = 64) -> None:
        check_sizes(horizon=horizon, candidates=candidates)
        self.horizon = horizon
        self.candidates = candidates

    def plan(self, objective: Objective, space: ActionBox, *, seed: int, guess: torch.Tensor | None = None) -> Plan:
        """See [`Planner.plan`]; raises what [`evaluate`], [`start`] and [`Plan`] raise."""
        generator = torch.Generator().manual_seed(seed)
        low, high = space.ends
        drawn = low + (high - low) * torch.rand(self.candidates, self.horizon, len(low), generator=generator)
        if guess is not None:
            drawn[0] = start(space, horizon=self.horizon, spread=1.0, guess=guess)[0]
        drawn = space.project(drawn)  # rounding may put a draw just beyond the box
        costs = evaluate(objective, drawn)
        lowest = float(costs.min())
        return Plan(actions=drawn[costs.argmin()], cost=lowest, evaluations=self.candidates, history=(lowest,))
