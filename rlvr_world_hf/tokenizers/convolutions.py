"""
The networks that visual tokenizers are made of: an encoder and a decoder of convolutions, whose stages may be
conditioned on the features of other frames. Their blocks are those of diffusers' VQModel.
"""

from __future__ import annotations

import torch
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D, UNetMidBlock2D, UpDecoderBlock2D
from torch import nn
from torch.nn import functional


def condition(module: nn.Module, hidden: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
    """Apply one conditioning module, unless this network or this stage has none."""
    if context is None or isinstance(module, nn.Identity):
        return hidden
    return module(hidden, context)


class Encoder(nn.Module):
    """Frame -> latent. Stages are the input convolution and each level; a stage ends with its conditioning."""

    def __init__(
        self, channels: list[int], layers: int, in_channels: int, out_channels: int, groups: int, attention: bool
    ):
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownEncoderBlock2D(
                in_channels=channels[max(level - 1, 0)],
                out_channels=width,
                num_layers=layers,
                resnet_groups=groups,
                add_downsample=level < len(channels) - 1,
                downsample_padding=0,  # diffusers then pads at the right and below alone, as its VQModel does
            )
            for level, width in enumerate(channels)
        )
        self.mid_block = UNetMidBlock2D(
            in_channels=channels[-1],
            temb_channels=None,
            attention_head_dim=channels[-1],  # a single head
            resnet_groups=groups,
            add_attention=attention,
        )
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(channels[-1], out_channels, 3, padding=1)
        # Who conditions this network puts other modules here; an `Identity` has no weights and is never called.
        self.conditioning = nn.ModuleList(nn.Identity() for _ in range(len(channels) + 1))

    def forward(
        self, frames: torch.Tensor, context: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Returns the latent, the output of every stage, and the features at every resolution from full to least."""
        stages, resolutions = [], []
        hidden = self.conv_in(frames)
        for stage, block in enumerate([None, *self.down_blocks]):
            if block is not None:
                # By hand, as the block as a whole does not give what it has before it halves the resolution.
                for resnet in block.resnets:
                    hidden = resnet(hidden, None)
                resolutions.append(hidden)
                for downsample in block.downsamplers or ():
                    hidden = downsample(hidden)
            hidden = condition(self.conditioning[stage], hidden, context[stage] if context else None)
            stages.append(hidden)
        hidden = self.mid_block(hidden)
        latent = self.conv_out(functional.silu(self.conv_norm_out(hidden)))
        return latent, stages, [*resolutions, hidden]


class Decoder(nn.Module):
    """
    Latent -> frame. Stages are the middle block and each level, coarse to fine; each ends with its conditioning.

    `widths` are those of the stages; `doubled` tells of each level whether it ends by doubling the resolution.
    """

    def __init__(
        self,
        widths: list[int],
        doubled: list[bool],
        layers: int,
        in_channels: int,
        out_channels: int,
        groups: int,
        attention: bool,
    ):
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.mid_block = UNetMidBlock2D(
            in_channels=widths[0],
            temb_channels=None,
            attention_head_dim=widths[0],
            resnet_groups=groups,
            add_attention=attention,
        )
        self.up_blocks = nn.ModuleList(
            UpDecoderBlock2D(
                in_channels=above, out_channels=width, num_layers=layers, resnet_groups=groups, add_upsample=doubles
            )
            for above, width, doubles in zip(widths, widths[1:], doubled, strict=False)
        )
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        self.conditioning = nn.ModuleList(nn.Identity() for _ in widths)

    def forward(
        self, latent: torch.Tensor, context: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Returns the frame and the output of every stage."""
        hidden, stages = self.conv_in(latent), []
        for stage, block in enumerate([self.mid_block, *self.up_blocks]):
            hidden = condition(self.conditioning[stage], block(hidden), context[stage] if context else None)
            stages.append(hidden)
        return self.conv_out(functional.silu(self.conv_norm_out(hidden))), stages


class Refinement(nn.Module):
    """
    Frame -> frame at full resolution: `x + convolutions(x, context)`, nearly the identity before training.

    A decoder that ends with patches of pixels is linear in their features; these layers correct pixels by what they
    and their neighbours are.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, out_channels, 3, padding=1)
        # Not 0, which would be the identity itself: the layers before would begin without a gradient.
        nn.init.normal_(self.out.weight, std=1e-4)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, frames: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        """Frames `(B, C, H, W)`, given those that came before, `(B, C, H, W)`."""
        given = frames if context is None else torch.cat([frames, context], dim=1)
        # Frames are float32 also where the weights are not.
        hidden = functional.silu(self.first(given.to(self.first.weight.dtype)))
        return frames + self.out(functional.silu(self.second(hidden)))
