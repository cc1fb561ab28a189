r"""
A patch discriminator for tokenizers, and the hinge losses of the game it plays with them.

With D the map of logits, x recorded frames and y reconstructed ones (https://huggingface.co/papers/1705.02894):

    discriminator: ( mean max(0, 1 - D(x)) + mean max(0, 1 + D(y)) ) / 2
    tokenizer:     - mean D(y)

Patches as in VQGAN (https://huggingface.co/papers/2012.09841); spectral normalization
(https://huggingface.co/papers/1802.05957) keeps the discriminator in check and needs no statistics of the batch, so
that it works for frames of any size.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from .parallel import average_gradients


class PatchDiscriminator(nn.Module):
    """
    Frames -> one logit for each patch: high where the patch looks recorded, low where it looks reconstructed.

    Args:
        depth (`int`, *optional*, defaults to 6):
            Convolutions that halve the resolution; 6 in the paper (https://huggingface.co/papers/2505.13934).
        width (`int`, *optional*, defaults to 64):
            Channels of the first; each next one has twice as many, up to eight times this.
        in_channels (`int`, *optional*, defaults to 3):
            Colour channels.

    Raises:
        `ValueError`: If `depth` or `width` is below 1.

    Example:

    ```python
    >>> import torch
    >>> PatchDiscriminator(depth=3, width=8)(torch.rand(2, 3, 32, 40)).shape
    torch.Size([2, 1, 4, 5])

    ```
    """

    def __init__(self, *, depth: int = 6, width: int = 64, in_channels: int = 3) -> None:
        super().__init__()
        if min(depth, width) < 1:
            raise ValueError(f"Expected `depth` and `width` of at least 1, got {depth} and {width}.")
        widths = [in_channels, *(width * min(2**level, 8) for level in range(depth))]
        pairs = zip(widths, widths[1:], strict=False)
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv2d(above, below, kernel_size=3, stride=2, padding=1)) for above, below in pairs
        )
        self.logits = spectral_norm(nn.Conv2d(widths[-1], 1, kernel_size=1))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Logits `(B, 1, h, w)` of frames `(B, C, H, W)` in [0, 1]; sides are halved, rounding up, `depth` times."""
        hidden = frames * 2 - 1
        for convolution in self.convolutions:
            hidden = functional.leaky_relu(convolution(hidden), 0.2)
        return self.logits(hidden)


def discriminator_loss(recorded: torch.Tensor, reconstructed: torch.Tensor) -> torch.Tensor:
    """
    Hinge loss of the discriminator: 0 where every patch is told apart with a margin, 1 where all logits are 0.

    Args:
        recorded (`torch.Tensor` of any shape):
            Logits of recorded frames.
        reconstructed (`torch.Tensor` of any shape):
            Logits of reconstructed frames.

    Returns:
        `torch.Tensor`: Scalar, in [0, inf).

    Example:

    ```python
    >>> import torch
    >>> discriminator_loss(torch.tensor([2.0, 1.0]), torch.tensor([-1.0, 0.0]))
    tensor(0.2500)

    ```
    """
    return (functional.relu(1 - recorded).mean() + functional.relu(1 + reconstructed).mean()) / 2


class Adversary:
    """
    A discriminator with its optimizer: tells a tokenizer how to look real, and learns to see through it.

    Args:
        depth (`int`, *optional*, defaults to 6):
            See [`PatchDiscriminator`].
        width (`int`, *optional*, defaults to 64):
            See [`PatchDiscriminator`].
        learning_rate (`float`, *optional*, defaults to 1e-4):
            Of Adam with betas 0.5 and 0.9, constant.
        seed (`int`, *optional*, defaults to 0):
            Decides the first weights.
        device (`torch.device`, *optional*):
            Where it computes; the CPU by default.

    Example:

    ```python
    >>> import torch
    >>> adversary = Adversary(depth=2, width=8)
    >>> clip = torch.rand(2, 4, 3, 16, 16)
    >>> round(adversary.update(clip, clip), 3)
    1.0
    >>> adversary.loss(clip).shape
    torch.Size([])

    ```
    """

    def __init__(
        self,
        *,
        depth: int = 6,
        width: int = 64,
        learning_rate: float = 1e-4,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        # Drawn on the CPU and then moved: a seed gives the same weights on every device, and whatever the caller draws
        # next is what it would be without an adversary.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            discriminator = PatchDiscriminator(depth=depth, width=width)
        self.discriminator = discriminator.to(device)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=learning_rate, betas=(0.5, 0.9))

    def loss(self, reconstructed: torch.Tensor) -> torch.Tensor:
        """The tokenizer's loss for frames `(B, T, 3, H, W)`: a scalar whose gradient reaches them alone."""
        # Not `no_grad`: the gradient must pass through the discriminator to the frames, and needs none of its weights.
        self.discriminator.requires_grad_(False)
        loss = -self.discriminator(_single_frames(reconstructed)).mean()
        self.discriminator.requires_grad_(True)
        return loss

    def update(self, recorded: torch.Tensor, reconstructed: torch.Tensor) -> float:
        """One step on frames `(B, T, 3, H, W)` of either kind; returns the [`discriminator_loss`] before it."""
        # In one pass, so that both kinds meet the same weights: spectral normalization moves on with each pass.
        frames = torch.cat([_single_frames(recorded), _single_frames(reconstructed).detach()])
        loss = discriminator_loss(*self.discriminator(frames).chunk(2))
        self.optimizer.zero_grad()
        loss.backward()
        average_gradients(self.discriminator.parameters())
        self.optimizer.step()
        return loss.item()

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer state, all that a restarted run needs."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what [`Adversary.state_dict`] gave."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])


def _single_frames(clips: torch.Tensor) -> torch.Tensor:
    return rearrange(clips.float(), "b t c h w -> (b t) c h w")
