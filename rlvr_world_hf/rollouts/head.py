"""
A model's output head over a part of the vocabulary, for sampling, log-probabilities and likelihood alike:

    logits[id] = cap(scale * (W[id] h + b[id])),     cap(x) = c tanh(x / c) in models that cap, else x

Log-probabilities of a completion whose ids are restricted by position:

    log p(id at position) = logits[id] / T - log sum over valid ids i of exp(logits[i] / T)

Only the logits of the valid ids are computed, and only where the model writes.
"""

import dataclasses
import functools
import re
import types
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from torch.nn.functional import linear
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from ..processors.step_blocks import StepBlockProcessor
from .shared_prompt import plain_model, unpack_completions


LOGITS_AT_ONCE = 1 << 25
"""Logits that are made at a time, 128 MiB in float32: more positions go through the head in pieces."""

KNOWN_SETTINGS = "^(logit_scale|logits_scaling|final_logit_softcapping)$|attn|router|logits_to_keep"
"""Settings named after logits that [`OutputHead`] applies, or that are about other ones than the output's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputHead:
    """
    The last step of a causal language model, from hidden states to logits.

    Example:
        >>> from transformers import CohereConfig, CohereForCausalLM
        >>> model = CohereForCausalLM(CohereConfig(
        ...     vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        ... ))
        >>> head, ids = OutputHead.of(model), torch.tensor([[1, 2, 3]])
        >>> head.scale
        0.0625
        >>> logits = head(model.model(ids).last_hidden_state, (4, 7))
        >>> torch.allclose(logits, model(ids).logits[..., 4:7])
        True
    """

    module: nn.Module
    """Multiplies states by the head's weights."""
    scale: float = 1.0
    """Multiplies the logits."""
    cap: float | None = None
    """Bound that the logits are pressed below, see `final_logit_softcapping` of Gemma 2."""
    in_float32: bool = False
    """Whether it computes in float32, under autocast too: TRL's `cast_lm_head_to_fp32`."""
    takes_logits: bool = False
    """Whether it is given the logits of the whole vocabulary in place of states, and takes a part of them: where more
    happens between the model's body and its logits than is known here."""

    @classmethod
    def of(cls, model: PreTrainedModel | PeftModel) -> "OutputHead":
        """
        The head of a model as it is now: wrappers for several devices may exchange it.

        Args:
            model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]): a causal language model.

        Returns:
            [`OutputHead`]: with the scale and cap of the model's config.
        """
        model = plain_model(model)
        config, module = model.config.get_text_config(), model.get_output_embeddings()
        if not _is_all_after_the_body(model, module) or _unknown_settings(config):
            return cls(module=nn.Identity(), takes_logits=True)
        return cls(
            module=module,
            scale=_logit_scale(config),
            cap=getattr(config, "final_logit_softcapping", None),
            in_float32=_is_cast_by_trl(module),
        )

    @property
    def size(self) -> int:
        """Ids that a head which can be cut has logits for."""
        return len(self.module.weight)  # type: ignore[arg-type]

    @property
    def can_be_cut(self) -> bool:
        """
        Whether some rows of the weights give the logits of these ids. Else the module computes all of them itself:
        with an adapter on it, quantized, offloaded, or with weights shared out among devices, which it gathers.
        """
        module = self.module
        if type(module) is not nn.Linear or module._forward_hooks or module._forward_pre_hooks:
            return False
        is_replaced = "forward" in vars(module) and not self.in_float32
        return not is_replaced and not is_traceable_wrapper_subclass(module.weight)

    def cut(self, ids: tuple[int, int]) -> "OutputHead":
        """
        The head of some ids alone, for as long as weights stay as they are: autocast would cast its part of them at
        each call, and here it is cast once.

        Args:
            ids (`tuple[int, int]`): lowest id, and one past the highest.

        Returns:
            [`OutputHead`]: of `high - low` ids; the head must be one that can be cut.
        """
        (low, high), (weight, bias) = ids, (self.module.weight, self.module.bias)
        assert isinstance(weight, torch.Tensor)
        device, dtype = weight.device.type, weight.dtype
        if torch.is_autocast_enabled(device) and not self.in_float32:
            dtype = torch.get_autocast_dtype(device)
        module = nn.Linear(weight.shape[1], high - low, bias=bias is not None, device="meta")
        module.weight = nn.Parameter(weight.detach()[low:high].to(dtype), requires_grad=False)
        if isinstance(bias, torch.Tensor):
            module.bias = nn.Parameter(bias.detach()[low:high].to(dtype), requires_grad=False)
        return dataclasses.replace(self, module=module)

    def __call__(self, states: torch.Tensor, ids: tuple[int, int]) -> torch.Tensor:
        """
        Logits of a range of ids.

        Args:
            states (`torch.Tensor` of shape `(..., D)`): last hidden states.
            ids (`tuple[int, int]`): lowest id, and one past the highest.

        Returns:
            `torch.Tensor` of shape `(..., high - low)`, float32.

        Raises:
            ValueError: if the weights lie in parts on several devices, and nothing gathers them.
        """
        (low, high), module = ids, self.module
        if not self.can_be_cut or not isinstance(module, nn.Linear):
            return self._finish(module(states)[..., low:high])
        weight: torch.Tensor = module.weight
        bias: torch.Tensor | None = module.bias
        if not weight.numel():
            raise ValueError(
                "Expected the weights of the model's head, got an empty tensor: DeepSpeed has shared them out. Call "
                "the model through DeepSpeed's engine, or inside `deepspeed.zero.GatheredParameters`."
            )
        weight, bias = weight[low:high], None if bias is None else bias[low:high]
        if not self.in_float32:
            return self._finish(linear(states, weight, bias))
        with torch.autocast(states.device.type, enabled=False):
            return self._finish(linear(states.float(), weight.float(), None if bias is None else bias.float()))

    def _finish(self, logits: torch.Tensor) -> torch.Tensor:
        # float32: importance ratios are differences of these numbers, too small for bfloat16.
        logits = logits.float() * self.scale if self.scale != 1.0 else logits.float()
        return logits if self.cap is None else (logits / self.cap).tanh() * self.cap


