"""
The agent's position in a PushT frame, read from its colour.

PushT knows few colours, and the pixels on an outline are mixtures of them. One affine function of RGB is 1 on the
agent's colour and 0 on table, block and goal, so on a mixture it is the share of the pixel that the agent covers; the
position is the centroid of that share.
"""

from __future__ import annotations

import torch
from einops import rearrange

from .colours import colour_share


AGENT_RGB = (65, 105, 225)
"""Colour of the agent in gym-pusht (RoyalBlue); its inside is lighter."""

SURROUNDING_RGB = ((255, 255, 255), (119, 136, 153), (144, 238, 144))
"""Colours of the table, the block (LightSlateGray) and the goal (LightGreen)."""

AGENT_RADIUS = 15 / 512
"""Radius of the agent as a fraction of the frame."""

NOISE_COVERAGE = 0.25
"""Shares up to this one count as noise; the block's lighter inside, which is none of the colours, comes to 0.13."""

FOUND_COVERAGE = 0.5
"""A frame shows the agent where it covers more than this share of some pixel."""


def agent_coverage(frames: torch.Tensor) -> torch.Tensor:
    """
    Share of each pixel that the agent covers.

    Args:
        frames (`torch.Tensor` of shape `(..., 3, H, W)`):
            Frames of PushT, float in `[0, 1]`, RGB.

    Returns:
        `torch.Tensor` of shape `(..., H, W)`: in `[0, 1]`, float.

    Example:

    ```python
    >>> import torch
    >>> agent, block = torch.tensor([65, 105, 225]) / 255, torch.tensor([119, 136, 153]) / 255
    >>> pixels = torch.stack([agent, block, (agent + block) / 2], dim=-1)[:, None]  # (3, 1, 3)
    >>> agent_coverage(pixels).round(decimals=3)
    tensor([[1.0000, 0.0000, 0.5000]])

    ```
    """
    return colour_share(frames, AGENT_RGB, SURROUNDING_RGB)


def locate_agent(frames: torch.Tensor) -> torch.Tensor:
    """
    Position of the agent's centre, with sub-pixel accuracy.

    Only pixels within reach of the most agent-coloured spot count, so a faint second agent in a predicted frame does
    not pull the position to the middle between the two.

    Args:
        frames (`torch.Tensor` of shape `(..., 3, H, W)`):
            Frames of PushT, at least 32 pixels wide: float in `[0, 1]`, RGB.

    Returns:
        `torch.Tensor` of shape `(..., 2)`: `(x, y)` from the upper left corner, as fractions of the frame's width and
        height in `[0, 1]`; nan where no agent is seen. Times 512 it is in world units.

    Raises:
        ValueError: if the frames are not RGB.
        TypeError: if the frames are not float.

    Example:

    ```python
    >>> import torch
    >>> frame = torch.ones(3, 64, 64)
    >>> frame[:, 30:34, 14:18] = torch.tensor([65, 105, 225])[:, None, None] / 255
    >>> locate_agent(frame)
    tensor([0.2500, 0.5000])

    ```
    """
    if frames.ndim < 3 or frames.shape[-3] != 3:
        raise ValueError(f"Expected `frames` of shape (..., 3, H, W), got {tuple(frames.shape)}; pass RGB frames.")
    if not frames.is_floating_point():
        raise TypeError(f"Expected float `frames` in [0, 1], got {frames.dtype}; divide uint8 frames by 255.")
    batch, (height, width) = frames.shape[:-3], frames.shape[-2:]
    # Half precision has too few digits for a position within a pixel.
    exact = frames if frames.dtype == torch.float64 else frames.float()
    coverage = agent_coverage(rearrange(exact, "... c h w -> (...) c h w", c=3))  # (N, H, W)
    is_found = coverage.amax(dim=(-2, -1)) > FOUND_COVERAGE
    weights = coverage.sub_(NOISE_COVERAGE).clamp_(min=0)
    # The best neighbourhood and not the best pixel, so that a stray pixel does not decide.
    spot = densest_pixel(weights, reach=1)  # (N,)
    rows = torch.arange(height, device=frames.device, dtype=weights.dtype)
    columns = torch.arange(width, device=frames.device, dtype=weights.dtype)
    near_rows = (rows - (spot // width).unsqueeze(1)).abs() <= round(1.6 * AGENT_RADIUS * height) + 1  # (N, H)
    near_columns = (columns - (spot % width).unsqueeze(1)).abs() <= round(1.6 * AGENT_RADIUS * width) + 1  # (N, W)
    weights = weights * near_rows.unsqueeze(2) * near_columns.unsqueeze(1)
    # Centres of pixels are half a pixel from their upper left corner.
    x = torch.einsum("nhw,w->n", weights, (columns + 0.5) / width)
    y = torch.einsum("nhw,h->n", weights, (rows + 0.5) / height)
    position = torch.stack([x, y], dim=-1) / weights.sum(dim=(-2, -1)).unsqueeze(-1)
    return position.masked_fill(~is_found.unsqueeze(-1), torch.nan).reshape(*batch, 2)


def densest_pixel(weights: torch.Tensor, *, reach: int) -> torch.Tensor:
    """
    The pixel whose square neighbourhood has most weight.

    Args:
        weights (`torch.Tensor` of shape `(N, H, W)`):
            At least 0.
        reach (`int`):
            Pixels from the middle of a square to its sides.

    Returns:
        `torch.Tensor` of shape `(N,)`: index of the pixel, row by row.

    Example:

    ```python
    >>> import torch
    >>> weights = torch.zeros(1, 5, 5)
    >>> weights[0, 0, 0], weights[0, 3, 2:4] = 1.5, 1.0
    >>> divmod(densest_pixel(weights, reach=1).item(), 5)  # of several that are as good, the first
    (2, 2)

    ```
    """
    # Products with bands of ones: many times as fast on a CPU as pooling.
    over_rows, over_columns = (
        ((line := torch.arange(size, device=weights.device)) - line[:, None]).abs().le(reach).to(weights)
        for size in weights.shape[-2:]
    )
    return (over_rows @ weights @ over_columns).flatten(1).argmax(dim=1)
