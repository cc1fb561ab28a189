r"""
The energy score: whether a group of predictions is spread as what may happen is.

    ES = \frac{1}{G} \sum_i d(x_i, y) - \frac{1}{2} \frac{1}{G (G - 1)} \sum_{i \ne j} d(x_i, x_j)

with x_1 ... x_G the predictions of a group, y the reference and d the Euclidean norm of the difference of two whole
answers, all steps and pixels together. Lower is better, and the least in expectation is reached by the law that y is
drawn from (Gneiting and Raftery 2007, https://doi.org/10.1198/016214506000001437, section 4.3). An error alone is
least for one answer in the middle, so RL with it unlearns that several things may happen.

As credit the half goes away, as the second term depends on the policy in both of its arguments:

    A_i = r_i - b_i,    r_i = -d(x_i, y) + \frac{1}{G - 1} \sum_{j \ne i} d(x_i, x_j)
    b_i = \frac{1}{G - 1} \sum_{k \ne i} ( -d(x_k, y) + \frac{1}{G - 2} \sum_{j \ne i, k} d(x_k, x_j) )

The baseline b_i is the same quantity without x_i; a group's plain mean would hold d(x_j, x_i) and shrink the second
term. Written out, these credits are relative to their mean already:

    A_i = \frac{G}{G - 1} ( -(d_i - \bar d) + \frac{s_i - \bar s}{G - 2} ),    s_i = \sum_j d(x_i, x_j)

So the reward of a prediction is A_i - ES: the mean of a group is minus its energy score, and what GRPO subtracts from
it leaves the credit as it is. By the triangle inequality no distance of others outweighs its own error by more than

    A_i - ES >= -\frac{G + 1}{G} d(x_i, y) >= -\frac{4}{3} d(x_i, y)    of groups of three or more,

and of smaller ones A_i - ES >= -d(x_i, y). So 4/3 of the largest distance there can be is a floor that no readable
prediction undercuts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch

from .base import VerifiableReward


NORMS = {"euclidean": 2.0, "absolute": 1.0}
"""The exponent of each distance of two answers."""

SMALLEST_GROUP = 3
"""Completions that a credit needs: a baseline without x_i compares two others."""

FLOOR = (SMALLEST_GROUP + 1) / SMALLEST_GROUP
"""Distances that a readable prediction can lose at most, see above."""


def energy_score(errors: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """
    Energy score of groups, in [0, inf); lower is better. Of one prediction alone it is its error.

    Args:
        errors (`torch.Tensor` of shape `(B, G)`):
            Distances of predictions to their reference.
        distances (`torch.Tensor` of shape `(B, G, G)`):
            Distances of predictions to each other, 0 on the diagonal.

    Returns:
        `torch.Tensor` of shape `(B,)`.

    Example:

    ```python
    >>> import torch
    >>> apart = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    >>> energy_score(torch.tensor([[0.5, 0.5]]), apart), energy_score(torch.tensor([[0.5, 0.5]]), 0 * apart)
    (tensor([0.]), tensor([0.5000]))

    ```
    """
    size = errors.shape[1]
    return errors.mean(dim=1) - distances.sum(dim=(1, 2)) / (2 * size * max(size - 1, 1))


def energy_credit(errors: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """
    The credit of each prediction of a group, A_i above. Those of a group sum to 0.

    Args:
        errors (`torch.Tensor` of shape `(B, G)`):
            Distances of predictions to their reference.
        distances (`torch.Tensor` of shape `(B, G, G)`):
            Distances of predictions to each other, 0 on the diagonal.

    Returns:
        `torch.Tensor` of shape `(B, G)`: in (-inf, inf); 0 in groups below three, where no credit is unbiased.

    Example:

    ```python
    >>> import torch
    >>> heads = torch.tensor([[1.0, 1.0, 0.0]])  # two of three predictions are heads, and the coin shows tails
    >>> energy_credit(heads, (heads[:, :, None] - heads[:, None]).abs()).round(decimals=3)
    tensor([[-1., -1.,  2.]])

    ```
    """
    size = errors.shape[1]
    if size < SMALLEST_GROUP:
        return torch.zeros_like(errors)
    others = distances.sum(dim=2)
    nearer = errors.mean(dim=1, keepdim=True) - errors
    farther = (others - others.mean(dim=1, keepdim=True)) / (size - 2)
    return size / (size - 1) * (nearer + farther)


class EnergyScoreReward(VerifiableReward):
    """
    Minus the energy score of a group, plus each prediction's credit: RL with it learns the law of what may happen.

    The rewards of a group have minus its energy score as their mean, in (-inf, 0], and their differences are the
    credits: a prediction earns by being near to what happened, and by being far from the other predictions.

    In a table each sampling seed has the mean energy score of its own predictions, `num_samples` of each row, two or
    more; the spread is that of such scores over the seeds. A prediction alone, such as a likeliest one or a plan, is
    measured by its distance, as by any other error: the energy score of always predicting it.

    A call takes the completions of one prompt, or of several one after another, each group with one reference. The
    trainer hands whole groups over, wherever their completions were sampled. It refuses settings that bend the credit:
    groups below three, division by a deviation (`scale_rewards`, `multi_objective_aggregation`), several credits an
    answer (`credit`), and sampling from another distribution than the policy's (`temperature`, `top_k`, `top_p`).

    An unreadable prediction earns no more than any readable one of its group: minus 4/3 of the largest distance there
    can be. Of `n` recorded numbers in [0, 1], as of frames, that is `n ** 0.5 / scale`, of `"absolute"` it is
    `1 / scale`. Sensors count as if their ranges were the `scale`; where a readable prediction is farther off, the
    unreadable one earns as much as the worst that could be read.

    It sees an answer as one point: of frames, mostly where large things are. As it pays for being unlike, a prediction
    that is wrong in a way of its own is paid for that, too; on average that never outweighs its error.

    Args:
        reads (`str`, *optional*, defaults to `"states"`):
            What an answer is: `"states"`, what is predicted first, frames or sensors; or `"sensors"`, those beside
            frames. The metric's name then ends in `_sensors`.
        distance (`str`, *optional*, defaults to `"euclidean"`):
            Of two answers: `"euclidean"`, or `"absolute"`, the mean absolute error. A warning says what the second
            one cannot see.
        scale (`float` or `Sequence[float]`, *optional*, defaults to `1.0`):
            Constant that distances are divided by; or, of sensors, the unit of each of `P` dimensions, such as its
            range. It does not depend on the group, so it bends nothing. The metric's name ends in it, as in
            `energy_score_scale_10`.
        unbiased (`bool`, *optional*, defaults to `True`):
            Whether the trainer refuses settings that bend the credit; `False` to measure what they do.

    Raises:
        ValueError: if `reads`, `distance` or `scale` is none of the above; when called, if a group has fewer than
            three completions, or there is not one scale for each dimension.

    Example:

    ```python
    >>> import torch
    >>> tails, heads = torch.zeros(1, 1), torch.ones(1, 1)  # one step of one sensor
    >>> rewards = EnergyScoreReward()(predicted=[heads, heads, tails], reference=[tails] * 3)
    >>> [round(reward, 3) for reward in rewards]
    [-1.333, -1.333, 1.667]
    >>> EnergyScoreReward()(predicted=[heads] * 3, reference=[tails] * 3)
    [-1.0, -1.0, -1.0]

    ```
    """

    name, higher_is_better, best, floor = "energy_score", False, 0.0, FLOOR  # of an answer of one number in [0, 1]
    reads, needs_group, smallest_group, joins_steps, is_credit = "states", True, SMALLEST_GROUP, True, True
    changes_no_value = ("is_credit",)

    def __init__(
        self,
        *,
        reads: str = "states",
        distance: str = "euclidean",
        scale: float | Sequence[float] = 1.0,
        unbiased: bool = True,
    ) -> None:
        if reads not in ("states", "sensors"):
            raise ValueError(f'Expected `reads` to be "states" or "sensors", got {reads!r}.')
        if distance not in NORMS:
            raise ValueError(f"Expected `distance` to be one of {', '.join(NORMS)}, got {distance!r}.")
        scales = [float(value) for value in scale] if isinstance(scale, Sequence) else [float(scale)]
        if not scales or not all(math.isfinite(value) and value > 0 for value in scales):
            raise ValueError(f"Expected each `scale` to be finite and above 0, got {scale!r}.")
        if distance == "absolute":
            warnings.warn(
                "`distance='absolute'` is a mean of errors, so it scores each pixel or sensor by itself: predictions "
                "whose parts do not belong together cost no more than such as do. Leave it at 'euclidean' to learn "
                "what happens together.",
                stacklevel=2,
            )
        self.reads, self.distance, self.is_credit = reads, distance, unbiased
        self.scale: float | list[float] = scales if isinstance(scale, Sequence) else scales[0]
        if reads == "sensors":
            self.name = f"{self.name}_sensors"
        if distance != "euclidean":
            self.name = f"{self.name}_{distance}"
        if self.scale != 1:
            self.name = "_".join([self.name, "scale", *(f"{value:.3g}" for value in scales)])
        super().__init__()

    def measure(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        reference_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]: the distance of two whole answers, `(B, 1)`."""
        return self._distances(predicted[:, None], reference[:, None], reference_mask)[:, 0]

    def measure_groups(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        **further: torch.Tensor,
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure_groups`]: one value for all steps, `(B, G, 1)`."""
        mask = further.get("reference_mask")
        errors = self._distances(predicted, reference[:, None], mask)[..., 0]  # (B, G)
        distances = self._distances(predicted, predicted, mask)  # (B, G, G)
        score = energy_score(errors, distances)
        return (score[:, None] - energy_credit(errors, distances))[..., None]

    def floor_of(
        self, reference: torch.Tensor, *, reference_mask: torch.Tensor | None = None, beside: Sequence[float] = ()
    ) -> float:
        """See [`VerifiableReward.floor_of`]: 4/3 of the largest distance of frames, or of sensors in their ranges."""
        steps = len(reference) if reference_mask is None else int(reference_mask.sum())
        largest = 1.0
        if self.distance == "euclidean":
            largest = math.sqrt(max(steps, 1) * math.prod(reference.shape[1:]))
        if isinstance(self.scale, float) and reference.ndim == 4:
            largest /= self.scale
        return max([FLOOR * largest, *beside])

    def _distances(self, some: torch.Tensor, others: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Distances `(B, M, N)` of answers `(B, M, S, ...)` and `(B, N, S, ...)`, with a mask `(B, S)` of both."""
        if isinstance(self.scale, list):
            if some.ndim != 4 or some.shape[-1] != len(self.scale):
                raise ValueError(
                    f"`{self.name}`: expected sensor states with a scale for each of {some.shape[-1]} dimensions, got "
                    f"{self.scale} for states of shape {tuple(some.shape[2:])}; give one number, or as many scales."
                )
            some, others = (states / states.new_tensor(self.scale) for states in (some, others))
        steps = some.new_full((len(some),), some.shape[2]) if mask is None else mask.sum(dim=1)
        numbers = steps * some[0, 0, 0].numel()  # of an answer
        some, others = (states.flatten(2) for states in (some, others))
        # By differences: products of the large vectors of frames would lose the distances of near ones.
        mode = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(some, others, p=NORMS[self.distance], compute_mode=mode)
        if self.distance == "absolute":
            distances = distances / numbers.clamp(min=1)[:, None, None]
        return distances if isinstance(self.scale, list) else distances / self.scale
