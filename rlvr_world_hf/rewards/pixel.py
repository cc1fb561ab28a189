r"""
Metrics of one frame against another, and the rewards made of them. With x predicted, y the reference, both in [0, 1]:

    MAE  = mean |x - y|
    MSE  = mean (x - y)^2
    PSNR = 10 \log_{10} \frac{1}{MSE + 10^{-8}}
    SSIM = mean \frac{2 \mu_x \mu_y + c_1}{\mu_x^2 + \mu_y^2 + c_1}
                \frac{2 \sigma_{xy} + c_2}{\sigma_x^2 + \sigma_y^2 + c_2}

The mean is over channels and pixels; SSIM's moments are weighted by a Gaussian of 11 taps and standard deviation 1.5
around each pixel whose whole window lies in the frame, c_1 = 0.01^2, c_2 = 0.03^2 (Wang et al. 2004,
https://doi.org/10.1109/TIP.2003.819861, section III). All four agree with the authors' code
(https://huggingface.co/papers/2505.13934).
"""

from __future__ import annotations

from functools import cache

import torch
from einops import rearrange

from .base import DISCOUNT, VerifiableReward


MOTION_THRESHOLD = 0.05
"""A pixel moves if a channel of the reference differs by more than this from the last context frame."""

PSNR_EPSILON = 1e-8
"""Added to the squared error, so identical frames have 80 dB."""

SSIM_TAPS, SSIM_SIGMA, SSIM_C1, SSIM_C2 = 11, 1.5, 0.01**2, 0.03**2
"""Width and standard deviation of SSIM's window in pixels, and its two constants for a value range of 1."""


def mae(predicted: torch.Tensor, reference: torch.Tensor, *, mask: torch.Tensor | None = None) -> torch.Tensor:
    """
    Mean absolute error of each frame, in [0, 1]; 0 is perfect.

    Args:
        predicted (`torch.Tensor` of shape `(..., 3, H, W)`):
            Predicted frames, float in `[0, 1]`, RGB.
        reference (`torch.Tensor` of shape `(..., 3, H, W)`):
            Recorded frames, in the same form.
        mask (`torch.Tensor` of shape `(..., H, W)`, *optional*):
            True at the pixels to measure; all of them by default.

    Returns:
        `torch.Tensor` of shape `(...,)`: nan where the mask is empty.

    Example:

    ```python
    >>> import torch
    >>> mae(torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.5))
    tensor(0.5000)

    ```
    """
    # In place, as the difference belongs to this function: frames are the largest tensors of a reward.
    return _mean((predicted - reference).abs_(), mask)


def mse(predicted: torch.Tensor, reference: torch.Tensor, *, mask: torch.Tensor | None = None) -> torch.Tensor:
    """
    Mean squared error of each frame, in [0, 1]; 0 is perfect.

    Args:
        predicted (`torch.Tensor` of shape `(..., 3, H, W)`):
            Predicted frames, float in `[0, 1]`, RGB.
        reference (`torch.Tensor` of shape `(..., 3, H, W)`):
            Recorded frames, in the same form.
        mask (`torch.Tensor` of shape `(..., H, W)`, *optional*):
            True at the pixels to measure; all of them by default.

    Returns:
        `torch.Tensor` of shape `(...,)`: nan where the mask is empty.

    Example:

    ```python
    >>> import torch
    >>> mse(torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.5))
    tensor(0.2500)

    ```
    """
    return _mean((predicted - reference).square_(), mask)


def psnr(predicted: torch.Tensor, reference: torch.Tensor, *, mask: torch.Tensor | None = None) -> torch.Tensor:
    """
    Peak signal-to-noise ratio of each frame in dB, in (-1e-7, 80]; 80 is perfect.

    Args:
        predicted (`torch.Tensor` of shape `(..., 3, H, W)`):
            Predicted frames, float in `[0, 1]`, RGB.
        reference (`torch.Tensor` of shape `(..., 3, H, W)`):
            Recorded frames, in the same form.
        mask (`torch.Tensor` of shape `(..., H, W)`, *optional*):
            True at the pixels to measure; all of them by default.

    Returns:
        `torch.Tensor` of shape `(...,)`: nan where the mask is empty.

    Example:

    ```python
    >>> import torch
    >>> psnr(torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.1)).round(decimals=3)
    tensor(20.)

    ```
    """
    return -10 * torch.log10(mse(predicted, reference, mask=mask) + PSNR_EPSILON)


