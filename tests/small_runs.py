"""The debug recipe of PushT, as small as it gets."""

from pathlib import Path

from rlvr_world_hf.runs.recipe import Recipe, load_recipe


SMALL = {
    "collect.train": 2,
    "collect.validation": 1,
    "collect.test": 1,
    "collect.length": 8,
    "tokenizer.max_steps": 4,
    "tokenizer.save_steps": 2,
    "pretrain.max_steps": 4,
    "pretrain.eval_steps": 2,
    "grpo.max_steps": 4,
    "grpo.save_steps": 2,
    "grpo.logging_steps": 1,
    "control.max_steps": 4,
    "evaluate.windows": 2,
    "evaluate.validation_windows": 2,
    "predict.examples": 1,
}


def small_recipe(folder: Path, **overrides: object) -> Recipe:
    """The debug recipe with four updates a stage."""
    return load_recipe("pusht/debug", overrides={**SMALL, "output_dir": str(folder), **overrides})


SMALL_TEXT = {
    "collect.train": 3,
    "collect.validation": 1,
    "collect.test": 1,
    "collect.length": 8,
    "collect.processes": 1,
    "pretrain.max_steps": 4,
    "pretrain.eval_steps": 2,
    "control.max_steps": 2,
    "grpo.max_steps": 2,
}


def small_text_recipe(folder: Path, **overrides: object) -> Recipe:
    """The debug recipe of TextWorld with few updates."""
    return load_recipe("textworld/debug", overrides={**SMALL_TEXT, "output_dir": str(folder), **overrides})
