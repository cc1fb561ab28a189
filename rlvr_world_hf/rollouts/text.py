"""Sampling from a language world model: completions of free length, each up to its end token."""

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..processors.text import LanguageWorldModelProcessor
from .decoder import GroupDecoder, prompts_at_once, sampling_from
from .decoding import decode
from .lockstep import Lockstep, in_parts
from .plan import Plan
from .sampling import check_sampling, draw_uniforms


SampledText = list[tuple[list[int], list[float]]]
"""Ids of completions and the log-probability of each id."""


def sample_answers(
    model: PreTrainedModel,
    processor: LanguageWorldModelProcessor,
    prompts: Sequence[Any],
    *,
    num_samples: int = 1,
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
    label: str | None = None,
    part: slice = slice(None),
) -> list[list[str]]:
    """
    Samples completions of prompts, as texts.

    Prompts of similar length are computed together. The noise depends on the seed and on a prompt's index, not on the
    batch size.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model.
        processor ([`LanguageWorldModelProcessor`]):
            Its processor.
        prompts (`Sequence` of `str` or of messages):
            Texts or conversations.
        num_samples (`int`, *optional*, defaults to 1):
            Completions of each prompt.
        max_new_tokens (`int`, *optional*, defaults to 256):
            Tokens after which a completion is cut off.
        temperature (`float`, *optional*, defaults to 1.0):
            Divides the logits; 0 takes the likeliest token, and all completions of a prompt are the same.
        top_k (`int`, *optional*, defaults to 0):
            Draw only from so many likeliest tokens; 0 for all.
        top_p (`float`, *optional*, defaults to 1.0):
            Draw only from the likeliest tokens that together have this probability.
        seed (`int`, *optional*, defaults to 0):
            Seed of the noise.
        batch_size (`int`, *optional*, defaults to 64):
            Completions in memory at a time.
        label (`str`, *optional*):
            Label of a progress bar; without it there is no bar.
        part (`slice`, *optional*):
            The batches to compute, such as those of one process among several; all by default.

    Returns:
        `list[list[str]]`: for each prompt its completions, reasoning included, special tokens left out; none for the
        prompts of batches that are not computed.

    Raises:
        ValueError: for settings out of range, or as [`sample_text`].
    """
    check_sampling(num_samples=num_samples, temperature=temperature, top_k=top_k, top_p=top_p)
    samples = 1 if temperature == 0 else num_samples  # greedy completions are all the same
    ids = processor.encode_prompt(prompts)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    size = max(1, batch_size // samples)
    answers: list[list[str]] = [[] for _ in ids]
    for start in tqdm(range(0, len(order), size)[part], desc=label, disable=None if label else True):
        indices = order[start : start + size]
        completions = sample_text(
            model,
            [ids[index] for index in indices],
            num_samples=samples,
            max_new_tokens=max_new_tokens,
            end_ids=[processor.tokenizer.eos_token_id],
            seeds=[seed_of(seed, index) for index in indices],
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        texts = processor.tokenizer.batch_decode(completions, skip_special_tokens=True)
        for place, index in enumerate(indices):
            answers[index] = texts[place * samples :][:samples] * (num_samples // samples)
    return answers


@overload
def sample_text(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, num_samples: int, max_new_tokens: int,
    end_ids: Sequence[int], seeds: Sequence[int], skipped: Sequence[int] | None = ..., temperature: float = ...,
    top_k: int = ..., top_p: float = ..., autocast_dtype: torch.dtype | None = ...,
    return_logprobs: Literal[False] = ...,
) -> list[list[int]]: ...  # fmt: skip
@overload
def sample_text(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, num_samples: int, max_new_tokens: int,
    end_ids: Sequence[int], seeds: Sequence[int], skipped: Sequence[int] | None = ..., temperature: float = ...,
    top_k: int = ..., top_p: float = ..., autocast_dtype: torch.dtype | None = ..., return_logprobs: Literal[True],
) -> tuple[list[list[int]], list[list[float]]]: ...  # fmt: skip
@torch.no_grad()
def sample_text(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int,
    max_new_tokens: int,
    end_ids: Sequence[int],
    seeds: Sequence[int],
    skipped: Sequence[int] | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    autocast_dtype: torch.dtype | None = None,
    return_logprobs: bool = False,
) -> list[list[int]] | tuple[list[list[int]], list[list[float]]]:
    """
    Samples a group of completions of each prompt until they end; a prompt is computed once.

    Soon after all completions of a prompt have ended, the prompt is dropped. The noise belongs to a prompt's seed, so
    that its completions do not depend on the prompts sampled with it.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model; in evaluation mode meanwhile.
        prompts (`Sequence[Sequence[int]]` of length `B`):
            Token ids of the prompts, which may differ in length.
        num_samples (`int`):
            Completions of each prompt, `G`.
        max_new_tokens (`int`):
            Tokens after which a completion is cut off.
        end_ids (`Sequence[int]`):
            Ids that end a completion.
        seeds (`Sequence[int]` of length `B`):
            A seed for each prompt.
        skipped (`Sequence[int]` of length `B`, *optional*):
            As in [`draw_uniforms`].
        temperature (`float`, *optional*, defaults to 1.0):
            Divides the logits; 0 takes the likeliest token.
        top_k (`int`, *optional*, defaults to 0):
            Draw only from so many likeliest tokens; 0 for all.
        top_p (`float`, *optional*, defaults to 1.0):
            Draw only from the likeliest tokens that together have this probability.
        autocast_dtype (`torch.dtype`, *optional*):
            Compute in this precision, `torch.bfloat16` or `torch.float16`.
        return_logprobs (`bool`, *optional*, defaults to `False`):
            Also return the log-probability of each id at the given temperature (1 if that is 0), before top-k and
            top-p.

    Returns:
        `list[list[int]]` of length `B * G`, the group of each prompt together: ids up to and including the end id, or
        `max_new_tokens` of them; or a `tuple` of these ids and their log-probabilities.

    Raises:
        ValueError: for an empty prompt, if there is not one seed a prompt, or for prompts beyond the model's window.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> model = LlamaForCausalLM(LlamaConfig(
        ...     vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        ... ))
        >>> ids = sample_text(
        ...     model, [[1], [1, 2, 3]], num_samples=2, max_new_tokens=4, end_ids=range(10), seeds=[0, 1]
        ... )
        >>> [len(completion) for completion in ids]
        [1, 1, 1, 1]
    """
    if len(seeds) != len(prompts) or not all(prompts):
        raise ValueError(
            f"Expected prompts of at least one token, and a seed for each, got {len(prompts)} prompts, the shortest "
            f"of {min(map(len, prompts), default=0)} tokens, and {len(seeds)} seeds."
        )
    tokens, mask = _pad_left(prompts)
    plan, lockstep = Plan(length=max_new_tokens, end_ids=tuple(end_ids)), Lockstep(model)
    sizes: dict[str, Any] = {"group_size": num_samples, "length": max_new_tokens}
    completions: dict[int, SampledText] = {}  # by the first prompt of a part

    def sample_some(some: slice) -> None:
        length = max(map(len, prompts[some]))  # padding that no prompt of a part needs is left out
        of_prompts = None if mask is None else mask[some, -length:].to(model.device)
        decoder = GroupDecoder(model, **sizes, prompt_length=length, prompt_mask=of_prompts)
        before = None if skipped is None else skipped[some]
        sampled = decode(
            decoder, tokens[some, -length:].to(model.device), plan,
            draw_uniforms(seeds[some], num_samples, max_new_tokens, skipped=before),
            lockstep=lockstep, temperature=temperature, top_k=top_k, top_p=top_p, with_logprobs=return_logprobs,
        )  # fmt: skip
        rows = zip(sampled.ids.tolist(), sampled.logprobs.tolist(), sampled.lengths.tolist(), strict=True)
        completions[some.start] = [(ids[:count], logprobs[:count]) for ids, logprobs, count in rows]

    with sampling_from(model, autocast_dtype):
        at_once = prompts_at_once(model, **sizes, prompt_length=tokens.shape[1])
        in_parts(sample_some, len(prompts), at_once=at_once, lockstep=lockstep)
    in_order = [row for start in sorted(completions) for row in completions[start]]
    ids = [row[0] for row in in_order]
    return (ids, [row[1] for row in in_order]) if return_logprobs else ids


def seed_of(*place: int) -> int:
    """
    One seed made from several numbers, such as that of an update and that of a prompt in it; of more numbers another.

    Args:
        place (`int`):
            The numbers, each at least 0.

    Returns:
        `int`: in `[0, 2 ** 32)`.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0), seed_of(0, 1) == seed_of(0, 1, 0)
        (True, False, False)
    """
    if len(place) < 4:  # numpy fills up with zeros to four numbers, and so would take some of different length for one
        place = (*place, *[0] * (4 - len(place)), len(place))
    return int(np.random.SeedSequence(place).generate_state(1)[0])


def _pad_left(prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Prompts as one tensor `(B, P)`, padded on the left, and where they are not padding, `None` if nowhere."""
    lengths = torch.tensor([len(ids) for ids in prompts])
    length = int(lengths.max())
    tokens = torch.tensor([[0] * (length - len(ids)) + list(ids) for ids in prompts])
    mask = torch.arange(length) >= length - lengths[:, None]
    return tokens, None if bool(mask.all()) else mask
