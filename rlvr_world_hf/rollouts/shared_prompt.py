"""
One prompt, many completions: the prompt goes through the model once.

A model that shares prompts takes the argument `shared_prompt`, which says which of its tokens belong together, and
hands it to attention; all other parts of a transformer treat each token alone. There are two layouts:

- [`PackedGroups`], for log-probabilities and their gradient: one packed row, first the prompts, then the completions.
  Each completion begins with its prompt's last token, so that each of its tokens is predicted by the one before it;
- [`~rlvr_world_hf.rollouts.group_cache.GroupCache`], for sampling: first the prompts, `(B, P)`, then, call by call,
  the next tokens of all completions, `(B * G, T)`.
"""

import functools
import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import rearrange
from peft import PeftModel
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .shared_attention import SeenKeys, attend_shared, attend_shared_plainly, hiding_bias


SUFFIX = "_with_shared_prompts"
"""End of the name of an attention implementation that takes `shared_prompt`."""


KNOWN_ARGUMENTS = (
    "cache_position", "cu_seq_lens_k", "cu_seq_lens_q", "is_causal", "max_length_k", "max_length_q",
    "num_items_in_batch", "output_hidden_states", "output_router_logits", "position_ids", "return_dict", "scaling",
    "sliding_window", "softcap",
)  # fmt: skip
"""Arguments of attention that change nothing here, or that are read; of others only those that are off are taken."""

Attention = Callable[..., torch.Tensor]
"""[`attend_shared`] or [`attend_shared_plainly`]."""


class SharedPrompt(Protocol):
    """How the tokens of one forward pass belong together."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        attention: Attention = attend_shared,
        window: int | None = None,
        cap: float | None = None,
    ) -> torch.Tensor:
        """Attention `(N, H, T, D)` of queries `(N, H, T, D)` to keys `(N, K, T, D)` and to earlier keys."""
        ...


def share_prompts(model: PreTrainedModel | PeftModel) -> str | None:
    """
    Lets a model take `shared_prompt`; calls without it stay as they were. Continuous batching knows
    attention by its usual names only: it needs a model that does not share.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            A causal language model, changed in place.

    Returns:
        `str`, *optional*: why it cannot, `None` if it can.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = dict(vocab_size=10, hidden_size=8, intermediate_size=8, num_attention_heads=1)
        >>> share_prompts(LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=1)))
        >>> share_prompts(LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=1, attention_dropout=0.1)))
        'LlamaForCausalLM has attention dropout; set `attention_dropout` to 0 in its config'
    """
    reason = _reason_of_adapter(model)
    model = plain_model(model)
    reason = reason or _reason_not_to_share(model)
    implementation = model.config._attn_implementation
    if reason is None and not implementation.endswith(SUFFIX):
        name = implementation + SUFFIX
        # transformers looks up an attention function and the function that makes its mask under one name.
        AttentionInterface.register(name, _attention_beside(implementation))
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[implementation])
        model.set_attn_implementation(name)
    return reason


def plain_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """
    The model under its adapters, which stay in place.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The model, with or without adapters.

    Returns:
        [`~transformers.PreTrainedModel`]
    """
    return model.get_base_model() if isinstance(model, PeftModel) else model


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedGroups:
    """
    Completions of groups in one row of `B * P + B * G * L` tokens; see [`pack_groups`].

    Example:
        >>> groups = PackedGroups(prompts=2, prompt_length=3, completion_length=4)
        >>> query = key = value = torch.randn(1, 1, 2 * 3 + 6 * 4, 8)
        >>> groups.attend(0, query, key, value, scale=1.0).shape
        torch.Size([1, 1, 30, 8])
    """

    prompts: int
    """Number of prompts, `B`."""
    prompt_length: int
    """Tokens of a prompt without its last token, `P`; may be 0."""
    completion_length: int
    """Tokens of a completion, `L`."""
    prompt_mask: torch.Tensor | None = None
    """`(B, P)`, bool: False where a prompt is padding, on its left; `None` without padding."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        attention: Attention = attend_shared,
        window: int | None = None,
        cap: float | None = None,
    ) -> torch.Tensor:
        """
        Attention within prompts, and of completions to their prompt and themselves.

        Args:
            layer (`int`):
                Not used: nothing is kept between layers.
            query (`torch.Tensor` of shape `(1, H, B * P + B * G * L, D)`):
                Queries.
            key (`torch.Tensor` of shape `(1, K, B * P + B * G * L, D)`):
                Keys.
            value (`torch.Tensor` of shape `(1, K, B * P + B * G * L, D)`):
                Values.
            scale (`float`):
                Multiplies the scores.
            attention (`Callable`, *optional*, defaults to [`attend_shared`]):
                Attention of completions to prompt and themselves.
            window (`int`, *optional*):
                Tokens that a query sees, itself included; all before it by default.
            cap (`float`, *optional*):
                Bound of the scores; none by default.

        Returns:
            `torch.Tensor` of the shape of `query`.
        """
        prompt_tokens = self.prompts * self.prompt_length
        prompt, own = [], []
        for states in (query, key, value):
            prompt.append(rearrange(states[:, :, :prompt_tokens], "1 h (b p) d -> b h p d", b=self.prompts))
            own.append(rearrange(states[:, :, prompt_tokens:], "1 h (n l) d -> n h l d", l=self.completion_length))
        # Of a prompt, a completion's first token sees the last `window - 1`, and later ones fewer.
        last = slice(None) if window is None else slice(max(0, self.prompt_length - window + 1), None)
        seen = self._seen(prompt[1][:, :, last], window)
        completions = attention(
            own[0], prompt[1][:, :, last], prompt[2][:, :, last], own[1], own[2], scale=scale, seen=seen, cap=cap
        )
        completions = rearrange(completions, "n h l d -> 1 h (n l) d")
        if not self.prompt_length:
            return completions
        prompts = attend_prompts(*prompt, scale=scale, mask=self.prompt_mask, window=window, cap=cap)
        return torch.cat([rearrange(prompts, "b h p d -> 1 h (b p) d"), completions], dim=2)

    def _seen(self, prompt_key: torch.Tensor, window: int | None) -> SeenKeys:
        """What completions see of the prompts' keys `(B, K, P', D)`, the last of a prompt, and of themselves."""
        length, keys = prompt_key.shape[2], self.completion_length
        mask = None if self.prompt_mask is None else self.prompt_mask[:, self.prompt_length - length :]
        if window is None or window >= self.prompt_length + keys:  # a window that is never left
            return SeenKeys(prompt=None if mask is None else hiding_bias(mask, prompt_key)[:, None, None])
        places = torch.arange(keys, device=prompt_key.device)
        seen = SeenKeys.of(places, keys=keys, prompt_length=length, like=prompt_key, prompt_mask=mask, window=window)
        return seen if window < keys else SeenKeys(prompt=seen.prompt)


