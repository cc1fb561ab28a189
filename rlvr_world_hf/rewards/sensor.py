r"""
Errors of predicted sensor states, each dimension in its own scale.

    e_{sp} = |\hat{x}_{sp} - x_{sp}| / scale_p
    MAE_s = \frac{1}{P} \sum_p e_{sp}
    MSE_s = \frac{1}{P} \sum_p e_{sp}^2
    accuracy_s = \frac{1}{P} \sum_p [e_{sp} \le tolerance]

The paper adds the squared error of PushT's proprioception to the video reward
(https://huggingface.co/papers/2505.13934, appendix on PushT).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .base import DISCOUNT, VerifiableReward


TOLERANCE = 0.02
"""Errors up to this one count as right, in units of the scale."""


class SensorReward(VerifiableReward):
    """
    A metric on sensor states: those of a world of sensors, or those beside the frames of a video world.

    Args:
        scale (`Sequence[float]` of length `P`, *optional*):
            Unit of the error in each dimension, such as the range of its values, so that positions in pixels and
            cosines have the same weight. By default errors are in the unit of the data.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Raises:
        ValueError: if a scale is not finite and above 0; when called, if there is not one for each dimension.
    """

    reads = "sensors"

    def __init__(
        self, *, scale: Sequence[float] | None = None, aggregation: str = "mean", discount: float = DISCOUNT
    ) -> None:
        if scale is not None and not all(math.isfinite(value) and value > 0 for value in scale):
            raise ValueError(f"Expected each `scale` to be finite and above 0, got {list(scale)}.")
        self.scale = None if scale is None else [float(value) for value in scale]
        super().__init__(aggregation=aggregation, discount=discount)

    def errors(self, predicted: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """
        Absolute errors in units of the scale.

        Args:
            predicted (`torch.Tensor` of shape `(B, S, P)`):
                Predicted states, float in the unit of the data.
            reference (`torch.Tensor` of shape `(B, S, P)`):
                Recorded states, in the same form.

        Returns:
            `torch.Tensor` of shape `(B, S, P)`: at least 0.

        Raises:
            ValueError: if these are not sensor states, or there is not one scale for each dimension.
        """
        if predicted.ndim != 3:
            raise ValueError(
                f"`{self.name}`: expected sensor states of shape (B, S, P), got {tuple(predicted.shape)}; for frames "
                "use a reward on pixels; a video world has sensors only if its processor was given their ranges."
            )
        error = (predicted - reference).abs()
        if self.scale is None:
            return error
        if len(self.scale) != predicted.shape[2]:
            raise ValueError(
                f"`{self.name}`: expected a scale for each of {predicted.shape[2]} dimensions, got {self.scale}."
            )
        return error / error.new_tensor(self.scale)


class SensorMAEReward(SensorReward):
    """
    Minus the mean absolute error of the sensors: in (-inf, 0]; 0 is perfect.

    Args:
        scale (`Sequence[float]` of length `P`, *optional*):
            Unit of each dimension's error; see [`SensorReward`]. With ranges as the scale, a prediction within
            the ranges gets at least -1.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Example:

    ```python
    >>> import torch
    >>> predicted, reference = torch.tensor([[100.0, 0.5]]), torch.tensor([[228.0, 0.0]])  # one step: pixels, cosine
    >>> SensorMAEReward(scale=[512, 2])(predicted=[predicted], reference=[reference])
    [-0.25]

    ```
    """

    name, higher_is_better, best, floor = "sensor_mae", False, 0.0, 1.0

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]; states of shape `(B, S, P)`."""
        return self.errors(predicted, reference).mean(dim=2)


class SensorMSEReward(SensorReward):
    """
    Minus the mean squared error of the sensors: in (-inf, 0]; 0 is perfect. The paper's reward for proprioception.

    Args:
        scale (`Sequence[float]` of length `P`, *optional*):
            Unit of each dimension's error; see [`SensorReward`]. With ranges as the scale, a prediction within
            the ranges gets at least -1.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Example:

    ```python
    >>> import torch
    >>> predicted, reference = torch.tensor([[100.0, 0.5]]), torch.tensor([[228.0, 0.0]])
    >>> SensorMSEReward(scale=[512, 2])(predicted=[predicted], reference=[reference])
    [-0.0625]

    ```
    """

    name, higher_is_better, best, floor = "sensor_mse", False, 0.0, 1.0

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]; states of shape `(B, S, P)`."""
        return self.errors(predicted, reference).square().mean(dim=2)


class SensorAccuracyReward(SensorReward):
    """
    Share of the sensors that are right to within a tolerance: in [0, 1]; 1 is perfect.

    Right means near, not in the same bin: values on the two sides of a bin's edge may be almost equal, and rewards
    know nothing of bins.

    Args:
        tolerance (`float`, *optional*, defaults to 0.02):
            Largest error that counts as right, in units of the scale: with ranges as scale, 2 % of the range. Any but
            the default becomes part of the name, as in `sensor_accuracy_0.1`.
        scale (`Sequence[float]` of length `P`, *optional*):
            Unit of each dimension's error; see [`SensorReward`].
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Raises:
        ValueError: if the tolerance is not above 0.

    Example:

    ```python
    >>> import torch
    >>> predicted, reference = torch.tensor([[100.0, 0.5]]), torch.tensor([[108.0, 0.0]])
    >>> SensorAccuracyReward(scale=[512, 2])(predicted=[predicted], reference=[reference])
    [0.5]

    ```
    """

    name, higher_is_better, best, floor = "sensor_accuracy", True, 1.0, 0.0

    def __init__(
        self,
        *,
        tolerance: float = TOLERANCE,
        scale: Sequence[float] | None = None,
        aggregation: str = "mean",
        discount: float = DISCOUNT,
    ) -> None:
        # Not `<=`: nan is refused, too.
        if not tolerance > 0:
            raise ValueError(f"Expected `tolerance` above 0, got {tolerance}.")
        if tolerance != TOLERANCE:
            self.name = f"{self.name}_{tolerance:.3g}"
        self.tolerance = tolerance
        super().__init__(scale=scale, aggregation=aggregation, discount=discount)

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]; states of shape `(B, S, P)`."""
        return (self.errors(predicted, reference) <= self.tolerance).float().mean(dim=2)
