"""
Decoding token by token: a model reads the prompts once, then the next tokens of all completions, and returns logits.

A prompt's keys and values are kept once if the model can share them, else once per completion. Only this file knows
which of the two.
"""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from .group_cache import GroupCache, rows_of
from .head import OutputHead
from .lockstep import are_weights_shared_out
from .plan import Range
from .shared_prompt import no_mask, plain_model, share_prompts


CACHE_BYTES = 8 << 30
"""Bytes of keys and values of the completions that are sampled together."""

_graphs: ContextVar[bool] = ContextVar("graphs", default=True)
_compiled: ContextVar[bool] = ContextVar("compiled", default=False)

CACHE_NAMES = ("cache", "past_key_values", "cache_params")
"""What models call their cache: attention the first from transformers 5.24 on, state-space models the last."""


@contextmanager
def graphs(enabled: bool) -> Iterator[None]:
    """
    Context in which steps of sampling are captured as CUDA graphs, or not; without it they are, on GPUs.

    Args:
        enabled (`bool`):
            Whether to capture them.

    Returns:
        the context.

    Example:
        >>> with graphs(False):
        ...     captures_graphs(torch.zeros(1))
        False
    """
    token = _graphs.set(enabled)
    try:
        yield
    finally:
        _graphs.reset(token)


@contextmanager
def compiled(enabled: bool) -> Iterator[None]:
    """
    Context in which steps of sampling are compiled, see [`torch.compile`], or not; without it they are not.

    Worth it where the same sizes are sampled from many times: compiling takes half a minute or more. Sizes that change
    too often are computed as usual.

    Args:
        enabled (`bool`):
            Whether to compile them.

    Returns:
        the context.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> model = LlamaForCausalLM(LlamaConfig(
        ...     vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        ... )).eval()
        >>> decoder = GroupDecoder(model, group_size=2, length=3, prompt_length=2)
        >>> with compiled(False):
        ...     decoder.read(torch.tensor([[1, 2]])).shape
        torch.Size([2, 10])
    """
    token = _compiled.set(enabled)
    try:
        yield
    finally:
        _compiled.reset(token)


def captures_graphs(tokens: torch.Tensor) -> bool:
    """
    Whether a step that reads some tokens is captured as a CUDA graph.

    Args:
        tokens (`torch.Tensor`): gives the device.

    Returns:
        `bool`

    Example:
        >>> captures_graphs(torch.zeros(1))
        False
    """
    return tokens.device.type == "cuda" and _graphs.get()


