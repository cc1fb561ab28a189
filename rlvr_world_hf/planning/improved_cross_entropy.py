r"""
The improved cross-entropy method, iCEM (Pinneri et al. 2020, https://huggingface.co/papers/2008.06389, algorithm 1):

    a^{(n)} = \mu + \sigma \epsilon^{(n)},   \epsilon of power 1 / f^\beta over the steps
    N_i = max(N \gamma^{-i}, 2 K)
    \mu <- \alpha \mu + (1 - \alpha) mean(E),   \sigma <- \alpha \sigma + (1 - \alpha) std(E)

with E the K candidates of least cost; a share of them are candidates of the next iteration, too.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange

from .planner import ActionBox, Objective, Plan, check_sizes, evaluate, start


class ImprovedCrossEntropyPlanner:
    """
    Plans as the cross-entropy method does, with fewer candidates: what it draws is smooth over the steps, the best are
    kept from iteration to iteration, and each iteration has fewer candidates than the one before.

    The plan is the best candidate of all; the mean is a candidate of the last iteration. Between two searches a guess
    alone is handed on, where the authors' code keeps elites, too: here the same seed and objective give the same plan.

    Args:
        horizon (`int`):
            Steps of a plan, `H`.
        candidates (`int`, *optional*, defaults to 32):
            Sequences of the first iteration, `N`, without those that are kept.
        iterations (`int`, *optional*, defaults to 3):
            Times that the distribution is fitted.
        elites (`int`, *optional*, defaults to 6):
            Best candidates that it is fitted to, `K`; at most `candidates`.
        spread (`float`, *optional*, defaults to 0.5):
            First standard deviation, as a fraction of the width of the box.
        exponent (`float`, *optional*, defaults to 2.0):
            Exponent of the noise, at least 0: with 0 it is white, with 2 it wanders.
        decay (`float`, *optional*, defaults to 1.25):
            Factor by which an iteration has fewer candidates than the one before, at least 1.
        kept (`float`, *optional*, defaults to 0.3):
            Share of the elites that are candidates of the next iteration, in [0, 1].
        momentum (`float`, *optional*, defaults to 0.1):
            Share of mean and deviation that stays, in [0, 1).

    Raises:
        ValueError: If a number is out of range.

    Example:

    ```python
    >>> planner = ImprovedCrossEntropyPlanner(horizon=2, candidates=64, iterations=8)
    >>> box = ActionBox(low=(-1.0,), high=(1.0,))
    >>> plan = planner.plan(lambda a: (a - 0.25).square().sum(dim=(1, 2)), box, seed=0)
    >>> plan.actions.shape, plan.cost < 1e-3
    (torch.Size([2, 1]), True)

    ```
    """

    def __init__(
        self,
        *,
        horizon: int,
        candidates: int = 32,
        iterations: int = 3,
        elites: int = 6,
        spread: float = 0.5,
        exponent: float = 2.0,
        decay: float = 1.25,
        kept: float = 0.3,
        momentum: float = 0.1,
    ) -> None:
        check_sizes(horizon=horizon, candidates=candidates, iterations=iterations, elites=elites)
        is_within = elites <= candidates and spread > 0 and exponent >= 0 and decay >= 1
        if not (is_within and 0 <= kept <= 1 and 0 <= momentum < 1):
            raise ValueError(
                f"Expected at most {candidates} elites, a positive spread, an exponent of at least 0, a decay of at "
                f"least 1, a kept share in [0, 1] and a momentum in [0, 1), got {elites}, {spread}, {exponent}, "
                f"{decay}, {kept} and {momentum}."
            )
        self.horizon = horizon
        self.candidates = candidates
        self.iterations = iterations
        self.elites = elites
        self.spread = spread
        self.exponent = exponent
        self.decay = decay
        self.kept = kept
        self.momentum = momentum

    def plan(self, objective: Objective, space: ActionBox, *, seed: int, guess: torch.Tensor | None = None) -> Plan:
        """See [`Planner.plan`]; raises what [`evaluate`], [`start`] and [`Plan`] raise."""
        generator = torch.Generator().manual_seed(seed)
        mean, std = start(space, horizon=self.horizon, spread=self.spread, guess=guess)
        best, lowest, history, evaluations = mean, float("inf"), [], 0
        elites = mean.new_zeros(0, *mean.shape)  # none yet
        for iteration in range(self.iterations):
            count = min(self.candidates, max(round(self.candidates * self.decay**-iteration), 2 * self.elites))
            noise = colored_noise(count, *mean.shape, exponent=self.exponent, generator=generator)
            others = [elites[: math.ceil(self.kept * len(elites))]]
            if iteration == self.iterations - 1:
                others.append(mean[None])
            drawn = torch.cat([space.project(mean + std * noise), *others])
            costs = evaluate(objective, drawn)
            order = costs.argsort(stable=True)
            found = drawn[order[: min(self.elites, int(costs.isfinite().sum()))]]  # (K, H, A)
            if len(found):
                elites, stays = found, self.momentum
                mean = stays * mean + (1 - stays) * elites.mean(dim=0)
                std = stays * std + (1 - stays) * elites.std(dim=0, correction=0)
            if costs[order[0]] < lowest:
                best, lowest = drawn[order[0]], float(costs[order[0]])
            history.append(lowest)
            evaluations += len(drawn)
        return Plan(actions=best, cost=lowest, evaluations=evaluations, history=tuple(history))


def colored_noise(count: int, horizon: int, dims: int, *, exponent: float, generator: torch.Generator) -> torch.Tensor:
    """
    Gaussian noise whose power over the steps falls with the frequency as `1 / f^exponent`.

    Args:
        count (`int`):
            Sequences, `N`.
        horizon (`int`):
            Steps, `H`. The lowest frequency counts as one turn in all of them.
        dims (`int`):
            Dimensions, each with noise of its own.
        exponent (`float`):
            With 0 the noise is white.
        generator (`torch.Generator`):
            Source of the draws.

    Returns:
        `torch.Tensor` of shape `(N, H, A)`: each number of mean 0 and variance 1.

    Example:

    ```python
    >>> noise = colored_noise(4000, 8, 1, exponent=2.0, generator=torch.Generator().manual_seed(0))
    >>> noise.std().round(decimals=1), (noise[:, 1:] * noise[:, :-1]).mean() > 0.5
    (tensor(1.), tensor(True))

    ```
    """
    white = torch.randn(count, dims, horizon, generator=generator)
    # The lowest frequency is 0, at which the power would be infinite.
    power = torch.fft.fftfreq(horizon).abs().clamp(min=1 / horizon) ** -exponent  # (H,)
    amplitude = (power / power.mean()).sqrt()  # each step keeps the variance 1
    return rearrange(torch.fft.ifft(torch.fft.fft(white) * amplitude).real, "n a h -> n h a")
