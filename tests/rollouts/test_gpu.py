"""On a CUDA device a model samples, scores and learns what it does on the CPU."""

import copy
from typing import Any

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from rlvr_world_hf.rollouts.decoder import graphs
from rlvr_world_hf.rollouts.head import RangeHead, accept_range_head
from rlvr_world_hf.rollouts.sampling import draw_uniforms, sample_completions
from rlvr_world_hf.rollouts.shared_attention import SeenKeys, attend_shared
from rlvr_world_hf.rollouts.shared_prompt import pack_groups, share_prompts
from rlvr_world_hf.rollouts.text import sample_text


pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SIZES = {
    "vocab_size": 50,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}
LINEAR = {
    "head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_value_head_dim": 16,
    "num_experts": 0,
}
WINDOWS = {"head_dim": 16, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
MODELS = {
    "shared": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "shared, plain attention": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation="eager")),
    "shared, scaled": lambda: CohereForCausalLM(CohereConfig(**SIZES)),
    "shared, capped": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, **WINDOWS, attn_implementation="eager")),
    "shared, of windows": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, **WINDOWS)),
    "linear attention": lambda: Qwen3NextForCausalLM(Qwen3NextConfig(**SIZES, **LINEAR)),
}
GROUP = 4
WORLD = torch.tensor([-1, -1, 7, -1, 3, -1])
RANGES = torch.tensor([[0, 9], [5, 40], [7, 8], [20, 50], [0, 9], [0, 50]])


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def models(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """The same model on the CPU and on the device."""
    torch.manual_seed(0)
    model = request.param().eval()
    return model, copy.deepcopy(model).to(DEVICE)


def prompts() -> torch.Tensor:
    return torch.randint(1, 50, (3, 6), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampled_tokens_and_their_log_probabilities(models: tuple[Any, Any], temperature: float) -> None:
    settings: dict[str, Any] = {"num_samples": GROUP, "temperature": temperature, "return_logprobs": True}
    settings |= {"uniforms": draw_uniforms(range(3), GROUP, len(RANGES))}
    drawn = [
        sample_completions(model, prompts().to(model.device), WORLD.repeat(3, 1), RANGES, **settings)
        for model in models
    ]
    assert drawn[1][0].device.type == DEVICE
    assert torch.equal(drawn[0][0], drawn[1][0].cpu())
    torch.testing.assert_close(drawn[1][1].cpu(), drawn[0][1], atol=1e-3, rtol=0)


def test_greedy_texts(models: tuple[Any, Any]) -> None:
    padded = [[1, 2, 3, 4], [5], [6, 7]]
    settings = {"num_samples": 2, "max_new_tokens": 8, "end_ids": range(9), "seeds": range(3), "temperature": 0.0}
    assert sample_text(models[0], padded, **settings) == sample_text(models[1], padded, **settings)


def test_scores_and_gradients(models: tuple[Any, Any]) -> None:
    completions = RANGES[:, 0].repeat(3 * GROUP, 1)
    rows = torch.cat([prompts().repeat_interleave(GROUP, dim=0), completions], dim=1)
    head, made = RangeHead(RANGES, WORLD < 0), []
    for model in models:
        ids = rows.to(model.device)
        inputs = {"input_ids": ids}
        if share_prompts(model) is None:
            inputs = pack_groups(ids, torch.ones_like(ids), completion_length=len(RANGES))
        accept_range_head(model)
        outputs = model(**inputs, range_head=head, completion_ids=ids[:, -len(RANGES) :])
        gradients = torch.autograd.grad(outputs[0].mean(), list(model.parameters()))
        made.append([x.detach().cpu() for x in (*outputs, *gradients)])
    for on_cpu, on_device in zip(*made, strict=True):
        torch.testing.assert_close(on_device, on_cpu, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_graphs_change_nothing(models: tuple[Any, Any], dtype: torch.dtype | None) -> None:
    """Steps of a kind are captured from the second on; a weight is cast before."""
    world = torch.tensor([[-1] * 5 + [7, 8] + [-1] * 33] * 3)
    ranges = torch.tensor([[3, 50]] * 40)
    settings: dict[str, Any] = {"num_samples": GROUP, "uniforms": draw_uniforms(range(3), GROUP, 40)}
    settings |= {"return_logprobs": True, "autocast_dtype": dtype}
    drawn = []
    for enabled in (True, False):
        with graphs(enabled):
            drawn.append(sample_completions(models[1], prompts().to(DEVICE), world, ranges, **settings))
    torch.testing.assert_close(drawn[0], drawn[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("queries", [5, 1], ids=["training", "next token"])
def test_the_kernel_of_biases_is_near_the_cpus(queries: int, window: int | None, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    shapes = [(12, 4, queries), *[(3, 2, 7)] * 2, *[(12, 2, 5)] * 2]
    inputs = [torch.randn(*shape, 16, generator=random).requires_grad_() for shape in shapes]
    on_device = [x.detach().to(DEVICE, dtype).requires_grad_() for x in inputs]
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[0], mask[1, :3] = False, False
    made = []
    for given in (inputs, on_device):
        device = given[0].device
        seen = SeenKeys.of(
            torch.arange(5 - queries, 5, device=device), keys=5, prompt_length=7, like=given[0],
            prompt_mask=mask.to(device), window=window,
        )  # fmt: skip
        out = attend_shared(*given, scale=0.3, seen=seen)
        made.append([x.cpu().float() for x in (out, *torch.autograd.grad(out.float().square().sum(), given))])
    for wanted, found in zip(*made, strict=True):
        assert (found - wanted).norm() <= (1e-3 if dtype == torch.float32 else 0.05) * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [16, 20], ids=["flash kernel", "formula"])
@pytest.mark.parametrize("queries", [5, 1], ids=["training", "next token"])
def test_half_precision_is_near_float32(queries: int, width: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    shapes = [(12, 4, queries), *[(3, 2, 7)] * 2, *[(12, 2, 5)] * 2]
    inputs = [torch.randn(*shape, width, generator=random).requires_grad_() for shape in shapes]
    expected = attend_shared(*inputs, scale=0.3)
    wanted = torch.autograd.grad(expected.square().sum(), inputs)
    halves = [x.detach().to(DEVICE, dtype).requires_grad_() for x in inputs]
    out = attend_shared(*halves, scale=0.3)
    assert out.dtype == dtype
    torch.testing.assert_close(out.cpu().float(), expected, atol=0.03, rtol=0.03)
    for gradient, of_float in zip(torch.autograd.grad(out.float().square().sum(), halves), wanted, strict=True):
        assert (gradient.cpu().float() - of_float).norm() <= 0.05 * of_float.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_samples_what_it_scores(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = MODELS["shared"]().eval().to(DEVICE)
    settings: dict[str, Any] = {"uniforms": draw_uniforms(range(3), GROUP, len(RANGES)), "autocast_dtype": dtype}
    ids, log_probs = sample_completions(
        model, prompts().to(DEVICE), WORLD.repeat(3, 1), RANGES, num_samples=GROUP, return_logprobs=True, **settings
    )
    accept_range_head(model)
    rows = torch.cat([prompts().to(DEVICE).repeat_interleave(GROUP, dim=0), ids], dim=1)
    inputs = pack_groups(rows, torch.ones_like(rows), completion_length=len(RANGES))
    with torch.no_grad(), torch.autocast(DEVICE, dtype):
        scored, _ = model(**inputs, range_head=RangeHead(RANGES, WORLD < 0), completion_ids=ids)
    torch.testing.assert_close(scored, log_probs, atol=0.1, rtol=0.05)
