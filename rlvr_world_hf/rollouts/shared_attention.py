"""
Attention of a group's completions to the prompt they share and to themselves, without copying the prompt.

With q one query, s its scores against keys K and lse = log sum exp s:

    attention(q, [K1 K2], [V1 V2]) = w1 attention(q, K1, V1) + w2 attention(q, K2, V2)
    w1 = exp(lse1 - lse),   w2 = exp(lse2 - lse),   lse = log(exp lse1 + exp lse2)

So all queries of a group are multiplied with the prompt's keys in one product (Hydragen,
https://huggingface.co/papers/2402.05099).

The backward pass of each part is that of ordinary attention, with the merged output and the merged lse in place of
the part's own, as in ring attention (https://huggingface.co/papers/2310.01889).

Letters: B prompts, G completions of each, H heads of queries, K heads of keys, T queries, S own keys, P prompt tokens,
D width of a head.
"""

from typing import Any

import torch
from einops import rearrange, reduce, repeat
from torch.nn import functional


aten = torch.ops.aten


def attend_shared(
    query: torch.Tensor,
    prompt_key: torch.Tensor,
    prompt_value: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    prompt_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    Attention of completions to the prompt of their group and, causally, to themselves.

    Args:
        query (`torch.Tensor` of shape `(B * G, H, T, D)`):
            Queries of the last `T` tokens of each completion; those of one prompt stand together.
        prompt_key (`torch.Tensor` of shape `(B, K, P, D)`):
            Keys of the prompts; `K` divides `H`, and `P` may be 0.
        prompt_value (`torch.Tensor` of shape `(B, K, P, D)`):
            Their values.
        key (`torch.Tensor` of shape `(B * G, K, S, D)`):
            Keys of the completions so far, `S >= T`.
        value (`torch.Tensor` of shape `(B * G, K, S, D)`):
            Their values.
        scale (`float`):
            Multiplies the scores.
        prompt_mask (`torch.Tensor` of shape `(B, P)`, bool, *optional*):
            False where a prompt is padding; all of a prompt may be padding.

    Returns:
        `torch.Tensor` of shape `(B * G, H, T, D)`, with a gradient to all five.

    Example:
        >>> query, own = torch.randn(4, 2, 3, 8), torch.randn(4, 2, 3, 8)
        >>> prompt = torch.randn(2, 2, 5, 8)
        >>> attend_shared(query, prompt, prompt, own, own, scale=1.0).shape
        torch.Size([4, 2, 3, 8])
    """
    bias = None if prompt_mask is None else padding_bias(prompt_mask, query.dtype)
    if prompt_key.shape[2] == 0:
        own = None if query.shape[2] == key.shape[2] else causal_bias(query.shape[2], key.shape[2], like=query)
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=own, is_causal=own is None, scale=scale, enable_gqa=True
        )
    return _SharedAttention.apply(query, prompt_key, prompt_value, key, value, scale, bias)


def attend_shared_plainly(
    query: torch.Tensor,
    prompt_key: torch.Tensor,
    prompt_value: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    prompt_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    [`attend_shared`] in plain operations: one softmax over all scores, which are kept for the backward pass.

    It is faster for short sequences on a CPU and takes that memory: forward and backward of 16 x 16 completions of 72
    tokens to prompts of 34, 4 layers of 128 in bfloat16, took 0.74 s on 2 cores, and 1.14 s with [`attend_shared`].

    Args:
        query (`torch.Tensor` of shape `(B * G, H, T, D)`):
            As in [`attend_shared`]; so are all others.
        prompt_key (`torch.Tensor` of shape `(B, K, P, D)`):
            Keys of the prompts.
        prompt_value (`torch.Tensor` of shape `(B, K, P, D)`):
            Their values.
        key (`torch.Tensor` of shape `(B * G, K, S, D)`):
            Keys of the completions so far.
        value (`torch.Tensor` of shape `(B * G, K, S, D)`):
            Their values.
        scale (`float`):
            Multiplies the scores.
        prompt_mask (`torch.Tensor` of shape `(B, P)`, bool, *optional*):
            False where a prompt is padding.

    Returns:
        `torch.Tensor` of shape `(B * G, H, T, D)`.

    Example:
        >>> query, own = torch.randn(4, 2, 3, 8), torch.randn(4, 2, 3, 8)
        >>> prompt = torch.randn(2, 2, 5, 8)
        >>> plain = attend_shared_plainly(query, prompt, prompt, own, own, scale=1.0)
        >>> torch.allclose(plain, attend_shared(query, prompt, prompt, own, own, scale=1.0), atol=1e-5)
        True
    """
    (heads, length), (queries, keys) = prompt_key.shape[1:3], (query.shape[2], key.shape[2])
    group, query = len(query) // len(prompt_key), query * scale
    folded = rearrange(query, "(b g) (k r) t d -> b k (g r t) d", g=group, k=heads)
    own = rearrange(query, "n (k r) t d -> n k (r t) d", k=heads)
    prompt_part = folded @ prompt_key.mT  # (B, K, G R T, P)
    if prompt_mask is not None:
        prompt_part = prompt_part + padding_bias(prompt_mask, query.dtype)
    prompt_part = rearrange(prompt_part, "b k (g r t) p -> (b g) k r t p", g=group, t=queries)
    # For one query, keys go on the left: they are a slice of a longer buffer, and the other order would copy them,
    # which takes three times as long.
    scores = own @ key.mT if queries > 1 else (key @ own.mT).mT
    own_part = rearrange(scores, "n k (r t) s -> n k r t s", t=queries)
    if queries > 1:
        own_part = own_part + causal_bias(queries, keys, like=query)[0]
    dtype = torch.promote_types(query.dtype, torch.float32)
    shares = torch.cat([prompt_part, own_part], dim=-1).softmax(dim=-1, dtype=dtype).to(value.dtype)
    prompt_part, own_part = shares.split([length, keys], dim=-1)
    prompt_part = rearrange(prompt_part, "(b g) k r t p -> b k (g r t) p", g=group) @ prompt_value
    own_part = rearrange(own_part, "n k r t s -> n k (r t) s") @ value
    out = rearrange(prompt_part, "b k (g r t) d -> (b g) (k r) t d", g=group, t=queries)
    return out + rearrange(own_part, "n k (r t) d -> n (k r) t d", t=queries)


def padding_bias(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """
    Bias that hides padded keys: 0, or a number so low that its exponential is 0.

    The number is finite: a query that sees only padding then gives padding a weight of 0, and no NaN.

    Args:
        mask (`torch.Tensor` of shape `(B, P)`, bool):
            False where a key is padding.
        dtype (`torch.dtype`):
            Dtype of the queries.

    Returns:
        `torch.Tensor` of shape `(B, 1, 1, P)`.

    Example:
        >>> padding_bias(torch.tensor([[False, True]]), torch.float32).exp()[0, 0].tolist()
        [[0.0, 1.0]]
    """
    low = torch.finfo(dtype).min / 2  # half, so that adding a score cannot give minus infinity
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, low)[:, None, None]


def causal_bias(queries: int, keys: int, *, like: torch.Tensor) -> torch.Tensor:
    """
    Bias that hides later keys from the last `queries` of `keys` tokens.

    Args:
        queries (`int`):
            Number of queries, `T`.
        keys (`int`):
            Number of keys, `S >= T`.
        like (`torch.Tensor`):
            Gives dtype and device.

    Returns:
        `torch.Tensor` of shape `(1, 1, T, S)`, 0 or a very low number.

    Example:
        >>> causal_bias(2, 3, like=torch.zeros(1)).exp()[0, 0].tolist()
        [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    seen = torch.ones(queries, keys, dtype=torch.bool, device=like.device).tril(keys - queries)
    low = torch.finfo(like.dtype).min / 2
    return torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill(~seen, low)[None, None]


class _SharedAttention(torch.autograd.Function):
    """Attention to prompt and completion, merged; see the top of this file."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        prompt_key: torch.Tensor,
        prompt_value: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        sizes = {"g": len(query) // len(prompt_key), "k": prompt_key.shape[1], "t": query.shape[2]}
        folded = rearrange(query, "(b g) (k r) t d -> b k (r g t) d", g=sizes["g"], k=sizes["k"])
        prompt_part, lse_prompt, flash_state = _forward(folded, prompt_key, prompt_value, scale, bias=bias)
        prompt_part = rearrange(prompt_part, "b k (r g t) d -> (b g) (k r) t d", g=sizes["g"], t=sizes["t"])
        lse_prompt = rearrange(lse_prompt, "b k (r g t) -> (b g) (k r) t", g=sizes["g"], t=sizes["t"])
        own_part, lse_own, own_state = _own_attention(query, key, value, scale)
        lse = torch.logaddexp(lse_prompt, lse_own)
        shares = ((part - lse).exp().unsqueeze(-1) for part in (lse_prompt, lse_own))
        out = sum(share * part for share, part in zip(shares, (prompt_part, own_part), strict=True)).to(query.dtype)
        ctx.save_for_backward(query, prompt_key, prompt_value, key, value, out, lse, bias)
        ctx.scale, ctx.sizes, ctx.flash_states = scale, sizes, (flash_state, own_state)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, prompt_key, prompt_value, key, value, out, lse, bias = ctx.saved_tensors
        group, heads, queries = ctx.sizes["g"], ctx.sizes["k"], ctx.sizes["t"]
        folded_gradient, folded_query, folded_out = (
            rearrange(x, "(b g) (k r) t d -> b k (r g t) d", g=group, k=heads).contiguous()
            for x in (gradient, query, out)
        )
        folded_lse = rearrange(lse, "(b g) (k r) t -> b k (r g t)", g=group, k=heads).contiguous()
        prompt = (folded_query, folded_out, prompt_key, prompt_value, folded_lse)
        query_gradient, *prompt_gradients = _backward(
            folded_gradient, *prompt, ctx.scale, ctx.flash_states[0], bias=bias
        )
        query_gradient = rearrange(query_gradient, "b k (r g t) d -> (b g) (k r) t d", g=group, t=queries)
        own_query_gradient, *own_gradients = _own_backward(
            gradient, query, out, key, value, lse, ctx.scale, ctx.flash_states[1]
        )
        return query_gradient + own_query_gradient, *prompt_gradients, *own_gradients, None, None


def _own_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> tuple[Any, ...]:
    """Attention `(N, H, T, D)` of completions to themselves, log-sum-exp `(N, H, T)`, and what backward needs."""
    queries = query.shape[2]
    query, key, value, bias, is_causal = _own_layout(query, key, value)
    out, lse, flash_state = _forward(query, key, value, scale, bias=bias, is_causal=is_causal)
    if queries == 1:
        return rearrange(out, "n k r d -> n (k r) 1 d"), rearrange(lse, "n k r -> n (k r) 1"), flash_state
    return out, lse, flash_state


def _own_layout(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, bool]:
    """The inputs with equal numbers of heads, and what hides later keys: a bias, or the kernel's causal flag."""
    (heads, keys), queries = key.shape[1:3], query.shape[2]
    ratio = query.shape[1] // heads
    if queries == 1:  # it sees all keys, so the query heads of a key head can stand as queries of that head
        return rearrange(query, "n (k r) 1 d -> n k r d", k=heads), key, value, None, False
    if ratio > 1:
        key, value = (repeat(x, "n k s d -> n (k r) s d", r=ratio) for x in (key, value))
    is_causal = queries == keys
    return query, key, value, None if is_causal else causal_bias(queries, keys, like=query), is_causal


def _own_backward(
    gradient: torch.Tensor,
    query: torch.Tensor,
    out: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lse: torch.Tensor,
    scale: float,
    flash_state: Any,
) -> tuple[torch.Tensor, ...]:
    """Gradients of [`_own_attention`], as its part of the merged attention."""
    heads, queries = key.shape[1], query.shape[2]
    own_query, own_key, own_value, bias, is_causal = _own_layout(query, key, value)
    if queries == 1:
        gradient, out = (rearrange(x, "n (k r) 1 d -> n k r d", k=heads) for x in (gradient, out))
        lse = rearrange(lse, "n (k r) 1 -> n k r", k=heads)
    query_gradient, key_gradient, value_gradient = _backward(
        gradient.contiguous(),
        own_query,
        out,
        own_key,
        own_value,
        lse,
        scale,
        flash_state,
        bias=bias,
        is_causal=is_causal,
    )
    if queries == 1:
        return rearrange(query_gradient, "n k r d -> n (k r) 1 d"), key_gradient, value_gradient
    key_gradient, value_gradient = (
        reduce(x, "n (k r) s d -> n k s d", "sum", k=heads) for x in (key_gradient, value_gradient)
    )
    return query_gradient, key_gradient, value_gradient


def _forward(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    *,
    bias: torch.Tensor | None = None,
    is_causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Attention `(N, H, T, D)`, log-sum-exp `(N, H, T)` in float32 or better, and what backward needs besides."""
    if _is_for_cpu_kernel(query):
        bias = None if bias is None else bias.expand(len(query), 1, query.shape[2], key.shape[2])
        return *aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, is_causal, attn_mask=bias, scale=scale
        ), None
    if _is_for_flash(query, bias):
        out, lse, *state = aten._scaled_dot_product_flash_attention(query, key, value, 0.0, is_causal, scale=scale)
        return out, lse, state[:6]
    scores = _scores(query, key, scale, bias, is_causal)
    lse = scores.logsumexp(dim=-1)
    return ((scores - lse.unsqueeze(-1)).exp().to(value.dtype) @ value), lse, None


def _backward(
    gradient: torch.Tensor,
    query: torch.Tensor,
    out: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lse: torch.Tensor,
    scale: float,
    flash_state: Any,
    *,
    bias: torch.Tensor | None = None,
    is_causal: bool = False,
) -> tuple[torch.Tensor, ...]:
    """Gradients for query, key and value, given `out` and `lse` of the whole attention that this is a part of."""
    if _is_for_cpu_kernel(query):
        bias = None if bias is None else bias.expand(len(query), 1, query.shape[2], key.shape[2])
        return aten._scaled_dot_product_flash_attention_for_cpu_backward(
            gradient, query, key, value, out, lse, 0.0, is_causal, attn_mask=bias, scale=scale
        )
    if flash_state is not None:
        *lengths, seed, offset = flash_state
        return aten._scaled_dot_product_flash_attention_backward(
            gradient, query, key, value, out, lse, *lengths, 0.0, is_causal, seed, offset, scale=scale
        )
    shares = (_scores(query, key, scale, bias, is_causal) - lse.unsqueeze(-1)).exp()
    gradient, out, value = (x.to(shares.dtype) for x in (gradient, out, value))
    score_gradient = shares * (gradient @ value.mT - (gradient * out).sum(dim=-1, keepdim=True)) * scale
    gradients = (
        score_gradient @ key.to(shares.dtype),
        score_gradient.mT @ query.to(shares.dtype),
        shares.mT @ gradient,
    )
    return tuple(x.to(query.dtype) for x in gradients)


def _is_for_cpu_kernel(query: torch.Tensor) -> bool:
    return query.device.type == "cpu"


def _is_for_flash(query: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether the flash kernel can take it: half precision, no bias, heads of a multiple of 8 and at most 256."""
    half, width = query.dtype in (torch.bfloat16, torch.float16), query.shape[-1]
    is_taken = query.device.type == "cuda" and half and bias is None and width <= 256 and width % 8 == 0
    return is_taken and torch.cuda.get_device_capability(query.device) >= (8, 0)  # Ampere: a T4 has no such kernel


def _scores(
    query: torch.Tensor, key: torch.Tensor, scale: float, bias: torch.Tensor | None, is_causal: bool
) -> torch.Tensor:
    """Scores `(N, H, T, S)` in float32 or better."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    scores = query.to(dtype) @ key.to(dtype).mT * scale
    if is_causal:
        bias = causal_bias(query.shape[2], key.shape[2], like=scores)
    return scores if bias is None else scores + bias
