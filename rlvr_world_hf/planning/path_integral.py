r"""
Model predictive path integral control, MPPI (Williams et al. 2017, https://huggingface.co/papers/1707.02342, algorithm
2, without its cost of control):

    a^{(n)} ~ N(\mu, \sigma^2),   e_n = exp(-(J(a^{(n)}) - \rho) / \lambda),   \rho = min_n J(a^{(n)})
    w_n = \frac{e_n}{\sum_m e_m},   \mu <- \sum_n w_n a^{(n)}
"""

from __future__ import annotations

import torch

from .planner import ActionBox, Objective, Plan, check_sizes, draw_candidates, evaluate, start


def path_integral_weights(costs: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """
    How much each candidate counts: a softmax of minus the costs.

    Args:
        costs (`torch.Tensor` of shape `(N,)`, float):
            Costs, of which at least one is finite.
        temperature (`float`):
            In the unit of the costs, above 0. The lower it is, the more the best candidate counts alone.

    Returns:
        `torch.Tensor` of shape `(N,)`: in [0, 1], of sum 1; 0 where the cost is infinite.

    Raises:
        ValueError: If the temperature is not positive or no cost is finite.

    Example:

    ```python
    >>> path_integral_weights(torch.tensor([1.0, 1.0, torch.inf]), temperature=0.5)
    tensor([0.5000, 0.5000, 0.0000])

    ```
    """
    if not temperature > 0:
        raise ValueError(f"Expected a temperature above 0, in the unit of the costs, got {temperature}.")
    if not costs.isfinite().any():
        raise ValueError("Expected at least one finite cost, got none; widen the box, or let the cost be finite.")
    return (-(costs - costs.min()) / temperature).softmax(dim=0)


class PathIntegralPlanner:
    """
    Plans by the mean of all candidates, weighted by their costs (MPPI).

    The mean is a candidate of each iteration. The cost of the last mean is evaluated, too, and the plan is that mean
    or the best candidate, whichever costs less.

    Args:
        horizon (`int`):
            Steps of a plan, `H`.
        temperature (`float`):
            In the unit of the cost, above 0: a candidate that costs so much more counts 1/e as much.
        candidates (`int`, *optional*, defaults to 32):
            Sequences of an iteration, `N`.
        iterations (`int`, *optional*, defaults to 2):
            Times that the mean is moved.
        spread (`float`, *optional*, defaults to 0.25):
            Standard deviation, as a fraction of the width of the box; the same in all iterations.

    Raises:
        ValueError: If a size is below 1, or temperature or spread is not positive.

    Example:

    ```python
    >>> planner = PathIntegralPlanner(horizon=2, temperature=0.01, candidates=64, iterations=8)
    >>> box = ActionBox(low=(-1.0,), high=(1.0,))
    >>> plan = planner.plan(lambda a: (a - 0.25).square().sum(dim=(1, 2)), box, seed=0)
    >>> plan.actions.shape, plan.evaluations, plan.cost < 0.01
    (torch.Size([2, 1]), 513, True)

    ```
    """

    def __init__(
        self, *, horizon: int, temperature: float, candidates: int = 32, iterations: int = 2, spread: float = 0.25
    ) -> None:
        check_sizes(horizon=horizon, candidates=candidates, iterations=iterations)
        if not (temperature > 0 and spread > 0):
            raise ValueError(f"Expected a positive temperature and spread, got {temperature} and {spread}.")
        self.horizon = horizon
        self.temperature = temperature
        self.candidates = candidates
        self.iterations = iterations
        self.spread = spread

    def plan(self, objective: Objective, space: ActionBox, *, seed: int, guess: torch.Tensor | None = None) -> Plan:
        """See [`Planner.plan`]; raises what [`evaluate`], [`start`] and [`path_integral_weights`] raise."""
        generator = torch.Generator().manual_seed(seed)
        mean, std = start(space, horizon=self.horizon, spread=self.spread, guess=guess)
        best, lowest, history = mean, float("inf"), []
        for iteration in range(self.iterations + 1):
            is_last = iteration == self.iterations
            # The first candidate is the mean, so one more draw of one candidate gives the cost of the last mean.
            drawn = draw_candidates(mean, std, space, count=1 if is_last else self.candidates, generator=generator)
            costs = evaluate(objective, drawn)
            if costs.min() < lowest:
                best, lowest = drawn[costs.argmin()], float(costs.min())
            if not is_last:
                weights = path_integral_weights(costs, temperature=self.temperature)
                mean = torch.einsum("n,nha->ha", weights.to(drawn), drawn)  # costs are float64, candidates float32
            history.append(lowest)
        evaluations = self.candidates * self.iterations + 1
        return Plan(actions=best, cost=lowest, evaluations=evaluations, history=tuple(history))
