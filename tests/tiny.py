"""A world model of random weights and episodes of noise, built by code in milliseconds."""

from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlvr_world_hf.data.episode import Episode
from rlvr_world_hf.data.rows import window_rows
from rlvr_world_hf.processors.video import VideoWorldModelProcessor
from rlvr_world_hf.tokenizers.modeling_compressive_tokenizer import CompressiveTokenizer


def tiny_processor(*, image_size: int = 16, observed_steps: int = 0) -> VideoWorldModelProcessor:
    torch.manual_seed(0)
    size = (image_size, image_size)
    codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=size)
    return VideoWorldModelProcessor.from_codec(
        codec, [0.0, 0.0], [512.0, 512.0], action_bins=8, observed_steps=observed_steps, fps=2.0
    )


def tiny_model(processor: VideoWorldModelProcessor, *, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=processor.layout.vocabulary_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=processor.layout.bos_id,
        eos_token_id=processor.layout.eos_id,
    )
    return LlamaForCausalLM(config).eval()


def tiny_rows(*, episodes: int = 2, length: int = 5, horizon: int = 3, seed: int = 0) -> Any:
    numbers = np.random.default_rng(seed)
    made = [
        Episode(
            episode_id=str(index),
            frames=numbers.integers(0, 256, (length, 3, 16, 16), dtype=np.uint8),
            actions=numbers.uniform(0, 512, (length, 2)).astype(np.float32),
            fps=2.0,
            states=None,
        )
        for index in range(episodes)
    ]
    return window_rows(made, horizon=horizon, padded=True)
