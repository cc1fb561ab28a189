"""
Attention of a group's completions to the prompt they share and to themselves, without copying the prompt.

With q one query, s its scores against keys K and lse = log sum exp s:

    attention(q, [K1 K2], [V1 V2]) = w1 attention(q, K1, V1) + w2 attention(q, K2, V2)
    w1 = exp(lse1 - lse),   w2 = exp(lse2 - lse),   lse = log(exp lse1 + exp lse2)

So all queries of a group are multiplied with the prompt's keys in one product (Hydragen,
https://huggingface.co/papers/2402.05099).

The backward pass of each part is that of ordinary attention, with the merged output and the merged lse in place of
the part's own, as in ring attention (https://huggingface.co/papers/2310.01889).

Which keys a query sees is said by biases, see [`SeenKeys`]: padding of prompts, later tokens, and, in layers with a
sliding window of W tokens, those W or more before it.

Letters: B prompts, G completions of each, H heads of queries, K heads of keys, T queries, S own keys, P prompt tokens,
D width of a head.
"""

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, reduce, repeat
from torch.nn import functional


aten = torch.ops.aten


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenKeys:
    """
    Which keys completions see, as biases that are added to scores: 0, or a number so low that its exponential is 0.

    Example:
        >>> seen = SeenKeys.of(torch.tensor([2]), keys=4, prompt_length=3, window=4, like=torch.zeros(1))
        >>> seen.own.exp().flatten().tolist(), seen.prompt.exp().flatten().tolist()
        ([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    """

    prompt: torch.Tensor | None = None
    """`(B or 1, 1, T or 1, P)`: the keys of prompts; `None` where all are seen."""
    own: torch.Tensor | None = None
    """`(1, 1, T, S)`: a completion's own keys; `None` where the `T` queries are the last of `S` tokens, and each sees
    itself and all before it."""

    @classmethod
    def of(
        cls,
        places: torch.Tensor,
        *,
        keys: int,
        prompt_length: int,
        like: torch.Tensor,
        prompt_mask: torch.Tensor | None = None,
        window: int | None = None,
    ) -> "SeenKeys":
        """
        What queries at some places of their completion see.

        Args:
            places (`torch.Tensor` of shape `(T,)`, int64):
                Places of the queries, 0 for the first token of a completion.
            keys (`int`):
                Number of own keys, `S`; those after a query are hidden.
            prompt_length (`int`):
                Keys of a prompt, `P`.
            like (`torch.Tensor`):
                Gives dtype and device.
            prompt_mask (`torch.Tensor` of shape `(B, P)`, bool, *optional*):
                False where a prompt is padding.
            window (`int`, *optional*):
                Tokens that a query sees, itself included.

        Returns:
            [`SeenKeys`]
        """
        own_places = torch.arange(keys, device=places.device)
        own = own_places <= places[:, None]
        prompt = None if prompt_mask is None else prompt_mask[:, None]  # (B, 1, P)
        if window is not None:
            own = own & (own_places > places[:, None] - window)
            prompt_places = torch.arange(-prompt_length, 0, device=places.device)
            in_window = (prompt_places > places[:, None] - window)[None]  # (1, T, P)
            prompt = in_window if prompt is None else prompt & in_window
        return cls(
            prompt=None if prompt is None else hiding_bias(prompt, like)[:, None],
            own=hiding_bias(own, like)[None, None],
        )


