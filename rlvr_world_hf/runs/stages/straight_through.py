"""Straight-through: trains base by gradients through rewards and codec for as long as RL took, in RL's place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...hub import load_world_model, save_world_model
from ...rewards.action_recovery import inverse_model_of
from ..content import named_folders
from ..keys import key
from ..kinds import kind_of
from ..named_parts import build_rewards, named_setting, refuse_below, try_parts
from ..precision import BF16, Bfloat16, use_bfloat16, weights_dtype
from ..processes import Processes
from ..progress import HISTORY, write_json
from ..recipe import Recipe
from ..result_settings import LOSS
from ..stage import StageRun, checkpoint_folder, stage, stage_folder
from ..watching import MEASURED_WINDOWS, SHOWN_WINDOWS, higher_is_better, refuse_unknown_choice, watch
from .control import seconds_of_rl


REVISION = 1
"""Raised when another checkpoint comes of the same settings, see [`~rlvr_world_hf.runs.stage.Stage`]."""

CHECKPOINT = "straight_through"
"""What the stage makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StraightThroughSettings:
    """What is rewarded and how the policy learns from it; other keys are those of `TrainingArguments`."""

    rewards: list[dict[str, Any]] = key(
        [],
        "Rewards whose gradient is followed, as in grpo.rewards: differentiable ones, such as ActionRecoveryReward "
        "with its inverse model, and MAEReward.",
    )
    max_steps: int = key(0, "Updates; 0: as many as fit into the time that RL trained.")
    times_rl: float = key(1.0, "With max_steps 0: this many times the time that RL trained.")
    batch_size: int = key(64, "Windows an update and process, each with one sampled prediction.")
    learning_rate: float = key(1e-4, "Largest learning rate of AdamW.")
    lr_scheduler_type: str = key("linear", "Course of the learning rate over all updates.")
    warmup_steps: int = key(0, "Updates over which the learning rate rises from 0.")
    temperature: float = key(1.0, "Divides the logits, in sampling and in the gradient.")
    relaxation: str = key(
        "gumbel", "What a sampled code has its gradient of: gumbel, a softmax with Gumbel noise; or softmax, without."
    )
    gumbel_temperature: float = key(
        1.0, "Temperature of the softmax with noise: small ones have less bias, more noise."
    )
    eval_steps: int = key(20, "Updates between two evaluations, each followed by a checkpoint.")
    validation_windows: int = key(64, "Validation windows whose sampled predictions give the loss.")
    choose_by: str = key(
        LOSS, "What the saved checkpoint is best at: loss, minus the rewards of sampled predictions; or a metric."
    )
    measured_windows: int = MEASURED_WINDOWS
    shown_windows: int = SHOWN_WINDOWS
    bf16: Bfloat16 = BF16
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    chooses_best: ClassVar[bool] = True
    """The best checkpoint is kept: when it is evaluated shapes the result."""

    def __post_init__(self) -> None:
        least = dict.fromkeys(("max_steps", "times_rl", "learning_rate", "warmup_steps"), 0)
        least |= dict.fromkeys(("measured_windows", "shown_windows"), 0)
        least |= dict.fromkeys(("batch_size", "eval_steps", "validation_windows"), 1)
        refuse_below(least, self, where=CHECKPOINT)

    def made_relaxation(self) -> Any:
        """The `rollouts.relaxed.Relaxation`."""
        from ...rollouts.relaxed import Relaxation

        temperatures = {"temperature": self.temperature, "gumbel_temperature": self.gumbel_temperature}
        return Relaxation(kind=self.relaxation, **temperatures)

    def training(self, device: Any, *, report_to: str, **limits: Any) -> Any:
        """The `training.LikelihoodConfig` for a `torch.device`; `limits` are its seed and where it ends."""
        from ...training import LikelihoodConfig
        from ...training.schedule import Schedule

        names = ("batch_size", "learning_rate", "eval_steps", "choose_by")
        further = {"bf16": use_bfloat16(self.bf16, device), "report_to": report_to, **self.arguments}
        return LikelihoodConfig(
            schedule=Schedule(kind=self.lr_scheduler_type, warmup_steps=self.warmup_steps),
            training_arguments=further,
            **{name: getattr(self, name) for name in names},
            **limits,
        )


