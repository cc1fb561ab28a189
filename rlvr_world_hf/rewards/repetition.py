r"""
How often a prediction stands still. World models trained by likelihood tend to this failure, and RL with verifiable
rewards repairs it (https://huggingface.co/papers/2505.13934).

    repetition = \frac{1}{S - 1} \sum_{s=2}^{S} [x_s = x_{s-1}]

with x_s the predicted frame of step s. The paper adds minus this rate to the video reward, as a penalty; its code was
not released.
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from .base import DISCOUNT, VerifiableReward, mean_over_steps


SAME_FRAME = 0.5 / 255
"""Frames that differ by no more than this at any pixel are equal in uint8."""


def repeated_steps(states: torch.Tensor, *, tolerance: float = SAME_FRAME) -> torch.Tensor:
    """
    Which steps repeat the step before.

    Args:
        states (`torch.Tensor` of shape `(B, S, ...)`):
            Predicted frames, float in `[0, 1]`; or the tokens of each step, with `tolerance=0`.
        tolerance (`float`, *optional*, defaults to `0.5 / 255`):
            Largest difference between equal entries.

    Returns:
        `torch.Tensor` of shape `(B, S - 1)`: True where step s + 1 equals step s.

    Example:

    ```python
    >>> import torch
    >>> repeated_steps(torch.tensor([[[1, 2], [1, 2], [1, 3]]]), tolerance=0)
    tensor([[ True, False]])

    ```
    """
    return (states[:, 1:] - states[:, :-1]).abs_().flatten(2).amax(dim=2) <= tolerance


def repetition_rate(
    predicted: torch.Tensor, *, reference_mask: torch.Tensor | None = None, tolerance: float = SAME_FRAME
) -> torch.Tensor:
    """
    Rate of consecutive identical frames in a prediction, in [0, 1]. Lower is better as long as the world moves.

    The authors' evaluation code looks at the last two frames only; we follow their text, which speaks of the rate over
    the whole prediction.

    Args:
        predicted (`torch.Tensor` of shape `(B, S, 3, H, W)`):
            Predicted frames, float in `[0, 1]`, RGB.
        reference_mask (`torch.Tensor` of shape `(B, S)`, *optional*):
            False where the reference is padding; such steps do not count.
        tolerance (`float`, *optional*, defaults to `0.5 / 255`):
            See [`repeated_steps`]; 0 for sensor states, which are equal if and only if their bins are.

    Returns:
        `torch.Tensor` of shape `(B,)`: nan for fewer than two steps.

    Example:

    ```python
    >>> import torch
    >>> moving = torch.linspace(0, 1, 5).view(1, 5, 1, 1, 1).expand(1, 5, 3, 8, 8)
    >>> still = torch.zeros(1, 5, 3, 8, 8)
    >>> repetition_rate(torch.cat([moving, still]))
    tensor([0., 1.])

    ```
    """
    repeated = repeated_steps(predicted, tolerance=tolerance).to(predicted.dtype)
    return mean_over_steps(repeated, None if reference_mask is None else reference_mask[:, 1:])


class RepetitionReward(VerifiableReward):
    """
    Minus the rate of consecutive identical frames: in [-1, 0]; 0 is a prediction that never stands still.

    The paper's penalty for repetition, for use beside rewards that compare with the reference: alone, it rewards
    motion of any kind. It reads only the reference's mask, so it also punishes standing still where the world does.
    Give it a low weight, so that the other rewards decide there.

    Frames are compared as decoded. With a tokenizer that decodes each step from its own tokens and the context, two
    frames are equal if their tokens are, and the authors' evaluation compares tokens. It looks at the last two frames
    only, as `aggregation="last"` does. The first step is not compared with the last context frame, which is as
    recorded and seldom equal to a decoded frame. A single step therefore has no rate, and its reward is `None`.

    Args:
        tolerance (`float`, *optional*, defaults to `0.5 / 255`):
            Largest difference between equal frames at any pixel, in [0, 1). A policy can escape the default without
            motion: a flicker of 1.5/255 in every second frame takes the reward from -1 to 0, and `2 / 255` finds it.
            Set it to the `flicker` in the `results.json` of the codec, or a little more; for the codec of PushT that
            ships, `4.1 / 255`.
            The column `repetition_rate` of tables has the default; with another value, which becomes part of the
            name, as in `repetition_rate_0.00784`, the metric has a column of its own.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Raises:
        ValueError: if `tolerance` is not in [0, 1), or `aggregation` or `discount` is none that [`VerifiableReward`]
            knows.

    Example:

    ```python
    >>> import torch
    >>> frames = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> moving, halting = frames, frames[[0, 1, 1]]
    >>> RepetitionReward()(predicted=[moving, halting], reference=[frames, frames])
    [0.0, -0.5]

    ```
    """

    name, higher_is_better, best, floor = "repetition_rate", False, 0.0, 1.0
    alone = "motion of any kind earns the most; add a reward that compares with the reference, such as `MAEReward`"

    def __init__(
        self, *, tolerance: float = SAME_FRAME, aggregation: str = "mean", discount: float = DISCOUNT
    ) -> None:
        if not 0 <= tolerance < 1:
            raise ValueError(
                f"Expected `tolerance` in [0, 1), got {tolerance!r}; for steps of uint8, divide their number by 255."
            )
        if tolerance != SAME_FRAME:
            self.name = f"{self.name}_{tolerance:.3g}"
        super().__init__(aggregation=aggregation, discount=discount)
        self.tolerance = tolerance

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]: 1 where a step repeats the one before, 0 elsewhere."""
        repeated = repeated_steps(predicted, tolerance=self.tolerance).to(predicted.dtype)
        return pad(repeated, (1, 0), value=torch.nan)
