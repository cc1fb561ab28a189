"""A world model of random weights and episodes of noise, built by code in milliseconds."""

from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlvr_world_hf.data.episode import Episode
from rlvr_world_hf.data.rows import window_rows
from rlvr_world_hf.processors.sensor import SensorWorldModelProcessor
from rlvr_world_hf.processors.video import VideoWorldModelProcessor
from rlvr_world_hf.tokenizers.modeling_compressive_tokenizer import CompressiveTokenizer
from rlvr_world_hf.training.language import build_language_policy, train_text_tokenizer


def tiny_processor(
    *, image_size: int = 16, observed_steps: int = 0, action_law: str | None = None, is_told_agent: bool = False
) -> VideoWorldModelProcessor:
    """Of one target in [0, 512] an action, or of five relative ones; may be told where the agent is in [0, 512]."""
    torch.manual_seed(0)
    low, high = ([-1.0] * 10, [1.0] * 10) if action_law == "relative" else ([0.0, 0.0], [512.0, 512.0])
    size = (image_size, image_size)
    told: dict[str, Any] = {}
    if is_told_agent:
        told = {"state_low": [0.0] * 2, "state_high": [512.0] * 2, "sensor_bins": 32, "sensors_first": True}
    codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=size)
    return VideoWorldModelProcessor.from_codec(
        codec, low, high, action_bins=8, observed_steps=observed_steps, fps=2.0, action_law=action_law, **told
    )


def tiny_sensor_processor() -> SensorWorldModelProcessor:
    """Of three sensors in [-1, 1], one observed step."""
    return SensorWorldModelProcessor.from_ranges(
        [-1.0] * 3, [1.0] * 3, [0.0, 0.0], [512.0, 512.0], sensor_bins=16, action_bins=8, fps=2.0
    )


def tiny_joint_processor() -> VideoWorldModelProcessor:
    """Of the frames of `tiny_processor` and three sensors in [-1, 1]."""
    codec = tiny_processor().codec
    ranges: dict[str, Any] = {"state_low": [-1.0] * 3, "state_high": [1.0] * 3, "sensor_bins": 16}
    return VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0], action_bins=8, fps=2.0, **ranges)


def text_tokenizer() -> Any:
    """Bytes, and a few pairs of them."""
    return train_text_tokenizer(["open(door)", "shut(door)"], vocab_size=264)


def tiny_language_model(tokenizer: Any, *, seed: int = 0) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return build_language_policy(tokenizer, **sizes, tie_word_embeddings=False, seed=seed).eval()


def tiny_model(processor: Any, *, seed: int = 0) -> LlamaForCausalLM:
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


def tiny_rows(
    *, episodes: int = 2, length: int = 5, horizon: int = 3, seed: int = 0, predicts: tuple[str, ...] = ("frames",)
) -> Any:
    """Windows of noise, padded ones included: of frames, of three sensors in [-1, 1], or of both."""
    numbers = np.random.default_rng(seed)
    made = [
        Episode(
            episode_id=str(index),
            frames=numbers.integers(0, 256, (length, 3, 16, 16), dtype=np.uint8) if "frames" in predicts else None,
            actions=numbers.uniform(0, 512, (length, 2)).astype(np.float32),
            fps=2.0,
            states=numbers.uniform(-1, 1, (length, 3)).astype(np.float32) if "sensors" in predicts else None,
        )
        for index in range(episodes)
    ]
    given = (
        {"context_frames": 1, "observed_steps": 0}
        if "frames" in predicts
        else {"context_frames": 0, "observed_steps": 1}
    )
    return window_rows(made, **given, horizon=horizon, padded=True)