def pack_groups(input_ids: torch.Tensor, attention_mask: torch.Tensor, *, completion_length: int) -> dict[str, Any]:
    """
    Packs prompts and completions into one row in which each prompt stands once.

    Args:
        input_ids (`torch.Tensor` of shape `(B * G, P + L)`, int):
            Prompts and completions, those of one prompt together. If prompts have different numbers of completions,
            groups are as large as divides all of them, and a prompt stands once in each of its groups.
        attention_mask (`torch.Tensor` of shape `(B * G, P + L)`, int):
            0 where there is padding: prompts on the left, completions on the right.
        completion_length (`int`):
            Tokens of a completion, `L`.

    Returns:
        `dict`: arguments for a model that shares prompts: `input_ids`, `position_ids`, `attention_mask` (it keeps
        transformers from making one) and `shared_prompt`.

    Example:
        >>> ids = torch.tensor([[1, 2, 7, 8], [1, 2, 5, 6]])
        >>> packed = pack_groups(ids, torch.ones_like(ids), completion_length=2)
        >>> packed["input_ids"], packed["position_ids"]
        (tensor([[1, 2, 7, 2, 5]]), tensor([[0, 1, 2, 1, 2]]))
    """
    start = input_ids.shape[1] - completion_length - 1  # of the last prompt token, with which each completion begins
    group_size = samples_a_prompt(input_ids[:, : start + 1], attention_mask[:, : start + 1])
    positions = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
    mask = attention_mask[::group_size, :start].bool()
    rows = [
        torch.cat([x[::group_size, :start].reshape(1, -1), x[:, start:-1].reshape(1, -1)], dim=1)
        for x in (input_ids, positions)
    ]
    groups = PackedGroups(
        prompts=len(input_ids) // group_size,
        prompt_length=start,
        completion_length=completion_length,
        prompt_mask=None if bool(mask.all()) else mask,
    )
    return {"input_ids": rows[0], "position_ids": rows[1], "attention_mask": no_mask(rows[0]), "shared_prompt": groups}


def samples_a_prompt(prompts: torch.Tensor, mask: torch.Tensor) -> int:
    """
    The number of completions of each prompt; the greatest common divisor of these numbers if they differ.

    Args:
        prompts (`torch.Tensor` of shape `(N, P)`, int):
            Prompts, one a completion.
        mask (`torch.Tensor` of shape `(N, P)`, int):
            0 where there is padding.

    Returns:
        `int`: at least 1.

    Example:
        >>> prompts = torch.tensor([[1, 2], [1, 2], [3, 4], [3, 4], [3, 4], [3, 4]])
        >>> samples_a_prompt(prompts, torch.ones_like(prompts))
        2
    """
    changes = (prompts[1:] != prompts[:-1]).any(dim=1) | (mask[1:] != mask[:-1]).any(dim=1)
    starts = (changes.nonzero()[:, 0] + 1).tolist()
    return math.gcd(len(prompts), *starts)


