"""A small world: codec, processor and policy of random weights."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlvr_world_hf.processors.video import VideoWorldModelProcessor
from rlvr_world_hf.tokenizers.modeling_compressive_tokenizer import CompressiveTokenizer


@pytest.fixture
def processor() -> VideoWorldModelProcessor:
    torch.manual_seed(0)
    codec = CompressiveTokenizer(
        block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16), dynamics_levels=(5, 4)
    )
    return VideoWorldModelProcessor.from_codec(codec, [-1.0, -1.0], [1.0, 1.0], action_bins=8)


@pytest.fixture(params=[0.0, 0.5], ids=["shared", "repeated"])
def model(request: pytest.FixtureRequest, processor: VideoWorldModelProcessor) -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=processor.layout.vocabulary_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        attention_dropout=request.param,  # where there is any, prompts are not shared
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def context() -> torch.Tensor:
    return torch.rand(3, 1, 3, 16, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def actions() -> torch.Tensor:
    return torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1
