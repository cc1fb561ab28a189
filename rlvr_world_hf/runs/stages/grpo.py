"""GRPO: trains the base world model with verifiable rewards."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...hub import load_world_model, save_world_model
from ...hub.checkpoint import load_processor
from ...rewards.action_recovery import inverse_model_of
from ..content import named_folders
from ..keys import key
from ..kinds import kind_of
from ..named_parts import build_rewards, named_setting, refuse_below, reward_weights, try_parts
from ..precision import BF16, Bfloat16, use_bfloat16, weights_dtype
from ..processes import Processes
from ..progress import HISTORY, write_json
from ..recipe import Recipe
from ..result_settings import LAST
from ..stage import StageRun, checkpoint_folder, stage, stage_folder
from ..watching import MEASURED_WINDOWS, SHOWN_WINDOWS, higher_is_better, refuse_unknown_choice, watch
from .pretrain import PretrainSettings, pretrain


REVISION = 1
"""Raised when another checkpoint comes of the same settings, see [`~rlvr_world_hf.runs.stage.Stage`]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoSettings:
    """What is rewarded; the other keys of the stage are those of `WorldModelGRPOConfig`."""

    rewards: list[dict[str, Any]] = key(
        [{"path": "rlvr_world_hf.rewards.MAEReward"}], "For each reward, its path, its weight and its own settings."
    )
    lora_rank: int | None = key(
        None, "Rank of a LoRA adapter on all linear layers, which RL trains; 0: the whole policy; null: as pretrain."
    )
    lora_alpha: int | None = key(None, "Scale of the LoRA adapter; null: as pretrain.")
    continue_adapter: bool = key(
        False,
        "For text: whether RL goes on with pretrain's own adapter, on the weights that it was trained on; base is "
        "then a frozen copy of it. If not, RL has a fresh adapter on base.",
        counts_at_default=False,
    )
    validation_windows: int = key(64, "Validation windows to roll out when `eval_strategy` asks for it.")
    choose_by: str = key(
        LAST, "Which checkpoint is saved: the last, or the best at a metric of the table, at each `save_steps`."
    )
    measured_windows: int = MEASURED_WINDOWS
    shown_windows: int = SHOWN_WINDOWS
    bf16: Bfloat16 = BF16
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def chooses_best(self) -> bool:
        """Whether the best checkpoint becomes rlvr: then it shapes the result when checkpoints are saved."""
        return self.choose_by != LAST

    @property
    def asks_for_evaluations(self) -> bool:
        """Whether a recipe asks for rollouts of validation windows; then it says when there are evaluations, too."""
        return "eval_strategy" in self.arguments

    def __post_init__(self) -> None:
        refuse_below({"measured_windows": 0, "shown_windows": 0}, self, where="grpo")
        reward_weights(self.rewards)  # raises before anything is trained

    def adapter(self, pretrain_settings: PretrainSettings) -> Any:
        """The `peft.LoraConfig` of RL's adapter; `None` without one."""
        # Not `or`: a rank of 0 trains the whole policy where pretraining had an adapter.
        rank = pretrain_settings.lora_rank if self.lora_rank is None else self.lora_rank
        alpha = pretrain_settings.lora_alpha if self.lora_alpha is None else self.lora_alpha
        return dataclasses.replace(pretrain_settings, lora_rank=rank, lora_alpha=alpha).adapter()


def config_class(recipe: Recipe) -> Callable[..., Any]:
    """What the stage forwards its other keys to; imported on use, as the trainer's libraries take seconds to load."""
    from ...training import WorldModelGRPOConfig

    return WorldModelGRPOConfig


def make_config(recipe: Recipe, settings: GrpoSettings, weights: list[float], device: Any) -> Any:
    """The `WorldModelGRPOConfig` of the stage."""
    config = config_class(recipe)(
        **{
            "output_dir": str(stage_folder(recipe, "grpo")),
            "seed": recipe.seed,
            "report_to": recipe.report_to,
            "reward_weights": weights,
            "bf16": use_bfloat16(settings.bf16, device),
            **_choice(recipe, settings),
            **settings.arguments,
        }
    )
    if settings.measured_windows and not settings.asks_for_evaluations:
        config.eval_steps = config.save_steps  # which lie between two batches of rollouts
    return config


def _choice(recipe: Recipe, settings: GrpoSettings) -> dict[str, Any]:
    """Arguments by which the policy is measured whenever it is saved, and by which the best checkpoint is kept."""
    if not settings.measured_windows:
        return {}
    defaults: Any = config_class(recipe)
    every, group_size = (
        settings.arguments.get(name, getattr(defaults, name)) for name in ("save_steps", "num_generations")
    )
    chosen = {
        "save_strategy": "steps",
        "load_best_model_at_end": True,
        "metric_for_best_model": settings.choose_by,
        "greater_is_better": higher_is_better(recipe, settings.choose_by),
    }
    # Greedy predictions are no rollouts, but TRL wants whole groups in the batches of these.
    cadence = {"eval_strategy": "steps", "eval_steps": every, "per_device_eval_batch_size": group_size}
    cadence = {} if settings.asks_for_evaluations else cadence
    return cadence | (chosen if settings.chooses_best else {})


