r"""
Bootstrap intervals (Efron 1979, https://doi.org/10.1214/aos/1176344552): how much a mean would differ on other starts.

    interval = (q_{\alpha / 2}, q_{1 - \alpha / 2}) of the means of B samples of n values, drawn with replacement

Where the same starts were tried with several training seeds, both are drawn, each on its own (the pigeonhole
bootstrap, Owen 2007, https://doi.org/10.1214/07-AOAS122): other starts and another training would have given another
mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def bootstrap_interval(
    values: Sequence[float], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """
    The percentile interval of a mean.

    Args:
        values (`Sequence[float]` of length `n`):
            One finite number a start, window or episode: what is drawn must be independent.
        level (`float`, *optional*, defaults to 0.95):
            Share of resampled means within the interval, in (0, 1).
        resamples (`int`, *optional*, defaults to 10000):
            Samples that are drawn, `B`.
        seed (`int`, *optional*, defaults to 0):
            Of the draws; the same values and seed give the same interval.

    Returns:
        `tuple[float, float]`: lower and upper end; both are the value itself where all values are equal.

    Raises:
        ValueError: If there is no value, one is not finite, or the level is out of range.

    Example:

    ```python
    >>> low, high = bootstrap_interval([0.0, 1.0] * 25)
    >>> round(low, 2), round(high, 2)
    (0.36, 0.64)

    ```
    """
    numbers = _checked(values, level=level, resamples=resamples)
    if len(numbers) == 1:  # SciPy asks for two
        return float(numbers[0]), float(numbers[0])
    low, high = stats.bootstrap(
        (numbers,),
        np.mean,
        method="percentile",
        confidence_level=level,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(low), float(high)


def crossed_interval(
    values: Sequence[Sequence[float]], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """
    The percentile interval of a mean over training seeds and starts, of which both are drawn with replacement.

    With few training seeds it is too narrow, as any bootstrap of few.

    Args:
        values (`Sequence[Sequence[float]]` of shape `(K, n)`):
            Of each training seed one finite number a start, the same starts for all.
        level (`float`, *optional*, defaults to 0.95):
            Share of resampled means within the interval, in (0, 1).
        resamples (`int`, *optional*, defaults to 10000):
            Samples that are drawn, `B`.
        seed (`int`, *optional*, defaults to 0):
            Of the draws; the same values and seed give the same interval.

    Returns:
        `tuple[float, float]`: lower and upper end; of one training seed those of [`bootstrap_interval`].

    Raises:
        ValueError: As [`bootstrap_interval`], or if training seeds have different numbers of starts.

    Example:

    ```python
    >>> alike, apart = [[0.0, 1.0] * 25] * 2, [[0.0] * 50, [1.0] * 50]
    >>> [round(end, 2) for end in crossed_interval(alike)], [round(end, 2) for end in crossed_interval(apart)]
    ([0.36, 0.64], [0.0, 1.0])

    ```
    """
    if len({len(of_seed) for of_seed in values}) > 1:
        raise ValueError(f"Expected the same starts of each training seed, got {[len(each) for each in values]}.")
    if len(values) < 2:
        return bootstrap_interval(values[0] if values else [], level=level, resamples=resamples, seed=seed)
    numbers = np.stack([_checked(of_seed, level=level, resamples=resamples) for of_seed in values])
    rng, (seeds, starts) = np.random.default_rng(seed), numbers.shape
    # How often each was drawn: a mean over both is a product of shares.
    of_seeds, of_starts = (
        rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count for count in (seeds, starts)
    )
    means = np.einsum("bk,kn,bn->b", of_seeds, numbers, of_starts, optimize=True)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked(values: Sequence[float], *, level: float, resamples: int) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"Expected at least one finite number, got {list(values)!r:.80}; leave out what has none.")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"Expected a level in (0, 1) and at least one resample, got {level} and {resamples}.")
    return numbers