def ssim(
    predicted: torch.Tensor,
    reference: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    batch_size: int = 16,
) -> torch.Tensor:
    """
    Structural similarity of each frame, in [-1, 1]; 1 is perfect.

    Args:
        predicted (`torch.Tensor` of shape `(..., C, H, W)`):
            Predicted frames, float in `[0, 1]`, RGB or of other channels, at least 11 pixels high and wide.
        reference (`torch.Tensor` of shape `(..., C, H, W)`):
            Recorded frames, in the same form.
        mask (`torch.Tensor` of shape `(..., H, W)`, *optional*):
            True at the pixels to measure, as centres of windows; all of them by default. Pixels closer than 5 to the
            border are the centre of no window.
        batch_size (`int`, *optional*, defaults to `16`):
            Frames at a time, which bounds the memory; small batches stay in a CPU's cache.

    Returns:
        `torch.Tensor` of shape `(...,)`: nan where the mask is empty.

    Raises:
        ValueError: if the frames are smaller than the window.

    Example:

    ```python
    >>> import torch
    >>> frame = torch.linspace(0, 1, 3 * 16 * 16).view(3, 16, 16)
    >>> ssim(frame, frame), ssim(1 - frame, frame) < 0
    (tensor(1.), tensor(True))

    ```
    """
    height, width = predicted.shape[-2:]
    if min(height, width) < SSIM_TAPS:
        raise ValueError(
            f"Expected frames of at least {SSIM_TAPS}x{SSIM_TAPS} pixels for SSIM, got {height}x{width}; use larger "
            "frames or another metric."
        )
    border = SSIM_TAPS // 2
    # SSIM has a value for each whole window only, so its maps lack half a window at every border.
    inner = None if mask is None else mask[..., border : height - border, border : width - border]
    batch = predicted.shape[:-3]
    frames = [rearrange(x, "... c h w -> (...) c h w").split(batch_size) for x in (predicted, reference)]
    masks = [None] * len(frames[0]) if inner is None else rearrange(inner, "... h w -> (...) h w").split(batch_size)
    parts = [_mean(ssim_maps(x, y)[0], part) for x, y, part in zip(*frames, masks, strict=True)]
    return torch.cat(parts).reshape(batch)


def moving_pixels(reference: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """
    Where the reference differs from the last frame that was given.

    Args:
        reference (`torch.Tensor` of shape `(B, S, 3, H, W)`):
            Recorded frames, float in `[0, 1]`, RGB.
        context (`torch.Tensor` of shape `(B, K, 3, H, W)`):
            Frames that were given, in the same form.

    Returns:
        `torch.Tensor` of shape `(B, S, H, W)`: True where any channel differs by more than 0.05.

    Example:

    ```python
    >>> import torch
    >>> reference = torch.zeros(1, 1, 3, 2, 2)
    >>> reference[..., 0, 0, 1] = 0.5
    >>> moving_pixels(reference, torch.zeros(1, 1, 3, 2, 2))[0, 0]
    tensor([[False,  True],
            [False, False]])

    ```
    """
    return ((reference - context[:, -1:]).abs_() > MOTION_THRESHOLD).any(dim=-3)


class PixelReward(VerifiableReward):
    """
    A metric on pixels, measured on all of them or on the moving ones only.

    Most of a frame often stands still, so that a copy of the last frame is nearly right. On moving pixels a world
    model has something to predict; the name of a metric on them ends in `_moving`. Do not train on it alone; the
    trainer warns of that. What is predicted elsewhere then costs nothing, and as a copy of the last frame is wrong at
    every pixel that moves, a white frame can earn more.

    Args:
        pixels (`str`, *optional*, defaults to `"all"`):
            `"all"`, or `"moving"`: those at which the reference differs by more than 0.05 in any channel from the last
            context frame. Frames in which nothing moves are left out of the aggregate.
        aggregation (`str`, *optional*, defaults to `"mean"`):
            `"mean"`, `"last"` or `"discounted"`; see [`VerifiableReward`].
        discount (`float`, *optional*, defaults to `0.9`):
            See [`VerifiableReward`].

    Raises:
        ValueError: if `pixels`, `aggregation` or `discount` is none of the above.
    """

    differentiable = True

    def __init__(self, *, pixels: str = "all", aggregation: str = "mean", discount: float = DISCOUNT) -> None:
        if pixels not in ("all", "moving"):
            raise ValueError(f'Expected `pixels` to be "all" or "moving", got {pixels!r}.')
        self.pixels = pixels
        if pixels == "moving":
            self.name = f"{self.name}_moving"
            self.alone = (
                "what is predicted where nothing moves costs nothing, and a white frame can earn more than a copy of "
                'the last one; add the same reward with `pixels="all"`'
            )
        super().__init__(aggregation=aggregation, discount=discount)

    def mask(self, reference: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor | None:
        """
        The pixels to measure.

        Args:
            reference (`torch.Tensor` of shape `(B, S, 3, H, W)`):
                Recorded frames, float in `[0, 1]`, RGB.
            context (`torch.Tensor` of shape `(B, K, 3, H, W)`, *optional*):
                Frames that were given; needed for moving pixels.

        Returns:
            `torch.Tensor` of shape `(B, S, H, W)`: True at the pixels to measure; `None` for all of them.

        Raises:
            ValueError: if moving pixels are asked for and the context is not given.
        """
        if self.pixels == "all":
            return None
        if context is None:
            raise ValueError(
                f"`{self.name}`: expected `context`, got `None`; pass the context frames, or make the reward with "
                '`pixels="all"`.'
            )
        return moving_pixels(reference, context)


class MAEReward(PixelReward):
    """
    Minus the mean absolute error: in [-1, 0]; 0 is perfect. The pixel part of the paper's video reward.

    Args:
        pixels (`str`, *optional*, defaults to `"all"`):
            `"all"` or `"moving"`; see [`PixelReward`].
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Example:

    ```python
    >>> import torch
    >>> MAEReward()(predicted=[torch.zeros(2, 3, 8, 8)], reference=[torch.full((2, 3, 8, 8), 0.25)])
    [-0.25]

    ```
    """

    name, higher_is_better, best, floor = "mae", False, 0.0, 1.0

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]."""
        return mae(predicted, reference, mask=self.mask(reference, context))


class MSEReward(PixelReward):
    """
    Minus the mean squared error: in [-1, 0]; 0 is perfect.

    Args:
        pixels (`str`, *optional*, defaults to `"all"`):
            `"all"` or `"moving"`; see [`PixelReward`].
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Example:

    ```python
    >>> import torch
    >>> MSEReward()(predicted=[torch.zeros(2, 3, 8, 8)], reference=[torch.full((2, 3, 8, 8), 0.5)])
    [-0.25]

    ```
    """

    name, higher_is_better, best, floor = "mse", False, 0.0, 1.0

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]."""
        return mse(predicted, reference, mask=self.mask(reference, context))


class PSNRReward(PixelReward):
    """
    Peak signal-to-noise ratio in dB, computed for each frame and then averaged: in [0, 80]; 80 is perfect.

    Args:
        pixels (`str`, *optional*, defaults to `"all"`):
            `"all"` or `"moving"`; see [`PixelReward`].
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Example:

    ```python
    >>> import torch
    >>> rewards = PSNRReward()(predicted=[torch.zeros(2, 3, 8, 8)], reference=[torch.full((2, 3, 8, 8), 0.1)])
    >>> round(rewards[0], 3)
    20.0

    ```
    """

    name, higher_is_better, best, floor = "psnr", True, 80.0, 0.0

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]."""
        return psnr(predicted, reference, mask=self.mask(reference, context))


class SSIMReward(PixelReward):
    """
    Structural similarity: in [-1, 1]; 1 is perfect.

    Args:
        pixels (`str`, *optional*, defaults to `"all"`):
            `"all"` or `"moving"`; see [`PixelReward`].
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Example:

    ```python
    >>> import torch
    >>> frames = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> SSIMReward()(predicted=[frames], reference=[frames])
    [1.0]

    ```
    """

    name, higher_is_better, best, floor = "ssim", True, 1.0, -1.0

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]."""
        return ssim(predicted, reference, mask=self.mask(reference, context))


