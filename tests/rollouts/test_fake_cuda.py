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
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from rlvr_world_hf.rollouts.decoder import GroupDecoder
from rlvr_world_hf.rollouts.head import RangeHead, accept_range_head
from rlvr_world_hf.rollouts.sampling import draw
from rlvr_world_hf.rollouts.shared_attention import _is_for_flash, _SharedAttention, padding_bias
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


@pytest.fixture(params=["sdpa", "eager", "unshared"])
def model(request: pytest.FixtureRequest, range_head: RangeHead, cuda: None) -> Any:
    kind, config = LlamaForCausalLM, LlamaConfig(**SIZES, attn_implementation=request.param)
    if request.param == "unshared":  # a head that caps, and attention to windows
        kind, config = Gemma2ForCausalLM, Gemma2Config(**SIZES, head_dim=16, sliding_window=4)
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
    is_cut = ids is not None and decoder.cache is not None
    dtype = torch.float32 if is_cut else torch.bfloat16
    unread, rows = torch.zeros(PROMPTS, PROMPT, dtype=torch.long, device="cuda"), PROMPTS * GROUP
    for kept in ([0, 1, 2], [0, 2], [1]):
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


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 5), (2, 5)], ids=["all", "next", "next two"])
def test_shared_attention_and_its_gradients(cuda: None, queries: int, keys: int, padded: bool) -> None:
    shapes = [(12, 4, queries, 16), *[(3, 2, 6, 16)] * 2, *[(12, 2, keys, 16)] * 2]
    inputs = [torch.zeros(*shape, dtype=torch.bfloat16, device="cuda") for shape in shapes]
    bias = padding_bias(torch.ones(3, 6, dtype=torch.bool, device="cuda"), torch.bfloat16) if padded else None
    context = SimpleNamespace(save_for_backward=lambda *kept: setattr(context, "saved_tensors", kept))
    out = _SharedAttention.forward(context, *inputs, 0.5, bias)
    check(out, shapes[0], torch.bfloat16)
    gradients = _SharedAttention.backward(context, torch.zeros_like(out))
    for gradient, shape in zip(gradients[:5], shapes, strict=True):
        check(gradient, shape, torch.bfloat16)


@pytest.mark.parametrize("width", [16, 20])
def test_the_flash_kernel_is_taken_where_there_is_one(cuda: None, width: int) -> None:
    query = torch.zeros(1, 1, 1, width, dtype=torch.bfloat16, device="cuda")
    is_ampere = torch.cuda.get_device_capability() >= (8, 0)
    assert _is_for_flash(query, None) == (is_ampere and width == 16)
    assert not _is_for_flash(query.float(), None)
