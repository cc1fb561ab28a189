"""
Log-probabilities of a completion whose ids are restricted by position:

    log p(id at position) = logits[id] / T - log sum over valid ids i of exp(logits[i] / T)

Only the logits of the valid ids are computed, and only where the model writes.
"""

import functools
import types
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import linear
from transformers import PreTrainedModel

from ..processors.step_blocks import StepBlockProcessor
from ..rollouts.shared_prompt import plain_model, unpack_completions


class RangeHead:
    """
    An output head over the ids that are valid at each position of a completion.

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
    >>> log_probs, entropies = head(torch.zeros(1, 2, 3), torch.zeros(4, 3), None, torch.tensor([[1, 3]]))
    >>> log_probs.exp().tolist(), entropies.exp().tolist()
    ([[0.5, 1.0]], [[2.0, 1.0]])

    ```
    """

    def __init__(
        self, token_ranges: torch.Tensor, model_token_mask: torch.Tensor, *, temperature: float = 1.0
    ) -> None:
        self.length = len(token_ranges)
        self.temperature = temperature
        ranges = token_ranges[model_token_mask].unique(dim=0).tolist()
        # Positions of the same valid ids go through the head together: a matrix product for each range, not position.
        self.groups = [
            (low, high, (model_token_mask & (token_ranges == torch.tensor([low, high])).all(1)).nonzero()[:, 0])
            for low, high in ranges
        ]

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
        self,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        ids: torch.Tensor,
        *,
        with_entropies: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Log-probabilities and entropies of a completion.

        Args:
            hidden_states (`torch.Tensor` of shape `(B, L, D)`): states that predict each token of the completion.
            weight (`torch.Tensor` of shape `(V, D)`): weight of the model's head.
            bias (`torch.Tensor` of shape `(V,)`, *optional*): its bias.
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
        for low, high, positions in self.groups:
            logits = linear(hidden_states[:, positions], weight[low:high], None if bias is None else bias[low:high])
            # float32: importance ratios are differences of these numbers, too small for bfloat16.
            all_log_probs = (logits.float() / self.temperature).log_softmax(-1)  # (B, positions, high - low)
            chosen = all_log_probs.gather(-1, ids[:, positions, None] - low)
            log_probs[:, positions] = chosen.squeeze(-1)
            if with_entropies:
                with torch.no_grad():
                    entropies[:, positions] = -(all_log_probs.exp() * all_log_probs).sum(-1)
        return log_probs, entropies


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
        head, groups = self.get_output_embeddings(), kwargs.get("shared_prompt")
        # The body alone: `forward_of_model` would compute the logits of the whole vocabulary.
        states = self.base_model(*args, use_cache=False, **kwargs).last_hidden_state
        # The state before a token predicts it.
        own = slice(-completion_ids.shape[1] - 1, -1)
        states = states[:, own] if groups is None else unpack_completions(states, groups)
        return range_head(states, head.weight, head.bias, completion_ids, with_entropies=with_entropies)

    model.forward = types.MethodType(forward, model)
