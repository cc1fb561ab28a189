"""The compressive tokenizer against the official one: parameters, ids and pictures; golden/README.md, section 4."""

from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange, reduce

from rlvr_world_hf.hub.convert import compressive_settings, from_official, official_names, to_official
from rlvr_world_hf.tokenizers import CompressiveTokenizer

from .official_weights import recorded_config, recorded_shapes, recorded_weights


SLICES = {"small": (2, 4), "alt": (2, 3), "official": (1, 2)}


def test_the_official_configuration_has_the_official_parameters_and_grids(golden: Path) -> None:
    with torch.device("meta"):
        tokenizer = CompressiveTokenizer(
            **compressive_settings(recorded_config(golden, "ctx_official"), image_size=(256, 320))
        )
    assert (tokenizer.context_grid, tokenizer.dynamics_grid) == ((32, 40), (8, 10))
    assert tokenizer.context_codebook_size == tokenizer.dynamics_codebook_size == 4375
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == 129_448_016
    shapes = {name: list(tokenizer.state_dict()[ours].shape) for ours, name in official_names(tokenizer).items()}
    assert shapes == dict(recorded_shapes(golden, "ctx_official"))


@pytest.mark.parametrize("case", ["small", "alt", pytest.param("official", marks=pytest.mark.slow)])
@torch.no_grad()
def test_codes_and_frames_are_the_recorded_ones(golden: Path, case: str) -> None:
    weights = recorded_weights(recorded_shapes(golden, f"ctx_{case}"))
    tokenizer = from_official(recorded_config(golden, f"ctx_{case}"), weights)
    assert all(torch.equal(value, weights[name]) for name, value in to_official(tokenizer).items())
    items, frames = SLICES[case]
    with np.load(golden / "tok_ctx_small.npz") as arrays:
        video = torch.from_numpy(arrays["video_u8"][:items, :frames]).float() / 255
    with np.load(golden / f"tok_ctx_{case}.npz") as arrays:
        recorded = dict(arrays)
    video = rearrange(video, "b t h w c -> b t c h w").contiguous()

    for kind, codes in zip(("ctx", "dyn"), tokenizer.encode(video), strict=True):
        told_apart = recorded[f"{kind}_margin"] > 1e-4
        assert codes.shape == told_apart.shape and told_apart.mean() > 0.99
        assert np.array_equal(codes.numpy()[told_apart], recorded[f"{kind}_tokens"][told_apart])

    latent, stages, _ = tokenizer.context_encoder(tokenizer._fold(video[:, :1]))
    z = rearrange(tokenizer.context_in(latent), "b d h w -> b 1 (h w) d")
    torch.testing.assert_close(z, torch.from_numpy(recorded["ctx_z"]), atol=2e-4, rtol=0)
    features = tokenizer._expand(stages, items, (items, frames - 1))
    latent, _, _ = tokenizer.dynamics_encoder(tokenizer._fold(video[:, 1:]), features)
    side = tokenizer.config.dynamics_patch_size
    patches = rearrange(latent, "(b t) c (h p) (w q) -> b t (h w) (p q c)", b=items, p=side, q=side)
    torch.testing.assert_close(tokenizer.dynamics_in(patches), torch.from_numpy(recorded["dyn_z"]), atol=2e-4, rtol=0)

    for kind in ("", "rand_"):
        given = [torch.from_numpy(recorded[f"{kind}{name}_tokens"]).long() for name in ("ctx", "dyn")]
        decoded = tokenizer.decode(*given, clamp=False)
        pooled = reduce(decoded, "b t c (h p) (w q) -> b t c h w", "mean", p=16, q=16)
        for name, value in {
            "pool": pooled,
            "mean": decoded.mean(dim=(3, 4)),
            "std": decoded.std(dim=(3, 4), correction=0),
        }.items():
            expected = torch.from_numpy(recorded[f"{kind}recon_{name}"])
            torch.testing.assert_close(value, expected, atol=2e-4, rtol=0)
        torch.testing.assert_close(tokenizer.decode(*given), decoded.clamp(0, 1), atol=1e-6, rtol=0)
        if not kind and "recon_frames_f16" in recorded:
            stored = torch.from_numpy(recorded["recon_frames_f16"]).float()
            torch.testing.assert_close(decoded[0, : len(stored)], stored, atol=5e-3, rtol=0)
