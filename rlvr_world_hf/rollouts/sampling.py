"""
Position-aware sampling: the model writes ids that are valid at their position, the world writes the rest.

The noise belongs to the row, not to the batch, so a row's completion does not depend on the rows sampled with it: two
processes with half of the rows each give the same completions as one. Single-step prediction is a horizon of one.
"""

from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from ..processors.base import WorldModelProcessor
from ..processors.step_blocks import to_tensor
from .decoder import GroupDecoder, prompts_at_once, sampling_from
from .decoding import decode
from .lockstep import Lockstep, in_parts
from .plan import Plan
from .record import Rollout


TEMPERATURES = (1e-3, 1e3)
"""Lowest and highest temperature above 0: beyond them the logits leave the range of float32, or all ids are alike."""


def check_sampling(*, num_samples: int = 1, temperature: float, top_k: int = 0, top_p: float = 1.0) -> None:
    """
    Refuses sampling settings from which nothing can be drawn.

    Args:
        num_samples (`int`, *optional*, defaults to 1): predictions of each prompt.
        temperature (`float`): divides the logits; 0 takes the likeliest id.
        top_k (`int`, *optional*, defaults to 0): keep only the likeliest ids; 0 keeps all.
        top_p (`float`, *optional*, defaults to 1.0): keep only the likeliest ids that have this probability.

    Raises:
        ValueError: naming what is out of range.

    Example:
        >>> check_sampling(temperature=float("nan"))
        Traceback (most recent call last):
        ValueError: Expected a temperature of 0, or from 0.001 to 1000, got nan; 1 draws from the model as it is.
    """
    low, high = TEMPERATURES
    if num_samples < 1:
        raise ValueError(f"Expected `num_samples` to be at least 1, got {num_samples}; give 1 or more.")
    if temperature != 0 and not low <= temperature <= high:
        raise ValueError(
            f"Expected a temperature of 0, or from {low:g} to {high:g}, got {temperature:g}; 1 draws from the model "
            "as it is."
        )
    if top_k < 0 or not 0 < top_p <= 1:
        raise ValueError(f"Expected top_k >= 0 and 0 < top_p <= 1, got {top_k} and {top_p}; 0 and 1 keep all ids.")


def draw_uniforms(
    seeds: Sequence[int], num_samples: int, length: int, *, skipped: Sequence[int] | None = None
) -> torch.Tensor:
    """
    Noise for sampling: one generator a prompt, so that a prompt's samples depend on its own seed only.

    Args:
        seeds (`Sequence[int]` of length `B`): a seed for each prompt.
        num_samples (`int`): predictions of each prompt, `G`. A larger `G` does not change the first ones.
        length (`int`): tokens of a completion, `L`.
        skipped (`Sequence[int]` of length `B`, *optional*): predictions of each prompt that are made elsewhere, before
            these; 0 by default.

    Returns:
        `torch.Tensor` of shape `(B * G, L)`, float32 in `[0, 1)`, on the CPU.

    Raises:
        ValueError: for less than one prediction.

    Example:
        >>> draw_uniforms([7, 8], num_samples=3, length=5).shape
        torch.Size([6, 5])
    """
    if num_samples < 1:
        raise ValueError(f"Expected `num_samples` to be at least 1, got {num_samples}; give 1 or more.")
    noise = []
    for seed, before in zip(seeds, skipped or [0] * len(seeds), strict=True):
        generator = torch.Generator().manual_seed(int(seed))
        noise.append(torch.rand(before + num_samples, length, generator=generator)[before:])
    return torch.cat(noise)


