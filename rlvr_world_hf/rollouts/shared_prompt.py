"""
One prompt, many completions: the prompt goes through the model once.

A model that shares prompts takes the argument `shared_prompt`, which says which of its tokens belong together, and
hands it to attention; all other parts of a transformer treat each token alone. There are two layouts:

- [`PackedGroups`], for log-probabilities and their gradient: one packed row, first the prompts, then the completions.
  Each completion begins with its prompt's last token, so that each of its tokens is predicted by the one before it;
- [`GroupCache`], for sampling: first the prompts, `(B, P)`, then, call by call, the next tokens of all completions,
  `(B * G, T)`.
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

from .shared_attention import attend_shared, attend_shared_plainly


SUFFIX = "_with_shared_prompts"
"""End of the name of an attention implementation that takes `shared_prompt`."""


KNOWN_ARGUMENTS = (
    "cache_position", "cu_seq_lens_k", "cu_seq_lens_q", "is_causal", "max_length_k", "max_length_q",
    "num_items_in_batch", "output_hidden_states", "output_router_logits", "position_ids", "return_dict", "scaling",
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
        >>> from transformers import MistralConfig, MistralForCausalLM
        >>> windowed = MistralConfig(**sizes, num_key_value_heads=1, num_hidden_layers=1, sliding_window=4)
        >>> share_prompts(MistralForCausalLM(windowed))
        'not every layer of MistralForCausalLM sees all tokens before it'
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
    """`(B, P)`, bool: False where a prompt is padding; `None` without padding."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        attention: Attention = attend_shared,
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

        Returns:
            `torch.Tensor` of the shape of `query`.
        """
        prompt_tokens = self.prompts * self.prompt_length
        prompt, own = [], []
        for states in (query, key, value):
            prompt.append(rearrange(states[:, :, :prompt_tokens], "1 h (b p) d -> b h p d", b=self.prompts))
            own.append(rearrange(states[:, :, prompt_tokens:], "1 h (n l) d -> n h l d", l=self.completion_length))
        completions = attention(
            own[0], prompt[1], prompt[2], own[1], own[2], scale=scale, prompt_mask=self.prompt_mask
        )
        completions = rearrange(completions, "n h l d -> 1 h (n l) d")
        if not self.prompt_length:
            return completions
        prompts = attend_prompts(*prompt, scale=scale, mask=self.prompt_mask)
        return torch.cat([rearrange(prompts, "b h p d -> 1 h (b p) d"), completions], dim=2)


class GroupCache:
    """
    Keys and values of prompts, and of the tokens read so far of `G` completions of each.

    Each layer has one tensor of the completions' maximum length, into which their keys are written: no step copies the
    keys before it.

    Args:
        group_size (`int`):
            Completions a prompt, `G`.
        length (`int`):
            Maximum number of a completion's tokens that the model reads.
        prompt_mask (`torch.Tensor` of shape `(B, P)`, bool, *optional*):
            False where a prompt is padding.

    Example:
        >>> cache = GroupCache(group_size=2, length=4)
        >>> prompt, next_token = torch.randn(3, 1, 5, 8), torch.randn(6, 1, 1, 8)
        >>> cache.attend(0, prompt, prompt, prompt, scale=1.0).shape
        torch.Size([3, 1, 5, 8])
        >>> cache.attend(0, next_token, next_token, next_token, scale=1.0).shape
        torch.Size([6, 1, 1, 8])
    """

    def __init__(self, *, group_size: int, length: int, prompt_mask: torch.Tensor | None = None) -> None:
        self.group_size = group_size
        self.length = length
        self.prompt_mask = prompt_mask
        self.prompts: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.completions: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.written: dict[int, int] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        attention: Attention = attend_shared,
    ) -> torch.Tensor:
        """
        Attention of the prompts, at a layer's first call, and of the next tokens of the completions from then on.

        Args:
            layer (`int`):
                Which layer's keys and values these are.
            query (`torch.Tensor` of shape `(B, H, P, D)`, then `(B * G, H, T, D)`):
                Queries.
            key (`torch.Tensor` of shape `(B, K, P, D)`, then `(B * G, K, T, D)`):
                Keys.
            value (`torch.Tensor` of shape `(B, K, P, D)`, then `(B * G, K, T, D)`):
                Values.
            scale (`float`):
                Multiplies the scores.
            attention (`Callable`, *optional*, defaults to [`attend_shared`]):
                Attention of completions to prompt and themselves.

        Returns:
            `torch.Tensor` of the shape of `query`.
        """
        if layer not in self.prompts:
            self.prompts[layer] = key, value
            return attend_prompts(query, key, value, scale=scale, mask=self.prompt_mask)
        if layer not in self.completions:
            shape = (len(self.prompts[layer][0]) * self.group_size, key.shape[1], self.length, key.shape[3])
            self.completions[layer] = key.new_empty(shape), value.new_empty(shape)
        start = self.written.get(layer, 0)
        stop = self.written[layer] = start + key.shape[2]
        keys, values = self.completions[layer]
        keys[:, :, start:stop], values[:, :, start:stop] = key, value
        own = keys[:, :, :stop], values[:, :, :stop]
        return attention(query, *self.prompts[layer], *own, scale=scale, prompt_mask=self.prompt_mask)

    def keep(self, prompts: torch.Tensor) -> None:
        """
        Keep some prompts and their completions, and drop the others.

        Args:
            prompts (`torch.Tensor` of shape `(B',)`, int64):
                Indices of the prompts to keep.
        """
        group = torch.arange(self.group_size, device=prompts.device)
        rows = rearrange(prompts[:, None] * self.group_size + group, "b g -> (b g)")
        self.prompt_mask = None if self.prompt_mask is None else self.prompt_mask[prompts]
        self.prompts = {layer: (key[prompts], value[prompts]) for layer, (key, value) in self.prompts.items()}
        self.completions = {layer: (key[rows], value[rows]) for layer, (key, value) in self.completions.items()}


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
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scale: float, mask: torch.Tensor | None
) -> torch.Tensor:
    """
    Causal attention within prompts that may be padded on the left.

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

    Returns:
        `torch.Tensor` of shape `(B, H, P, D)`; meaningless at padding.

    Example:
        >>> states = torch.randn(1, 2, 3, 8)
        >>> attend_prompts(states, states, states, scale=1.0, mask=None).shape
        torch.Size([1, 2, 3, 8])
    """
    if mask is not None:
        length = mask.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=mask.device)  # a query that sees no key at all gives NaN
        mask = (causal & mask[:, None, None]) | itself
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
    )


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
        out = shared_prompt.attend(module.layer_idx, query, key, value, scale=scale, attention=attention)
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
    if types_of_layers != {"full_attention"} or getattr(config, "sliding_window", None) is not None:
        return f"not every layer of {name} sees all tokens before it"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return f"{name} caps its attention scores"
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


@functools.cache
def _hands_arguments_on(forward: Callable) -> bool:
    """Whether a layer uses the further arguments that it takes: that of Nemotron drops them."""
    return inspect.getsource(inspect.unwrap(forward)).count("**kwargs") > 1