def unpack_completions(states: torch.Tensor, groups: PackedGroups) -> torch.Tensor:
    """
    The completions' part of what a model returns for a packed row.

    Args:
        states (`torch.Tensor` of shape `(1, B * P + B * G * L, ...)`):
            One entry per token, such as hidden states.
        groups ([`PackedGroups`]):
            The layout of the row.

    Returns:
        `torch.Tensor` of shape `(B * G, L, ...)`: at each position what predicts the completion's token there.

    Example:
        >>> groups = PackedGroups(prompts=1, prompt_length=1, completion_length=2)
        >>> unpack_completions(torch.tensor([[0, 1, 2, 3, 4]]), groups)
        tensor([[1, 2],
                [3, 4]])
    """
    return states[0, groups.prompts * groups.prompt_length :].unflatten(0, (-1, groups.completion_length))


def attend_prompts(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    mask: torch.Tensor | None = None,
    window: int | None = None,
    cap: float | None = None,
) -> torch.Tensor:
    """
    Causal attention within prompts that may be padded on the left.

    Padding is moved to the right meanwhile, where no token before it sees it: so the mask needs no scores of its own.

    Args:
        query (`torch.Tensor` of shape `(B, H, P, D)`):
            Queries.
        key (`torch.Tensor` of shape `(B, K, P, D)`):
            Keys.
        value (`torch.Tensor` of shape `(B, K, P, D)`):
            Values.
        scale (`float`):
            Multiplies the scores.
        mask (`torch.Tensor` of shape `(B, P)`, bool, *optional*):
            False where a prompt is padding.
        window (`int`, *optional*):
            Tokens that a query sees, itself included; all before it by default.
        cap (`float`, *optional*):
            Bound that scores are pressed below; none by default.

    Returns:
        `torch.Tensor` of shape `(B, H, P, D)`; meaningless at padding.

    Example:
        >>> states = torch.randn(1, 2, 3, 8)
        >>> attend_prompts(states, states, states, scale=1.0).shape
        torch.Size([1, 2, 3, 8])
    """
    if mask is not None:
        places, padding = torch.arange(mask.shape[1], device=mask.device), (~mask).sum(dim=1, keepdim=True)
        query, key, value = (_move(x, places + padding) for x in (query, key, value))
        out = attend_prompts(query, key, value, scale=scale, window=window, cap=cap)
        return _move(out, places - padding)
    length = query.shape[2]
    hidden = None if window is None or window >= length else _in_window(length, window, query.device)
    if cap is not None:
        seen = SeenKeys(own=None if hidden is None else hiding_bias(hidden, query)[None, None])
        nothing = key[:, :, :0]
        return attend_shared_plainly(query, nothing, nothing, key, value, scale=scale, seen=seen, cap=cap)
    if hidden is not None and query.shape[1] != key.shape[1]:  # kernels take a mask or grouped heads, not both
        key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (key, value))
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=hidden, is_causal=hidden is None, scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip


def no_mask(input_ids: torch.Tensor) -> torch.Tensor:
    """
    A mask that keeps transformers from making one: it hands a mask of four dimensions to attention unchanged.

    Attention with `shared_prompt` does not read it.

    Args:
        input_ids (`torch.Tensor`):
            Gives the device.

    Returns:
        `torch.Tensor` of shape `(1, 1, 1, 1)`.

    Example:
        >>> no_mask(torch.zeros(1)).shape
        torch.Size([1, 1, 1, 1])
    """
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=input_ids.device)


