"""Inverse: trains a model that reads the action between two frames, for rewards and judges."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..card import about_world
from ..keys import key
from ..kinds import kind_of
from ..named_parts import named_setting, refuse_below
from ..precision import BF16, Bfloat16, use_bfloat16
from ..processes import Processes
from ..progress import HISTORY, write_json
from ..recipe import Recipe
from ..stage import StageRun, stage, stage_folder


REVISION = 1
"""Raised when another model comes of the same settings, see [`~rlvr_world_hf.runs.stage.Stage`]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InverseSettings:
    """The inverse model and its training; other keys are those of `TrainingArguments`."""

    width: int = key(32, "Channels of its first convolution, a multiple of 8.")
    hidden_size: int = key(256, "Width of the layer before the action.")
    given_frames: int = key(
        1,
        "Frames before an action that it is given; 2 where an action changes a velocity.",
        counts_at_default=False,
    )
    action_bins: int = key(0, "Bins of each action dimension whose probabilities it predicts; 0: the action itself.")
    max_steps: int = key(4000, "Updates.")
    eval_steps: int = key(500, "Updates between two evaluations, each followed by a checkpoint.")
    batch_size: int = key(128, "Pairs of frames per update and process.")
    learning_rate: float = key(1e-3, "Largest learning rate of AdamW.")
    warmup_steps: int = key(100, "Updates over which the learning rate rises from 0.")
    bf16: Bfloat16 = BF16
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        least = dict.fromkeys(("width", "hidden_size"), 8)
        least |= dict.fromkeys(("max_steps", "eval_steps", "batch_size", "given_frames"), 1)
        least |= dict.fromkeys(("action_bins", "warmup_steps", "learning_rate"), 0)
        refuse_below(least, self, where="inverse")

    def training(self, device: Any, *, seed: int, report_to: str) -> Any:
        """The `training.LikelihoodConfig` for a `torch.device`."""
        from ...training import LikelihoodConfig

        names = ("max_steps", "eval_steps", "batch_size", "learning_rate", "warmup_steps")
        further = {"lr_scheduler_type": "cosine", "bf16": use_bfloat16(self.bf16, device), "report_to": report_to}
        chosen = {name: getattr(self, name) for name in names}
        return LikelihoodConfig(seed=seed, **chosen, training_arguments={**further, **self.arguments})


def _training_arguments(recipe: Recipe) -> Callable[..., Any]:
    from transformers import TrainingArguments

    return TrainingArguments


def _try(recipe: Recipe, settings: InverseSettings) -> None:
    """The world, the sizes of the model and the trainer's arguments."""
    from ...rewards.inverse_dynamics import InverseDynamicsConfig

    if "frames" not in (states := kind_of(recipe).states()):
        raise ValueError(
            f"inverse: expected a world of frames, from which actions are read, got one of {' and '.join(states)}; "
            "take another recipe."
        )
    given = recipe.windows.context_frames + recipe.windows.observed_steps
    if given < settings.given_frames:
        raise ValueError(
            f"inverse.given_frames: expected at most the {given} frames that a window gives, got "
            f"{settings.given_frames}; lower it, or raise windows.observed_steps."
        )
    with named_setting("inverse", "InverseDynamicsConfig refuses the settings", "Change the key that is meant."):
        InverseDynamicsConfig(**_sizes(settings))
    with named_setting("inverse", "TrainingArguments refuses the settings", "Change the keys that it names."):
        args = settings.training(Processes().device, seed=recipe.seed, report_to=recipe.report_to)
        folder = stage_folder(recipe, "inverse")  # not made here
        _training_arguments(recipe)(**args.complete_settings(output_dir=folder))


@stage(
    settings=InverseSettings,
    revision=REVISION,
    after=("tokenizer",),
    makes=("inverse",),
    forwards_to=_training_arguments,
    tries=_try,
    shares_processes=True,
)
def inverse(run: StageRun) -> list[Path]:
    """
    Train an inverse dynamics model on codec-decoded frames and save it as `inverse/`, with card and `results.json`.

    `ActionRecoveryReward` takes the run's folder as its `model`. Its episodes should be others than those of the world
    model that it rewards, and a judge's others again: give them a `collect.first_seed` of their own.
    """
    import torch

    from ...hub.inverse_card import inverse_card
    from ...hub.training_checkpoints import trained_seconds
    from ...rewards.inverse_dynamics import FOLDER, InverseDynamicsConfig, InverseDynamicsModel
    from ...training.inverse_training import decoded_pairs, measure_inverse_model, train_inverse_model

    recipe, settings, kind, device = run.recipe, run.settings, kind_of(run.recipe), run.processes.device
    processor: Any = kind.build_processor().to(device)  # type: ignore[attr-defined]
    train, validation, test = (
        decoded_pairs(kind.rows(split), processor, given_frames=settings.given_frames)
        for split in ("train", "validation", "test")
    )
    config = InverseDynamicsConfig(
        action_low=processor.action_low,
        action_high=processor.action_high,
        image_size=processor.codec.config.image_size[0],
        fps=processor.fps,
        action_law=processor.action_law,
        **_sizes(settings),
    )
    with torch.random.fork_rng():  # the caller's random state stays as it was
        torch.manual_seed(recipe.seed)
        model = InverseDynamicsModel(config).to(device)
    run.clock.continue_from(trained_seconds(run.folder))
    args = settings.training(device, seed=recipe.seed, report_to=recipe.report_to)
    result = train_inverse_model(model, train, validation, output_dir=run.folder, args=args)
    folder, history = run.folder / FOLDER, run.folder / HISTORY
    if run.processes.is_first:
        measured = measure_inverse_model(model, test, guess=train.labels.median(dim=0).values)
        model.save_pretrained(folder)
        (folder / "README.md").write_text(inverse_card(config, measured, **about_world(recipe)), encoding="utf-8")
        write_json(folder / "results.json", {"recipe": recipe.name, "training_seed": recipe.seed, **measured})
        write_json(history, {"log_history": result.history})
    return [folder, history]


def _sizes(settings: InverseSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in ("width", "hidden_size", "given_frames", "action_bins")}
