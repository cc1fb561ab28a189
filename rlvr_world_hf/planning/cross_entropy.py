r"""
The cross-entropy method (De Boer, Kroese, Mannor, Rubinstein 2005, https://doi.org/10.1007/s10479-005-5724-z), as
world models are planned with it (PlaNet, https://huggingface.co/papers/1811.04551, algorithm 2; DINO-WM,
https://huggingface.co/papers/2411.04983, appendix):

    a^{(n)} ~ N(\mu, \sigma^2),   E = the K candidates of least cost
    \mu <- \frac{1}{K} \sum_{n \in E} a^{(n)},   \sigma^2 <- \frac{1}{K} \sum_{n \in E} (a^{(n)} - \mu)^2
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from .planner import ActionBox, Objective, Plan, check_sizes, draw_candidates, evaluate, start


Returned = Literal["best", "mean"]
"""What a plan is: the best candidate of all iterations, or the last mean."""


class CrossEntropyPlanner:
    """
    Plans by fitting a normal distribution to the best of what it drew, again and again.

    The mean is a candidate of each iteration, as in DINO-WM. The plan is the best candidate of all iterations, or, as
    in DINO-WM and stable-worldmodel, the last mean, which averages out what single candidates owe to luck or to the
    model's errors; its cost is then evaluated, too. Draws beyond the box are projected onto it. A candidate of
    infinite cost is never an elite; if a whole iteration has infinite costs, the distribution stays as it is.

    Args:
        horizon (`int`):
            Steps of a plan, `H`.
        candidates (`int`, *optional*, defaults to 32):
            Sequences of an iteration, `N`.
        iterations (`int`, *optional*, defaults to 2):
            Times that the distribution is fitted.
        elites (`int`, *optional*, defaults to 6):
            Best candidates that it is fitted to, `K`; fewer if fewer have a finite cost. At most `candidates`.
        spread (`float`, *optional*, defaults to 0.5):
            First standard deviation, as a fraction of the width of the box.
        returns (`str`, *optional*, defaults to `"best"`):
            The plan: `"best"`, the best candidate, or `"mean"`, the last mean.

    Raises:
        ValueError: If a size is below 1, there are more elites than candidates, the spread is not positive, or
            something else is to be returned.

    Example:

    ```python
    >>> planner = CrossEntropyPlanner(horizon=2, candidates=64, iterations=8)
    >>> box = ActionBox(low=(-1.0,), high=(1.0,))
    >>> plan = planner.plan(lambda a: (a - 0.25).square().sum(dim=(1, 2)), box, seed=0)
    >>> plan.actions.shape, plan.evaluations, plan.cost < 1e-3
    (torch.Size([2, 1]), 512, True)

    ```
    """

    def __init__(
        self,
        *,
        horizon: int,
        candidates: int = 32,
        iterations: int = 2,
        elites: int = 6,
        spread: float = 0.5,
        returns: Returned = "best",
    ) -> None:
        check_sizes(horizon=horizon, candidates=candidates, iterations=iterations, elites=elites)
        if elites > candidates or not spread > 0:
            raise ValueError(
                f"Expected at most {candidates} elites, as many as there are candidates, and a positive spread, got "
                f"{elites} and {spread}."
            )
        if returns not in get_args(Returned):
            raise ValueError(f"Expected `returns` to be one of {', '.join(get_args(Returned))}, got {returns!r}.")
        self.horizon = horizon
        self.candidates = candidates
        self.iterations = iterations
        self.elites = elites
        self.spread = spread
        self.returns = returns

    def plan(self, objective: Objective, space: ActionBox, *, seed: int, guess: torch.Tensor | None = None) -> Plan:
        """See [`Planner.plan`]; raises what [`evaluate`], [`start`] and [`Plan`] raise."""
        generator = torch.Generator().manual_seed(seed)
        mean, std = start(space, horizon=self.horizon, spread=self.spread, guess=guess)
        best, lowest, history = mean, float("inf"), []
        for _ in range(self.iterations):
            drawn = draw_candidates(mean, std, space, count=self.candidates, generator=generator)
            costs = evaluate(objective, drawn)
            # Stable, so that among equal costs the elites are the same on every machine.
            order = costs.argsort(stable=True)
            elites = drawn[order[: min(self.elites, int(costs.isfinite().sum()))]]  # (K, H, A)
            if len(elites):
                # Divided by K, as above, and so defined for one elite, too.
                mean, std = elites.mean(dim=0), elites.std(dim=0, correction=0)
            if costs[order[0]] < lowest:
                best, lowest = drawn[order[0]], float(costs[order[0]])
            history.append(lowest)
        evaluations = self.candidates * self.iterations
        if self.returns == "mean":
            cost = float(evaluate(objective, mean[None])[0])
            history.append(min(lowest, cost))
            return Plan(actions=mean, cost=cost, evaluations=evaluations + 1, history=tuple(history))
        return Plan(actions=best, cost=lowest, evaluations=evaluations, history=tuple(history))
