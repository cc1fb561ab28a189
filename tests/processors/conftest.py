"""A small codec with random weights, its processor, and a window of noise."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.processors.video import VideoWorldModelProcessor
from rlvr_world_hf.tokenizers.modeling_compressive_tokenizer import CompressiveTokenizer
from rlvr_world_hf.tokenizers.modeling_frame_tokenizer import FrameTokenizer


@pytest.fixture
def make_processor() -> Callable[..., VideoWorldModelProcessor]:
    def make(**settings: Any) -> VideoWorldModelProcessor:
        torch.manual_seed(0)
        codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 24))
        return VideoWorldModelProcessor.from_codec(codec, [0.0, -1.0], [512.0, 1.0], action_bins=8, **settings)

    return make


@pytest.fixture
def single_step_processor() -> VideoWorldModelProcessor:
    """Of frames that are coded on their own, two of them as history."""
    torch.manual_seed(0)
    codec = FrameTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 24))
    return VideoWorldModelProcessor.from_codec(codec, [0.0, -1.0], [512.0, 1.0], action_bins=8, observed_steps=2)


@pytest.fixture
def processor(make_processor: Callable[..., VideoWorldModelProcessor]) -> VideoWorldModelProcessor:
    return make_processor(fps=2.0)


@pytest.fixture
def window() -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0)
    return {
        "context": numbers.integers(0, 256, (2, 1, 3, 16, 24), dtype=np.uint8),
        "reference": numbers.integers(0, 256, (2, 3, 3, 16, 24), dtype=np.uint8),
        "actions": numbers.uniform((0, -1), (512, 1), (2, 4, 2)).astype(np.float32),
    }
