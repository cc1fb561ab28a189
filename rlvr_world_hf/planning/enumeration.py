r"""
Enumeration: every sequence of admissible actions, for worlds whose actions can be counted:

    a^* = \arg\min_{a \in O_1 \times ... \times O_H} J(a)

The look-ahead by a world model of RLVR-World's web agent (https://huggingface.co/papers/2505.13934, section 4) is the
case H = 1: predict what each action would lead to, value it, and take the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch

from .planner import Objective, Plan, check_sizes, evaluate


class EnumerationPlanner:
    """
    Plans by trying all sequences; the seed decides among those of equal cost.

    The space is the options of each step, a sequence of H of them, such as `[["open door", "go north"]]` for H = 1.
    The objective is called once, with a list of tuples of H actions.

    Args:
        horizon (`int`, *optional*, defaults to 1):
            Steps of a plan, `H`.
        limit (`int`, *optional*, defaults to 20000):
            Most sequences that are tried.

    Raises:
        ValueError: If a size is below 1.

    Example:

    ```python
    >>> planner = EnumerationPlanner(horizon=2)
    >>> words = [["go", "stay"], ["north", "south"]]
    >>> planner.plan(lambda plans: torch.tensor([float(p != ("go", "south")) for p in plans]), words, seed=0).actions
    ('go', 'south')

    ```
    """

    def __init__(self, *, horizon: int = 1, limit: int = 20_000) -> None:
        check_sizes(horizon=horizon, limit=limit)
        self.horizon = horizon
        self.limit = limit

    def plan(self, objective: Objective, space: Sequence[Sequence[Any]], *, seed: int, guess: Any = None) -> Plan:
        """
        See [`Planner.plan`]; a guess is ignored.

        Raises:
            ValueError: If there are no options for each step, or too many sequences; and as [`evaluate`] and [`Plan`].
        """
        counts = [len(options) for options in space]
        if len(counts) != self.horizon or not 0 < math.prod(counts) <= self.limit:
            raise ValueError(
                f"Expected options for each of {self.horizon} steps, at most {self.limit} sequences of them, got "
                f"{counts} options; give fewer of them or a shorter horizon, or raise `limit`."
            )
        sequences = list(product(*space))
        costs = evaluate(objective, sequences)
        # At random and not the first, or an agent to which all looks alike would repeat one action.
        ties = (costs == costs.min()).nonzero()[:, 0]
        chosen = int(ties[torch.randint(len(ties), (), generator=torch.Generator().manual_seed(seed))])
        lowest = float(costs[chosen])
        return Plan(actions=sequences[chosen], cost=lowest, evaluations=len(sequences), history=(lowest,))
