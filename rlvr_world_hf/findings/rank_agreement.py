"""
Whether policies that are better in reality are better in the model: agreement of their success rates, and how sure it
is.

    Pearson     correlation of the rates
    Spearman    correlation of their ranks, those of equal rates averaged
    gap         (1/N) sum_i |R_i - M_i|
    MMRV        (1/N) sum_i max_j  |R_i - R_j| 1[(M_i < M_j) != (R_i < R_j)]        R real, M in the model
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats


Rates = np.ndarray | list[float]


def gap(real: Rates, in_model: Rates) -> float:
    """
    How far rates in the model are from those in reality, which no order of policies tells: the mean absolute
    difference.

    Args:
        real (`np.ndarray` or `list[float]` of length `N`):
            Success rate of each policy in reality.
        in_model (`np.ndarray` or `list[float]` of length `N`):
            That in the model.

    Returns:
        `float`: in [0, 1] for rates in [0, 1]; 0 is perfect.

    Raises:
        ValueError: as [`pearson`].

    Example:

    ```python
    >>> round(gap([0.0, 0.5, 1.0], [0.1, 0.2, 0.9]), 4)
    0.1667

    ```
    """
    first, second = _read(real, in_model)
    return float(np.abs(first - second).mean())


def pearson(real: Rates, in_model: Rates) -> float:
    """
    Pearson's correlation.

    Args:
        real (`np.ndarray` or `list[float]` of length `N`):
            Success rate of each policy in reality.
        in_model (`np.ndarray` or `list[float]` of length `N`):
            That in the model.

    Returns:
        `float`: in [-1, 1]; 1 is perfect. nan where all rates of one side are equal.

    Raises:
        ValueError: for fewer than 2 policies, different numbers of them, or a rate that is not finite.

    Example:

    ```python
    >>> round(pearson([0.0, 0.5, 1.0], [0.1, 0.2, 0.9]), 4)
    0.9177

    ```
    """
    first, second = _read(real, in_model)
    # Of equal rates the correlation is 0 / 0, of which NumPy warns.
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def spearman(real: Rates, in_model: Rates) -> float:
    """
    Spearman's rank correlation: Pearson's of the ranks, where equal rates share the mean of their ranks.

    Args:
        real (`np.ndarray` or `list[float]` of length `N`):
            Success rate of each policy in reality.
        in_model (`np.ndarray` or `list[float]` of length `N`):
            That in the model.

    Returns:
        `float`: in [-1, 1]; 1 is the same order. nan where all rates of one side are equal.

    Raises:
        ValueError: as [`pearson`].

    Example:

    ```python
    >>> spearman([0.0, 0.5, 1.0], [0.1, 0.2, 0.9]), spearman([0.0, 0.5, 1.0], [0.9, 0.2, 0.1])
    (1.0, -1.0)

    ```
    """
    first, second = _read(real, in_model)
    return pearson(stats.rankdata(first), stats.rankdata(second))


def mean_maximum_rank_violation(real: Rates, in_model: Rates) -> float:
    """
    How much better, in reality, a policy is than the one that the model wrongly prefers: for each policy the worst
    such case, averaged over policies.

        (1/N) sum_i max_j |R_i - R_j| 1[(M_i < M_j) != (R_i < R_j)]

    From SIMPLER, "Evaluating Real-World Robot Manipulation Policies in Simulation"
    ([paper](https://huggingface.co/papers/2405.05941), equation 1), taken to the letter: the difference is that of the
    real rates, and a tie in the model alone is a violation for the policy that is really worse.

    Args:
        real (`np.ndarray` or `list[float]` of length `N`):
            Success rate of each policy in reality, `R`.
        in_model (`np.ndarray` or `list[float]` of length `N`):
            That in the model, `M`.

    Returns:
        `float`: in [0, 1] for rates in [0, 1]; 0 is the same order.

    Raises:
        ValueError: as [`pearson`].

    Example:

    The model takes the second policy for better than the third, which is really better by 0.3:

    ```python
    >>> round(mean_maximum_rank_violation([0.0, 0.5, 0.8], [0.1, 0.9, 0.6]), 4)
    0.2

    ```
    """
    first, second = _read(real, in_model)
    is_violated = np.less.outer(second, second) != np.less.outer(first, first)
    return float((np.abs(np.subtract.outer(first, first)) * is_violated).max(axis=1).mean())


STATISTICS: dict[str, Callable[[Rates, Rates], float]] = {
    "gap": gap,
    "pearson": pearson,
    "spearman": spearman,
    "mmrv": mean_maximum_rank_violation,
}
"""The four by name."""


def bootstrap_interval(
    measure: Callable[[np.ndarray], float | np.ndarray],
    episodes: int,
    *,
    runs: int = 1,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """
    A statistic of episodes with its percentile bootstrap interval: episodes are drawn with replacement, and so are
    training seeds, where there are several.

    Policies are not resampled: the interval says how sure the statistic of these policies is, and nothing of others.
    With the same seed and numbers of episodes, runs and resamples, the draws are the same.

    Args:
        measure (`Callable`):
            From indices of episodes `(E,)`, int64, to the statistic, nan where it is not defined; of several runs to
            the statistic of each `(R,)`, of which the mean is taken.
        episodes (`int`):
            Number of episodes, `E`.
        runs (`int`, *optional*, defaults to 1):
            Number of training seeds, `R`.
        resamples (`int`, *optional*, defaults to 2000):
            Number of draws.
        level (`float`, *optional*, defaults to 0.95):
            Share of the draws within the interval, in (0, 1).
        seed (`int`, *optional*, defaults to 0):
            Decides the draws.

    Returns:
        `dict`: `value`, `low` and `high`, `None` where they are not defined; and `undefined`, the share of the draws
        left out since the statistic is not defined for them.

    Raises:
        ValueError: for a number out of range.

    Example:

    ```python
    >>> outcomes = np.array([0.0, 1.0, 1.0, 1.0])
    >>> bootstrap_interval(lambda drawn: outcomes[drawn].mean(), 4, resamples=100)
    {'value': 0.75, 'low': 0.25, 'high': 1.0, 'undefined': 0.0}

    ```
    """
    if min(episodes, runs, resamples) < 1 or not 0 < level < 1:
        raise ValueError(
            "Expected at least 1 episode, run and resample and a level in (0, 1), got "
            f"{episodes}, {runs}, {resamples} and {level}."
        )
    rng = np.random.default_rng(seed)
    draws = rng.integers(episodes, size=(resamples, episodes))
    of_runs = rng.integers(runs, size=(resamples, runs))
    values = np.array(
        [np.atleast_1d(measure(drawn))[chosen].mean() for drawn, chosen in zip(draws, of_runs, strict=True)],
        dtype=np.float64,
    )
    # A draw in which all rates are equal has no correlation; the share of those is `undefined`.
    defined = values[~np.isnan(values)]
    ends = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if len(defined) else [math.nan] * 2
    found = {"value": float(np.mean(measure(np.arange(episodes)))), "low": ends[0], "high": ends[1]}
    numbers = {name: None if math.isnan(value) else float(value) for name, value in found.items()}
    return {**numbers, "undefined": 1 - len(defined) / resamples}


def _read(real: Rates, in_model: Rates) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(real, dtype=np.float64), np.asarray(in_model, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        raise ValueError(
            f"Expected one rate a policy, of at least 2 policies, got shapes {first.shape} and {second.shape}."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError(f"Expected finite rates, got {first.tolist()} and {second.tolist()}.")
    return first, second
