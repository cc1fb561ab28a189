"""What a language world model answers: completions of free length, sampled by transformers' `generate`."""

from collections.abc import Sequence
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel

from ..processors.text import LanguageWorldModelProcessor


@torch.no_grad()
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
) -> list[list[str]]:
    """
    Completions of prompts.

    Prompts of about one length are computed together. The noise belongs to seed, batch size and prompts: the same call
    gives the same answers, another batch size others.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model.
        processor ([`LanguageWorldModelProcessor`]):
            Its processor.
        prompts (`Sequence` of `str` or of messages):
            Texts or conversations.
        num_samples (`int`, *optional*, defaults to 1):
            Completions of each.
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
            What a progress bar calls them; none without it.

    Returns:
        `list[list[str]]`: for each prompt its completions, reasoning included, special tokens left out.
    """
    greedy = temperature == 0
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=not greedy,
        num_return_sequences=1 if greedy else num_samples,
        pad_token_id=processor.tokenizer.pad_token_id,
        eos_token_id=processor.tokenizer.eos_token_id,
        **({} if greedy else {"temperature": temperature, "top_k": top_k, "top_p": top_p}),
    )
    ids = processor.encode_prompt(prompts)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    size = max(1, batch_size // (settings.num_return_sequences or 1))
    answers: list[list[str]] = [[] for _ in ids]
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for start in tqdm(range(0, len(order), size), desc=label, disable=None if label else True):
            indices = order[start : start + size]
            batch = processor.tokenizer.pad({"input_ids": [ids[index] for index in indices]}, return_tensors="pt")
            batch = batch.to(model.device)
            completions = model.generate(**batch, generation_config=settings)[:, batch["input_ids"].shape[1] :]
            texts = processor.tokenizer.batch_decode(completions, skip_special_tokens=True)
            for place, index in enumerate(indices):
                of_one = texts[place * settings.num_return_sequences :][: settings.num_return_sequences]
                answers[index] = of_one * num_samples if greedy else of_one
    return answers
