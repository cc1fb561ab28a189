"""
Finite scalar quantization (FSQ, https://huggingface.co/papers/2309.15505): a codebook without parameters.

Each of `d` channels is bounded and rounded to one of its `L` levels; the codebook is their product:

    h = (L - 1) (1 + eps) / 2,  o = 1/2 if L is even else 0
    bound(z) = tanh(z + atanh(o / h)) h - o
    index = sum over channels of (round(bound(z)) + L // 2) * product of the previous levels

`eps` is 1e-3 as in the authors' code and in the FSQ paper's appendix.
"""

from __future__ import annotations

import math

import torch
from torch import nn


EPSILON = 1e-3


class FiniteScalarQuantizer(nn.Module):
    """
    Rounds the last dimension of a latent to a grid and numbers the grid's points.

    Args:
        levels (`list[int]`):
            Number of levels of each channel, each at least 2. The first channel is the least significant digit.

    Raises:
        `ValueError`: If a level is below 2.

    Example:

    ```python
    >>> import torch
    >>> quantizer = FiniteScalarQuantizer([7, 5, 5, 5, 5])
    >>> quantizer.codebook_size
    4375
    >>> values = quantizer.indices_to_values(torch.tensor([0, 4374]))
    >>> values.tolist()
    [[-1.0, -1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 1.0, 1.0]]
    >>> quantizer.values_to_indices(values).tolist()
    [0, 4374]

    ```
    """

    def __init__(self, levels: list[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ValueError(f"Expected at least one channel and at least 2 levels in each, got levels={levels}.")
        self.levels = [int(level) for level in levels]
        self.codebook_size = math.prod(self.levels)

    def _row(self, values: list[float], like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(values, device=like.device, dtype=torch.float32)

    def bound(self, latents: torch.Tensor) -> torch.Tensor:
        """Squash `latents` `(..., d)` so that rounding gives one of each channel's levels; float32 `(..., d)`."""
        half = [(level - 1) * (1 + EPSILON) / 2 for level in self.levels]
        # An even number of levels has no middle: the offset moves its range half a step down, so that rounding gives
        # `level` of them, and the shift keeps a latent of 0 at the level 0.
        offset = [0.5 if level % 2 == 0 else 0.0 for level in self.levels]
        shift = [math.atanh(o / h) for o, h in zip(offset, half, strict=True)]
        # In float32 also under bfloat16 autocast: near a boundary, its rounding would give another code.
        squashed = torch.tanh(latents.float() + self._row(shift, latents))
        return squashed * self._row(half, latents) - self._row(offset, latents)

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Quantize with a straight-through gradient.

        Args:
            latents (`torch.Tensor` of shape `(..., d)`):
                Any real values; computed in float32.

        Returns:
            `tuple`: Values of shape `(..., d)` in [-1, 1] in the dtype of `latents`, and indices `(...)`, int64, in
            `[0, codebook_size)`.
        """
        bounded = self.bound(latents)
        # Rounding has gradient 0; what is detached is left out, so the gradient is that of `bounded`.
        rounded = bounded + (bounded.round() - bounded).detach()
        values = rounded / self._row([level // 2 for level in self.levels], latents)
        return values.to(latents.dtype), self.values_to_indices(values)

    def quantize(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As a call: grid points and indices of `latents` `(..., d)`."""
        return self(latents)

    def values_to_indices(self, values: torch.Tensor) -> torch.Tensor:
        """Number the grid points `values` `(..., d)`: int64 indices `(...)`."""
        half = self._row([level // 2 for level in self.levels], values)
        digits = (values.float() * half + half).round().long()
        return (digits * self._basis(values)).sum(dim=-1)

    def indices_to_values(self, indices: torch.Tensor) -> torch.Tensor:
        """Grid points of `indices` `(...)`: float32 `(..., d)`. Indices count modulo the codebook size."""
        levels = torch.tensor(self.levels, device=indices.device)
        digits = (indices.unsqueeze(-1).long() // self._basis(indices)) % levels
        half = levels // 2
        return (digits - half).float() / half

    def codes_to_values(self, codes: torch.Tensor) -> torch.Tensor:
        """
        Grid points of codes, or of weights over the codebook, whose gradients it lets through.

        Args:
            codes (`torch.Tensor`):
                Indices of shape `(...)`, int; or weights of shape `(..., codebook_size)`, float: a code is the weight
                1 at its index.

        Returns:
            `torch.Tensor` of shape `(..., d)`, float32; of weights, the weighted sum of all grid points.
        """
        if not codes.is_floating_point():
            return self.indices_to_values(codes)
        return codes.float() @ self.indices_to_values(torch.arange(self.codebook_size, device=codes.device))

    def _basis(self, like: torch.Tensor) -> torch.Tensor:
        basis = [math.prod(self.levels[:position]) for position in range(len(self.levels))]
        return torch.tensor(basis, device=like.device, dtype=torch.int64)