def attend_shared(
    query: torch.Tensor,
    prompt_key: torch.Tensor,
    prompt_value: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    seen: SeenKeys | None = None,
    cap: float | None = None,
) -> torch.Tensor:
    """
    Attention of completions to the prompt of their group and, causally, to themselves.

    Args:
        query (`torch.Tensor` of shape `(B * G, H, T, D)`):
            Queries of `T` tokens of each completion; those of one prompt stand together.
        prompt_key (`torch.Tensor` of shape `(B, K, P, D)`):
            Keys of the prompts; `K` divides `H`, and `P` may be 0.
        prompt_value (`torch.Tensor` of shape `(B, K, P, D)`):
            Their values.
        key (`torch.Tensor` of shape `(B * G, K, S, D)`):
            Keys of the completions, `S >= T`.
        value (`torch.Tensor` of shape `(B * G, K, S, D)`):
            Their values.
        scale (`float`):
            Multiplies the scores.
        seen ([`SeenKeys`], *optional*):
            What is hidden; by default the queries are the last of `S` tokens, and see all before them.
        cap (`float`, *optional*):
            Must be `None`: no kernel here caps scores; [`attend_shared_plainly`] does.

    Returns:
        `torch.Tensor` of shape `(B * G, H, T, D)`, with a gradient to all five.

    Raises:
        ValueError: if scores are to be capped.

    Example:
        >>> query, own = torch.randn(4, 2, 3, 8), torch.randn(4, 2, 3, 8)
        >>> prompt = torch.randn(2, 2, 5, 8)
        >>> attend_shared(query, prompt, prompt, own, own, scale=1.0).shape
        torch.Size([4, 2, 3, 8])
    """
    if cap is not None:
        raise ValueError(f"Expected scores without a cap, got {cap:g}; load the model with eager attention.")
    seen = seen or SeenKeys()
    if prompt_key.shape[2] == 0:
        own = seen.own
        if own is None and query.shape[2] != key.shape[2]:
            own = causal_bias(query.shape[2], key.shape[2], like=query)
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=own, is_causal=own is None, scale=scale, enable_gqa=True
        )
    return _SharedAttention.apply(query, prompt_key, prompt_value, key, value, scale, seen.prompt, seen.own)


def attend_shared_plainly(
    query: torch.Tensor,
    prompt_key: torch.Tensor,
    prompt_value: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    seen: SeenKeys | None = None,
    cap: float | None = None,
) -> torch.Tensor:
    """
    [`attend_shared`] in plain operations: one softmax over all scores, which are kept for the backward pass.

    It is faster for short sequences on a CPU and takes that memory: forward and backward of 16 x 16 completions of 72
    tokens to prompts of 34, 4 layers of 128 in bfloat16, took 0.74 s on 2 cores, and 1.14 s with [`attend_shared`].

    Args:
        query (`torch.Tensor` of shape `(B * G, H, T, D)`):
            As in [`attend_shared`]; so are all others but `cap`.
        prompt_key (`torch.Tensor` of shape `(B, K, P, D)`):
            Keys of the prompts.
        prompt_value (`torch.Tensor` of shape `(B, K, P, D)`):
            Their values.
        key (`torch.Tensor` of shape `(B * G, K, S, D)`):
            Keys of the completions.
        value (`torch.Tensor` of shape `(B * G, K, S, D)`):
            Their values.
        scale (`float`):
            Multiplies the scores.
        seen ([`SeenKeys`], *optional*):
            What is hidden.
        cap (`float`, *optional*):
            Bound that scores are pressed below, `c tanh(score / c)`, as in Gemma 2.

    Returns:
        `torch.Tensor` of shape `(B * G, H, T, D)`.

    Example:
        >>> query, own = torch.randn(4, 2, 3, 8), torch.randn(4, 2, 3, 8)
        >>> prompt = torch.randn(2, 2, 5, 8)
        >>> plain = attend_shared_plainly(query, prompt, prompt, own, own, scale=1.0)
        >>> torch.allclose(plain, attend_shared(query, prompt, prompt, own, own, scale=1.0), atol=1e-5)
        True
    """
    seen = seen or SeenKeys()
    (heads, length), (queries, keys) = prompt_key.shape[1:3], (query.shape[2], key.shape[2])
    group, query = len(query) // len(prompt_key), query * scale
    folded = rearrange(query, "(b g) (k r) t d -> b k (g r t) d", g=group, k=heads)
    own = rearrange(query, "n (k r) t d -> n k (r t) d", k=heads)
    prompt_part = folded @ prompt_key.mT  # (B, K, G R T, P)
    # For one query, keys go on the left: they are a slice of a longer buffer, and the other order would copy them,
    # which takes three times as long.
    scores = own @ key.mT if queries > 1 else (key @ own.mT).mT
    if cap is not None:
        prompt_part, scores = (prompt_part / cap).tanh() * cap, (scores / cap).tanh() * cap
    if seen.prompt is not None:
        prompt_part = prompt_part + _folded_bias(seen.prompt, prompt_part.shape[2], queries)
    prompt_part = rearrange(prompt_part, "b k (g r t) p -> (b g) k r t p", g=group, t=queries)
    own_part = rearrange(scores, "n k (r t) s -> n k r t s", t=queries)
    own_bias = causal_bias(queries, keys, like=query) if seen.own is None and queries > 1 else seen.own
    if own_bias is not None:
        own_part = own_part + own_bias[0]
    dtype = torch.promote_types(query.dtype, torch.float32)
    shares = torch.cat([prompt_part, own_part], dim=-1).softmax(dim=-1, dtype=dtype).to(value.dtype)
    prompt_part, own_part = shares.split([length, keys], dim=-1)
    prompt_part = rearrange(prompt_part, "(b g) k r t p -> b k (g r t) p", g=group) @ prompt_value
    own_part = rearrange(own_part, "n k r t s -> n k (r t) s") @ value
    out = rearrange(prompt_part, "b k (g r t) d -> (b g) (k r) t d", g=group, t=queries)
    return out + rearrange(own_part, "n k (r t) d -> n (k r) t d", t=queries)


