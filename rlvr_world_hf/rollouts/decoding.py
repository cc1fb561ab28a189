"""The loop in which completions are sampled, of fixed steps and of text alike: read, draw, read what was drawn."""

from dataclasses import dataclass
from typing import Any

import torch

from .decoder import GroupDecoder
from .group_cache import rows_of
from .lockstep import Lockstep
from .plan import Plan


LOOK_EVERY = 4
"""Tokens after which ended completions are looked for: on a GPU a look waits for all that was asked of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions:
    """What was sampled, a row a completion."""

    ids: torch.Tensor
    """`(N, L)`, int64; meaningless beyond a completion's length."""
    lengths: torch.Tensor
    """`(N,)`, int64: tokens up to the end, the end included."""
    logprobs: torch.Tensor
    """`(N, L)`, float32: log-probability of each sampled token at the sampling temperature (at 1 if that is 0), among
    the ids valid at its position and before top-k and top-p; 0 where the world wrote, and beyond the length."""


@torch.no_grad()
def decode(
    decoder: GroupDecoder,
    prompts: torch.Tensor,
    plan: Plan,
    uniforms: torch.Tensor,
    *,
    lockstep: Lockstep | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    with_logprobs: bool = True,
) -> Completions:
    """
    Samples completions as planned. Prompts whose completions have all ended are dropped on the way.

    Args:
        decoder ([`GroupDecoder`]):
            That has read nothing yet.
        prompts (`torch.Tensor` of shape `(B, P)`, int64):
            Prompts, padded on the left.
        plan ([`Plan`]):
            Who writes what; its world tokens are those of the `N = B * G` completions.
        uniforms (`torch.Tensor` of shape `(N, L)`, float in `[0, 1)`):
            Noise, see [`~rlvr_world_hf.rollouts.sampling.draw_uniforms`].
        lockstep ([`Lockstep`], *optional*):
            Which processes read equally often.
        temperature (`float`, *optional*, defaults to 1.0):
            Divides the logits; 0 takes the likeliest id.
        top_k (`int`, *optional*, defaults to 0):
            Keep only the likeliest ids; 0 keeps all.
        top_p (`float`, *optional*, defaults to 1.0):
            Keep only the likeliest ids that together have this probability.
        with_logprobs (`bool`, *optional*, defaults to `True`):
            Whether to compute log-probabilities; else they are 0.

    Returns:
        [`Completions`]

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> model = LlamaForCausalLM(LlamaConfig(
        ...     vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        ... )).eval()
        >>> decoder = GroupDecoder(model, group_size=2, length=3, prompt_length=2)
        >>> plan = Plan.of_steps(torch.tensor([[-1, 9, -1]] * 2), torch.tensor([[3, 4], [8, 10], [5, 6]]))
        >>> decode(decoder, torch.tensor([[1, 2]]), plan, torch.zeros(2, 3)).ids
        tensor([[3, 9, 5],
                [3, 9, 5]])
    """
    (rows, length), device = uniforms.shape, prompts.device
    ids = prompts.new_zeros(rows, length) if plan.world_tokens is None else plan.world_tokens.clone()
    logprobs, noise = torch.zeros(rows, length, device=device), uniforms.to(device, torch.float64)
    ends = torch.tensor(plan.end_ids, dtype=ids.dtype, device=device)
    has_ended = torch.zeros(rows, dtype=torch.bool, device=device)
    read: Any = slice(None)  # the rows that are read on: all of them, or indices
    looks_for_ends = bool(plan.end_ids) or (lockstep is not None and lockstep.is_needed)  # as others may have some
    fed = looked = 0
    positions = plan.positions
    if positions[:1] != [0]:  # the world writes the first token, so nothing is drawn after the prompt
        decoder.read(prompts)
    for position in positions:
        unread, fed = ids[read, fed:position] if position else prompts, position
        valid = None if plan.ranges is None else plan.ranges[position]
        logits = decoder.read(unread, ids=valid).float()
        drawn = draw(logits, noise[read, position], temperature=temperature, top_k=top_k, top_p=top_p)
        if with_logprobs:
            scaled = (logits / (temperature or 1.0)).log_softmax(dim=-1)
            logprobs[read, position] = scaled.gather(1, drawn[:, None])[:, 0]
        ids[read, position] = drawn + (valid[0] if valid else 0)
        if looks_for_ends and (position + 1) % LOOK_EVERY == 0:
            has_ended[read] |= torch.isin(ids[read, looked : position + 1], ends).any(dim=1)
            looked = position + 1
            kept = (~has_ended[read]).unflatten(0, (-1, decoder.group_size)).any(dim=1)
            indices = kept.nonzero()[:, 0]
            if not (lockstep.most(len(indices)) if lockstep else len(indices)):
                break
            if not len(indices):  # other processes are not done: one group goes on, so that their weights are gathered
                indices = indices.new_zeros(1)
            if len(indices) < len(kept):
                decoder.keep(indices)
                read = torch.arange(rows, device=device)[read][rows_of(indices, decoder.group_size)]
    lengths = _lengths(ids, ends)
    beyond = torch.arange(length, device=device) >= lengths[:, None]
    return Completions(ids=ids, lengths=lengths, logprobs=logprobs.masked_fill_(beyond, 0.0))


def draw(
    logits: torch.Tensor, uniforms: torch.Tensor, *, temperature: float, top_k: int, top_p: float
) -> torch.Tensor:
    """
    Draws an id for each row.

        id = the first i with  p_1 + ... + p_i > u

    Args:
        logits (`torch.Tensor` of shape `(B, V)`, float): of the ids.
        uniforms (`torch.Tensor` of shape `(B,)`, float in `[0, 1)`): noise, `u`.
        temperature (`float`): divides the logits; 0 takes the likeliest id.
        top_k (`int`): keep only the likeliest ids; 0 keeps all.
        top_p (`float`): keep only the likeliest ids that have this probability; 1 keeps all.

    Returns:
        `torch.Tensor` of shape `(B,)`, int64.

    Example:
        >>> logits = torch.tensor([[0.2, 0.8]]).log()
        >>> [draw(logits, torch.tensor([u]), temperature=1.0, top_k=0, top_p=1.0).item() for u in (0.1, 0.3)]
        [0, 1]
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = _keep_likeliest(logits / temperature, top_k=top_k, top_p=top_p).softmax(dim=-1)
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    # In double precision, u < 1 keeps the target below the total, so that an id of probability 0 is never drawn.
    target = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def _keep_likeliest(logits: torch.Tensor, *, top_k: int, top_p: float) -> torch.Tensor:
    """`logits` `(B, V)` with minus infinity where top-k or top-p leave an id out; the likeliest always stays."""
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        logits = logits.masked_fill((before >= top_p).gather(-1, order.argsort(dim=-1)), -torch.inf)
    return logits


def _lengths(ids: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Tokens `(N,)` of completions `(N, L)` up to their first end, the end included."""
    length = ids.shape[1]
    places = torch.arange(1, length + 1, device=ids.device).masked_fill(~torch.isin(ids, ends), length)
    return places.amin(dim=1)
