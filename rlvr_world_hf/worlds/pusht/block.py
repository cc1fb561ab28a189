"""
The block's position in a PushT frame, read from its colour, as the agent's is (`agent.py`).

One affine function of RGB is 1 on the block's inside and 0 on table, goal and the agent's outline. It is beyond 1 on
the block's outline and below 0 on the agent's inside, both of which are clamped; on a mixture of block and table or
goal it is the share of the pixel that the block covers. Walls would count as block, so the frame's border is left out.
"""

from __future__ import annotations

import torch

from .colours import colour_share


BLOCK_RGB = (142.8, 163.2, 183.6)
"""Colour of the block's inside in gym-pusht: LightSlateGray, a fifth lighter."""

SURROUNDING_RGB = ((255, 255, 255), (144, 238, 144), (65, 105, 225))
"""Colours of the table, the goal (LightGreen) and the agent's outline (RoyalBlue)."""

BLOCK_AREA = 6300 / 512**2
"""Area of the block as a share of the frame: two bars of 120 x 30 and 30 x 90 world units."""

BORDER = 10 / 512
"""Width of the border that the walls stand in, as a fraction of the frame."""

NOISE_COVERAGE = 0.25
"""Shares up to this one count as noise."""

FOUND_SHARE = 0.25
"""Share of the block's area that must have its colour for a frame to show it."""

GOAL_CENTRE = (227.21 / 512, 284.79 / 512)
"""
Centroid of the goal, `(x, y)` as fractions of the frame: gym-pusht draws the block's outline at (256, 256), turned by
45 degrees, and the block's centroid is 285 / 7 world units from its origin.
"""


def locate_block(frames: torch.Tensor) -> torch.Tensor:
    """
    Centroid of the block, with sub-pixel accuracy.

    The mean error in drawings of gym-pusht 64 pixels wide is about 1 world unit of 512; see the tests.

    Args:
        frames (`torch.Tensor` of shape `(..., 3, H, W)`):
            Frames of PushT, at least 32 pixels wide: float in `[0, 1]`, RGB.

    Returns:
        `torch.Tensor` of shape `(..., 2)`: `(x, y)` from the upper left corner, as fractions of the frame's width and
        height in `[0, 1]`; nan where no block is seen. Times 512 it is in world units.

    Raises:
        ValueError: if the frames are not RGB.
        TypeError: if the frames are not float.

    Example:

    ```python
    >>> import torch
    >>> frame = torch.ones(3, 64, 64)
    >>> frame[:, 24:40, 10:22] = torch.tensor([142.8, 163.2, 183.6])[:, None, None] / 255
    >>> locate_block(frame)
    tensor([0.2500, 0.5000])

    ```
    """
    # Half precision has too few digits for a position within a pixel.
    exact = frames.float() if frames.dtype in (torch.float16, torch.bfloat16) else frames
    weights = colour_share(exact, BLOCK_RGB, SURROUNDING_RGB)  # (..., H, W)
    rows, columns = ((torch.arange(size, device=frames.device) + 0.5) / size for size in frames.shape[-2:])
    is_inside = torch.outer((rows - 0.5).abs() < 0.5 - BORDER, (columns - 0.5).abs() < 0.5 - BORDER)
    weights = weights.masked_fill((weights <= NOISE_COVERAGE) | ~is_inside, 0)
    total = weights.sum(dim=(-2, -1))
    x = torch.einsum("...hw,w->...", weights, columns.to(weights))
    y = torch.einsum("...hw,h->...", weights, rows.to(weights))
    is_found = weights.mean(dim=(-2, -1)) > FOUND_SHARE * BLOCK_AREA
    position = torch.stack([x, y], dim=-1) / total.unsqueeze(-1)
    return position.masked_fill(~is_found.unsqueeze(-1), torch.nan)
