"""The compressive tokenizer in the official configuration: recorded parameters of golden/README.md, section 4.1."""

import json
from collections import Counter
from pathlib import Path

import torch

from rlvr_world_hf.tokenizers import CompressiveTokenizer


def test_the_official_configuration_has_the_official_parameters_and_grids(golden: Path) -> None:
    with torch.device("meta"):
        tokenizer = CompressiveTokenizer(
            image_size=(256, 320),
            stem_patch_size=1,
            block_out_channels=(128, 256, 256, 512),
            encoder_layers=2,
            decoder_layers=3,
            norm_num_groups=32,
            latent_channels=64,
            context_levels=(7, 5, 5, 5, 5),
            dynamics_levels=(7, 5, 5, 5, 5),
            dynamics_patch_size=4,
            encoder_conditioning=("none", "none", "none", "attention", "attention"),
            decoder_conditioning=("attention", "none", "none", "none", "none"),
            decode_from="codes",
        )
    assert (tokenizer.context_grid, tokenizer.dynamics_grid) == ((32, 40), (8, 10))
    assert tokenizer.context_codebook_size == tokenizer.dynamics_codebook_size == 4375
    recorded = json.loads((golden / "state_dict_spec_ctx_official.json").read_text())
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == recorded["n_params"] == 129_448_016
    shapes = Counter(tuple(value.shape) for value in tokenizer.state_dict().values())
    assert shapes == Counter(tuple(entry["shape"]) for entry in recorded["entries"])
