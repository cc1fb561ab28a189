"""How a table's predictions are drawn, and how a row with best sampling chooses its settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .predictions import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """
    The predictions of each held-out row.

    Raises:
        ValueError: If there is no seed or a negative one, or less than one sample.

    Example:

    ```python
    >>> Draws(sampling=Sampling(temperature=0.7), num_samples=4).count
    12

    ```
    """

    sampling: Sampling
    """Settings of the rows without best sampling. There is no default for all worlds: frames are drawn as in RL, text
    greedily."""

    seeds: Sequence[int] = (0, 1, 2)
    """Seeds of the noise."""

    num_samples: int = 1
    """Predictions for each row and seed; with more than one, every metric is given as best of N too, except for those
    that compare these predictions with each other, such as the energy score. Such a metric needs two or more."""

    def __post_init__(self) -> None:
        if not self.seeds or min(self.seeds) < 0 or self.num_samples < 1:
            raise ValueError(
                "Expected sampling seeds of 0 or more, and `num_samples` of 1 or more, got "
                f"{[*self.seeds]} and {self.num_samples}; the usual are [0, 1, 2] and 1."
            )

    @property
    def count(self) -> int:
        """Predictions a row, over all seeds."""
        return len(self.seeds) * self.num_samples

    def refuse_for(self, metrics: Sequence[Any], *, where: str = "`num_samples`") -> None:
        """
        Holds the draws to metrics that compare the predictions of a row and seed with each other.

        Args:
            metrics (`Sequence[VerifiableReward | TextReward]`):
                What is to be measured.
            where (`str`, *optional*):
                What the error calls the number of predictions.

        Raises:
            ValueError: If there is one prediction, and something to compare it with is asked for.

        Example:

        ```python
        >>> from rlvr_world_hf.rewards import EnergyScoreReward, MAEReward
        >>> Draws(sampling=Sampling()).refuse_for([MAEReward()])
        >>> Draws(sampling=Sampling()).refuse_for([EnergyScoreReward()])
        Traceback (most recent call last):
        ...
        ValueError: `num_samples`: expected 2 or more for `energy_score`, which compares the predictions of a row and
        seed with each other, got 1; raise it, or leave the metric out.

        ```
        """
        compared = [metric.name for metric in metrics if getattr(metric, "needs_group", False)]
        if compared and self.num_samples < 2:
            raise ValueError(
                f"{where}: expected 2 or more for `{compared[0]}`, which compares the predictions of a row and seed "
                f"with each other, got {self.num_samples}; raise it, or leave the metric out."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BestSampling:
    """
    Which checkpoints also get their best settings, in a row `<name>_best_sampling`, and how these are chosen.

    Example:

    ```python
    >>> rows = [{"prompt": "open door"}]
    >>> BestSampling(rows=rows, checkpoints=("base",), grid=[Sampling(temperature=0.4), Sampling()]).choose_by is None
    True

    ```
    """

    rows: Any
    """Validation rows, as `datasets.Dataset` or `Sequence[Mapping]`: neither in training nor in the table."""

    checkpoints: Sequence[str]
    """Names of checkpoints; those that are not in the table are skipped."""

    grid: Sequence[Sampling] | None = None
    """Settings to choose from; by default the `GRID` of the world's kind."""

    choose_by: str | None = None
    """Metric to choose by; the first rewarded one by default."""
