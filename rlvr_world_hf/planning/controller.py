r"""
Receding-horizon control (model predictive control): plan, take the first action, look again, plan again.

    a_t = a^*_1,   a^* = \arg\min_a J_t(a),   guess for t + 1: (a^*_2, ..., a^*_H, centre of the box)
"""

from __future__ import annotations

from typing import Any

import torch

from .planner import ActionBox, Objective, Plan, Planner


class RecedingHorizonController:
    """
    Decides one action at a time with a planner, and begins each search with what is left of the last plan.

    It serves robots and agents of text alike: the objective gives the cost of what is imagined after a sequence of
    actions, and the space says which actions are allowed.

    Args:
        planner ([`Planner`]):
            Finds plans.
        reuses_plans (`bool`, *optional*, defaults to `True`):
            Whether the rest of a plan is the guess of the next search, where actions are numbers.

    Example:

    ```python
    >>> from rlvr_world_hf.planning import CrossEntropyPlanner
    >>> controller = RecedingHorizonController(CrossEntropyPlanner(horizon=3, candidates=64, iterations=4))
    >>> place, box = torch.zeros(1), ActionBox(low=(-1.0,), high=(1.0,))
    >>> for step in range(4):  # to 2.5, by at most 1 a step
    ...     cost = lambda moves: (place + moves.cumsum(dim=1) - 2.5).abs().sum(dim=(1, 2))
    ...     place = place + controller.decide(cost, box, seed=step).actions[0]
    >>> bool((place - 2.5).abs() < 0.3)
    True

    ```
    """

    def __init__(self, planner: Planner, *, reuses_plans: bool = True) -> None:
        self.planner = planner
        self.reuses_plans = reuses_plans
        self._guess: torch.Tensor | None = None

    def reset(self) -> None:
        """Forget the last plan: a new start."""
        self._guess = None

    def decide(self, objective: Objective, space: Any, *, seed: int) -> Plan:
        """
        Plan from what is seen now; the first of its actions is the one to take.

        Args:
            objective (`Callable`):
                Costs of candidates, from now on.
            space ([`ActionBox`], or options of each step):
                What is allowed.
            seed (`int`):
                Decides what is drawn.

        Returns:
            [`Plan`]: the whole plan.
        """
        plan = self.planner.plan(objective, space, seed=seed, guess=self._guess)
        if self.reuses_plans and isinstance(space, ActionBox):
            self._guess = torch.cat([plan.actions[1:], space.centre[None]])  # (H, A)
        return plan
