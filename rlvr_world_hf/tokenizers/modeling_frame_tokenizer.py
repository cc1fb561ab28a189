"""
Frame tokenizer: each frame on its own, all of it in the same kind of codes.

The tokenizer of RLVR-World's single-step prediction (https://huggingface.co/papers/2505.13934, section 5.1 and its
appendix on visual tokenizers): an encoder and a decoder of convolutions, with finite scalar quantization between them.

    frame --encoder--> latent --quantizer--> codes --decoder--> frame

It needs more codes a frame than a tokenizer that is given the frames before, and no frame before: a world model over
its codes sees every frame of its history alike. As in the authors' code the networks compute in [0, 1].
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import nn

from .convolutions import Decoder, Encoder
from .frames import FrameCodingMixin, Grid
from .fsq import FiniteScalarQuantizer


class FrameTokenizer(FrameCodingMixin, ModelMixin, ConfigMixin):
    """
    Visual tokenizer of single frames with finite scalar quantization.

    To a processor its codes are dynamics codes, and it has no context: `config.context_frames`,
    `context_codebook_size` and both sides of `context_grid` are 0. `encode` and `decode` do not read context frames.

    Args:
        image_size (`tuple[int, int]`, *optional*, defaults to `(64, 64)`):
            Height and width of a frame in pixels; multiples of `stem_patch_size * 2 ** (levels - 1)`.
        in_channels (`int`, *optional*, defaults to 3):
            Colour channels.
        stem_patch_size (`int`, *optional*, defaults to 4):
            Side of the pixel patches that are folded into channels before the first convolution; 1 in the paper.
        block_out_channels (`tuple[int, ...]`, *optional*, defaults to `(64, 96)`):
            Width of each level; the resolution is halved between levels. `(128, 256, 256, 512, 768)` in the paper.
        layers_per_block (`int`, *optional*, defaults to 1):
            Residual blocks a level; 2 in the paper.
        norm_num_groups (`int`, *optional*, defaults to 16):
            Groups of every group normalization; 32 in the authors' code.
        latent_channels (`int`, *optional*, defaults to 32):
            Width of a latent before it is projected to the quantizer; 64 in the paper.
        levels (`tuple[int, ...]`, *optional*, defaults to `(8, 5, 5, 5)`):
            FSQ levels; `(7, 5, 5, 5, 5)` in the paper.
        mid_attention (`bool`, *optional*, defaults to `True`):
            Self-attention in the middle blocks, as in the authors' code.
        context_frames (`int`, *optional*, defaults to 0):
            Always 0; part of the configuration for those who ask every tokenizer.

    Raises:
        `ValueError`: If the image size is not divisible as stated, or `context_frames` is not 0.

    Example:

    ```python
    >>> import torch
    >>> tokenizer = FrameTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 24)).eval()
    >>> codes = tokenizer.encode(torch.rand(2, 4, 3, 16, 24))
    >>> tokenizer.dynamics_grid, tokenizer.dynamics_codebook_size, codes.shape
    ((2, 3), 1000, torch.Size([2, 4, 2, 3]))
    >>> tokenizer.decode(codes).shape
    torch.Size([2, 4, 3, 16, 24])

    ```
    """

    @register_to_config
    def __init__(
        self,
        image_size: tuple[int, int] = (64, 64),
        in_channels: int = 3,
        stem_patch_size: int = 4,
        block_out_channels: tuple[int, ...] = (64, 96),
        layers_per_block: int = 1,
        norm_num_groups: int = 16,
        latent_channels: int = 32,
        levels: tuple[int, ...] = (8, 5, 5, 5),
        mid_attention: bool = True,
        context_frames: int = 0,
    ) -> None:
        super().__init__()
        if context_frames:
            raise ValueError(
                f"Expected `context_frames` to be 0, as each frame is coded on its own, got {context_frames}; give "
                "the frames before as observed steps, or take `CompressiveTokenizer`."
            )
        self._level_grids()  # refuses an image size that cannot be halved so often
        channels, pixels = list(block_out_channels), in_channels * stem_patch_size**2
        coarse_to_fine = channels[::-1]
        self.encoder = Encoder(
            channels, layers_per_block, pixels, latent_channels, norm_num_groups, attention=mid_attention
        )
        # In the authors' code a level of the decoder has the width of the level it leads to, not that of its own.
        self.decoder = Decoder(
            [*coarse_to_fine, channels[0]],
            [False, *[True] * (len(channels) - 1)],
            layers_per_block,
            latent_channels,
            pixels,
            norm_num_groups,
            attention=mid_attention,
        )
        self.decoder.conv_out.bias = nn.Parameter(torch.full((pixels,), 0.5))  # training starts from grey frames
        self.quantizer = FiniteScalarQuantizer(list(levels))
        self.quantizer_in = nn.Conv2d(latent_channels, len(levels), 1)
        self.quantizer_out = nn.Conv2d(len(levels), latent_channels, 1)

    # -- what a processor asks ----------------------------------------------------------------------------------------

    @property
    def context_codebook_size(self) -> int:
        """0: there are no context codes."""
        return 0

    @property
    def dynamics_codebook_size(self) -> int:
        """Number of different codes."""
        return self.quantizer.codebook_size

    @property
    def context_grid(self) -> Grid:
        """`(0, 0)`: there are no context codes."""
        return (0, 0)

    @property
    def dynamics_grid(self) -> Grid:
        """Rows and columns of codes a frame."""
        return self._level_grids()[-1]

    # -- codes --------------------------------------------------------------------------------------------------------

    def encode_context(self, context_frames: torch.Tensor) -> torch.Tensor:
        """
        The codes of no context frames.

        Args:
            context_frames (`torch.Tensor` of shape `(B, 0, 3, H, W)`):
                Floats.

        Returns:
            `torch.Tensor` of shape `(B, 0, 0)`, int64.

        Raises:
            `ValueError`: If there are context frames, or they have another size.
            `TypeError`: If they are not float.
        """
        self._check_frames(context_frames, "context_frames", 0)
        return torch.zeros(len(context_frames), 0, 0, dtype=torch.int64, device=context_frames.device)

    def encode(self, frames: torch.Tensor, *, context_frames: torch.Tensor | None = None) -> torch.Tensor:
        """
        Codes of frames.

        Args:
            frames (`torch.Tensor` of shape `(B, T, 3, H, W)`):
                Floats in [0, 1], RGB; each is coded for itself, and equal ones once.
            context_frames (`torch.Tensor`, *optional*):
                Not read; those who ask every tokenizer give them, and get rows of codes.

        Returns:
            `torch.Tensor` of shape `(B, T, h, w)`, or, with context frames, `(B, T, N)` row by row; int64, in
            `[0, dynamics_codebook_size)`.

        Raises:
            `ValueError`: If the frames have another size than this tokenizer's.
            `TypeError`: If they are not float.
        """
        self._check_frames(frames, "frames", None)
        codes = self._encode_once(frames, lambda unique: self._quantize(unique)[1])
        return codes if context_frames is not None else codes.unflatten(-1, self.dynamics_grid)

    def decode(
        self, codes: torch.Tensor, *, context_frames: torch.Tensor | None = None, clamp: bool = True
    ) -> torch.Tensor:
        """
        Frames of codes.

        Args:
            codes (`torch.Tensor` of shape `(B, T, N)` or `(B, T, h, w)`):
                Codes, int64; or weights over the codebook, float `(B, T, N, dynamics_codebook_size)`, to which
                gradients flow back.
            context_frames (`torch.Tensor`, *optional*):
                Not read.
            clamp (`bool`, *optional*, defaults to `True`):
                Whether values are held within [0, 1]; otherwise they are as the decoder gives them.

        Returns:
            `torch.Tensor` of shape `(B, T, 3, H, W)`, floats in [0, 1], RGB.
        """
        if not codes.is_floating_point():
            codes = codes.flatten(2)  # `encode` gives grids or rows, depending on who asks; both are taken
        values = (
            self.quantizer.codes_to_values(part).to(self.dtype)
            for part in codes.split(self._items_a_piece(codes.shape[1]))
        )
        frames = torch.cat([self._decode(of_part) for of_part in values])
        return frames.clamp(0, 1) if clamp else frames

    def forward(
        self, frames: torch.Tensor, *, context_frames: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Encode and decode with gradients, for training.

        Args:
            frames (`torch.Tensor` of shape `(B, T, 3, H, W)`):
                Floats in [0, 1], RGB.
            context_frames (`torch.Tensor` of shape `(B, K, 3, H, W)`, *optional*):
                Frames before them, any number; here they are frames like all others.

        Returns:
            `tuple`: reconstructed frames `(B, T, 3, H, W)` and those before `(B, K, 3, H, W)`, both not clamped, their
            codes `(B, T, N)` and `(B, K, N)`.
        """
        # One pass of all frames: the context is coded like the rest, and the losses get both parts apart.
        before = 0 if context_frames is None else context_frames.shape[1]
        clip = frames if context_frames is None else torch.cat([context_frames, frames], dim=1)
        values, codes = self._quantize(clip)
        decoded = self._decode(values)
        return decoded[:, before:], decoded[:, :before], codes[:, before:], codes[:, :before]

    # -- parts --------------------------------------------------------------------------------------------------------

    def _quantize(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Grid points `(B, T, N, d)` and codes `(B, T, N)` of frames `(B, T, 3, H, W)`."""
        latent, _, _ = self.encoder(self._fold(frames))
        scaled = rearrange(self.quantizer_in(latent), "(b t) d h w -> b t (h w) d", b=len(frames))
        return self.quantizer(scaled)

    def _decode(self, values: torch.Tensor) -> torch.Tensor:
        """Frames `(B, T, 3, H, W)`, not clamped, of grid points `(B, T, N, d)`."""
        height, _ = self.dynamics_grid
        latent = self.quantizer_out(rearrange(values, "b t (h w) d -> (b t) d h w", h=height).contiguous())
        pixels, _ = self.decoder(latent)
        return self._unfold(pixels, len(values))
