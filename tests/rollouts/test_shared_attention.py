"""Attention to a shared prompt is attention to a copy of it in front of every completion."""

from collections.abc import Callable

import pytest
import torch

from rlvr_world_hf.rollouts import shared_attention
from rlvr_world_hf.rollouts.shared_attention import SeenKeys, attend_shared, attend_shared_plainly


TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
SIZES = {  # prompts, completions, heads, key heads, queries, own keys, prompt tokens
    "training": (2, 3, 4, 4, 5, 5, 7),
    "key heads shared": (2, 3, 4, 2, 5, 5, 7),
    "next token": (2, 3, 4, 2, 1, 6, 7),
    "several next tokens": (2, 3, 4, 1, 3, 6, 7),
    "one of each": (1, 1, 2, 2, 1, 1, 1),
    "no prompt": (2, 2, 4, 2, 3, 3, 0),
}


@pytest.fixture(params=["kernel", "formula", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., torch.Tensor]:
    """The CPU's kernel, what stands in for it on a device that has none, and plain operations."""
    if request.param == "formula":
        monkeypatch.setattr(shared_attention, "_is_for_cpu_kernel", lambda query: False)
    return attend_shared_plainly if request.param == "plain" else attend_shared


def plain(
    query: torch.Tensor,
    *keys_and_values: torch.Tensor,
    scale: float,
    mask: torch.Tensor | None = None,
    window: int | None = None,
    cap: float | None = None,
) -> torch.Tensor:
    """One softmax over the prompt, copied for each completion, and the completion."""
    prompt_key, prompt_value, key, value = keys_and_values
    group, ratio = len(query) // len(prompt_key), query.shape[1] // key.shape[1]
    queries, own, prompt = query.shape[2], key.shape[2], prompt_key.shape[2]
    keys, values = (
        torch.cat([of_prompt.repeat_interleave(group, 0), of_own], dim=2).repeat_interleave(ratio, 1)
        for of_prompt, of_own in ((prompt_key, key), (prompt_value, value))
    )
    seen = torch.ones(len(query), queries, prompt + own, dtype=torch.bool).tril(prompt + own - queries)
    if window is not None:
        seen = seen.triu(prompt + own - queries - window + 1)
    if mask is not None:
        seen[:, :, :prompt] &= mask.repeat_interleave(group, 0)[:, None]
    scores = query @ keys.mT * scale
    scores = scores if cap is None else (scores / cap).tanh() * cap
    return scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1) @ values


def seen_keys(
    inputs: list[torch.Tensor], mask: torch.Tensor | None = None, window: int | None = None
) -> SeenKeys | None:
    """What the last tokens of completions see; where that is all before them, nothing has to be said."""
    query, prompt_key, _, key, _ = inputs
    if mask is None and window is None:
        return None
    places = torch.arange(key.shape[2] - query.shape[2], key.shape[2])
    length = prompt_key.shape[2]
    return SeenKeys.of(places, keys=key.shape[2], prompt_length=length, like=query, prompt_mask=mask, window=window)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("window", [None, 1, 3, 8], ids=lambda window: f"window {window}")
@pytest.mark.parametrize("padded", [False, True], ids=["whole prompts", "padded prompts"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=list(SIZES))
def test_equals_a_copy_of_the_prompt(
    way: Callable, dtype: torch.dtype, window: int | None, padded: bool, sizes: tuple[int, ...]
) -> None:
    prompts, group, heads, key_heads, queries, own, length = sizes
    random = torch.Generator().manual_seed(0)
    rows = prompts * group
    shapes = [(rows, heads, queries), *[(prompts, key_heads, length)] * 2, *[(rows, key_heads, own)] * 2]
    inputs = [torch.randn(*shape, 8, dtype=dtype, generator=random).requires_grad_() for shape in shapes]
    mask = None
    if padded:
        mask = torch.ones(prompts, length, dtype=torch.bool)
        mask[0] = False  # nothing but padding
        mask[-1, : length // 2] = False
    cap = 0.7 if way is attend_shared_plainly else None
    expected = plain(*inputs, scale=0.3, mask=mask, window=window, cap=cap)
    weight = torch.randn(expected.shape, dtype=dtype, generator=random)
    used = inputs if length else [inputs[0], *inputs[3:]]
    gradients = torch.autograd.grad((expected * weight).sum(), used)

    out = way(*inputs, scale=0.3, seen=seen_keys(inputs, mask, window), cap=cap)
    torch.testing.assert_close(out, expected, atol=TOLERANCE[dtype], rtol=0)
    for gradient, wanted in zip(torch.autograd.grad((out * weight).sum(), used), gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, atol=TOLERANCE[dtype], rtol=0)


def test_what_is_not_written_yet_is_hidden(way: Callable) -> None:
    random = torch.Generator().manual_seed(0)
    inputs = [torch.randn(*shape, 8, generator=random) for shape in [(6, 4, 2), *[(2, 2, 7)] * 2, *[(6, 2, 9)] * 2]]
    query, *prompt, key, value = inputs
    seen = SeenKeys.of(torch.tensor([2, 3]), keys=9, prompt_length=7, like=query)
    expected = plain(query, *prompt, key[:, :, :4], value[:, :, :4], scale=0.3)
    torch.testing.assert_close(way(*inputs, scale=0.3, seen=seen), expected, atol=1e-5, rtol=0)


def test_kernels_refuse_a_cap() -> None:
    states = torch.zeros(1, 1, 1, 8)
    with pytest.raises(ValueError, match="without a cap, got 5; load the model with eager"):
        attend_shared(states, states, states, states, states, scale=1.0, cap=5.0)


def test_half_precision_is_near(way: Callable) -> None:
    random = torch.Generator().manual_seed(0)
    shapes = [(6, 4, 5), (2, 2, 7), (2, 2, 7), (6, 2, 5), (6, 2, 5)]
    inputs = [torch.randn(*shape, 8, generator=random) for shape in shapes]
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, :3] = False
    rounded = [x.bfloat16() for x in inputs]
    out = way(*rounded, scale=0.3, seen=seen_keys(rounded, mask))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), plain(*inputs, scale=0.3, mask=mask), atol=0.03, rtol=0)