def _move(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """States `(B, H, P, D)` with, at each place of a row, what stood at the given one `(B, P)`, counted in a ring."""
    return states.take_along_dim((places % states.shape[2])[:, None, :, None], dim=2)


def _in_window(length: int, window: int, device: torch.device) -> torch.Tensor:
    """Which of `length` tokens each of them sees, `(P, P)`, bool: the last `window` up to itself."""
    seen = torch.ones(length, length, dtype=torch.bool, device=device)
    return seen.tril() & seen.triu(1 - window)


def _attention_beside(implementation: str) -> Callable:
    """Attention of `implementation`; with `shared_prompt`, ours."""
    attention = attend_shared_plainly if implementation == "eager" else attend_shared

    def attend(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *args: Any,
        shared_prompt: SharedPrompt | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if shared_prompt is None:
            if attention_mask is not None and attention_mask.numel() == 1 < key.shape[2]:  # that of `no_mask`
                raise ValueError(f"{type(module).__name__} is called without the `shared_prompt` of its model.")
            usual = ALL_ATTENTION_FUNCTIONS.get(implementation) or _eager_attention(module)
            return usual(module, query, key, value, attention_mask, *args, **kwargs)
        _refuse_unknown(module, attention_mask, *args, **kwargs)
        if torch.is_autocast_enabled(query.device.type):  # autocast knows torch's own attention, and not this one
            dtype = torch.get_autocast_dtype(query.device.type)
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        how = {"window": kwargs.get("sliding_window"), "cap": kwargs.get("softcap")}
        out = shared_prompt.attend(module.layer_idx, query, key, value, scale=scale, attention=attention, **how)
        return out.transpose(1, 2).contiguous(), None

    return attend


def _eager_attention(module: Any) -> Callable:
    """Attention in plain operations: each modeling file of transformers has its own."""
    return sys.modules[type(module).__module__].eager_attention_forward


def _refuse_unknown(module: Any, attention_mask: torch.Tensor | None, *args: Any, **kwargs: Any) -> None:
    """Raises for what would change the usual attention and not ours."""
    given = (name for name, value in kwargs.items() if isinstance(value, torch.Tensor) or value)
    unknown = [name for name in given if name not in KNOWN_ARGUMENTS]
    if kwargs.get("is_causal") is False:
        unknown.append("is_causal")
    if args:
        unknown.append(f"{len(args)} arguments without a name")
    if attention_mask is not None and attention_mask.numel() != 1:  # that of `no_mask` has one entry
        unknown.append("attention_mask")
    if unknown:
        raise ValueError(
            f"Expected {type(module).__name__} to attend by queries, keys and a scale alone where prompts are shared, "
            f"got {', '.join(unknown)} too; train with `share_prompts=False` and sample by the model's own `generate`."
        )


def _reason_of_adapter(model: PreTrainedModel | PeftModel) -> str | None:
    if not isinstance(model, PeftModel):
        return None
    config = model.active_peft_config
    if config.is_prompt_learning or config.is_adaption_prompt:
        return f"the adapter ({config.peft_type.value}) puts learned tokens before a prompt"
    return None


def _reason_not_to_share(model: PreTrainedModel) -> str | None:
    config, name = model.config.get_text_config(), type(model).__name__
    implementation = model.config._attn_implementation.removesuffix(SUFFIX)
    types_of_layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not model._supports_attention_backend or not model._can_set_attn_implementation():
        return f"{name} does not take its attention from transformers' attention interface"
    if implementation not in (*ALL_ATTENTION_FUNCTIONS, "eager"):
        return f"attention implementation {implementation!r} of {name} cannot be called beside another; use 'sdpa'"
    if types_of_layers - {"full_attention", "sliding_attention"}:
        return f"{name} has layers of the kind {min(types_of_layers - {'full_attention', 'sliding_attention'})!r}"
    has_windows = "sliding_attention" in types_of_layers or getattr(config, "sliding_window", None) is not None
    if has_windows and not all(_hands_its_window_on(type(module)) for module in model.modules()):
        return f"attention of {name} does not say how wide its sliding window is"
    if getattr(config, "attn_logit_softcapping", None) is not None and implementation != "eager":
        return f"{name} caps its attention scores, which {implementation!r} attention does not; use 'eager'"
    layers = (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))
    if not all(map(_hands_arguments_on, {type(layer).forward for layer in layers})):
        return f"the layers of {name} do not hand arguments on to their attention"
    if any(getattr(module, "is_causal", True) is False for module in model.modules()):
        return f"attention of {name} sees later tokens too"
    for attribute, what in (("sinks", "attention sinks"), ("relative_attention_bias", "position biases")):
        if any(getattr(module, attribute, None) is not None for module in model.modules()):
            return f"{name} has {what}"
    if getattr(config, "attention_dropout", 0.0):
        return f"{name} has attention dropout; set `attention_dropout` to 0 in its config"
    return None


def _hands_its_window_on(kind: type) -> bool:
    """Whether attention is told of its window, if the module calls any: some models have it in their masks alone."""
    if not kind.__module__.startswith("transformers.models."):
        return True
    source = _source(kind.forward)  # type: ignore[attr-defined]
    return "ALL_ATTENTION_FUNCTIONS" not in source or "sliding_window=" in source


def _hands_arguments_on(forward: Callable) -> bool:
    """Whether a layer uses the further arguments that it takes: that of Nemotron drops them."""
    return _source(forward).count("**kwargs") > 1


@functools.cache
def _source(function: Callable) -> str:
    return inspect.getsource(inspect.unwrap(function))
