"""
The parts of sampling and scoring on a CUDA device that is not there: torch makes tensors of a device, a dtype and a
shape and without numbers, and follows them through all operations. A tensor left on the CPU, or another dtype, fails.

What reads numbers (`.tolist()`, a condition on a tensor) cannot run so, nor can the engine of the backward pass;
`test_gpu.py` runs all of it on a real device.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from rlvr_world_hf.rollouts import shared_attention
from rlvr_world_hf.rollouts.decoder import GroupDecoder, graphs
from rlvr_world_hf.rollouts.decoding import draw
from rlvr_world_hf.rollouts.head import RangeHead, accept_range_head
from rlvr_world_hf.rollouts.shared_attention import SeenKeys, _is_for_efficient, _is_for_flash, _SharedAttention
from rlvr_world_hf.rollouts.shared_prompt import PackedGroups, no_mask, share_prompts


GROUP, PROMPTS, PROMPT, LENGTH = 4, 3, 6, 5
SIZES = {
    "vocab_size": 50,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture
def range_head() -> RangeHead:
    """Made of numbers on the CPU, as a trainer does."""
    ranges = torch.tensor([[0, 9], [9, 30], [3, 4], [5, 20], [0, 9]])
    return RangeHead(ranges, torch.tensor([True, True, False, True, True]))


@pytest.fixture(params=[(7, 5), (9, 0)], ids=["T4", "H100"])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors have no numbers, and a device is of this generation."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: request.param)
    with FakeTensorMode():
        yield


@pytest.fixture(params=["sdpa", "eager", "windows", "capped", "unshared"])
def model(request: pytest.FixtureRequest, range_head: RangeHead, cuda: None) -> Any:
    kind = {"capped": Gemma2ForCausalLM, "windows": Gemma3ForCausalLM}.get(request.param, LlamaForCausalLM)
    config = {
        "sdpa": lambda: LlamaConfig(**SIZES, attn_implementation="sdpa"),
        "eager": lambda: LlamaConfig(**SIZES, attn_implementation="eager"),
        "windows": lambda: Gemma3TextConfig(**SIZES, head_dim=16, sliding_window=4),
        "capped": lambda: Gemma2Config(**SIZES, head_dim=16, sliding_window=4, attn_implementation="eager"),
        "unshared": lambda: LlamaConfig(**SIZES, attention_dropout=0.1),
    }[request.param]()
    with torch.device("cuda"):
        model = kind._from_config(config, dtype=torch.bfloat16).eval()
    assert (share_prompts(model) is None) == (request.param != "unshared")
    return model


def check(tensor: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    assert (tensor.device.type, tuple(tensor.shape), tensor.dtype) == ("cuda", shape, dtype)


@pytest.mark.parametrize(("padded", "ids"), [(False, None), (True, (3, 20))])
def test_prompts_and_next_tokens_are_read(model: Any, padded: bool, ids: tuple[int, int] | None) -> None:
    mask = torch.ones(PROMPTS, PROMPT, dtype=torch.bool, device="cuda") if padded else None
    decoder = GroupDecoder(model, group_size=GROUP, length=LENGTH, prompt_length=PROMPT, prompt_mask=mask)
    # Our head makes float32, the model's own what its weights are.
    dtype = torch.bfloat16 if decoder.cache is None else torch.float32
    unread, rows = torch.zeros(PROMPTS, PROMPT, dtype=torch.long, device="cuda"), PROMPTS * GROUP
    for kept in ([0, 1, 2], [0, 2], [1]):
        with graphs(False):  # no tensor here is on a device
            logits = decoder.read(unread, ids=ids)
        check(logits, (rows, 50 if ids is None else 17), dtype)
        drawn = draw(
            logits.float(), torch.zeros(rows, dtype=torch.float64, device="cuda"), temperature=0.7, top_k=5, top_p=0.9
        )
        check(drawn, (rows,), torch.int64)
        decoder.keep(torch.zeros(len(kept), dtype=torch.long, device="cuda"))
        unread, rows = drawn[: len(kept) * GROUP, None], len(kept) * GROUP


@pytest.mark.parametrize("padded", [False, True])
def test_completions_are_scored(model: Any, range_head: RangeHead, padded: bool) -> None:
    accept_range_head(model)
    completions = torch.zeros(PROMPTS * GROUP, LENGTH, dtype=torch.long, device="cuda")
    if share_prompts(model) is None:
        mask = torch.ones(PROMPTS, PROMPT - 1, dtype=torch.bool, device="cuda") if padded else None
        tokens = PROMPTS * (PROMPT - 1) + PROMPTS * GROUP * LENGTH
        groups = PackedGroups(prompts=PROMPTS, prompt_length=PROMPT - 1, completion_length=LENGTH, prompt_mask=mask)
        ids = torch.zeros(1, tokens, dtype=torch.long, device="cuda")
        inputs = {"input_ids": ids, "position_ids": ids, "attention_mask": no_mask(ids), "shared_prompt": groups}
    else:
        inputs = {"input_ids": torch.zeros(PROMPTS * GROUP, PROMPT + LENGTH, dtype=torch.long, device="cuda")}
    log_probs, entropies = model(**inputs, range_head=range_head, completion_ids=completions)
    check(log_probs, (PROMPTS * GROUP, LENGTH), torch.float32)
    check(entropies, (PROMPTS * GROUP, LENGTH), torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 5), (2, 5)], ids=["all", "next", "next two"])
def test_shared_attention_and_its_gradients(
    cuda: None, queries: int, keys: int, padded: bool, window: int | None, dtype: torch.dtype
) -> None:
    shapes = [(12, 4, queries, 16), *[(3, 2, 6, 16)] * 2, *[(12, 2, keys, 16)] * 2]
    inputs = [torch.zeros(*shape, dtype=dtype, device="cuda") for shape in shapes]
    mask = torch.ones(3, 6, dtype=torch.bool, device="cuda") if padded else None
    seen = SeenKeys()
    if padded or window:
        places = torch.arange(keys - queries, keys, device="cuda")
        seen = SeenKeys.of(places, keys=keys, prompt_length=6, like=inputs[0], prompt_mask=mask, window=window)
    context = SimpleNamespace(save_for_backward=lambda *kept: setattr(context, "saved_tensors", kept))
    out = _SharedAttention.forward(context, *inputs, 0.5, seen.prompt, seen.own)
    check(out, shapes[0], dtype)
    gradients = _SharedAttention.backward(context, torch.zeros_like(out))
    for gradient, shape in zip(gradients[:5], shapes, strict=True):
        check(gradient, shape, dtype)


@pytest.mark.parametrize("width", [16, 20])
def test_the_kernels_are_taken_where_there_are_some(cuda: None, width: int) -> None:
    query = torch.zeros(1, 1, 1, width, dtype=torch.bfloat16, device="cuda")
    is_ampere = torch.cuda.get_device_capability() >= (8, 0)
    assert _is_for_flash(query, None) == (is_ampere and width == 16)
    assert not _is_for_flash(query.float(), None)
    assert _is_for_efficient(query) == (is_ampere and width == 16)
    assert _is_for_efficient(query.float()) == (width == 16)


def test_no_scores_are_kept_for_padding_or_windows(cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def scores(*given: Any) -> None:
        raise AssertionError("scores of all queries and keys are made")

    monkeypatch.setattr(shared_attention, "_scores", scores)
    test_shared_attention_and_its_gradients(None, 5, 5, True, 3, torch.float32)
