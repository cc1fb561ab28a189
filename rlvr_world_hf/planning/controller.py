r"""
Receding-horizon control (model predictive control): plan, take the first R actions, look again, plan again.

    a_t, ..., a_{t+R-1} = a^*_1, ..., a^*_R,   a^* = \arg\min_a J_t(a)
    guess for t + R: (a^*_{R+1}, ..., a^*_H, centre of the box R times)
"""

from __future__ import annotations

from typing import Any

import torch

from .planner import ActionBox, Objective, Plan, Planner


class RecedingHorizonController:
    """
    Decides with a planner, one action at a time by default, and begins each search with what is left of the last plan.

    It serves robots and agents of text alike: the objective gives the cost of what is imagined after a sequence of
    actions, and the space says which actions are allowed.

    Args:
        planner ([`Planner`]):
            Finds plans.
        reuses_plans (`bool`, *optional*, defaults to `True`):
            Whether the rest of a plan is the guess of the next search, where actions are numbers.
        steps (`int`, *optional*, defaults to 1):
            Actions of a plan that are taken before the next search, `R`: with all of them, plans are carried out as
            they are (open loop), and nothing is left to guess from.

    Raises:
        ValueError: If a plan has not so many actions.

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

    def __init__(self, planner: Planner, *, reuses_plans: bool = True, steps: int = 1) -> None:
        if not 1 <= steps <= planner.horizon:
            raise ValueError(
                f"Expected to take from 1 to {planner.horizon} actions of a plan, as many as it has, got {steps}; "
                "take fewer, or plan further."
            )
        self.planner = planner
        self.reuses_plans = reuses_plans
        self.steps = steps
        self._guess: torch.Tensor | None = None

    def reset(self) -> None:
        """Forget the last plan: a new start."""
        self._guess = None

    def decide(self, objective: Objective, space: Any, *, seed: int) -> Plan:
        """
        Plan from what is seen now; the first of its actions are those to take.

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
            self._guess = torch.cat([plan.actions[self.steps :], space.centre.expand(self.steps, -1)])  # (H, A)
        return plan