def _try(recipe: Recipe, settings: GrpoSettings) -> None:
    """The rewards, the adapter and the trainer's config."""
    kind, earlier = kind_of(recipe), pretrain.read(recipe)
    has_own_shape = settings.lora_rank is not None or settings.lora_alpha is not None
    if settings.continue_adapter and (has_own_shape or earlier.adapter() is None or not earlier.max_steps):
        raise ValueError(
            "grpo.continue_adapter: expected an adapter that pretrain trains (pretrain.lora_rank) and no lora_rank or "
            "lora_alpha of RL's own, got true without; leave it out."
        )
    rewards, weights = build_rewards(settings.rewards)
    try_parts(rewards, kinds=kind.states(), where="grpo.rewards")
    refuse_unknown_choice(recipe, settings.choose_by, count=settings.measured_windows, usual=LAST, where="grpo")
    with named_setting("grpo", "WorldModelGRPOConfig refuses the settings", "Change the keys that it names."):
        config = make_config(recipe, settings, weights, Processes().device)
        config.refuse_for_world(rewards, fixed_length=kind.fixed_length)
    with named_setting("grpo", "peft.LoraConfig refuses the settings", "Change lora_rank or lora_alpha."):
        settings.adapter(earlier)


def _folders(recipe: Recipe) -> Any:
    """What rewards read, such as an inverse model."""
    return named_folders(grpo.read(recipe).rewards)


@stage(
    settings=GrpoSettings,
    revision=REVISION,
    after=("pretrain",),
    makes=("rlvr",),
    forwards_to=config_class,
    made_from=_folders,
    tries=_try,
    shares_processes=True,
)
def grpo(run: StageRun) -> list[Path]:
    """
    Train the base checkpoint with verifiable rewards and save it as `rlvr/`.

    Every key of `WorldModelGRPOConfig`, hence of TRL's `GRPOConfig`, is a key of this stage.
    """
    from ...hub.training_checkpoints import best_checkpoint, last_checkpoint, load_weights, trained_seconds
    from ...training import WorldModelGRPOTrainer
    from ...training.callbacks import Clock
    from ...training.stopping import StopWhenAsked, held_back

    recipe, settings, kind = run.recipe, run.settings, kind_of(run.recipe)
    rewards, weights = build_rewards(settings.rewards)
    config = make_config(recipe, settings, weights, run.processes.device)
    model, processor, adapter = _policy(run)
    clock = Clock()
    trainer = WorldModelGRPOTrainer(
        model,
        rewards,
        config,
        kind.rows("train"),
        kind.rows("validation", count=settings.validation_windows),
        processing_class=processor,
        callbacks=[clock],
        peft_config=adapter,
    )
    how = {"every_steps": int(config.save_steps), "at_start": True, "with_loss": settings.asks_for_evaluations}
    watch(recipe, processor, settings, **how)(trainer)
    run.clock.continue_from(trained_seconds(run.folder))
    with held_back() as asked:
        trainer.add_callback(StopWhenAsked(asked, save_every=config.checkpoint_interval))
        trainer.train(resume_from_checkpoint=last_checkpoint(run.folder))
    if settings.chooses_best and (last := last_checkpoint(run.folder)):
        load_weights(trainer.model, best_checkpoint(last))
    checkpoint, history = run.folder / "rlvr", run.folder / HISTORY
    if run.processes.is_first:
        # Among several processes, accelerate has wrapped the model.
        policy = trainer.accelerator.unwrap_model(trainer.model)
        save_world_model(checkpoint, policy, processor, inverse_model=inverse_model_of(rewards))
        # Where a run was finished before, nothing was counted now.
        seconds = max(clock.seconds, trained_seconds(run.folder))
        log = trainer.state.log_history
        counts = {"trained_seconds": seconds, "drawn_prompts": drawn_prompts(config, log)}
        write_json(history, {"log_history": log, **counts})
    return [checkpoint, history]


def drawn_prompts(config: Any, log: Iterable[Mapping[str, Any]]) -> int:
    """
    How many prompts RL drew: one for each group of its batches of rollouts, and those that dynamic sampling drew
    beside them, as far as they were logged.

    Args:
        config (`WorldModelGRPOConfig`):
            Settings of the training.
        log (`Iterable[Mapping]`):
            What it logged; the last entry has the update that it ended with.

    Returns:
        `int`: prompts, each as often as it was drawn.

    Example:

    ```python
    >>> from rlvr_world_hf import WorldModelGRPOConfig
    >>> sizes = {"per_device_train_batch_size": 8, "num_generations": 4, "updates_per_generation": 2}
    >>> config = WorldModelGRPOConfig(output_dir="grpo", **sizes)  # 4 prompts for 2 updates
    >>> drawn_prompts(config, [{"step": 4, "resampling/drawn_prompts": 1.5}, {"step": 6}])
    15

    ```
    """
    found, before, last = 0.0, 0, 0
    for entry in log:
        # Entries hold the mean of the batches since the one before.
        last = batches = math.ceil(entry["step"] / config.checkpoint_interval)
        if "resampling/drawn_prompts" in entry:
            found += entry["resampling/drawn_prompts"] * (batches - before)
            before = batches
    return round(found) + last * config.generation_batch_size // config.num_generations


def _policy(run: StageRun) -> tuple[Any, Any, Any]:
    """The policy, its processor, and the fresh adapter that it is to be given; `None` if there is none."""
    recipe, settings, device = run.recipe, run.settings, run.processes.device
    base = checkpoint_folder(recipe, "base")
    if settings.continue_adapter:
        return kind_of(recipe).adapted_base(device), load_processor(base), None
    adapter = settings.adapter(pretrain.read(recipe))
    # Policies of step blocks were trained with activations in float32, and keep them.
    is_frozen = adapter is not None and not kind_of(recipe).fixed_length
    dtype = weights_dtype(settings.bf16, device, frozen=is_frozen)
    return *load_world_model(base, device=device, dtype=dtype), adapter
