"""
What the stages do in a world of text; a stage asks `is_text` and hands its run over.

The module of such a world says how it speaks: `PROMPT_TEMPLATE`, with `{state}` and `{action}`, if its prompts follow
one, and `nothing_changes(state, **keys)`, the answer that nothing changes, of the keys of its collect stage.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from .recipe import Recipe
from .stage import StageRun
from .stages.collect import collect, split_rows, world_source


EXAMPLES_FROM = 200
"""Test transitions among which examples are looked for."""


def build_text_processor(recipe: Recipe) -> Any:
    """
    The processor of a recipe whose tokenizer stage is finished.

    Args:
        recipe (`Recipe`):
            The recipe.

    Returns:
        `LanguageWorldModelProcessor`: With the tokenizer trained in the run, or that of the recipe.
    """
    from transformers import AutoTokenizer

    from ..processors.text import LanguageWorldModelProcessor
    from .stages.tokenizer import SCRATCH, TEXT_TOKENIZER, tokenizer

    source = tokenizer.read(recipe).source
    place = recipe.output_dir / TEXT_TOKENIZER if source == SCRATCH else source
    template = getattr(_world_module(recipe), "PROMPT_TEMPLATE", None)
    return LanguageWorldModelProcessor(AutoTokenizer.from_pretrained(place), prompt_template=template)


def build_text_policy(recipe: Recipe, processor: Any) -> Any:
    """The model that likelihood training starts from: one of the Hub, or one with fresh weights."""
    from transformers import AutoModelForCausalLM

    from ..training.language import build_language_policy
    from .stages.pretrain import pretrain

    settings = pretrain.read(recipe)
    if settings.start_from:
        return AutoModelForCausalLM.from_pretrained(settings.start_from, use_safetensors=True)
    return build_language_policy(processor.tokenizer, **settings.policy_sizes(), seed=recipe.seed)


def likelihood_parts(run: StageRun, model: Any, processor: Any, settings: Any) -> tuple[Any, Any, dict[str, Any]]:
    """
    What `pretrain.likelihood_training` needs for text: how to train (TRL's `SFTTrainer`), the model, with an adapter
    if the recipe asks for one, and the tokens of both splits.
    """
    from peft import get_peft_model

    from ..training.language import finetune, tokenize_transitions

    tokens = {
        split: tokenize_transitions(split_rows(run.recipe, split), processor, max_length=settings.max_length)
        for split in ("train", "validation")
    }
    adapter = settings.adapter()
    model = model if adapter is None else get_peft_model(model, adapter)

    def train(model: Any, *of_splits: Any, **arguments: Any) -> Any:
        return finetune(model, processor, *of_splits, **arguments)

    return train, model, tokens


def evaluate(recipe: Recipe, settings: Any, checkpoints: Any, rewards: list[Any], metrics: list[Any]) -> Any:
    """The results of [`~rlvr_world_hf.evaluation.answers.evaluate_answers`] for a recipe."""
    from ..evaluation.answers import evaluate_answers
    from ..evaluation.predictions import Sampling

    rewarded = list(dict.fromkeys(reward.name for reward in rewards))
    named = {metric.name: metric for metric in (*rewards, *metrics)}
    rows = split_rows(recipe, "test", count=settings.windows)
    return evaluate_answers(
        checkpoints,
        rows,
        metrics=list(named.values()),
        nothing_changes=nothing_changes(recipe, rows["data_state"]),
        recipe=recipe.name,
        rewarded=rewarded,
        training_seed=recipe.seed,
        # Without `reject_repetition`, which is of frames: a record would claim what was not done.
        draws=dataclasses.replace(settings.draws(), sampling=Sampling(temperature=settings.temperature)),
        best_sampling=settings.best(recipe),
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
    )


def nothing_changes(recipe: Recipe, states: Iterable[str]) -> list[str]:
    """The world's answers that nothing changes in some states, in the form that the recipe asks for."""
    answer = _world_module(recipe).nothing_changes
    known = inspect.signature(answer).parameters
    asked = {name: value for name, value in collect.read(recipe).arguments.items() if name in known}
    return [answer(state, **asked) for state in states]


def _world_module(recipe: Recipe) -> Any:
    return import_module(world_source(recipe).__module__)


def examples(run: StageRun, pipelines: Any) -> str:
    """Right and wrong answers of the last checkpoint to test prompts, with those of the others, as Markdown."""
    from ..evaluation.answers import measure_answers, predict_answers
    from ..evaluation.predictions import Sampling
    from .named_parts import build_rewards
    from .stages.grpo import grpo

    recipe, settings = run.recipe, run.settings
    rows = split_rows(recipe, "test", count=EXAMPLES_FROM)
    options: dict[str, Any] = {
        "sampling": Sampling(temperature=settings.temperature),
        "sampling_seeds": [settings.sampling_seed],
    }
    answers = {
        name: predict_answers(pipeline.model, pipeline.processor, rows, **options)
        for name, pipeline in pipelines.items()
    }
    reward = build_rewards(grpo.read(recipe).rewards)[0][0]
    last = measure_answers(answers[settings.checkpoints[-1]], rows, [reward])[reward.name][:, 0].tolist()
    is_right = [value == reward.best for value in last]
    sections = []
    for title, wanted in (("Right", True), ("Wrong", False)):
        of_kind = [index for index, right in enumerate(is_right) if right == wanted]
        chosen = [of_kind[place * len(of_kind) // settings.examples] for place in range(settings.examples) if of_kind]
        sections += [f"### {title}", *(_example(rows[index], index, answers) for index in dict.fromkeys(chosen))]
    return "\n\n".join(sections) + "\n"


def _example(row: dict[str, Any], index: int, answers: dict[str, list[list[str]]]) -> str:
    lines = [f"state:    {row['data_state']}", f"action:   {row['data_action']}", f"recorded: {row['completion']}"]
    lines += [f"{name + ':':<9} {of_rows[index][0]}" for name, of_rows in answers.items()]
    return "```text\n" + "\n".join(lines) + "\n```"
