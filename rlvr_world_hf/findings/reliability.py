r"""
How well a measure tells checkpoints apart with as many samples as it has: split-half reliability.

    r = mean over random halvings of Spearman(measure of one half, measure of the other half)
    reliability = 2 r / (1 + r)         of all samples, twice as many (Spearman and Brown 1910)

A measure cannot foretell anything better than it foretells itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .rank_agreement import spearman


Quantity = Callable[[np.ndarray], np.ndarray]
"""From indices of samples `(n,)`, int64, such as windows or starts, to a number of each checkpoint `(M,)`."""


def split_half_reliability(
    quantity: Quantity, samples: int, *, splits: int = 200, level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """
    The reliability of the order in which a measure puts checkpoints.

    Args:
        quantity (`Callable`):
            Measures all checkpoints on some samples.
        samples (`int`):
            Number of samples, at least 2.
        splits (`int`, *optional*, defaults to 200):
            Random halvings.
        level (`float`, *optional*, defaults to 0.95):
            Share of the halvings within `low` to `high`, in (0, 1).
        seed (`int`, *optional*, defaults to 0):
            Of the halvings.

    Returns:
        `dict`: `mean`, at most 1, where 1 is the same order in all halves; `low` and `high`, the range of single
        halvings, each raised to all samples; and `n`, the number of samples. A correlation of 0 or below is not
        raised. Empty where no halving has two orders to compare.

    Raises:
        ValueError: If a number is out of range.

    Example:

    ```python
    >>> noise = np.random.default_rng(0).normal(size=(8, 400))
    >>> measured = np.arange(8)[:, None] + noise  # eight checkpoints, each better than the one before
    >>> split_half_reliability(lambda windows: measured[:, windows].mean(axis=1), 400)["mean"] > 0.9
    True

    ```
    """
    if samples < 2 or splits < 1 or not 0 < level < 1:
        raise ValueError(
            "Expected at least 2 samples to halve, at least 1 halving and a level in (0, 1), got "
            f"{samples}, {splits} and {level}."
        )
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(splits):
        order = rng.permutation(samples)
        first, second = quantity(order[: samples // 2]), quantity(order[samples // 2 :])
        if np.isfinite(first).all() and np.isfinite(second).all():
            found.append(spearman(first, second))
    defined = np.array([value for value in found if not math.isnan(value)])
    if not len(defined):
        return {}
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return {"mean": _raised(defined.mean()), "low": _raised(low), "high": _raised(high), "n": samples}


def _raised(correlation: float) -> float:
    """That of twice as many samples, by Spearman and Brown."""
    return float(2 * correlation / (1 + correlation)) if correlation > 0 else float(correlation)
