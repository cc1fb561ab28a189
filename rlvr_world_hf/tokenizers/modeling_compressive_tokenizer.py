"""
Compressive tokenizer: context frames in full, each later frame as few dynamics tokens.

The context-conditioned tokenizer of iVideoGPT (https://huggingface.co/papers/2405.15223), with finite scalar
quantization as in RLVR-World (https://huggingface.co/papers/2505.13934, appendix on visual tokenizers). Four networks
of convolutions:

    context frames  --context encoder-->  context codes  --context decoder-->  context frames
    later frame     --dynamics encoder--> dynamics codes --dynamics decoder--> later frame

The two dynamics networks see the context's features at several resolutions, so that what does not move is copied and
need not be coded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import overload

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange, repeat
from torch import nn
from torch.nn import functional

from .convolutions import Decoder, Encoder, Refinement
from .frames import FrameCodingMixin, Grid
from .fsq import FiniteScalarQuantizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """What all conditioning modules of a tokenizer share."""

    frames: int
    """Context frames, `K`."""

    heads: int
    """Heads of an attention."""

    groups: int
    """Groups of a group normalization."""

    dropout: float
    """Share of an attention, and of what it adds, that is dropped in training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionedStage:
    """The end of one stage of a dynamics network, where it may see the context."""

    kind: str
    """`"none"`, `"convolution"` or `"attention"`."""

    channels: int
    """Width of its features."""

    context_channels: int
    """Width of the context's features that it sees."""

    grid: Grid
    """Rows and columns of both."""

    def build(self, shared: Conditioning) -> nn.Module:
        """
        Its module; for `"none"` an identity that is never called.

        Args:
            shared (`Conditioning`):
                What it has in common with the other stages.

        Returns:
            `torch.nn.Module`: From features and those of the context to features.

        Raises:
            `ValueError`: If its kind is none of the three.
        """
        if self.kind == "attention":
            return ContextAttention(self, shared)
        if self.kind == "convolution":
            return ContextConvolution(self, shared)
        if self.kind == "none":
            return nn.Identity()
        raise ValueError(f"Expected 'none', 'convolution' or 'attention' for each stage, got {self.kind!r}.")