class CapturedStep:
    """
    A step of a decoder as a CUDA graph: its kernels are started by one call, and not one after the other.

    Args:
        decoder ([`GroupDecoder`]):
            Has computed a step of this kind before.
        tokens (`torch.Tensor` of shape `(B * G, T)`, int64):
            As in [`GroupDecoder.step`]; so are the others.
        places (`torch.Tensor` of shape `(T,)`, int64):
            Their places.
    """

    def __init__(self, decoder: "GroupDecoder", tokens: torch.Tensor, places: torch.Tensor) -> None:
        self.tokens, self.places = tokens.clone(), places.clone()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.states = decoder.step(self.tokens, self.places)

    def __call__(self, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """What [`GroupDecoder.step`] returns, in a tensor that the next call overwrites."""
        self.tokens.copy_(tokens)
        self.places.copy_(places)
        self.graph.replay()
        return self.states


class GroupDecoder:
    """
    Reads `B` prompts, then `G` completions of each; after each read, returns the logits of the next token.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            A causal language model, in evaluation mode. If it can share prompts, it is changed to do so, see
            [`~rlvr_world_hf.rollouts.shared_prompt.share_prompts`].
        group_size (`int`):
            Completions a prompt, `G`.
        length (`int`):
            Maximum number of tokens of a completion.
        prompt_length (`int`):
            Tokens of a prompt, padding included, `P`.
        prompt_mask (`torch.Tensor` of shape `(B, P)`, int or bool, *optional*):
            0 where a prompt is padding, on its left; not given if none is.

    Raises:
        ValueError: if prompt and completion are longer than the model's window, or the model keeps what it has read
            in a way that is not known here.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> model = LlamaForCausalLM(LlamaConfig(
        ...     vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        ... )).eval()
        >>> prompts = torch.tensor([[1, 2], [3, 4]])
        >>> decoder = GroupDecoder(model, group_size=2, length=3, prompt_length=2)
        >>> decoder.read(prompts, ids=(0, 10)).shape
        torch.Size([4, 10])
        >>> decoder.read(torch.tensor([[5], [6], [7], [8]]), ids=(2, 5)).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        *,
        group_size: int,
        length: int,
        prompt_length: int,
        prompt_mask: torch.Tensor | None = None,
    ) -> None:
        window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if window is not None and prompt_length + length > window:
            raise ValueError(
                f"Expected prompt and completion within the model's window of {window} tokens, got "
                f"{prompt_length} + {length}; shorten the prompt or the horizon, or train a model with a "
                "larger `max_position_embeddings`."
            )
        self.model = model
        self.group_size = group_size
        self.mask = None if prompt_mask is None else prompt_mask.bool()
        self.has_read_prompts = False
        self.read_so_far = 0  # tokens of the completions
        self.first: torch.Tensor  # position of each completion's first token, `(B * G, 1)`, once prompts are read
        self.steps: dict[tuple[Any, ...], CapturedStep | None] = {}
        self.cache: GroupCache | None = None
        self.repeated: Any = None  # the model's own cache, if it cannot share
        if share_prompts(model) is None:  # there is no reason why it cannot
            self.cache = GroupCache(group_size=group_size, length=length, prompt_mask=self.mask)
            self.head = OutputHead.of(model)
            self.heads: dict[Range, OutputHead] = {}
            self.cuts_head = False  # known when something is read
            # Neither spread over devices nor shared out among processes: else a step is more than its kernels.
            is_on_one_device = len({parameter.device for parameter in model.parameters()}) == 1
            self.has_own_weights = is_on_one_device and not are_weights_shared_out(model)
        else:
            self.cache_name = _cache_name(model)

    @torch.no_grad()
    def read(self, tokens: torch.Tensor, *, ids: Range | None = None) -> torch.Tensor:
        """
        Read the prompts, at the first call, or the next tokens of all completions.

        Args:
            tokens (`torch.Tensor` of shape `(B, P)`, then `(B * G, T)`, int):
                Tokens to read.
            ids (`tuple[int, int]`, *optional*):
                Lowest valid id of the next token, and one past the highest; all by default.

        Returns:
            `torch.Tensor` of shape `(B * G, V)`: the next token's logits for these ids.
        """
        if self.has_read_prompts:
            return self._read_on(tokens, ids)
        self.has_read_prompts = True
        if self.mask is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        else:
            positions = (self.mask.long().cumsum(dim=1) - 1).clamp(min=0)
        self.first = (positions[:, -1:] + 1).repeat_interleave(self.group_size, dim=0)
        if self.cache is not None:
            self.cuts_head = self.head.can_be_cut
            logits = self._logits(self._states(tokens, positions), ids)
        else:
            logits = self._logits_unshared(tokens, positions, ids)
            self._select(torch.arange(len(tokens), device=tokens.device).repeat_interleave(self.group_size))
        return logits.repeat_interleave(self.group_size, dim=0)

    def keep(self, prompts: torch.Tensor) -> None:
        """
        Keep some prompts and their completions, and drop the others.

        Args:
            prompts (`torch.Tensor` of shape `(B',)`, int64):
                Indices of the prompts to keep.
        """
        rows = rows_of(prompts, self.group_size)
        self.first = self.first[rows]
        self.steps = {}
        if self.cache is None:
            self._select(rows)
        else:
            self.cache.keep(prompts)

    def _select(self, rows: torch.Tensor) -> None:
        """Have the model's own cache hold these of its rows, in this order, some of them several times."""
        self.repeated.reorder_cache(rows)
        self.mask = None if self.mask is None else self.mask[rows]

    def _read_on(self, tokens: torch.Tensor, ids: Range | None) -> torch.Tensor:
        """Logits `(B * G, V)` after the next tokens `(B * G, T)` of the completions."""
        places = torch.arange(self.read_so_far, self.read_so_far + tokens.shape[1], device=tokens.device)
        self.read_so_far += tokens.shape[1]
        if self.cache is None:
            return self._logits_unshared(tokens, self.first + places, ids)
        self.cache.advance(places, stop=self.read_so_far)
        if not self.has_own_weights:
            self.cuts_head = self.head.can_be_cut  # the first forward pass may have gathered the head's weights
            states = self.step(tokens, places)
        elif captures_graphs(tokens):
            states = self._captured(tokens, places)
        elif _compiled.get():
            states = _compiled_step()(self, tokens, places)
        else:
            states = self.step(tokens, places)
        return self._logits(states, ids)

    def _captured(self, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """What [`step`] returns, by a CUDA graph from the second of a kind on: the first makes what is made once."""
        assert self.cache is not None
        kind = (tokens.shape[1], self.cache.room)
        if kind not in self.steps:
            self.steps[kind] = None
            return self.step(tokens, places)
        captured = self.steps[kind] or CapturedStep(self, tokens, places)
        self.steps[kind] = captured
        return captured(tokens, places)

    def step(self, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """
        One step of sampling where prompts are shared: the same computation on the same buffers for every token.

        Args:
            tokens (`torch.Tensor` of shape `(B * G, T)`, int64): to read.
            places (`torch.Tensor` of shape `(T,)`, int64): their places in a completion.

        Returns:
            `torch.Tensor` of shape `(B * G, D)`: what the head makes the next token's logits of; or these logits
            themselves, `(B * G, V)`, where the head is not to be cut.
        """
        assert self.cache is not None
        self.cache.read_at(places)
        return self._states(tokens, self.first + places)

    def _states(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        inputs: dict[str, Any] = {
            "input_ids": tokens, "position_ids": positions, "attention_mask": no_mask(tokens),
            "shared_prompt": self.cache, "use_cache": False,
        }  # fmt: skip
        if not self.cuts_head:
            return self.model(**inputs, logits_to_keep=1).logits[:, -1]
        return plain_model(self.model).base_model(**inputs).last_hidden_state[:, -1]

    def _logits(self, states: torch.Tensor, ids: Range | None) -> torch.Tensor:
        if not self.cuts_head:
            return states[:, slice(*ids or (None,))]
        # Only the valid ids' rows of the head are used: the other logits would be computed for nothing.
        ids = ids or (0, self.head.size)
        if not self.has_own_weights:
            return self.head(states, ids)
        if ids not in self.heads:
            self.heads[ids] = self.head.cut(ids)
        return self.heads[ids](states, (0, ids[1] - ids[0]))

    def _logits_unshared(self, tokens: torch.Tensor, positions: torch.Tensor, ids: Range | None) -> torch.Tensor:
        # Layers that fold what they have read into a state read several tokens at once at the beginning only.
        has_state = any(hasattr(layer, "recurrent_states") for layer in getattr(self.repeated, "layers", ()))
        size = 1 if has_state else tokens.shape[1]
        for some, places in zip(tokens.split(size, dim=1), positions.split(size, dim=1), strict=True):
            inputs: dict[str, Any] = {"input_ids": some, "position_ids": places, self.cache_name: self.repeated}
            if self.mask is not None:
                if self.repeated is not None:
                    self.mask = torch.cat([self.mask, self.mask.new_ones(some.shape)], dim=1)
                inputs["attention_mask"] = self.mask.long()
            output = self.model(**inputs, use_cache=True, logits_to_keep=1)
            self.repeated = getattr(output, self.cache_name, None)
            if not hasattr(self.repeated, "reorder_cache"):
                raise _unknown_cache(self.model)
        return output.logits[:, -1, slice(*ids or (None,))]


def prompts_at_once(model: PreTrainedModel | PeftModel, *, group_size: int, prompt_length: int, length: int) -> int:
    """
    How many prompts to sample from together, so that their keys and values take at most [`CACHE_BYTES`].

    It follows from sizes alone, so that a run that is resumed on a fuller machine draws what it would have drawn.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            A causal language model.
        group_size (`int`):
            Completions of a prompt.
        prompt_length (`int`):
            Tokens of a prompt.
        length (`int`):
            Tokens of a completion.

    Returns:
        `int`: at least 1.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> model = LlamaForCausalLM(LlamaConfig(
        ...     vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        ... ))
        >>> prompts_at_once(model, group_size=2, prompt_length=4, length=4) == 2**33 // (2 * 8 * (4 + 2 * 4) * 4)
        True
    """
    config = model.config.get_text_config()
    all_heads = getattr(config, "num_attention_heads", None) or 1  # state-space models have none
    width = getattr(config, "head_dim", None) or config.hidden_size // all_heads
    heads = getattr(config, "num_key_value_heads", None) or all_heads
    tokens = prompt_length + group_size * length
    if share_prompts(model) is not None:  # each completion has a copy of its prompt
        tokens = group_size * (prompt_length + length)
    device, dtype = model.device.type, model.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    bytes_of_prompt = 2 * config.num_hidden_layers * heads * width * tokens * dtype.itemsize
    return max(1, CACHE_BYTES // bytes_of_prompt)


@contextmanager
def sampling_from(model: nn.Module, autocast_dtype: torch.dtype | None = None) -> Iterator[None]:
    """
    Context in which a model is sampled from: in evaluation mode, in some precision; afterwards it is as before.

    Autocast makes a cast of a weight once, and not in every step, if the weight takes a gradient. Frozen ones are
    declared to take one meanwhile; none is computed.

    Args:
        model (`torch.nn.Module`):
            The model.
        autocast_dtype (`torch.dtype`, *optional*):
            Compute in this precision, `torch.bfloat16` or `torch.float16`.

    Example:
        >>> model = torch.nn.Linear(2, 2).requires_grad_(False)
        >>> with sampling_from(model, torch.bfloat16):
        ...     model(torch.ones(1, 2)).dtype, model.training
        (torch.bfloat16, False)
    """
    training, device = model.training, next(model.parameters()).device.type
    frozen = [x for x in model.parameters() if not x.requires_grad and x.is_leaf and x.dtype == torch.float32]
    frozen = frozen if autocast_dtype or torch.is_autocast_enabled(device) else []
    precision = torch.autocast(device, dtype=autocast_dtype, enabled=True) if autocast_dtype else nullcontext()
    model.eval()
    try:
        for parameter in frozen:
            parameter.requires_grad = True
        with torch.no_grad(), precision:
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad = False
        model.train(training)


@functools.cache
def _compiled_step() -> Any:
    """[`GroupDecoder.step`], compiled once for all decoders."""
    return torch.compile(GroupDecoder.step)


def _cache_name(model: PreTrainedModel | PeftModel) -> str:
    """Name of the cache in a model's arguments and output."""
    plain = plain_model(model)
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        kind = model.active_peft_config.peft_type.value
        raise ValueError(
            f"Expected a model, or one with an adapter in its layers such as LoRA, got {kind}: its learned tokens "
            "would be read again at each step; sample by the model's own `generate`."
        )
    parameters = inspect.signature(plain.forward).parameters
    name = next((name for name in CACHE_NAMES if name in parameters), None)
    if name is None:
        raise _unknown_cache(model)
    return name


def _unknown_cache(model: PreTrainedModel | PeftModel) -> ValueError:
    return ValueError(
        f"Expected a model whose cache is an argument ({' or '.join(CACHE_NAMES)}) and has `reorder_cache`, got "
        f"{type(plain_model(model)).__name__}; sample by the model's own `generate`."
    )