def hiding_bias(seen: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """
    Bias that hides keys: 0, or a number so low that its exponential is 0.

    The number is finite: a query that sees only hidden keys then gives them a weight of 0, and no NaN.

    Args:
        seen (`torch.Tensor`, bool):
            False where a key is hidden.
        like (`torch.Tensor`):
            Gives dtype and device.

    Returns:
        `torch.Tensor` of the shape of `seen`.

    Example:
        >>> hiding_bias(torch.tensor([False, True]), torch.zeros(1)).exp().tolist()
        [0.0, 1.0]
    """
    low = torch.finfo(like.dtype).min / 2  # half, so that adding a score cannot give minus infinity
    return torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill(~seen, low)


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
    return hiding_bias(seen, like)[None, None]


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
        prompt_bias: torch.Tensor | None,
        own_bias: torch.Tensor | None,
    ) -> torch.Tensor:
        sizes = {"g": len(query) // len(prompt_key), "k": prompt_key.shape[1], "t": query.shape[2]}
        folded = rearrange(query, "(b g) (k r) t d -> b k (r g t) d", g=sizes["g"], k=sizes["k"])
        bias = None if prompt_bias is None else _folded_bias(prompt_bias, folded.shape[2], sizes["t"])
        prompt_part, lse_prompt, prompt_state = _forward(folded, prompt_key, prompt_value, scale, bias=bias)
        prompt_part = rearrange(prompt_part, "b k (r g t) d -> (b g) (k r) t d", g=sizes["g"], t=sizes["t"])
        lse_prompt = rearrange(lse_prompt, "b k (r g t) -> (b g) (k r) t", g=sizes["g"], t=sizes["t"])
        own_part, lse_own, own_state = _own_attention(query, key, value, scale, own_bias)
        share = (lse_prompt - lse_own).sigmoid().unsqueeze(-1)  # of the prompt: exp(lse_prompt - lse)
        out = torch.lerp(own_part.to(share.dtype), prompt_part.to(share.dtype), share).to(query.dtype)
        lse = torch.logaddexp(lse_prompt, lse_own)
        ctx.save_for_backward(query, prompt_key, prompt_value, key, value, out, lse, prompt_bias, own_bias)
        ctx.scale, ctx.sizes, ctx.states = scale, sizes, (prompt_state, own_state)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, prompt_key, prompt_value, key, value, out, lse, prompt_bias, own_bias = ctx.saved_tensors
        group, heads, queries = ctx.sizes["g"], ctx.sizes["k"], ctx.sizes["t"]
        folded_gradient, folded_query, folded_out = (
            rearrange(x, "(b g) (k r) t d -> b k (r g t) d", g=group, k=heads).contiguous()
            for x in (gradient, query, out)
        )
        folded_lse = rearrange(lse, "(b g) (k r) t -> b k (r g t)", g=group, k=heads).contiguous()
        bias = None if prompt_bias is None else _folded_bias(prompt_bias, folded_query.shape[2], queries)
        prompt = (folded_query, folded_out, prompt_key, prompt_value, folded_lse)
        query_gradient, *prompt_gradients = _backward(folded_gradient, *prompt, ctx.scale, ctx.states[0], bias=bias)
        query_gradient = rearrange(query_gradient, "b k (r g t) d -> (b g) (k r) t d", g=group, t=queries)
        own_query_gradient, *own_gradients = _own_backward(
            gradient, query, out, key, value, lse, ctx.scale, ctx.states[1], own_bias
        )
        return query_gradient + own_query_gradient, *prompt_gradients, *own_gradients, None, None, None


def _folded_bias(bias: torch.Tensor, rows: int, queries: int) -> torch.Tensor:
    """A bias `(B or 1, 1, T or 1, P)` for rows that hold the `T` queries of several heads and completions each."""
    if bias.shape[2] == 1:
        return bias.expand(-1, -1, rows, -1)
    return repeat(bias, "b 1 t p -> b 1 (x t) p", x=rows // queries)


def _own_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, bias: torch.Tensor | None
) -> tuple[Any, ...]:
    """Attention `(N, H, T, D)` of completions to themselves, log-sum-exp `(N, H, T)`, and what backward needs."""
    queries = query.shape[2]
    query, key, value, bias, is_causal = _own_layout(query, key, value, bias)
    out, lse, state = _forward(query, key, value, scale, bias=bias, is_causal=is_causal)
    if queries == 1:
        return rearrange(out, "n k r d -> n (k r) 1 d"), rearrange(lse, "n k r -> n (k r) 1"), state
    return out, lse, state


def _own_layout(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, bool]:
    """The inputs with equal numbers of heads, and what hides later keys: a bias, or the kernel's causal flag."""
    (heads, keys), queries = key.shape[1:3], query.shape[2]
    ratio = query.shape[1] // heads
    if queries == 1:  # the query heads of a key head can stand as queries of that head
        bias = None if bias is None else bias.expand(-1, -1, ratio, -1)
        return rearrange(query, "n (k r) 1 d -> n k r d", k=heads), key, value, bias, False
    if ratio > 1:
        key, value = (repeat(x, "n k s d -> n (k r) s d", r=ratio) for x in (key, value))
    if bias is not None:
        return query, key, value, bias, False
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
    state: Any,
    bias: torch.Tensor | None,
) -> tuple[torch.Tensor, ...]:
    """Gradients of [`_own_attention`], as its part of the merged attention."""
    heads, queries = key.shape[1], query.shape[2]
    own_query, own_key, own_value, bias, is_causal = _own_layout(query, key, value, bias)
    if queries == 1:
        gradient, out = (rearrange(x, "n (k r) 1 d -> n k r d", k=heads) for x in (gradient, out))
        lse = rearrange(lse, "n (k r) 1 -> n k r", k=heads)
    own = (own_query, out, own_key, own_value, lse)
    query_gradient, key_gradient, value_gradient = _backward(
        gradient.contiguous(), *own, scale, state, bias=bias, is_causal=is_causal
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
        return out, lse, ("flash", *state[:6])
    if _is_for_efficient(query):
        out, lse, *state = aten._scaled_dot_product_efficient_attention(
            query, key, value, _aligned(bias, query, key), True, 0.0, is_causal, scale=scale
        )
        return out, lse[:, :, : query.shape[2]], ("efficient", *state)
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
    state: Any,
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
    if state is not None and state[0] == "flash":
        *lengths, seed, offset = state[1:]
        return aten._scaled_dot_product_flash_attention_backward(
            gradient, query, key, value, out, lse, *lengths, 0.0, is_causal, seed, offset, scale=scale
        )
    if state is not None:
        # The kernel reads the sums of rows in blocks of 32; those beyond the last are to weigh nothing.
        lse = functional.pad(lse, (0, -lse.shape[-1] % 32), value=torch.inf)
        wanted = [True, True, True, False]
        return aten._scaled_dot_product_efficient_attention_backward(
            gradient, query, key, value, _aligned(bias, query, key), out, lse, *state[1:], 0.0, wanted, is_causal,
            scale=scale,
        )[:3]  # fmt: skip
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


def _is_for_efficient(query: torch.Tensor) -> bool:
    """Whether the memory-efficient kernel can take it: any bias, any precision but double, heads that are aligned."""
    if query.device.type != "cuda" or query.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    has_bfloat16 = torch.cuda.get_device_capability(query.device) >= (8, 0)
    return query.shape[-1] % 8 == 0 and (has_bfloat16 or query.dtype != torch.bfloat16)


def _aligned(bias: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
    """A bias of all heads whose rows begin at multiples of 16 entries, as the memory-efficient kernel reads them."""
    if bias is None:
        return None
    rows, keys = query.shape[2], key.shape[2]
    padded = functional.pad(bias, (0, -keys % 16))[..., :keys]
    return padded.to(query.dtype).expand(len(query), query.shape[1], rows, keys)


def _scores(
    query: torch.Tensor, key: torch.Tensor, scale: float, bias: torch.Tensor | None, is_causal: bool
) -> torch.Tensor:
    """Scores `(N, H, T, S)` in float32 or better."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    scores = query.to(dtype) @ key.to(dtype).mT * scale
    if is_causal:
        bias = causal_bias(query.shape[2], key.shape[2], like=scores)
    return scores if bias is None else scores + bias