class ContextAttention(nn.Module):
    """Each position attends to all positions of the context's features: `silu(x + attention(x, context))`."""

    def __init__(self, stage: ConditionedStage, shared: Conditioning) -> None:
        super().__init__()
        channels, context_channels = stage.channels, stage.context_channels
        positions = stage.grid[0] * stage.grid[1]
        self.query_norm = nn.GroupNorm(shared.groups, channels)
        self.context_norm = nn.GroupNorm(shared.groups, context_channels)
        self.query_position = nn.Parameter(0.02 * torch.randn(positions, channels))
        self.context_position = nn.Parameter(0.02 * torch.randn(shared.frames * positions, context_channels))
        self.attention = nn.MultiheadAttention(
            channels,
            shared.heads,
            dropout=shared.dropout,
            kdim=context_channels,
            vdim=context_channels,
            batch_first=True,
        )
        self.dropout = nn.Dropout(shared.dropout)

    def forward(self, hidden: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Features `(B, c, h, w)`, given those of the context, `(B, K, d, h, w)`."""
        height = hidden.shape[-2]
        queries = rearrange(self.query_norm(hidden), "b c h w -> b (h w) c") + self.query_position
        normed = self.context_norm(rearrange(context, "b k c h w -> b c k h w"))
        keys = rearrange(normed, "b c k h w -> b (k h w) c") + self.context_position
        attended, _ = self.attention(queries, keys, keys, need_weights=False)
        attended = self.dropout(attended)
        return functional.silu(hidden + rearrange(attended, "b (h w) c -> b c h w", h=height))


class ContextConvolution(nn.Module):
    """Each position sees the features of the context frames at the same place: `x + convolution(x, context)`."""

    def __init__(self, stage: ConditionedStage, shared: Conditioning) -> None:
        super().__init__()
        both = stage.channels + shared.frames * stage.context_channels
        self.norm = nn.GroupNorm(shared.groups, both)
        self.convolution = nn.Conv2d(both, stage.channels, kernel_size=1)

    def forward(self, hidden: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Features `(B, c, h, w)`, given those of the context, `(B, K, d, h, w)`."""
        both = torch.cat([hidden, rearrange(context, "b k c h w -> b (k c) h w")], dim=1)
        return hidden + self.convolution(functional.silu(self.norm(both)))


def _conditioning(stages: Iterable[tuple[str, int, int, Grid]], shared: Conditioning) -> nn.ModuleList:
    """Modules of the stages of a network, each given as kind, widths of both features, and grid."""
    return nn.ModuleList(
        ConditionedStage(kind=kind, channels=width, context_channels=context_width, grid=grid).build(shared)
        for kind, width, context_width, grid in stages
    )


class CompressiveTokenizer(FrameCodingMixin, ModelMixin, ConfigMixin):
    """
    Context-conditioned visual tokenizer with finite scalar quantization.

    Args:
        image_size (`tuple[int, int]`, *optional*, defaults to `(64, 64)`):
            Height and width of a frame in pixels; multiples of
            `stem_patch_size * 2 ** (levels - 1) * dynamics_patch_size`, each in its direction.
        in_channels (`int`, *optional*, defaults to 3):
            Colour channels.
        stem_patch_size (`int`, *optional*, defaults to 4):
            Side of the pixel patches that are folded into channels before the first convolution; 1 in the paper.
        block_out_channels (`tuple[int, ...]`, *optional*, defaults to `(48, 80, 112)`):
            Width of each level; the resolution is halved between levels.
        encoder_layers (`int`, *optional*, defaults to 1):
            Residual blocks a level in the encoders; 2 in the paper.
        decoder_layers (`int`, *optional*, defaults to 1):
            Residual blocks a level in the decoders; 3 in the paper.
        norm_num_groups (`int`, *optional*, defaults to 16):
            Groups of every group normalization.
        latent_channels (`int`, *optional*, defaults to 32):
            Width of a latent before it is projected to the quantizer; 64 in the paper.
        context_levels (`tuple[int, ...]`, *optional*, defaults to `(8, 5, 5, 5)`):
            FSQ levels of the context codes; `(7, 5, 5, 5, 5)` in the paper.
        dynamics_levels (`tuple[int, ...]`, *optional*, defaults to `(8, 5, 5, 5)`):
            FSQ levels of the dynamics codes; `(7, 5, 5, 5, 5)` in the paper.
        dynamics_patch_size (`int` or `tuple[int, int]`, *optional*, defaults to 1):
            Side, or height and width, of the patch of latents that dynamics codes cover; 4 in the paper.
        dynamics_codes_per_patch (`int`, *optional*, defaults to 1):
            Dynamics codes of each patch, all made from the whole of it; 1 in the paper. With a patch as large as the
            frame and several codes, no code belongs to a place, so that codes are not spent where nothing is.
        context_frames (`int`, *optional*, defaults to 1):
            Number of context frames.
        encoder_conditioning (`tuple[str, ...]`, *optional*):
            How the dynamics encoder sees the context after the input convolution and after each level: `"none"`,
            `"convolution"` (features at the same place) or `"attention"` (features anywhere). The paper: attention
            after the levels whose output is at most 32 high. With `"none"` everywhere a frame has the same codes in
            every context: more to code, but easier to predict.
        decoder_conditioning (`tuple[str, ...]`, *optional*):
            The same for the dynamics decoder, after the middle block and after each level. The paper: attention after
            the middle block.
        attention_heads (`int`, *optional*, defaults to 4):
            Heads of the conditioning attention.
        attention_dropout (`float`, *optional*, defaults to 0.0):
            Share of the conditioning attention, and of what it adds, that is dropped in training; 0.1 in the authors'
            code.
        attention_norm_groups (`int`, *optional*):
            Groups of the group normalizations before the conditioning; `norm_num_groups` by default, 32 in the
            authors' code.
        mid_attention (`bool`, *optional*, defaults to `True`):
            Self-attention in the middle blocks of the dynamics networks.
        context_mid_attention (`bool`, *optional*, defaults to `False`):
            Self-attention in the middle blocks of the context networks.
        value_range (`tuple[float, float]`, *optional*, defaults to `(-1.0, 1.0)`):
            What black and white are to the networks; `(0.0, 1.0)` in the authors' code.
        decode_from (`str`, *optional*, defaults to `"frames"`):
            `"frames"`: the dynamics decoder sees the features of the given context frames, and its output is added to
            the last of them, so that still pixels stay sharp. `"codes"`: it sees those of the decoded context codes,
            as in the paper.
        refinement_channels (`int`, *optional*, defaults to 0):
            Width of convolutions at full resolution that correct the later frames; 0 for none, as in the paper.
        local_codes (`bool`, *optional*, defaults to `False`):
            Whether the dynamics codes of a patch are made from that patch of the frame and nothing else; in the paper,
            from the whole frame. Codes of patches where nothing moves are then easy to predict, and fewer are left to
            tell of what does.

    Raises:
        `ValueError`: If the image size is not divisible as stated, a conditioning list has the wrong length,
            `dynamics_codes_per_patch` is below 1, or codes are to be local while their encoder sees the context.

    Example:

    ```python
    >>> import torch
    >>> tokenizer = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16)).eval()
    >>> clip = torch.rand(2, 4, 3, 16, 16)
    >>> context, later = clip[:, :1], clip[:, 1:]
    >>> codes = tokenizer.encode(later, context_frames=context)
    >>> codes.shape, tokenizer.encode_context(context).shape
    (torch.Size([2, 3, 4]), torch.Size([2, 1, 4]))
    >>> tokenizer.decode(codes, context_frames=context).shape
    torch.Size([2, 3, 3, 16, 16])

    ```
    """

    # One keyword for each entry of `config.json`, as diffusers' `register_to_config` and `from_pretrained` work by
    # them: a record in their place would be a nested entry, which no published codec has. What is built takes records.
    @register_to_config
    def __init__(
        self,
        image_size: tuple[int, int] = (64, 64),
        in_channels: int = 3,
        stem_patch_size: int = 4,
        block_out_channels: tuple[int, ...] = (48, 80, 112),
        encoder_layers: int = 1,
        decoder_layers: int = 1,
        norm_num_groups: int = 16,
        latent_channels: int = 32,
        context_levels: tuple[int, ...] = (8, 5, 5, 5),
        dynamics_levels: tuple[int, ...] = (8, 5, 5, 5),
        dynamics_patch_size: int | tuple[int, int] = 1,
        dynamics_codes_per_patch: int = 1,
        context_frames: int = 1,
        encoder_conditioning: tuple[str, ...] | None = None,
        decoder_conditioning: tuple[str, ...] | None = None,
        attention_heads: int = 4,
        attention_dropout: float = 0.0,
        attention_norm_groups: int | None = None,
        mid_attention: bool = True,
        context_mid_attention: bool = False,
        value_range: tuple[float, float] = (-1.0, 1.0),
        decode_from: str = "frames",
        refinement_channels: int = 0,
        local_codes: bool = False,
    ) -> None:
        super().__init__()
        if decode_from not in ("frames", "codes"):
            raise ValueError(f"Expected `decode_from` to be 'frames' or 'codes', got {decode_from!r}.")
        if dynamics_codes_per_patch < 1:
            raise ValueError(f"Expected `dynamics_codes_per_patch` of at least 1, got {dynamics_codes_per_patch}.")
        grids, kinds = self._level_grids(), self._conditioning_kinds()  # what cannot be built is refused first
        # Random weights are drawn in the order of these parts: with another order a seed gives another codec.
        self._build_networks()
        self._build_conditioning(grids, *kinds)
        self._build_quantizers()
        sources = 2 if decode_from == "frames" else 1
        self.refinement = (
            Refinement(sources * in_channels, in_channels, refinement_channels) if refinement_channels else None
        )

    # -- construction -------------------------------------------------------------------------------------------------

    def _build_networks(self) -> None:
        """The four networks; those of a kind differ in their middle attention alone."""
        config, channels = self.config, list(self.config.block_out_channels)
        pixels = config.in_channels * config.stem_patch_size**2
        sizes = (channels, config.encoder_layers, pixels, config.latent_channels, config.norm_num_groups)
        self.context_encoder = Encoder(*sizes, config.context_mid_attention)
        self.dynamics_encoder = Encoder(*sizes, config.mid_attention)
        up, doubled = channels[::-1], [True] * (len(channels) - 1) + [False]
        down = (
            [up[0], *up],
            doubled,
            config.decoder_layers,
            config.latent_channels,
            pixels,
            config.norm_num_groups,
        )
        self.context_decoder = Decoder(*down, config.context_mid_attention)
        self.dynamics_decoder = Decoder(*down, config.mid_attention)

    def _build_conditioning(self, grids: list[Grid], encoder_kinds: list[str], decoder_kinds: list[str]) -> None:
        """What the two dynamics networks see of the context at the end of each stage."""
        config, channels = self.config, list(self.config.block_out_channels)
        shared = Conditioning(
            frames=config.context_frames,
            heads=config.attention_heads,
            groups=config.attention_norm_groups or config.norm_num_groups,
            dropout=config.attention_dropout,
        )
        up = channels[::-1]
        # A decoder's stage doubles the resolution before it ends. The decoded context has features right there, of the
        # same width; those of the context encoder at that resolution are from before its halving, one level finer.
        seen_by_decoder = [up[0], *up] if config.decode_from == "codes" else [*up, up[-1]]
        encoder_stages = zip(
            encoder_kinds, [channels[0], *channels], [channels[0], *channels], [*grids, grids[-1]], strict=True
        )
        decoder_stages = zip(decoder_kinds, [up[0], *up], seen_by_decoder, [*grids[::-1], grids[0]], strict=True)
        self.dynamics_encoder.conditioning = _conditioning(encoder_stages, shared)
        self.dynamics_decoder.conditioning = _conditioning(decoder_stages, shared)

    def _conditioning_kinds(self) -> tuple[list[str], list[str]]:
        """Kind of each stage of the dynamics encoder and of the dynamics decoder, checked."""
        config, levels = self.config, len(self.config.block_out_channels)
        encoder = list(config.encoder_conditioning or ["convolution"] * levels + ["attention"])
        decoder = list(config.decoder_conditioning or ["attention"] + ["convolution"] * levels)
        for name, kinds in {"encoder_conditioning": encoder, "decoder_conditioning": decoder}.items():
            if len(kinds) != levels + 1:
                raise ValueError(
                    f"Expected `{name}` to name {levels + 1} stages for {levels} levels, got {len(kinds)}: {kinds}."
                )
        if config.local_codes and set(encoder) != {"none"}:
            raise ValueError(
                "Expected `encoder_conditioning` to be 'none' for each stage with `local_codes`, as the context is "
                f"seen as a whole, got {encoder}."
            )
        return encoder, decoder

    def _build_quantizers(self) -> None:
        """The two quantizers, and the projections to and from their channels."""
        config = self.config
        self.context_quantizer = FiniteScalarQuantizer(list(config.context_levels))
        self.dynamics_quantizer = FiniteScalarQuantizer(list(config.dynamics_levels))
        context_values = len(config.context_levels)
        self.context_in = nn.Conv2d(config.latent_channels, context_values, 1)
        self.context_out = nn.Conv2d(context_values, config.latent_channels, 1)
        patch = config.latent_channels * math.prod(self._patch)
        values = len(config.dynamics_levels) * config.dynamics_codes_per_patch
        self.dynamics_in = nn.Linear(patch, values)
        self.dynamics_out = nn.Linear(values, patch)

    # -- what a processor asks ----------------------------------------------------------------------------------------

    @property
    def context_codebook_size(self) -> int:
        """Number of different context codes."""
        return self.context_quantizer.codebook_size

    @property
    def dynamics_codebook_size(self) -> int:
        """Number of different dynamics codes."""
        return self.dynamics_quantizer.codebook_size

    @property
    def context_grid(self) -> Grid:
        """Rows and columns of context codes a frame."""
        return self._level_grids()[-1]

    @property
    def dynamics_grid(self) -> Grid:
        """Rows and columns of dynamics codes a frame; codes of one patch stand side by side."""
        (height, width), (rows, columns) = self.context_grid, self._patch
        return height // rows, width // columns * self.config.dynamics_codes_per_patch

    # -- codes --------------------------------------------------------------------------------------------------------

    def encode_context(self, context_frames: torch.Tensor) -> torch.Tensor:
        """
        Codes of the context frames.

        Args:
            context_frames (`torch.Tensor` of shape `(B, K, 3, H, W)`):
                Floats in [0, 1], RGB.

        Returns:
            `torch.Tensor` of shape `(B, K, N)`, int64, row by row, in `[0, context_codebook_size)`.

        Raises:
            `ValueError`: If the frames have another number or size than this tokenizer's.
            `TypeError`: If they are not float.
        """
        self._check_frames(context_frames, "context_frames", self.config.context_frames)
        piece = self._items_a_piece(context_frames.shape[1])
        if len(context_frames) > piece:
            return torch.cat([self.encode_context(part) for part in context_frames.split(piece)])
        latent, _, _ = self.context_encoder(self._fold(context_frames))
        _, codes = self._quantize_context(latent)
        return rearrange(codes, "(b k) h w -> b k (h w)", b=len(context_frames))

    @overload
    def encode(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...

    @overload
    def encode(self, frames: torch.Tensor, *, context_frames: torch.Tensor) -> torch.Tensor: ...

    def encode(
        self, frames: torch.Tensor, *, context_frames: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """
        Dynamics codes of later frames, given the context frames; or all codes of a whole clip.

        Args:
            frames (`torch.Tensor` of shape `(B, T, 3, H, W)`):
                Floats in [0, 1], RGB; each is coded for itself.
            context_frames (`torch.Tensor` of shape `(B, K, 3, H, W)`, *optional*):
                Floats in [0, 1], RGB. Without them, `frames` is a whole clip that begins with the context.

        Returns:
            `torch.Tensor` of shape `(B, T, N)`, int64, row by row, in `[0, dynamics_codebook_size)`. Of a whole clip a
            `tuple` of its context codes, as [`encode_context`] gives them, and the dynamics codes of all later frames.

        Raises:
            `ValueError`: If frames have another number or size than this tokenizer's.
            `TypeError`: If they are not float.
        """
        self._check_frames(frames, "frames", None)
        if context_frames is None:
            context, later = frames.tensor_split([self.config.context_frames], dim=1)
            return self.encode_context(context), self.encode(later, context_frames=context)
        self._check_frames(context_frames, "context_frames", self.config.context_frames)
        if all(isinstance(module, nn.Identity) for module in self.dynamics_encoder.conditioning):
            # Without the context a frame has one code in all windows.
            return self._encode_once(frames, lambda unique: self._encode_dynamics(unique, None)[1])
        piece = self._items_a_piece(frames.shape[1])
        if len(frames) == len(context_frames) > piece:
            pieces = zip(frames.split(piece), context_frames.split(piece), strict=True)
            return torch.cat([self.encode(part, context_frames=context) for part, context in pieces])
        # Features of a context are computed once and then repeated, not once for each of its later frames.
        _, stages, _ = self.context_encoder(self._fold(context_frames))
        return self._encode_dynamics(frames, self._expand(stages, len(context_frames), frames.shape[:2]))[1]

    def decode(
        self,
        *codes: torch.Tensor,
        context_frames: torch.Tensor | None = None,
        context_codes: torch.Tensor | None = None,
        clamp: bool = True,
    ) -> torch.Tensor:
        """
        Frames of dynamics codes; or a whole clip of context and dynamics codes.

        Args:
            codes (`torch.Tensor` of shape `(B, T, N)`):
                Dynamics codes, int64; or weights over the codebook, float `(B, T, N, dynamics_codebook_size)`, to
                which gradients flow back. Of two tensors, the first are context codes `(B, K, N)`: the clip begins
                with the frames decoded from them.
            context_frames (`torch.Tensor` of shape `(B0, K, 3, H, W)`, *optional*):
                Floats in [0, 1], RGB. `B` may be a multiple of `B0`: consecutive items then share a context, whose
                features are computed once.
            context_codes (`torch.Tensor` of shape `(B0, K, N)`, *optional*):
                Codes of the context frames. One of the two is needed. Where `decode_from` is `"frames"`, frames
                decoded from these stand in for frames that are not given; where it is `"codes"`, codes of the frames
                stand in for codes that are not given.
            clamp (`bool`, *optional*, defaults to `True`):
                Whether values are held within [0, 1]; otherwise they are as the decoder gives them.

        Returns:
            `torch.Tensor` of shape `(B, T, 3, H, W)`, or `(B, K + T, 3, H, W)`, floats in [0, 1], RGB.

        Raises:
            `ValueError`: If neither context is given, `B` is no multiple of `B0`, or the frames have another size.
            `TypeError`: If the frames are not float.
        """
        if len(codes) == 2:
            of_context, of_later = codes
            context, _ = self.decode_context(of_context)
            later = self.decode(of_later, context_codes=of_context, clamp=False)
            clip = torch.cat([context, later], dim=1)
            return clip.clamp(0, 1) if clamp else clip
        (dynamics_codes,) = codes
        given = context_codes if context_frames is None else context_frames
        if given is None:
            raise ValueError("Expected `context_frames` or `context_codes` to decode dynamics codes, got neither.")
        if len(dynamics_codes) % len(given):
            raise ValueError(
                f"Expected the {len(dynamics_codes)} items of `codes` to be a multiple of {len(given)} contexts."
            )
        # Whole groups go together, so that no context is encoded twice.
        group = len(dynamics_codes) // len(given)
        piece = self._items_a_piece(group * dynamics_codes.shape[1])
        if len(given) > piece:
            contexts = {"context_frames": context_frames, "context_codes": context_codes}
            given_parts = {name: value.split(piece) for name, value in contexts.items() if value is not None}
            return torch.cat(
                [
                    self.decode(part, clamp=clamp, **{name: parts[number] for name, parts in given_parts.items()})
                    for number, part in enumerate(dynamics_codes.split(piece * group))
                ]
            )
        if self.config.decode_from == "codes":
            context_codes = self.encode_context(given) if context_codes is None else context_codes
            _, features = self.decode_context(context_codes)
            base = None
        else:
            if context_frames is None:
                context_frames = self.decode_context(given)[0].clamp(0, 1)  # the encoder was trained on frames
            self._check_frames(context_frames, "context_frames", self.config.context_frames)
            _, _, resolutions = self.context_encoder(self._fold(context_frames))
            features, base = self._decoder_view(resolutions), context_frames[:, -1]
        values = self.dynamics_quantizer.codes_to_values(dynamics_codes).to(self.dtype)
        # A group that is too large for one piece is alone here, see above.
        size = self._items_a_piece(values.shape[1]) if len(given) == 1 else len(values)
        frames = torch.cat(
            [
                self._decode_dynamics(part, self._expand(features, len(given), part.shape[:2]), base)
                for part in values.split(size)
            ]
        )
        return frames.clamp(0, 1) if clamp else frames

    def decode_context(self, context_codes: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Context frames `(B, K, 3, H, W)`, not clamped, of codes `(B, K, N)`, and the decoder's features."""
        batch, (height, _) = len(context_codes), self.context_grid
        values = self.context_quantizer.indices_to_values(context_codes).to(self.dtype)
        values = rearrange(values, "b k (h w) d -> (b k) d h w", h=height)
        return self._decode_context(values, batch)

    def forward(
        self, frames: torch.Tensor, *, context_frames: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Encode and decode with gradients, for training.

        Args:
            frames (`torch.Tensor` of shape `(B, T, 3, H, W)`):
                Floats in [0, 1], RGB.
            context_frames (`torch.Tensor` of shape `(B, K, 3, H, W)`):
                Floats in [0, 1], RGB.

        Returns:
            `tuple`: reconstructed frames `(B, T, 3, H, W)` and context `(B, K, 3, H, W)`, both not clamped, dynamics
            codes `(B, T, N)` and context codes `(B, K, N)`.
        """
        batch = len(frames)
        latent, stages, resolutions = self.context_encoder(self._fold(context_frames))
        values, context_codes = self._quantize_context(latent)
        context, features = self._decode_context(values, batch)
        base = None
        if self.config.decode_from == "frames":  # the context decoder then learns from its own frames alone
            features, base = self._decoder_view(resolutions), context_frames[:, -1]
        values, codes = self._encode_dynamics(frames, self._expand(stages, batch, frames.shape[:2]))
        decoded = self._decode_dynamics(values, self._expand(features, batch, frames.shape[:2]), base)
        return decoded, context, codes, rearrange(context_codes, "(b k) h w -> b k (h w)", b=batch)

    # -- parts --------------------------------------------------------------------------------------------------------

    @property
    def _patch(self) -> Grid:
        side = self.config.dynamics_patch_size
        return (side, side) if isinstance(side, int) else (side[0], side[1])

    def _fold(self, frames: torch.Tensor) -> torch.Tensor:
        black, white = self.config.value_range
        return super()._fold(black + frames.to(self.dtype) * (white - black))

    def _unit_range(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the networks as frames, 0 is black and 1 is white; not clamped."""
        black, white = self.config.value_range
        return (values - black) / (white - black)

    def _expand(self, features: list[torch.Tensor], batch: int, shape: torch.Size) -> list[torch.Tensor]:
        """Give each of the `(B, T)` frames the features of its context: `(B0 K, c, h, w)` -> `(B T, K, c, h, w)`."""
        times = shape[0] // batch * shape[1]
        grouped = (rearrange(feature, "(b k) c h w -> b k c h w", b=batch) for feature in features)
        return [repeat(feature, "b k c h w -> (b t) k c h w", t=times) for feature in grouped]

    def _decoder_view(self, resolutions: list[torch.Tensor]) -> list[torch.Tensor]:
        """Order the context encoder's features, fine to coarse, by the stages of the dynamics decoder."""
        *levels, middle = resolutions
        return [middle, *levels[-2::-1], levels[0]]

    def _quantize_context(self, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, codes = self.context_quantizer(rearrange(self.context_in(latent), "b d h w -> b h w d"))
        return rearrange(values, "b h w d -> b d h w"), codes

    def _decode_context(self, values: torch.Tensor, batch: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        pixels, features = self.context_decoder(self.context_out(values))
        return self._unit_range(self._unfold(pixels, batch)), features

    def _encode_dynamics(
        self, frames: torch.Tensor, features: list[torch.Tensor] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        folded, (rows, columns) = self._fold(frames), self._patch
        if self.config.local_codes:  # patches in place of frames; what is between the two networks' ends sees no more
            (height, width) = (size // patch for size, patch in zip(self.context_grid, self._patch, strict=True))
            folded = rearrange(folded, "n c (h p) (w q) -> (n h w) c p q", h=height, w=width)
        latent, _, _ = self.dynamics_encoder(folded, features)
        if self.config.local_codes:
            latent = rearrange(latent, "(n h w) c p q -> n c (h p) (w q)", h=height, w=width)
        patches = rearrange(
            latent, "(b t) c (h p) (w q) -> b t (h w) (p q c)", b=len(frames), p=rows, q=columns
        )  # (B, T, patches, patch)
        values = rearrange(
            self.dynamics_in(patches), "b t n (m d) -> b t (n m) d", m=self.config.dynamics_codes_per_patch
        )
        return self.dynamics_quantizer(values)

    def _decode_dynamics(
        self, values: torch.Tensor, features: list[torch.Tensor], base: torch.Tensor | None
    ) -> torch.Tensor:
        (rows, columns), (height, _) = self._patch, self.dynamics_grid
        of_patches = rearrange(values, "b t (n m) d -> b t n (m d)", m=self.config.dynamics_codes_per_patch)
        latent = rearrange(
            self.dynamics_out(of_patches), "b t (h w) (p q c) -> (b t) c (h p) (w q)", h=height, p=rows, q=columns
        )
        pixels, _ = self.dynamics_decoder(latent.contiguous(), features)
        frames = self._unfold(pixels, len(values))
        # With a base, the decoder writes the change from it, which `value_range` does not shift or scale.
        if base is None:
            return self._refine(self._unit_range(frames), None)
        before = repeat(base, "b c h w -> (b g) t c h w", g=len(values) // len(base), t=values.shape[1])
        return self._refine(frames + before, before)

    def _refine(self, frames: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        if self.refinement is None:
            return frames
        refined = self.refinement(frames.flatten(0, 1), None if before is None else before.flatten(0, 1))
        return refined.unflatten(0, frames.shape[:2])