class RangeHead:
    """
    Log-probabilities over the ids that are valid at each position of a completion.

    These are the probabilities a completion was sampled with, so importance ratios and KL terms are exact. Positions
    the world writes carry no probability and get 0.

    Args:
        token_ranges (`torch.Tensor` of shape `(L, 2)`, int64):
            Lowest valid id of each position, and one past the highest.
        model_token_mask (`torch.Tensor` of shape `(L,)`, bool):
            Where the model writes the token.
        temperature (`float`, *optional*, defaults to `1.0`):
            The logits are divided by it.

    Example:

    ```python
    >>> head = RangeHead(torch.tensor([[0, 2], [2, 4]]), torch.tensor([True, False]))
    >>> weights = torch.nn.Linear(3, 4, bias=False)
    >>> log_probs, entropies = head(torch.zeros(1, 2, 3), OutputHead(module=weights), torch.tensor([[1, 3]]))
    >>> log_probs.exp().tolist(), entropies.exp().tolist()
    ([[0.5, 1.0]], [[2.0, 1.0]])

    ```
    """

    def __init__(
        self, token_ranges: torch.Tensor, model_token_mask: torch.Tensor, *, temperature: float = 1.0
    ) -> None:
        self.length = len(token_ranges)
        self.temperature = temperature
        writes = model_token_mask.tolist()
        # Positions of the same valid ids go through the head together: a matrix product for each range, not position.
        self.groups: dict[tuple[int, int], list[int]] = {}
        for position, (low, high) in enumerate(token_ranges.tolist()):
            if writes[position]:
                self.groups.setdefault((low, high), []).append(position)
        self._positions: dict[torch.device, list[torch.Tensor]] = {}

    @classmethod
    def of(cls, processor: StepBlockProcessor, horizon: int, *, temperature: float = 1.0) -> "RangeHead":
        """
        The head over what a processor's model writes.

        Args:
            processor (`StepBlockProcessor`): knows the valid ids.
            horizon (`int`): steps of a completion.
            temperature (`float`, *optional*, defaults to `1.0`): the logits are divided by it.

        Returns:
            `RangeHead`: for completions of that horizon.
        """
        mask = processor.model_token_mask(horizon)
        return cls(processor.token_ranges(horizon), mask, temperature=temperature)

    def __call__(
        self, hidden_states: torch.Tensor, head: OutputHead, ids: torch.Tensor, *, with_entropies: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Log-probabilities and entropies of a completion.

        Args:
            hidden_states (`torch.Tensor` of shape `(B, L, D)`): states that predict each token of the completion.
            head ([`OutputHead`]): that of the model.
            ids (`torch.Tensor` of shape `(B, L)`, int64): the completion.
            with_entropies (`bool`, *optional*, defaults to `True`): without them 0 is returned in their place.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: log-probabilities and entropies in nats, float32 of shape `(B, L)`; 0
            where the world writes. Entropies carry no gradient.

        Raises:
            ValueError: if the completion has another length than the head's ranges.
        """
        if ids.shape[1] != self.length:
            raise ValueError(f"Expected completions of {self.length} tokens, got {ids.shape[1]}: one horizon a run.")
        log_probs = torch.zeros(ids.shape, dtype=torch.float32, device=ids.device)
        entropies = torch.zeros_like(log_probs)
        for valid, positions in zip(self.groups, self._positions_on(ids.device), strict=True):
            size = len(positions)
            if head.can_be_cut:  # other heads gather or unpack their weights at each call
                size = max(1, LOGITS_AT_ONCE // (len(ids) * (valid[1] - valid[0])))
            for some in positions.split(size):
                given = hidden_states[:, some], head, ids[:, some], valid, with_entropies
                if len(some) == len(positions):
                    log_probs[:, some], entropies[:, some] = self._score(*given)
                else:  # no piece's logits are kept for the backward pass: it makes them again
                    log_probs[:, some], entropies[:, some] = checkpoint(
                        self._score, *given, use_reentrant=False, preserve_rng_state=False
                    )
        return log_probs, entropies

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_positions": {}}  # workers of a data loader cannot be sent what lies on a device

    def _score(
        self,
        states: torch.Tensor,
        head: OutputHead,
        ids: torch.Tensor,
        valid: tuple[int, int],
        with_entropies: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies `(B, T)` at positions of the same valid ids."""
        all_log_probs = (head(states, valid) / self.temperature).log_softmax(-1)  # (B, T, high - low)
        chosen = all_log_probs.gather(-1, ids[..., None] - valid[0]).squeeze(-1)
        if not with_entropies:
            return chosen, torch.zeros_like(chosen)
        with torch.no_grad():
            return chosen, -(all_log_probs.exp() * all_log_probs).sum(-1)

    def _positions_on(self, device: torch.device) -> list[torch.Tensor]:
        """The positions of each range, copied to a device once."""
        if device not in self._positions:
            self._positions[device] = [torch.tensor(positions, device=device) for positions in self.groups.values()]
        return self._positions[device]


def accept_range_head(model: PreTrainedModel | PeftModel) -> None:
    """
    Lets a model's `forward` take `range_head`, `completion_ids` and `with_entropies`; it then returns what
    [`RangeHead`] does.

    The head runs inside `forward`, as TRL's own does: wrappers for several devices see one ordinary call. With
    `shared_prompt` it takes the completions of a packed row, see
    [`~rlvr_world_hf.rollouts.shared_prompt.pack_groups`].

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            A causal language model, changed in place, once. Calls without `range_head` are as before.
    """
    model = plain_model(model)
    if hasattr(model, "forward_of_model"):
        return
    model.forward_of_model = model.forward  # an attribute, so that a copy of the model calls its own

    @functools.wraps(type(model).forward)  # `generate` reads the signature
    def forward(
        self: PreTrainedModel,
        *args: Any,
        range_head: RangeHead | None = None,
        completion_ids: torch.Tensor | None = None,
        with_entropies: bool = True,
        **kwargs: Any,
    ) -> Any:
        if range_head is None or completion_ids is None:
            return self.forward_of_model(*args, **kwargs)
        groups, head = kwargs.get("shared_prompt"), OutputHead.of(self)
        if head.takes_logits:
            states = self.forward_of_model(*args, use_cache=False, **kwargs).logits
        else:  # the body alone: `forward_of_model` would compute the logits of the whole vocabulary
            states = self.base_model(*args, use_cache=False, **kwargs).last_hidden_state
        # The state before a token predicts it.
        own = slice(-completion_ids.shape[1] - 1, -1)
        states = states[:, own] if groups is None else unpack_completions(states, groups)
        ids = completion_ids.to(states.device)  # of a model on several devices, the last one
        return range_head(states, head, ids, with_entropies=with_entropies)

    model.forward = types.MethodType(forward, model)


def _is_all_after_the_body(model: PreTrainedModel, module: nn.Module | None) -> bool:
    """Whether the model has no other parts with weights than its body and its head."""
    parts = [part for part in model.children() if next(part.parameters(), None) is not None]
    return model.base_model is not model and {id(x) for x in parts} <= {id(model.base_model), id(module)}


def _unknown_settings(config: Any) -> list[str]:
    """Settings by which a model may change its logits in a way that is not known here."""
    names = (name for name, value in vars(config).items() if value is not None and value is not False)
    return [name for name in names if "logit" in name and not re.search(KNOWN_SETTINGS, name)]


def _logit_scale(config: Any) -> float:
    """What a model multiplies its logits by: families have four names for it, and one of them mostly divides."""
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if getattr(config, name, None) is not None:
            return getattr(config, name)
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0
    return scaling if config.model_type == "hyperclovax" else 1 / scaling


def _is_cast_by_trl(module: nn.Module) -> bool:
    """Whether TRL's `cast_lm_head_to_fp32` has replaced the module's `forward`."""
    return getattr(vars(module).get("forward"), "__name__", "") == "cast_forward_to_fp32"
