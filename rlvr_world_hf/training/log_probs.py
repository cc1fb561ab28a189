"""Log-probabilities of completions: a prompt once for its completions, and among the valid ids if they are known."""

from collections.abc import Callable
from typing import Any

import torch

from ..rollouts.head import RangeHead
from ..rollouts.shared_prompt import PackedGroups, pack_groups, unpack_completions


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
