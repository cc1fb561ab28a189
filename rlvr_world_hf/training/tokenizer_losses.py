"""
What a visual tokenizer minimizes. With T the mean over later frames and C that over context frames:

    loss = T |decoded - frame| (1 + moving_weight [pixel moves])  +  context_weight C |decoded - frame|
         + hard_pixel_weight  ( T hard(decoded, frame)  + context_weight C hard(decoded, frame)  )
         + perceptual_weight  ( T LPIPS(decoded, frame) + context_weight C LPIPS(decoded, frame) )
         + adversarial_weight ( T (-D(decoded))         + context_weight C (-D(decoded))         )

The paper (https://huggingface.co/papers/2505.13934, appendix on visual tokenizers) uses L1 1, perceptual 1 and, from
step 10,000 on, adversarial 0.1. Weighting moving pixels is ours: they are few, and a tokenizer that only copies is
nearly right on all the others. So are hard pixels: the mean absolute error of a small thing that moves, such as
PushT's agent, is least when it is left out, which the squared error of the worst pixels forbids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange

from ..rewards.perceptual import layer_distances, lpips_features
from ..rewards.pixel import moving_pixels
from .discriminator import Adversary


if TYPE_CHECKING:
    from lpips import LPIPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """A batch of frames and what the tokenizer made of them, all of shape `(B, frames, 3, H, W)`, floats."""

    later: torch.Tensor
    """Later frames in [0, 1]."""

    context: torch.Tensor
    """Context frames in [0, 1]."""

    decoded: torch.Tensor
    """Reconstruction of `later`."""

    decoded_context: torch.Tensor
    """Reconstruction of `context`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerLoss:
    """The weighted sum that a tokenizer minimizes; calling it with a [`Reconstruction`] gives a scalar."""

    moving_weight: float
    """Additional weight of pixels that move."""

    context_weight: float
    """Weight of the context's own reconstruction, in each term."""

    hard_pixel_weight: float = 0.0
    """Weight of [`hard_pixel_error`]."""

    hard_pixel_share: float = 0.02
    """Share of a frame's pixels that count as hard."""

    perceptual_weight: float = 0.0
    """Weight of LPIPS."""

    perceptual: LPIPS | None = None
    """LPIPS model, where its weight is not 0."""

    adversarial_weight: float = 0.0
    """Weight of the adversary's judgement."""

    def __call__(self, batch: Reconstruction, adversary: Adversary | None = None) -> torch.Tensor:
        """The loss of a batch; `adversary` takes part from the step on at which it is given."""
        errors = reconstruction_errors(batch)
        # The mean over moving pixels times their share is the mean over all pixels of the error where one moves.
        weighted = errors["mae"] + self.moving_weight * errors["moving"].detach() * errors["mae_moving"]
        loss = weighted + self.context_weight * errors["mae_context"]
        if self.hard_pixel_weight:
            worst = hard_pixel_error(batch.decoded, batch.later, share=self.hard_pixel_share)
            of_context = hard_pixel_error(batch.decoded_context, batch.context, share=self.hard_pixel_share)
            loss = loss + self.hard_pixel_weight * (worst + self.context_weight * of_context)
        if self.perceptual is not None:
            distance = perceptual_distance(self.perceptual, batch.decoded, batch.later)
            of_context = perceptual_distance(self.perceptual, batch.decoded_context, batch.context)
            loss = loss + self.perceptual_weight * (distance + self.context_weight * of_context)
        if adversary is not None:  # its weight may be set long before its first step
            judged = adversary.loss(batch.decoded) + self.context_weight * adversary.loss(batch.decoded_context)
            loss = loss + self.adversarial_weight * judged
        return loss


def reconstruction_errors(batch: Reconstruction) -> dict[str, torch.Tensor]:
    """
    Mean absolute errors of a reconstruction.

    Args:
        batch (`Reconstruction`):
            Frames and their reconstructions.

    Returns:
        `dict`: Scalars in [0, inf), 0 is perfect: `mae` over all pixels of later frames, `mae_moving` over the moving
        ones, `mae_context` over the context; and `moving`, the share of pixels that move.

    Example:

    ```python
    >>> import torch
    >>> context, later = torch.zeros(1, 1, 3, 2, 2), torch.zeros(1, 1, 3, 2, 2)
    >>> later[..., 0, 0] = 1
    >>> copied = Reconstruction(later=later, context=context, decoded=context, decoded_context=context)
    >>> {name: value.item() for name, value in reconstruction_errors(copied).items()}
    {'mae': 0.25, 'mae_moving': 1.0, 'moving': 0.25, 'mae_context': 0.0}

    ```
    """
    # A pixel moves or does not, whatever its channel, hence the mean over channels below. Where nothing moves the sum
    # is 0, and the clamp leaves it so instead of 0 / 0.
    moving = moving_pixels(batch.later, batch.context).unsqueeze(2).float()  # (B, S, 1, H, W)
    error = (batch.decoded.float() - batch.later).abs()
    return {
        "mae": error.mean(),
        "mae_moving": (error.mean(dim=2, keepdim=True) * moving).sum() / moving.sum().clamp(min=1),
        "moving": moving.mean(),
        "mae_context": (batch.decoded_context.float() - batch.context).abs().mean(),
    }


def hard_pixel_error(decoded: torch.Tensor, frames: torch.Tensor, *, share: float) -> torch.Tensor:
    """
    Mean squared error of the worst pixels of each frame.

    Args:
        decoded (`torch.Tensor` of shape `(B, T, 3, H, W)`):
            Reconstruction; need not be clamped.
        frames (`torch.Tensor` of shape `(B, T, 3, H, W)`):
            Recorded frames in [0, 1].
        share (`float`):
            Share of a frame's pixels that count, in (0, 1]; at least one pixel does.

    Returns:
        `torch.Tensor`: Scalar in [0, inf); 0 is perfect.

    Example:

    ```python
    >>> import torch
    >>> frames = torch.zeros(1, 1, 3, 2, 2)
    >>> frames[..., 0, 0] = 1
    >>> hard_pixel_error(torch.zeros_like(frames), frames, share=0.25).item()
    1.0

    ```
    """
    errors = rearrange((decoded.float() - frames).square().mean(dim=2), "b t h w -> b t (h w)")
    return errors.topk(max(1, round(share * errors.shape[-1])), dim=-1).values.mean()


def perceptual_distance(model: LPIPS, decoded: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """
    Mean LPIPS of frames and their reconstruction, with a gradient to the latter.

    Args:
        model (`lpips.LPIPS`):
            See [`~rlvr_world_hf.rewards.perceptual.load_lpips`].
        decoded (`torch.Tensor` of shape `(B, T, 3, H, W)`):
            Reconstruction, computed with in float32; need not be clamped.
        frames (`torch.Tensor` of shape `(B, T, 3, H, W)`):
            Recorded frames in [0, 1], at least 32 pixels a side.

    Returns:
        `torch.Tensor`: Scalar in [0, inf); 0 is perfect.
    """
    features, reference = (
        lpips_features(model, rearrange(clips.float(), "b t c h w -> (b t) c h w")) for clips in (decoded, frames)
    )
    return torch.stack([layer.mean() for layer in layer_distances(model, features, reference)]).sum()
