"""
How often a prediction stands still: the failure that likelihood training of a world model tends to, and that RL with
verifiable rewards repairs (https://huggingface.co/papers/2505.13934).
"""

from __future__ import annotations

import torch


SAME_FRAME = 0.5 / 255
"""Frames that nowhere differ by more are the same frame in uint8."""


def repeated_steps(states: torch.Tensor, *, tolerance: float = SAME_FRAME) -> torch.Tensor:
    """
    Which steps repeat the one before.

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


def repetition_rate(predicted: torch.Tensor, *, reference_mask: torch.Tensor | None = None) -> torch.Tensor:
    """
    Rate of consecutive identical frames in a prediction, in [0, 1]. Lower is better as long as the world moves.

    The authors' evaluation code looks at the last two frames only; we follow their text, which speaks of the rate over
    the whole prediction.

    Args:
        predicted (`torch.Tensor` of shape `(B, S, 3, H, W)`):
            Predicted frames, float in `[0, 1]`, RGB.
        reference_mask (`torch.Tensor` of shape `(B, S)`, *optional*):
            False where the reference is padding; such steps do not count.

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
    repeated = repeated_steps(predicted).to(predicted.dtype)
    if reference_mask is not None:
        repeated = repeated.masked_fill(~reference_mask[:, 1:].to(repeated.device, torch.bool), torch.nan)
    return repeated.nanmean(dim=1)
