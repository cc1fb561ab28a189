"""
Continuous values as uniform bins:

    bin = clip(floor(bins * clip((value - low) / (high - low + 1e-8), 0, 1)), 0, bins - 1)        all in float32
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformBins:
    """
    Uniform bins of each dimension of an action or sensor, between the lowest and highest value of the training data.

    As in the authors' code, a value outside the range falls into the first or last bin. NaN raises an error.

    Args:
        low (`Sequence[float]`): lowest value of each dimension, in the source's unit.
        high (`Sequence[float]`): highest value of each dimension.
        bins (`int`): bins of each dimension.

    Raises:
        ValueError: if the ranges differ in length, are not finite or are reversed, or `bins` is below 1.

    Example:
        >>> position = UniformBins(low=[0.0, 0.0], high=[512.0, 512.0], bins=256)
        >>> position.encode([[0.0, 511.0], [256.0, 600.0]]).tolist()
        [[0, 255], [128, 255]]
        >>> position.decode(torch.tensor([0, 128])).tolist()
        [1.0, 257.0]
    """

    low: Sequence[float]
    high: Sequence[float]
    bins: int

    def __post_init__(self) -> None:
        """Checks the ranges; lists (JSON) become tuples."""
        for name in ("low", "high"):
            # The record is frozen, which holds for plain assignment alone.
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if len(self.low) != len(self.high):
            raise ValueError(f"Expected as many lows as highs, got {len(self.low)} and {len(self.high)}.")
        if not np.isfinite([*self.low, *self.high]).all() or np.greater(self.low, self.high).any():
            raise ValueError(f"Expected finite ranges with low <= high, got low {self.low} and high {self.high}.")
        if self.bins < 1:
            raise ValueError(f"`bins` must be at least 1, got {self.bins}.")

    def encode(self, values: torch.Tensor | np.ndarray | list) -> torch.Tensor:
        """
        Bins of values.

        Args:
            values (`torch.Tensor`, `np.ndarray` or `list` of shape `(..., A)`): values in the unit of the ranges.

        Returns:
            `torch.Tensor` of shape `(..., A)`, int64 in `[0, bins)`.

        Raises:
            ValueError: for a wrong last dimension, or NaN.
        """
        values = torch.as_tensor(values, dtype=torch.float32)
        self._check_dimensions(values)
        if values.isnan().any():
            raise ValueError(f"NaN at index {values.isnan().nonzero()[0].tolist()}; drop or fill such values first.")
        low, high = self._ranges(values.device)
        # 1e-8 as in the authors' code: a dimension that never changes has no width to divide by.
        share = ((values - low) / (high - low + 1e-8)).clamp(0, 1)
        return (share * self.bins).floor().clamp(0, self.bins - 1).long()  # a share of 1 would be bin `bins`

    def decode(self, bins: torch.Tensor) -> torch.Tensor:
        """
        Centres of bins.

        Args:
            bins (`torch.Tensor` of shape `(..., A)`, int): bins in `[0, bins)`.

        Returns:
            `torch.Tensor` of shape `(..., A)`, float32, in the unit of the ranges.

        Raises:
            ValueError: for a wrong last dimension, or a bin out of range.
        """
        self._check_dimensions(bins)
        if bins.numel() and not 0 <= int(bins.min()) <= int(bins.max()) < self.bins:
            raise ValueError(f"Expected bins in [0, {self.bins}), got {int(bins.min())} to {int(bins.max())}.")
        low, high = self._ranges(bins.device)
        return low + (bins + 0.5) / self.bins * (high - low)

    def _ranges(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = torch.tensor([self.low, self.high], dtype=torch.float32, device=device)
        return low, high

    def _check_dimensions(self, values: torch.Tensor) -> None:
        if values.ndim < 1 or values.shape[-1] != len(self.low):
            raise ValueError(f"Expected {len(self.low)} dimensions last, got shape {tuple(values.shape)}.")
