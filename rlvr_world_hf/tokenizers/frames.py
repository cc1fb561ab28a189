"""
What every visual tokenizer does around its networks: check frames, fold patches into channels, go by pieces, and take
its code along to the Hub.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from transformers.dynamic_module_utils import custom_object_save


Grid = tuple[int, int]

PIXELS_A_PIECE = {"cpu": 2**18, "accelerator": 2**24}
"""
Pixels that are encoded or decoded at a time. On a CPU 64 frames of 64×64 keep the features of a layer near the cache:
1,024 frames are decoded in half the time that one pass takes. An accelerator wants more; its memory sets the bound.
"""


class FrameCodingMixin:
    """
    Parts of a tokenizer whose `config` has `image_size`, `in_channels`, `stem_patch_size` and `block_out_channels`,
    between whose levels the resolution is halved.
    """

    config: Any
    _auto_class: str | None
    device: torch.device
    dtype: torch.dtype

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """
        Writes `config.json` and weights, as any model of diffusers; and the class's source files, where it is
        registered for an auto class, as `push_to_hub` does for as long as it takes.

        Args:
            save_directory (`str` or `Path`): folder to write to; made if missing.
            kwargs (`dict[str, Any]`, *optional*): as of [`~diffusers.ModelMixin.save_pretrained`].
        """
        super().save_pretrained(save_directory, **kwargs)  # type: ignore[misc]
        if self._auto_class is not None:  # diffusers names the file in `auto_map` and leaves the copying to us
            custom_object_save(self, save_directory)

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As of any model of diffusers, which would warn of the `auto_map` it has written, and save it once more."""
        kept = {name: value for name, value in config_dict.items() if name != "auto_map"}
        return super().extract_init_dict(kept, **kwargs)  # type: ignore[misc]

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """
        Uploads weights, settings and the code that reads them, so that
        `diffusers.AutoModel.from_pretrained(repo_id, trust_remote_code=True)` works where this library is not
        installed.

        Args:
            repo_id (`str`): repository, `"owner/name"`; made if missing.
            kwargs (`dict[str, Any]`, *optional*): as of [`~diffusers.ModelMixin.push_to_hub`].

        Returns:
            [`~huggingface_hub.CommitInfo`]: the commit.
        """
        registered = self._auto_class
        self._auto_class = registered or "AutoModel"
        try:  # only while it pushes: a folder that is saved otherwise stays without code
            return super().push_to_hub(repo_id, **kwargs)  # type: ignore[misc]
        finally:
            self._auto_class = registered

    @property
    def _patch(self) -> Grid:
        """Height and width of the patch of latents that one code covers."""
        return (1, 1)

    def _items_a_piece(self, frames: int) -> int:
        """Items of a batch that are encoded or decoded at a time, each of so many frames."""
        pixels = PIXELS_A_PIECE["cpu" if self.device.type == "cpu" else "accelerator"]
        return max(1, pixels // (max(frames, 1) * math.prod(self.config.image_size)))

    def _level_grids(self) -> list[Grid]:
        """Rows and columns of the features at each level, fine to coarse."""
        size, stem = self.config.image_size, self.config.stem_patch_size
        levels = len(self.config.block_out_channels)
        # The last halving must leave whole patches, as a code belongs to one.
        steps = tuple(stem * 2 ** (levels - 1) * side for side in self._patch)
        if any(length % step for length, step in zip(size, steps, strict=True)):
            raise ValueError(
                f"Expected `image_size` to be divisible by {steps[0] if steps[0] == steps[1] else steps} "
                "(stem_patch_size * 2**(levels - 1), times dynamics_patch_size if there is one), got "
                f"{tuple(size)}; resize the frames or change the levels."
            )
        return [(size[0] // stem // 2**level, size[1] // stem // 2**level) for level in range(levels)]

    def _check_frames(self, frames: torch.Tensor, name: str, count: int | None) -> None:
        """Refuse frames that are no floats of the configured size, or not `count` of them an item."""
        expected = (self.config.in_channels, *self.config.image_size)
        is_counted = count is None or frames.shape[1:2] == (count,)
        if frames.ndim != 5 or tuple(frames.shape[2:]) != expected or not is_counted:
            raise ValueError(
                f"Expected `{name}` of shape (B, {'T' if count is None else count}, {', '.join(map(str, expected))}), "
                f"got {tuple(frames.shape)}; resize the frames or load a tokenizer made for their size."
            )
        if not frames.is_floating_point():
            raise TypeError(f"Expected `{name}` as floats in [0, 1], got {frames.dtype}; divide uint8 frames by 255.")

    def _fold(self, frames: torch.Tensor) -> torch.Tensor:
        side = self.config.stem_patch_size
        # A permuted view would be taken for channels-last, in which the convolutions are slower on a CPU.
        return rearrange(frames.to(self.dtype), "b t c (h p) (w q) -> (b t) (c p q) h w", p=side, q=side).contiguous()

    def _unfold(self, pixels: torch.Tensor, batch: int) -> torch.Tensor:
        side = self.config.stem_patch_size
        return rearrange(pixels, "(b t) (c p q) h w -> b t c (h p) (w q)", b=batch, p=side, q=side)

    def _encode_once(self, frames: torch.Tensor, encode: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """
        Codes `(B, T, N)` of frames `(B, T, C, H, W)`, equal ones coded once: windows of one episode overlap.

        `encode` gives the codes `(U, 1, N)` of `(U, 1, C, H, W)`, and sees a piece at a time.
        """
        # By value, not by index: rows come as arrays, and do not say which frames they share.
        unique, place = rearrange(frames, "b t c h w -> (b t) (c h w)").unique(dim=0, return_inverse=True)
        pieces = unique.view(-1, 1, *frames.shape[2:]).split(self._items_a_piece(1))
        codes = torch.cat([encode(piece) for piece in pieces])
        return rearrange(codes[place], "(b t) 1 n -> b t n", b=len(frames))
