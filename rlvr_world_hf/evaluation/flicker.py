"""
How little a visual tokenizer's codes can change a frame.

A frame decoded twice from the same codes is the same frame. But a world model that stands still may write other codes
that decode to nearly the same picture, and so escape a reward that punishes repeated frames. How far it gets without
moving anything is the

    flicker = max over frames of min over one code and one level of it, up or down, of max over pixels of |x' - x|

with x the frame decoded from its own codes, and x' from these with that one code changed. A
[`~rlvr_world_hf.rewards.RepetitionReward`] whose `tolerance` is at least the flicker takes these frames for the same.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange, repeat

from .predictions import RowBatch, row_batches


FRAMES = 32
"""Frames that are measured; all if there are fewer."""

CODES = 8
"""Codes of each frame that are changed, evenly spread; all if there are fewer."""


@torch.no_grad()
def measure_flicker(codec: Any, rows: Any) -> float | None:
    """
    The flicker of a visual tokenizer, on the first predicted frames of some rows.

    Args:
        codec (`ModelMixin`):
            The tokenizer.
        rows (`datasets.Dataset` or `Sequence[Mapping]`):
            Held-out rows, see `data.rows.window_rows`; evenly spread ones of them are measured.

    Returns:
        `float`: In [0, 1], of pixel values in [0, 1]; `None` where the codes are not made by finite scalar
        quantization and so have no levels.

    Example:

    ```python
    >>> import numpy as np
    >>> from rlvr_world_hf import CompressiveTokenizer
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> frames = np.zeros((2, 3, 16, 16), np.uint8)
    >>> row = dict(context=frames[:1], actions=np.zeros((2, 2)), reference=frames[1:], reference_mask=[True])
    >>> 0 <= measure_flicker(codec, [row]) < 1
    True

    ```
    """
    quantizer = getattr(codec, "dynamics_quantizer", None) or getattr(codec, "quantizer", None)
    levels = getattr(quantizer, "levels", None)
    if levels is None:
        return None
    count = min(FRAMES, len(rows))
    chosen = [rows[place * len(rows) // count] for place in range(count)]
    return max(_least_change(codec, batch, levels) for batch in row_batches(chosen, size=1, device=codec.device))


def _least_change(codec: Any, batch: RowBatch, levels: list[int]) -> float:
    context = batch.context[:, : codec.config.context_frames]
    codes = codec.encode(batch.reference[:, :1], context_frames=context)  # (1, 1, N)
    changed = _one_level_away(codes[0, 0], levels)  # (M, N)
    # As items of one context, which the tokenizer encodes once: it decodes items by pieces, frames of one together.
    together = rearrange(torch.cat([codes[0], changed]), "m n -> m 1 n")
    frames = codec.decode(together, context_frames=context).float().clamp(0, 1)[:, 0]
    return (frames[1:] - frames[:1]).abs().flatten(1).amax(1).min().item()


def _one_level_away(codes: torch.Tensor, levels: list[int]) -> torch.Tensor:
    """Codes `(M, N)`, in each row of which one of `codes` `(N,)` is a level higher or lower in one channel."""
    places = torch.arange(min(CODES, len(codes))) * len(codes) // min(CODES, len(codes))
    rows, step = [], 1
    for count in levels:
        digits = codes // step % count
        for up, fits in ((1, digits < count - 1), (-1, digits > 0)):
            changed = repeat(codes, "n -> m n", m=len(places)).clone()
            changed[torch.arange(len(places)), places] += up * step
            rows.append(changed[fits[places]])
        step *= count
    return torch.cat(rows)
