"""Small checkpoints in the form of the authors' own."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from rlvr_world_hf.hub.convert import compressive_settings, frame_settings, to_official
from rlvr_world_hf.tokenizers import CompressiveTokenizer, FrameTokenizer


FRAME_CONFIG: dict[str, Any] = {
    "block_out_channels": [4, 4, 4, 4, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 8,
    "fsq_levels": 12,
}

COMPRESSIVE_CONFIG: dict[str, Any] = {
    "block_out_channels": [8, 8, 32, 32],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 8,
    "vq_fsq_levels": 12,
    "dyn_fsq_levels": 12,
    "context_length": 1,
    "max_att_resolution": 8,
    "resolution": 64,
    "patch_size": 2,
    "mid_block_add_attention": False,
}


def official_tokenizer(kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Configuration and weights of a tokenizer of frames of 64x80, under the authors' names."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "frame":
            return FRAME_CONFIG, to_official(FrameTokenizer(**frame_settings(FRAME_CONFIG, image_size=(64, 80))))
        settings = compressive_settings(COMPRESSIVE_CONFIG, image_size=(64, 80))
        return COMPRESSIVE_CONFIG, to_official(CompressiveTokenizer(**settings))


def save_official_model(folder: Path, vocabulary_size: int) -> LlamaForCausalLM:
    """A transformer as the authors keep it: weights and `config.json`, no processor."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary_size, **sizes)).eval()
    model.save_pretrained(folder)
    return model


def save_weights(weights: dict[str, torch.Tensor], file: Path) -> None:
    """As safetensors."""
    save_file({name: value.contiguous() for name, value in weights.items()}, file)
