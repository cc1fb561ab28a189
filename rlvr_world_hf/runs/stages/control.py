"""Control: continues likelihood training for as long as RL took, so that the table shows what time alone gains."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...hub import load_world_model
from ..keys import key
from ..kinds import kind_of
from ..named_parts import named_setting, refuse_below
from ..progress import DONE, HISTORY, read_json
from ..recipe import Recipe
from ..stage import StageRun, checkpoint_folder, stage, stage_folder
from .pretrain import PretrainSettings, likelihood_training, pretrain, try_training


REVISION = 1
"""Raised when another checkpoint comes of the same settings, see [`~rlvr_world_hf.runs.stage.Stage`]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """How long likelihood training continues; all other settings are those of pretrain."""

    max_steps: int = key(
        0, "Updates after the last pretrain checkpoint; 0: as many as fit into the time that RL trained."
    )
    times_rl: float = key(1.0, "With max_steps 0: this many times the time that RL trained.")
    lr_scheduler_type: str | None = key(
        None,
        "Course of the learning rate over these updates alone, from pretrain's learning_rate on, such as linear; with "
        "max_steps 0 their number is measured on the first ones. null: that of pretrain goes on.",
    )
    warmup_steps: int = key(0, "With lr_scheduler_type: updates over which the learning rate rises from 0.")
    answers_alone: bool = key(
        False,
        "For text, where pretrain learns reasons: whether controls go on with all training transitions, without "
        "reasons, and not with those that carry some.",
        counts_at_default=False,
    )
    save_total_limit: int | None = key(
        2, "Checkpoints kept for resuming, the best and the last among them; null: all.", affects_result=False
    )


def _try(recipe: Recipe, settings: ControlSettings) -> None:
    """The trainer's arguments, which differ from those of pretrain in where training ends."""
    refuse_below({"max_steps": 0, "times_rl": 0, "warmup_steps": 0}, settings, where="control")
    if settings.warmup_steps and settings.lr_scheduler_type is None:
        raise ValueError(
            f"control.warmup_steps: expected 0 where pretrain's schedule goes on, got {settings.warmup_steps}; give "
            "control.lr_scheduler_type, too, such as linear."
        )
    refuse_single_checkpoint(settings.save_total_limit, where="control")
    seconds = 0.0 if settings.max_steps else 1.0  # how long RL takes is not known yet
    earlier = pretrain.read(recipe)
    if settings.answers_alone and not (earlier.reasons or earlier.reasons_everywhere):
        raise ValueError(
            "control.answers_alone: expected false where pretrain learns no reasons, got true; leave it out, or give "
            "pretrain.reasons."
        )
    schedule = str(earlier.arguments.get("lr_scheduler_type", "constant"))
    if seconds and settings.lr_scheduler_type is None and not schedule.startswith("constant"):
        raise ValueError(
            f"control.max_steps: expected a number of updates, on which pretrain.lr_scheduler_type {schedule!r} "
            "depends, got 0, for as many as fit into RL's time; give a number, a constant schedule, or "
            "control.lr_scheduler_type."
        )
    with named_setting("control.lr_scheduler_type", "it cannot be used", "Give one such as linear, or null."):
        course = learning_rate_course(settings, first_step=0)
    limits = {"max_steps": max(1, settings.max_steps), "minimum_seconds": seconds, "schedule": course}
    try_training(recipe, earlier, "control", **limits)


def refuse_single_checkpoint(save_total_limit: int | None, *, where: str) -> None:
    """Raises a ValueError where the best checkpoint and the last could not both be kept; `where` is the stage."""
    if save_total_limit == 1:
        raise ValueError(
            f"{where}.save_total_limit: expected at least 2, the best checkpoint and the last, or null for all, got "
            "1; raise it."
        )


