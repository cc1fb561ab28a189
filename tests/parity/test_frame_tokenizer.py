"""The frame tokenizer against the official one: its parameters, ids and pictures; golden/README.md, section 4."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange, reduce

from rlvr_world_hf.tokenizers import FrameTokenizer


LEVELS = {10: (8, 5, 5, 5), 12: (7, 5, 5, 5, 5)}
OUR_NAMES = {"quant_linear": "quantizer_in", "post_quant_linear": "quantizer_out"}


def make_tokenizer(config: dict[str, Any]) -> FrameTokenizer:
    """Ours in an official configuration."""
    names = ("block_out_channels", "norm_num_groups", "latent_channels", "layers_per_block")
    shared = {name: config[name] for name in names}
    return FrameTokenizer(
        image_size=(256, 320), stem_patch_size=1, levels=LEVELS[config["fsq_levels"]], **shared
    ).eval()


def our_name(official: str) -> str:
    part, dot, rest = official.partition(".")
    return OUR_NAMES.get(part, part) + dot + rest


def recorded_weights(shapes: list[tuple[str, list[int]]]) -> dict[str, torch.Tensor]:
    """The weights that the official model was given when its outputs were recorded, under our names."""
    weights = {}
    for name, shape in shapes:
        noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if len(shape) > 1:
            gain = 2 if name.startswith("quant_linear") else 1
            noise *= np.float32(gain / np.sqrt(np.prod(shape[1:])))
        else:
            noise = np.float32(0.1) * noise + np.float32(name.endswith(".weight"))
        weights[our_name(name)] = torch.from_numpy(noise)
    return weights


def test_the_official_configuration_has_the_official_parameters_and_grid(golden: Path) -> None:
    recorded = json.loads((golden / "state_dict_spec_frame_official.json").read_text())
    with torch.device("meta"):
        tokenizer = make_tokenizer(recorded["config"])
    assert (tokenizer.dynamics_grid, tokenizer.dynamics_codebook_size) == ((16, 20), 4375)
    assert (tokenizer.context_grid, tokenizer.context_codebook_size) == ((0, 0), 0)
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == recorded["n_params"] == 104_414_088
    shapes = {name: list(value.shape) for name, value in tokenizer.state_dict().items()}
    assert shapes == {our_name(entry["name"]): entry["shape"] for entry in recorded["entries"]}


@pytest.mark.parametrize(("case", "frames"), [("small", 3), ("alt", 2)])
@torch.no_grad()
def test_codes_and_frames_are_the_recorded_ones(golden: Path, case: str, frames: int) -> None:
    settings = json.loads((golden / f"tok_frame_{case}_config.json").read_text())
    tokenizer = make_tokenizer(settings["config"])
    tokenizer.load_state_dict(recorded_weights(settings["state_dict"]))
    with np.load(golden / "tok_ctx_small.npz") as arrays:
        video = torch.from_numpy(arrays["video_u8"][:, :frames]).float() / 255
    with np.load(golden / f"tok_frame_{case}.npz") as arrays:
        recorded = dict(arrays)

    codes = tokenizer.encode(rearrange(video, "b t h w c -> b t c h w").contiguous())
    told_apart = recorded["margin"].reshape(codes.shape) > 1e-4
    assert told_apart.mean() > 0.99
    assert np.array_equal(codes.numpy()[told_apart], recorded["tokens"].reshape(codes.shape)[told_apart])

    for kind in ("", "rand_"):
        tokens = torch.from_numpy(recorded[f"{kind}tokens"].reshape(len(video), -1, codes.shape[2])).long()
        # The recorded pictures are not clamped, as in training. One video at a time, as `decode` takes large ones:
        # another batch size moves the last digits.
        decoded = torch.cat(
            [tokenizer._decode(tokenizer.quantizer.indices_to_values(of_one)) for of_one in tokens.split(1)]
        )
        pooled = reduce(decoded, "b t c (h p) (w q) -> b t c h w", "mean", p=16, q=16)
        expected = recorded[f"{kind}recon_pool"].reshape(pooled.shape)
        torch.testing.assert_close(pooled, torch.from_numpy(expected), atol=2e-4, rtol=0)
        torch.testing.assert_close(tokenizer.decode(tokens), decoded.clamp(0, 1), atol=1e-5, rtol=0)
