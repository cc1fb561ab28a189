r"""
Structural similarity at several resolutions (Wang, Simoncelli, Bovik 2003,
https://doi.org/10.1109/ACSSC.2003.1292216, equation 7):

    MS-SSIM(x, y) = l_M(x, y)^{\alpha_M} \prod_{j=1}^{M} (c_j(x, y) s_j(x, y))^{\beta_j}

with l the first and c s the second factor of SSIM (see `pixel.py`) between the frames at scale j, M = 5 and
\alpha_M = \beta_M. Each scale averages the one before over 2x2 pixels. As in the paper's program, a factor is the
mean of its local values, and the coarsest scale enters as the mean of l c s. The paper's formula is for grey images:
we apply it to each channel and take the mean, as we do for SSIM.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch.nn.functional import avg_pool2d

from .base import DISCOUNT, VerifiableReward
from .pixel import SSIM_TAPS, ssim_maps


SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the published scales, the finest first: measured with observers, section 3.2 of the paper."""


def ms_ssim(
    predicted: torch.Tensor, reference: torch.Tensor, *, scales: int = len(SCALE_WEIGHTS), batch_size: int = 16
) -> torch.Tensor:
    """
    Multi-scale structural similarity of each frame, in [0, 1]; 1 is perfect.

    Args:
        predicted (`torch.Tensor` of shape `(..., C, H, W)`):
            Predicted frames, float in `[0, 1]`, RGB or of other channels.
        reference (`torch.Tensor` of shape `(..., C, H, W)`):
            Recorded frames, in the same form.
        scales (`int`, *optional*, defaults to `5`):
            How many of the published scales, from the finest on; their exponents are scaled up to the sum of all five.
            The coarsest must hold SSIM's window: 5 need frames of at least 176 pixels, 4 of 88, 3 of 44, 2 of 22.
        batch_size (`int`, *optional*, defaults to `16`):
            Frames at a time; bounds the memory.

    Returns:
        `torch.Tensor` of shape `(...,)`: 0 where the frames correlate negatively at one of the scales.

    Raises:
        ValueError: if there are no such scales, or the frames are too small for them.

    Example:

    ```python
    >>> import torch
    >>> frame = torch.linspace(0, 1, 3 * 48 * 48).view(3, 48, 48)
    >>> ms_ssim(frame, frame, scales=3), ms_ssim(1 - frame, frame, scales=3)
    (tensor(1.), tensor(0.))

    ```
    """
    _check_scales(scales)
    needed = SSIM_TAPS * 2 ** (scales - 1)
    height, width = predicted.shape[-2:]
    if min(height, width) < needed:
        possible = [fewer for fewer in range(1, scales) if min(height, width) >= SSIM_TAPS * 2 ** (fewer - 1)]
        remedy = f"set `scales={possible[-1]}`, or use" if possible else "use"
        raise ValueError(
            f"Expected frames of at least {needed}x{needed} pixels for MS-SSIM at {scales} scales, got "
            f"{height}x{width}; {remedy} larger frames or another metric."
        )
    frames = [rearrange(x, "... c h w -> (...) c h w").split(batch_size) for x in (predicted, reference)]
    parts = [_product_over_scales(x, y, scales) for x, y in zip(*frames, strict=True)]
    return torch.cat(parts).reshape(predicted.shape[:-3])


class MSSSIMReward(VerifiableReward):
    """
    Multi-scale structural similarity: in [0, 1]; 1 is perfect. See [`ms_ssim`].

    Args:
        scales (`int`, *optional*, defaults to `5`):
            Scales, from the finest on: five need frames of at least 176 pixels, frames of 64 allow three. With fewer
            than the published five, the metric's name ends in their number, as in `ms_ssim_3`.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Raises:
        ValueError: if `scales`, `aggregation` or `discount` is out of range; when called, if the frames are too small.

    Example:

    ```python
    >>> import torch
    >>> frames = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> reward = MSSSIMReward(scales=3)
    >>> reward.name, reward(predicted=[frames], reference=[frames])
    ('ms_ssim_3', [1.0])

    ```
    """

    name, higher_is_better, best, floor = "ms_ssim", True, 1.0, 0.0

    def __init__(
        self, *, scales: int = len(SCALE_WEIGHTS), aggregation: str = "mean", discount: float = DISCOUNT
    ) -> None:
        _check_scales(scales)
        if scales != len(SCALE_WEIGHTS):
            self.name = f"{self.name}_{scales}"
        super().__init__(aggregation=aggregation, discount=discount)
        self.scales = scales

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]."""
        return ms_ssim(predicted, reference, scales=self.scales)


def _check_scales(scales: int) -> None:
    if scales not in range(1, len(SCALE_WEIGHTS) + 1):
        raise ValueError(f"Expected `scales` from 1 to {len(SCALE_WEIGHTS)}, got {scales!r}.")


def _product_over_scales(x: torch.Tensor, y: torch.Tensor, scales: int) -> torch.Tensor:
    """MS-SSIM of `(N, C, H, W)` frames: `(N,)`."""
    weights = SCALE_WEIGHTS[:scales]
    enlarged = sum(SCALE_WEIGHTS) / sum(weights)
    product = torch.ones_like(x[..., 0, 0])  # (N, C)
    for scale, weight in enumerate(weights, start=1):
        similarity, contrast = ssim_maps(x, y)
        factor = similarity if scale == scales else contrast
        # A negative mean has no real power: it counts as 0.
        product = product * factor.mean(dim=(-2, -1)).clamp_min(0) ** (weight * enlarged)
        if scale < scales:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    return product.mean(dim=1)
