"""Log-probabilities of completions: a prompt once for its completions, and among the valid ids if they are known."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from ..rollouts.head import RangeHead
from ..rollouts.lockstep import are_weights_shared_out
from ..rollouts.shared_prompt import PackedGroups, pack_groups, samples_a_prompt, unpack_completions


TOKENS_AT_ONCE = 4096
"""Tokens that go through a model at a time on a CPU, in whole groups: what they leave behind then stays in its caches,
and is small enough for the allocator to use again (docs/log.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledLogProbs:
    """
    Log-probabilities of completions as they were sampled: those of the policy before its updates, for nothing.

    They are exact where sampling and training compute alike: in float32, without dropout (`tests/training/
    test_grpo_trainer.py` holds them to 1e-4 nats).
    """

    model: nn.Module
    """What was sampled from."""
    adapters: frozenset[tuple[tuple[str, ...], bool]]
    """Its adapters in use, as of [`adapters_in_use`]."""
    ids: torch.Tensor
    """`(M,)`, int64: the ids of all completions, one after the other, without padding."""
    log_probs: torch.Tensor
    """`(M,)`, float32: their log-probabilities at the sampling temperature; 0 where the world wrote."""

    @classmethod
    def of(
        cls, model: nn.Module, ids: list[list[int]], log_probs: list[list[float]], *, precision: torch.dtype | None
    ) -> "SampledLogProbs | None":
        """Those of completions; `None` where the policy in training computes otherwise than it was sampled from."""
        has_dropout = any(isinstance(module, nn.Dropout) and module.p for module in model.modules())
        is_exact = all(x.dtype == torch.float32 for x in model.parameters() if x.is_floating_point())
        if precision is not None or has_dropout or not is_exact:
            return None
        flat = torch.tensor([token for row in ids for token in row])
        values = torch.tensor([value for row in log_probs for value in row])
        return cls(model=model, adapters=adapters_in_use(model), ids=flat, log_probs=values)

    def find(self, model: nn.Module, ids: torch.Tensor, mask: torch.Tensor, length: int) -> torch.Tensor | None:
        """
        Log-probabilities `(N, L)`, 0 at padding, if this model as it is now has sampled these completions, or `None`.

        `ids` and `mask` `(N, P + L)` hold prompts and completions of `length` tokens.
        """
        if model is not self.model or adapters_in_use(model) != self.adapters or are_weights_shared_out(model):
            return None
        written = mask[:, -length:].bool()
        if not torch.equal(ids[:, -length:][written].cpu(), self.ids):
            return None
        found = torch.zeros(written.shape, device=ids.device)
        found[written] = self.log_probs.to(ids.device)
        return found


def adapters_in_use(model: nn.Module) -> frozenset[tuple[tuple[str, ...], bool]]:
    """The adapters that a model computes with: names, and whether they are turned off, as a reference policy's are."""
    layers = (module for module in model.modules() if isinstance(module, BaseTunerLayer))
    return frozenset((tuple(layer.active_adapters), layer.disable_adapters) for layer in layers)


def completion_log_probs(
    model: torch.nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    length: int,
    *,
    batch_size: int | None,
    head: RangeHead | None,
    shares_prompts: bool,
    compute_entropy: bool,
    autocast: Callable[[], Any],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Log-probabilities of completions, and entropies in nats if asked for, each `(N, L)`.

    `input_ids` and `attention_mask` `(N, P + L)` hold prompts and completions of `length` tokens, those of one prompt
    together; `batch_size` rows are in memory at a time. Without a `head` over the valid ids it is TRL's, over all.
    """
    rows = batch_size or len(input_ids)
    if shares_prompts and input_ids.device.type == "cpu":
        group_size = samples_a_prompt(input_ids[:, :-length], attention_mask[:, :-length])
        tokens_of_group = input_ids.shape[1] - length + group_size * length
        rows = min(rows, group_size * max(1, TOKENS_AT_ONCE // tokens_of_group))
    outputs = []
    for ids, mask in zip(input_ids.split(rows), attention_mask.split(rows), strict=True):
        # Without padding there is no mask to give, and completions of one length have none.
        inputs = pack_groups(ids, mask, completion_length=length) if shares_prompts else {"input_ids": ids}
        completions = ids[:, -length:], mask[:, -length:]
        with autocast():
            if head is None:
                outputs.append(_score_packed(model, inputs, *completions))
            else:
                inputs |= {"completion_ids": completions[0], "with_entropies": compute_entropy}
                outputs.append(model(**inputs, range_head=head))
    log_probs, entropies = zip(*outputs, strict=True)
    return torch.cat(log_probs), torch.cat(entropies) if compute_entropy else None


def _score_packed(
    model: torch.nn.Module, inputs: dict[str, Any], ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probabilities and entropies `(N, L)` of a packed row's completions, by TRL's head."""
    groups: PackedGroups = inputs["shared_prompt"]
    unscored = ids.new_full((1, groups.prompts * groups.prompt_length), -100)
    labels = torch.cat([unscored, ids.masked_fill(mask == 0, -100).reshape(1, -1)], dim=1)
    output = model(**inputs, shift_labels=labels, fused_lm_head=True)
    log_probs = unpack_completions(output.log_probs, groups)
    return log_probs, None if output.entropy is None else unpack_completions(output.entropy, groups)