def _training_arguments(recipe: Recipe) -> Callable[..., Any]:
    from transformers import TrainingArguments

    return TrainingArguments


def _try(recipe: Recipe, settings: StraightThroughSettings) -> None:
    """The world, the rewards, the relaxation and the trainer's arguments."""
    from ...training.straight_through import refuse_without_gradient

    states = kind_of(recipe).states()
    if not settings.rewards or "frames" not in states:
        with named_setting(f"{CHECKPOINT}.rewards", "there is no gradient", "Change the rewards, or the recipe."):
            refuse_without_gradient([], predicts=states)
    rewards, _ = build_rewards(settings.rewards, where=f"{CHECKPOINT}.rewards")
    with named_setting(f"{CHECKPOINT}.rewards", "there is no gradient", "Change the rewards, or the recipe."):
        refuse_without_gradient(rewards, predicts=states)
    try_parts(rewards, kinds=states, where=f"{CHECKPOINT}.rewards")
    with named_setting(CHECKPOINT, "codes cannot be relaxed so", "Change the key that is meant."):
        settings.made_relaxation()
    count = settings.measured_windows
    refuse_unknown_choice(recipe, settings.choose_by, count=count, usual=LOSS, where=CHECKPOINT)
    with named_setting(CHECKPOINT, "TrainingArguments refuses the settings", "Change the keys that it names."):
        limits = {"max_steps": max(1, settings.max_steps), "minimum_seconds": 0.0 if settings.max_steps else 1.0}
        args = settings.training(Processes().device, seed=recipe.seed, report_to=recipe.report_to, **limits)
        folder = stage_folder(recipe, CHECKPOINT)  # not made here
        _training_arguments(recipe)(**args.complete_settings(output_dir=folder))


def _folders(recipe: Recipe) -> Any:
    """What rewards read, such as an inverse model."""
    return named_folders(straight_through.read(recipe).rewards)


@stage(
    settings=StraightThroughSettings,
    revision=REVISION,
    after=("pretrain", "grpo"),
    makes=(CHECKPOINT,),
    forwards_to=_training_arguments,
    made_from=_folders,
    tries=_try,
    shares_processes=True,
)
def straight_through(run: StageRun) -> list[Path]:
    """
    Train base by gradients through differentiable rewards and the codec, and save it as `straight_through/`.

    It goes on from base for as long as the GRPO stage trained, or a multiple of it, or for a number of updates; codec
    and inverse model are frozen. The saved checkpoint is the one with the best rewards on validation windows, or the
    best at what `choose_by` names. `rollouts/relaxed.py` says how, and how the gradient is biased.
    """
    from ...hub.training_checkpoints import trained_seconds
    from ...training.straight_through import train_straight_through

    recipe, settings, kind, device = run.recipe, run.settings, kind_of(run.recipe), run.processes.device
    rewards, weights = build_rewards(settings.rewards, where=f"{CHECKPOINT}.rewards")
    dtype = weights_dtype(settings.bf16, device, frozen=False)
    model, processor = load_world_model(checkpoint_folder(recipe, "base"), device=device, dtype=dtype)
    run.clock.continue_from(trained_seconds(run.folder))
    limits: dict[str, Any] = {"max_steps": max(1, settings.max_steps)}
    limits["minimum_seconds"] = 0.0 if settings.max_steps else settings.times_rl * seconds_of_rl(run)
    limits["higher_is_better"] = higher_is_better(recipe, settings.choose_by)
    result = train_straight_through(
        model,
        processor,
        rewards,
        kind.rows("train"),
        kind.rows("validation", count=settings.validation_windows),
        output_dir=run.folder,
        args=settings.training(device, seed=recipe.seed, report_to=recipe.report_to, **limits),
        weights=weights,
        relaxation=settings.made_relaxation(),
        watch=watch(recipe, processor, settings, every_steps=settings.eval_steps, at_start=True),
    )
    checkpoint, history = run.folder / CHECKPOINT, run.folder / HISTORY
    if run.processes.is_first:
        save_world_model(checkpoint, model, processor, inverse_model=inverse_model_of(rewards))
        write_json(history, {"log_history": result.history, "trained_seconds": result.seconds})
    return [checkpoint, history]