@overload
def sample_completions(
    model: PreTrainedModel, prompt_ids: torch.Tensor, world_tokens: torch.Tensor, token_ranges: torch.Tensor, *,
    num_samples: int, uniforms: torch.Tensor, temperature: float = ..., top_k: int = ..., top_p: float = ...,
    autocast_dtype: torch.dtype | None = ..., return_logprobs: Literal[False] = ...,
) -> torch.Tensor: ...  # fmt: skip
@overload
def sample_completions(
    model: PreTrainedModel, prompt_ids: torch.Tensor, world_tokens: torch.Tensor, token_ranges: torch.Tensor, *,
    num_samples: int, uniforms: torch.Tensor, temperature: float = ..., top_k: int = ..., top_p: float = ...,
    autocast_dtype: torch.dtype | None = ..., return_logprobs: Literal[True],
) -> tuple[torch.Tensor, torch.Tensor]: ...  # fmt: skip
@torch.no_grad()
def sample_completions(
    model: PreTrainedModel,
    prompt_ids: torch.Tensor,
    world_tokens: torch.Tensor,
    token_ranges: torch.Tensor,
    *,
    num_samples: int,
    uniforms: torch.Tensor,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    autocast_dtype: torch.dtype | None = None,
    return_logprobs: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """
    Samples a group of completions of each prompt; each prompt is computed once.

    The model is in evaluation mode meanwhile. Successive world tokens are fed in one forward pass, together with the
    sampled token before them.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Any causal language model. If it can share prompts, it keeps a prompt's keys and values once, see
            [`~rlvr_world_hf.rollouts.shared_prompt.share_prompts`]; else once per completion.
        prompt_ids (`torch.Tensor` of shape `(B, Lp)`, int):
            Prompts, all of one length.
        world_tokens (`torch.Tensor` of shape `(B, L)` or `(B * G, L)`, int):
            Tokens that the world writes: one row per prompt, or one per completion if their actions differ. -1 where
            the model writes, at the same positions in all rows.
        token_ranges (`torch.Tensor` of shape `(L, 2)`, int):
            Lowest valid id of each position, and one past the highest.
        num_samples (`int`):
            Completions of each prompt, `G`.
        uniforms (`torch.Tensor` of shape `(B * G, L)`, float in `[0, 1)`):
            Noise; see [`draw_uniforms`].
        temperature (`float`, *optional*, defaults to 1.0):
            Divides the logits; 0 takes the likeliest id.
        top_k (`int`, *optional*, defaults to 0):
            Keep only the likeliest `top_k` ids; 0 keeps all.
        top_p (`float`, *optional*, defaults to 1.0):
            Keep only the likeliest ids that together have this probability; 1 keeps all.
        autocast_dtype (`torch.dtype`, *optional*):
            Compute in this precision, `torch.bfloat16` or `torch.float16`.
        return_logprobs (`bool`, *optional*, defaults to `False`):
            Also return the log-probability of each sampled token at the given temperature (1 if that is 0), among the
            valid ids and before top-k and top-p; 0 where the world wrote.

    Returns:
        `torch.Tensor` of shape `(B * G, L)`, int64, the group of each prompt together; or a `tuple` of these ids and
        the log-probabilities, float32 of the same shape.

    Raises:
        ValueError: for shapes that do not fit, a mask that differs between rows, or settings out of range.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> model = LlamaForCausalLM(LlamaConfig(
        ...     vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        ... ))
        >>> ids = sample_completions(
        ...     model, torch.tensor([[1, 2]]), torch.tensor([[-1, 9, -1]]), torch.tensor([[0, 4], [8, 10], [5, 6]]),
        ...     num_samples=2, uniforms=draw_uniforms([0], num_samples=2, length=3),
        ... )
        >>> ids[:, 1:].tolist()
        [[9, 5], [9, 5]]
    """
    check_sampling(num_samples=num_samples, temperature=temperature, top_k=top_k, top_p=top_p)
    _check_inputs(prompt_ids, world_tokens, token_ranges, uniforms, num_samples=num_samples)
    repeats = len(uniforms) // len(world_tokens)  # 1 if each completion has its own world tokens
    completion = world_tokens.to(prompt_ids).repeat_interleave(repeats, dim=0)  # (B G, L), a copy
    logprobs = torch.zeros(completion.shape, device=completion.device)
    sizes: dict[str, Any] = {
        "group_size": num_samples, "length": completion.shape[1], "prompt_length": prompt_ids.shape[1],
    }  # fmt: skip

    def sample_some(some: slice) -> None:
        rows = slice(some.start * num_samples, some.stop * num_samples)
        plan = Plan.of_steps(completion[rows].masked_fill(~is_written, -1), token_ranges)
        sampled = decode(
            GroupDecoder(model, **sizes), prompt_ids[some], plan, uniforms[rows],
            temperature=temperature, top_k=top_k, top_p=top_p,
        )  # fmt: skip
        completion[rows], logprobs[rows] = sampled.ids, sampled.logprobs

    is_written = world_tokens[0].to(completion) >= 0  # by the world
    with sampling_from(model, autocast_dtype):
        in_parts(sample_some, len(prompt_ids), at_once=prompts_at_once(model, **sizes), lockstep=Lockstep(model))
    return (completion, logprobs) if return_logprobs else completion


def rollout(
    model: PreTrainedModel,
    processor: WorldModelProcessor,
    context: Any,
    actions: Any,
    *,
    seeds: Sequence[int],
    skipped: Sequence[int] | None = None,
    num_samples: int = 1,
    horizon: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    autocast_dtype: torch.dtype | None = None,
    return_logprobs: bool = False,
    decode: bool = True,
    **columns: Any,
) -> Rollout:
    """
    Predicts a group of futures of each context: prompt, sampling, decoded states.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The world model.
        processor ([`WorldModelProcessor`]):
            Writes the prompt and reads completions back.
        context (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, 3, H, W)`):
            Given states in the form that the processor takes; the shape is that of a video.
        actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)` or `(B * G, T, A)`):
            Actions of the window: one sequence per context, for all of its predictions, or one per prediction. In the
            second case the sequences of a context may differ from the last given frame on, and the context is still
            computed once.
        seeds (`Sequence[int]` of length `B`):
            A seed for each prompt.
        skipped (`Sequence[int]` of length `B`, *optional*):
            As in [`draw_uniforms`].
        num_samples (`int`, *optional*, defaults to 1):
            Predictions of each prompt, `G`.
        horizon (`int`, *optional*):
            Steps to predict, `S`; by default as many as the actions cover.
        temperature (`float`, *optional*, defaults to 1.0):
            As in [`sample_completions`]; so are the next four.
        top_k (`int`, *optional*, defaults to 0):
            Keep only the likeliest ids.
        top_p (`float`, *optional*, defaults to 1.0):
            Keep only the likeliest ids that together have this probability.
        autocast_dtype (`torch.dtype`, *optional*):
            Precision of the model's computation.
        return_logprobs (`bool`, *optional*, defaults to `False`):
            Whether the record holds log-probabilities.
        decode (`bool`, *optional*, defaults to `True`):
            Whether the record holds the decoded states.
        columns (`dict[str, Any]`, *optional*):
            Further columns of the prompt, as named by the processor's `prompt_columns`.

    Returns:
        [`Rollout`]: if each prediction has its own actions, it also has its own prompt, and the record has `B * G`
            prompts.

    Raises:
        ValueError: as the processor and [`sample_completions`]; if there is not one seed a context; or if actions
            before the last given frame differ between the predictions of a context.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
        >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
        >>> processor = VideoWorldModelProcessor.from_codec(codec, [-1.0], [1.0], action_bins=8)
        >>> model = LlamaForCausalLM(LlamaConfig(
        ...     vocab_size=processor.layout.vocabulary_size, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        ...     num_attention_heads=1,
        ... ))
        >>> context, actions = torch.rand(2, 1, 3, 16, 16), torch.zeros(2, 4, 1)
        >>> record = rollout(model, processor, context, actions, seeds=[1, 2], num_samples=4)
        >>> record.predicted.shape  # (B * G, S, 3, H, W)
        torch.Size([8, 3, 3, 16, 16])
    """
    world_tokens = processor.world_tokens(actions, horizon=horizon).to(model.device)
    own_actions = num_samples > 1 and len(actions) == len(context) * num_samples
    context_actions = actions[::num_samples] if own_actions else actions
    prompt_ids = processor.encode_prompt(context, context_actions, **columns).to(model.device)
    if len(seeds) != len(prompt_ids):
        raise ValueError(f"Expected a seed for each of {len(prompt_ids)} prompts, got {len(seeds)}.")
    mask = world_tokens[0] < 0
    ranges = processor.token_ranges(processor.horizon(len(mask)))
    uniforms = draw_uniforms(seeds, num_samples, len(mask), skipped=skipped)
    settings: dict[str, Any] = {
        "num_samples": num_samples, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "autocast_dtype": autocast_dtype,
    }  # fmt: skip
    if own_actions:
        # The prompt's last action differs within a group: it is moved from the shared prompt to the completions.
        first = _last_prompt_action(processor, actions, num_samples=num_samples).to(model.device)  # (B G, A)
        dims = first.shape[1]
        ids, logprobs = sample_completions(
            model, prompt_ids[:, :-dims], torch.cat([first, world_tokens], dim=1), torch.cat([ranges[-dims:], ranges]),
            uniforms=functional.pad(uniforms, (dims, 0)), return_logprobs=True, **settings,
        )  # fmt: skip
        shared = prompt_ids[:, :-dims].repeat_interleave(num_samples, dim=0)
        prompt_ids, ids, logprobs = torch.cat([shared, first], dim=1), ids[:, dims:], logprobs[:, dims:]
    else:
        ids, logprobs = sample_completions(
            model, prompt_ids, world_tokens, ranges, uniforms=uniforms, return_logprobs=True, **settings
        )
    predicted = processor.decode_state(ids, context) if decode else None
    return Rollout(
        prompt_ids=prompt_ids,
        completion_ids=ids,
        model_token_mask=mask,
        logprobs=logprobs if return_logprobs else None,
        predicted=predicted,
    )


def _last_prompt_action(processor: WorldModelProcessor, actions: Any, *, num_samples: int) -> torch.Tensor:
    """
    Ids `(B G, A)` of the action at the last given frame. A prompt ends with it, and it is the first action that may
    differ between the predictions of a context.
    """
    layout, actions = processor.layout, to_tensor(actions, "actions")
    before = actions[:, : layout.prompt_actions - 1].unflatten(0, (-1, num_samples))
    if not layout.action_dims or (before != before[:, :1]).any():
        raise ValueError(
            "Expected the actions of a context's predictions to differ from the last given frame on only, got other "
            f"actions before it, or none at all ({layout.action_dims} dimensions); give each its own context."
        )
    moved = torch.cat(
        [actions[:, :1], actions], dim=1
    )  # one step later, where `world_tokens` writes it as the first step's action
    return processor.world_tokens(moved, horizon=1)[:, -layout.action_dims :]


def _check_inputs(
    prompt_ids: torch.Tensor,
    world_tokens: torch.Tensor,
    token_ranges: torch.Tensor,
    uniforms: torch.Tensor,
    *,
    num_samples: int,
) -> None:
    """Refuses shapes and values that do not fit together."""
    length, completions = world_tokens.shape[-1], len(prompt_ids) * num_samples
    shapes = {
        "prompt_ids": (prompt_ids, (len(prompt_ids), *prompt_ids.shape[1:2])),
        "world_tokens": (world_tokens, (completions if len(world_tokens) == completions else len(prompt_ids), length)),
        "token_ranges": (token_ranges, (length, 2)),
        "uniforms": (uniforms, (completions, length)),
    }
    for name, (given, expected) in shapes.items():
        if given.ndim != 2 or tuple(given.shape) != expected:
            raise ValueError(f"Expected `{name}` of shape {expected}, got {tuple(given.shape)}.")
    mask = world_tokens < 0
    if (mask != mask[:1]).any():
        raise ValueError(
            "Expected the model to write the same positions of every row; sample rows with other positions separately."
        )
    if not (uniforms.min() >= 0 and uniforms.max() < 1):
        raise ValueError(f"Expected `uniforms` in [0, 1), got {float(uniforms.min())} to {float(uniforms.max())}.")