def learning_rate_course(settings: ControlSettings, *, first_step: int, updates: int | None = None) -> Any:
    """
    The course of the learning rate after pretrain.

    Args:
        settings (`ControlSettings`):
            Its kind and its warm-up.
        first_step (`int`):
            Updates of pretrain.
        updates (`int`, *optional*):
            Updates of a training that may be short: at most a tenth of them are warm-up.

    Returns:
        `training.schedule.Schedule`: the course; `None` where that of pretrain goes on.
    """
    if settings.lr_scheduler_type is None:
        return None
    from ...training.schedule import Schedule

    warmup = settings.warmup_steps if updates is None else min(settings.warmup_steps, updates // 10)
    return Schedule(kind=settings.lr_scheduler_type, warmup_steps=warmup, first_step=first_step)


@stage(
    settings=ControlSettings,
    revision=REVISION,
    after=("pretrain", "grpo"),
    makes=("control",),
    tries=_try,
    shares_processes=True,
)
def control(run: StageRun) -> list[Path]:
    """
    Continue likelihood training from the last pretrain checkpoint, its optimizer included, and save it as `control/`.

    The saved checkpoint is the one with the best likelihood on the validation episodes, or the best at what
    `pretrain.choose_by` names, base included if pretraining left a checkpoint. It trains for as long as the GRPO stage
    did, or a multiple of it: evaluations, pictures and checkpoints count in neither.
    """
    settings, steps = pretrain.read(run.recipe), run.settings.max_steps
    return continue_likelihood(
        run,
        settings,
        checkpoint="control",
        # With 0, this is the least number, and the time decides.
        updates=max(1, steps),
        minimum_seconds=0.0 if steps else run.settings.times_rl * seconds_of_rl(run),
        schedule=learning_rate_course(run.settings, first_step=settings.max_steps),
    )


def continue_likelihood(
    run: StageRun, settings: PretrainSettings, *, checkpoint: str, updates: int, **limits: Any
) -> list[Path]:
    """
    Go on with the training that made `base`, its optimizer included: what the controls share.

    Args:
        run (`StageRun`):
            The stage; its settings say how many checkpoints are kept.
        settings (`PretrainSettings`):
            Those of pretrain, or with other evaluations.
        checkpoint (`str`):
            Folder of the stage to save the best checkpoint in.
        updates (`int`):
            Updates, at least 1.
        limits (`dict[str, Any]`):
            `minimum_seconds` and `schedule` of `training.LikelihoodConfig`.

    Returns:
        `list[Path]`: What was written.
    """
    if control.read(run.recipe).answers_alone:
        settings = dataclasses.replace(settings, reasons=0, reasons_everywhere=False)
    kept = {"save_total_limit": run.settings.save_total_limit}
    model, processor = load_world_model(checkpoint_folder(run.recipe, "base"), device=run.processes.device)
    return likelihood_training(
        run,
        kind_of(run.recipe).restart(model, processor),
        processor,
        dataclasses.replace(settings, arguments=settings.arguments | kept),
        checkpoint=checkpoint,
        max_steps=settings.max_steps + updates,  # pretrain's count, too
        continue_from=_last_of_pretrain(run),
        **limits,
    )


def seconds_of_rl(run: StageRun) -> float:
    """Seconds that RL trained, or, where an earlier version or no checkpoint has kept these, that its stage took."""
    from ...hub.training_checkpoints import trained_seconds

    folder = stage_folder(run.recipe, "grpo")
    recorded = read_json(folder / HISTORY).get("trained_seconds") or trained_seconds(folder)
    return float(recorded or run.stage_seconds("grpo"))


def _last_of_pretrain(run: StageRun) -> Path | None:
    """The checkpoint that pretraining ended with; `None` if it trained nothing."""
    from ...hub.training_checkpoints import refuse_damaged

    folder = stage_folder(run.recipe, "pretrain")
    last = read_json(folder / HISTORY)["last_checkpoint"]
    if last is None:
        return None
    # The run may have been moved since, or have taken pretrain from another run, without its checkpoints.
    here = folder / Path(last).name
    checkpoint = here if here.is_dir() or not Path(last).is_dir() else Path(last)
    refuse_damaged(checkpoint, remedy=f"delete {folder / DONE}, and pretrain makes it again from an earlier one")
    return checkpoint