def _mean(errors: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of `(..., C, H, W)` over channels and the pixels of the mask `(..., H, W)`: nan if it is empty."""
    if mask is None:
        return errors.mean(dim=(-3, -2, -1))
    count = mask.sum(dim=(-2, -1))
    mean = (errors.mean(dim=-3) * mask).sum(dim=(-2, -1)) / count.clamp(min=1)
    return mean.masked_fill(count == 0, torch.nan)  # not 0 / 0, whose gradient is nan, too


@cache
def _window() -> list[float]:
    offsets = torch.arange(SSIM_TAPS, dtype=torch.float32) - SSIM_TAPS // 2
    weights = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    # Plain numbers, so that one cached window serves all devices.
    return (weights / weights.sum()).tolist()


def _window_mean(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Convolution with the window along one dimension, without padding. On a CPU, adding slices is fastest."""
    size = x.shape[dim] - SSIM_TAPS + 1
    first, *others = _window()
    mean = x.narrow(dim, 0, size) * first
    for start, weight in enumerate(others, start=1):
        mean.add_(x.narrow(dim, start, size), alpha=weight)
    return mean


def ssim_maps(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Local SSIM of `(N, C, H, W)` frames and its second factor, one value a window: `(N, C, H - 10, W - 10)`."""
    moments = torch.stack([x, y, x.square(), y.square(), x * y])
    # In flat areas these variances are only rounding errors of a difference, so the order of sums is the official one.
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _window_mean(_window_mean(moments, -2), -1)
    product, square_x, square_y = mean_x * mean_y, mean_x.square(), mean_y.square()
    contrast = (2 * (mean_xy - product) + SSIM_C2) / ((mean_xx - square_x) + (mean_yy - square_y) + SSIM_C2)
    return contrast * (2 * product + SSIM_C1) / (square_x + square_y + SSIM_C1), contrast
