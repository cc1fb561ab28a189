"""Control at equal prompts: continues likelihood training on as many prompts as RL drew."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..keys import key
from ..named_parts import named_setting, refuse_below, reward_weights
from ..progress import HISTORY, read_json
from ..recipe import Recipe
from ..stage import StageRun, stage, stage_folder
from .control import continue_likelihood, control, learning_rate_course, refuse_single_checkpoint
from .grpo import drawn_prompts, grpo, make_config
from .pretrain import PretrainSettings, pretrain, try_training


REVISION = 1
"""Raised when another checkpoint comes of the same settings, see [`~rlvr_world_hf.runs.stage.Stage`]."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlEqualPromptsSettings:
    """How the second control is looked at; schedule and examples are as control's, the rest as pretrain's."""

    evaluations: int = key(
        4, "Least looks at the validation episodes, evenly spaced; more where pretrain's eval_steps ask for more."
    )
    save_total_limit: int | None = key(
        2, "Checkpoints kept for resuming, the best and the last among them; null: all.", affects_result=False
    )


def _try(recipe: Recipe, settings: ControlEqualPromptsSettings) -> None:
    """The trainer's arguments; how many updates there will be is known after RL."""
    refuse_below({"evaluations": 1}, settings, where="control_equal_prompts")
    refuse_single_checkpoint(settings.save_total_limit, where="control_equal_prompts")
    with named_setting("control.lr_scheduler_type", "it cannot be used", "Give one such as linear, or null."):
        schedule = learning_rate_course(control.read(recipe), first_step=0)
    try_training(recipe, pretrain.read(recipe), "control_equal_prompts", max_steps=1, schedule=schedule)


def _keys_of_control(recipe: Recipe) -> Any:
    """Keys of control that shape this training, too; `None` where all of them are as if they were not there."""
    settings = control.read(recipe)
    names = ["lr_scheduler_type", "warmup_steps"] if settings.lr_scheduler_type is not None else []
    names += ["answers_alone"] if settings.answers_alone else []
    return {name: getattr(settings, name) for name in names} or None


@stage(
    settings=ControlEqualPromptsSettings,
    revision=REVISION,
    after=("pretrain", "grpo"),
    makes=("control_equal_prompts",),
    made_from=_keys_of_control,
    tries=_try,
    shares_processes=True,
)
def control_equal_prompts(run: StageRun) -> list[Path]:
    """
    Continue likelihood training as control does, on as many prompts as RL drew, and save it as
    `control_equal_prompts/`.

    A recipe that has a part of this name has the row in its table. Updates are those of pretrain, of
    `batch_size` examples: their number is rounded up, and is at least one. The saved checkpoint is chosen as
    control's, after `evaluations` looks or more; a warm-up is a tenth of the updates at most.
    """
    settings = pretrain.read(run.recipe)
    prompts, examples = _prompts_of_rl(run), _examples_of_update(run, settings)
    updates = max(1, math.ceil(prompts / examples))
    if run.processes.is_first:
        logger.info(
            "control_equal_prompts: RL drew %d prompts; likelihood goes on for %d updates of %d examples",
            *(prompts, updates, examples),
        )
    every = min(settings.eval_steps, max(1, updates // run.settings.evaluations))
    schedule = learning_rate_course(control.read(run.recipe), first_step=settings.max_steps, updates=updates)
    watched = dataclasses.replace(settings, eval_steps=every)
    return continue_likelihood(run, watched, checkpoint="control_equal_prompts", updates=updates, schedule=schedule)


def _prompts_of_rl(run: StageRun) -> int:
    """Prompts that RL drew: as it counted them, or, where an earlier version has not, of its settings and its log."""
    history = read_json(stage_folder(run.recipe, "grpo") / HISTORY)
    if (counted := history.get("drawn_prompts")) is not None:
        return int(counted)
    settings = grpo.read(run.recipe)
    config = make_config(run.recipe, settings, reward_weights(settings.rewards), run.processes.device)
    return drawn_prompts(config, history["log_history"])


def _examples_of_update(run: StageRun, settings: PretrainSettings) -> int:
    """Examples of an update of likelihood training, in all processes together."""
    from ...training import LikelihoodConfig

    training = settings.training(run.processes.device, report_to=run.recipe.report_to)
    asked = LikelihoodConfig(max_steps=1, **training).trainer_settings()
    parts = asked.get("gradient_accumulation_steps", 1) * run.processes.share.processes
    return int(asked["per_device_train_batch_size"] * parts)
