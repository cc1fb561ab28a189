"""How much of a pixel one of PushT's colours covers: an affine function of RGB, as pixels on outlines are mixtures."""

from __future__ import annotations

from functools import cache

import torch


Colour = tuple[float, float, float]


def colour_share(frames: torch.Tensor, colour: Colour, surroundings: tuple[Colour, Colour, Colour]) -> torch.Tensor:
    """
    Share of each pixel that has a colour, where the others are three known ones.

    Args:
        frames (`torch.Tensor` of shape `(..., 3, H, W)`):
            Frames, float in `[0, 1]`, RGB.
        colour (`tuple[float, float, float]`):
            The colour, RGB from 0 to 255.
        surroundings (`tuple` of 3 colours):
            What else there is.

    Returns:
        `torch.Tensor` of shape `(..., H, W)`: in `[0, 1]`, float.

    Raises:
        ValueError: if the frames are not RGB.
        TypeError: if the frames are not float.

    Example:

    ```python
    >>> import torch
    >>> half_black = torch.full((3, 1, 1), 0.5)
    >>> colour_share(half_black, (0, 0, 0), ((255, 255, 255), (255, 0, 0), (0, 255, 0))).round(decimals=3)
    tensor([[0.5000]])

    ```
    """
    if frames.ndim < 3 or frames.shape[-3] != 3:
        raise ValueError(f"Expected `frames` of shape (..., 3, H, W), got {tuple(frames.shape)}; pass RGB frames.")
    if not frames.is_floating_point():
        raise TypeError(f"Expected float `frames` in [0, 1], got {frames.dtype}; divide uint8 frames by 255.")
    red, green, blue, offset = _unmixing_weights(colour, surroundings)
    r, g, b = frames.unbind(-3)
    # In place on the new tensor of the first sum: no further copy of the frames.
    return (r * red + offset).add_(g, alpha=green).add_(b, alpha=blue).clamp_(0, 1)


@cache
def _unmixing_weights(colour: Colour, surroundings: tuple[Colour, ...]) -> tuple[float, float, float, float]:
    # Three weights and an offset are four unknowns, which four colours determine.
    colours = torch.tensor([colour, *surroundings], dtype=torch.float64) / 255
    equations = torch.cat([colours, torch.ones(4, 1, dtype=torch.float64)], dim=1)
    red, green, blue, offset = torch.linalg.solve(equations, torch.eye(4, dtype=torch.float64)[0]).tolist()
    # Python numbers, so that one solution serves every device and dtype.
    return red, green, blue, offset
