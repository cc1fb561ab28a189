"""The frame tokenizer against the official one: its parameters, ids and pictures; golden/README.md, section 4."""

from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange, reduce

from rlvr_world_hf.hub.convert import frame_settings, from_official, official_names, to_official
from rlvr_world_hf.tokenizers import FrameTokenizer

from .official_weights import recorded_config, recorded_shapes, recorded_weights


FRAMES = {"small": (2, 3), "alt": (2, 2), "official": (1, 1)}


def test_the_official_configuration_has_the_official_parameters_and_grid(golden: Path) -> None:
    with torch.device("meta"):
        tokenizer = FrameTokenizer(**frame_settings(recorded_config(golden, "frame_official"), image_size=(256, 320)))
    assert (tokenizer.dynamics_grid, tokenizer.dynamics_codebook_size) == ((16, 20), 4375)
    assert (tokenizer.context_grid, tokenizer.context_codebook_size) == ((0, 0), 0)
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == 104_414_088
    shapes = {name: list(tokenizer.state_dict()[ours].shape) for ours, name in official_names(tokenizer).items()}
    assert shapes == dict(recorded_shapes(golden, "frame_official"))


@pytest.mark.parametrize("case", ["small", "alt", pytest.param("official", marks=pytest.mark.slow)])
@torch.no_grad()
def test_codes_and_frames_are_the_recorded_ones(golden: Path, case: str) -> None:
    weights = recorded_weights(recorded_shapes(golden, f"frame_{case}"))
    tokenizer = from_official(recorded_config(golden, f"frame_{case}"), weights)
    assert all(torch.equal(value, weights[name]) for name, value in to_official(tokenizer).items())
    items, frames = FRAMES[case]
    with np.load(golden / "tok_ctx_small.npz") as arrays:
        video = torch.from_numpy(arrays["video_u8"][:items, :frames]).float() / 255
    with np.load(golden / f"tok_frame_{case}.npz") as arrays:
        recorded = dict(arrays)

    video = rearrange(video, "b t h w c -> b t c h w").contiguous()
    codes = tokenizer.encode(video)
    told_apart = recorded["margin"] > 1e-4
    assert codes.shape == told_apart.shape and told_apart.mean() > 0.99
    assert np.array_equal(codes.numpy()[told_apart], recorded["tokens"][told_apart])

    for kind in ("", "rand_"):
        tokens = torch.from_numpy(recorded[f"{kind}tokens"]).long()
        decoded = tokenizer.decode(tokens, clamp=False)
        pooled = reduce(decoded, "b t c (h p) (w q) -> b t c h w", "mean", p=16, q=16)
        torch.testing.assert_close(pooled, torch.from_numpy(recorded[f"{kind}recon_pool"]), atol=2e-4, rtol=0)
        torch.testing.assert_close(tokenizer.decode(tokens), decoded.clamp(0, 1), atol=1e-5, rtol=0)
