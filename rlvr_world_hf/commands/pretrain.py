"""Pretrain: trains the base world model by likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

from ..hub import load_world_model, save_world_model
from ..hub.checkpoint import choose_attention
from ..processors.sensor import SensorWorldModelProcessor
from ..processors.step_blocks import StepBlockProcessor
from ..processors.video import VideoWorldModelProcessor
from . import text_world
from .collect import collect, is_text, load_split, split_rows
from .keys import key
from .locations import bundled_path
from .precision import BF16, Bfloat16, use_bfloat16
from .progress import cached, fingerprint, write_json
from .recipe import Recipe
from .stage import StageRun, stage
from .tokenizer import BUNDLED, codec_identity, load_codec, tokenizer, weights_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """The transformer and its training; other keys are those of `TrainingArguments`, of text `SFTConfig`."""

    hidden_size: int = key(768, "Width of the transformer.")
    num_hidden_layers: int = key(12, "Its depth.")
    num_attention_heads: int = key(12, "Heads of each attention.")
    intermediate_size: int = key(3072, "Width inside its MLPs.")
    tie_word_embeddings: bool = key(False, "Whether input and output embeddings are one.")
    action_bins: int = key(256, "Bins of each action dimension.")
    sensor_bins: int = key(0, "Bins of each dimension of a state, with frames or without; 0 for no sensors.")
    max_steps: int = key(450_000, "Updates; 0, with start_from: none, the base is what it starts from.")
    eval_steps: int = key(500, "Updates between two evaluations, each followed by a checkpoint.")
    batch_size: int = key(32, "Windows an update and process.")
    learning_rate: float = key(5e-5, "Learning rate of AdamW.")
    warmup_steps: int = key(5000, "Updates over which the learning rate rises from 0.")
    bf16: Bfloat16 = BF16
    restrict_log_probs: bool = key(
        False, "Learn each token among the ids valid at its position only, as rollouts sample it; not of text."
    )
    start_from: str = key(
        "",
        "Folder or Hub id of a world model, of text also a language model, to start from; bundled: the one that ships "
        "with the library, of the bundled codec; a fresh one if empty.",
    )
    max_length: int = key(1024, "Of text: longest prompt and answer, in tokens; longer ones are left out.")
    lora_rank: int = key(0, "Of text: rank of a LoRA adapter on all linear layers; 0 trains the whole policy.")
    lora_alpha: int = key(16, "Of text: its scale.")
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    def adapter(self) -> Any:
        """The `peft.LoraConfig` of it, or `None`."""
        if not self.lora_rank:
            return None
        from peft import LoraConfig

        return LoraConfig(
            r=self.lora_rank, lora_alpha=self.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )

    def policy_sizes(self) -> dict[str, Any]:
        """What `build_policy` is called with."""
        names = (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "tie_word_embeddings",
        )
        return {name: getattr(self, name) for name in names}

    def training(self, device: Any) -> dict[str, Any]:
        """What `pretrain` is called with for a `torch.device`, the number of updates left out."""
        names = ("eval_steps", "batch_size", "learning_rate", "warmup_steps")
        chosen = {name: getattr(self, name) for name in names}
        return chosen | {"bf16": use_bfloat16(self.bf16, device)} | self.arguments


def training_arguments(recipe: Recipe) -> Callable[..., Any]:
    """Where the other keys of the stage go; imported on use."""
    if is_text(recipe):
        from ..training.language import FinetuningConfig

        return FinetuningConfig
    from transformers import TrainingArguments

    return TrainingArguments


def _bundled_base(recipe: Recipe) -> Path:
    source = tokenizer.read(recipe).source
    if source != BUNDLED:
        raise ValueError(
            f"pretrain.start_from: the bundled world model writes the bundled codec's codes, and tokenizer.source is "
            f"{source!r}; train one on yours with `--pretrain.start_from ''`, and a larger `--pretrain.max_steps` and "
            "`--pretrain.learning_rate`."
        )
    return bundled_path(f"{recipe.world}-base")


def _made_from(recipe: Recipe) -> str | None:
    is_bundled = pretrain.read(recipe).start_from == BUNDLED
    return weights_hash(_bundled_base(recipe)) if is_bundled else None


@stage(
    settings=PretrainSettings,
    after=("collect", "tokenizer"),
    passed_on_to=training_arguments,
    made_from=_made_from,
    shares_processes=True,
)
def pretrain(run: StageRun) -> list[Path]:
    """
    Train a transformer on the tokens of the training episodes and save it as `base/`.

    The saved checkpoint is the one with the best likelihood on the validation episodes. The rows are written as tokens
    once and cached, like the episodes.
    """
    settings = run.settings
    if settings.max_steps == 0 and not settings.start_from:
        raise ValueError("pretrain.max_steps: expected updates for a fresh policy, got 0; give some, or a start_from.")
    if is_text(run.recipe):
        processor = text_world.build_text_processor(run.recipe)
        model = choose_attention(text_world.build_text_policy(run.recipe, processor), run.processes.device)
    else:
        processor, model = _parts_of_video(run)
    if settings.max_steps == 0:
        return _save(run, "base", model, processor, {"log_history": [], "last_checkpoint": None})
    return likelihood_training(
        run, model, processor, run.settings, checkpoint="base", max_steps=run.settings.max_steps
    )


def _parts_of_video(run: StageRun) -> tuple[StepBlockProcessor, Any]:
    from ..training.pretraining import build_policy

    settings = run.settings
    if not settings.start_from:
        processor = build_processor(run.recipe).to(run.processes.device)
        model = build_policy(processor.layout, **settings.policy_sizes(), seed=run.recipe.seed)
        return processor, choose_attention(model, run.processes.device)
    place = _bundled_base(run.recipe) if settings.start_from == BUNDLED else settings.start_from
    model, processor = load_world_model(place, device=run.processes.device, dtype=torch.float32)
    return processor, choose_attention(model)


def likelihood_training(
    run: StageRun,
    model: Any,
    processor: Any,
    settings: PretrainSettings,
    *,
    checkpoint: str,
    **limits: Any,
) -> list[Path]:
    """
    Train by likelihood and save the best checkpoint: what pretraining and its control share.

    Args:
        run (`StageRun`):
            The stage.
        model (`transformers.PreTrainedModel`):
            What to train.
        processor (`WorldModelProcessor`):
            Its processor.
        settings (`PretrainSettings`):
            How to train.
        checkpoint (`str`):
            Folder of the run's output to save the best checkpoint in.
        limits (`dict[str, Any]`):
            Where training starts and ends: `max_steps`, `minimum_seconds` and `continue_from` of `training.pretrain`,
            or of `training.language.finetune`.

    Returns:
        `list[Path]`: What was written.
    """
    from ..training import pretrain as train
    from ..training.checkpoints import trained_seconds
    from ..training.range_head import RangeHead

    recipe = run.recipe
    if is_text(recipe):
        train, model, tokens = text_world.likelihood_parts(run, model, processor, settings)
    else:
        with run.processes.first_before_others():
            tokens = {split: _tokens(run, processor, split) for split in ("train", "validation")}
        if settings.restrict_log_probs:
            limits["range_head"] = RangeHead.of(processor, recipe.windows.horizon)
    run.clock.continue_from(trained_seconds(run.folder))
    settings_of_run: dict[str, Any] = {"seed": recipe.seed, "report_to": recipe.report_to}
    settings_of_run |= settings.training(run.processes.device)
    result = train(model, tokens["train"], tokens["validation"], output_dir=run.folder, **limits, **settings_of_run)
    return _save(
        run,
        checkpoint,
        model,
        processor,
        {"log_history": result.history, "last_checkpoint": result.last_checkpoint},
    )


def _save(run: StageRun, checkpoint: str, model: Any, processor: Any, history: dict[str, Any]) -> list[Path]:
    outputs = [run.recipe.output_dir / checkpoint, run.folder / "history.json"]
    if run.processes.is_first:
        save_world_model(outputs[0], model, processor)
        write_json(outputs[1], history)
    return outputs


def build_processor(recipe: Recipe) -> StepBlockProcessor:
    """
    The processor of a recipe: its codec, if it has one, and the ranges of the actions, and of the states if these are
    to be predicted, of its training episodes.

    Args:
        recipe (`Recipe`):
            The recipe; its collect and tokenizer stages are finished.

    Returns:
        `StepBlockProcessor`: A `VideoWorldModelProcessor`, or, where the tokenizer's source is none, a
        `SensorWorldModelProcessor`.

    Raises:
        ValueError: If states are to be predicted and were not recorded, or there is nothing to predict.
    """
    settings, episodes = pretrain.read(recipe), load_split(recipe, "train")
    codec = load_codec(recipe)
    arguments: dict[str, Any] = {
        **_ranges("action", [episode.actions for episode in episodes]),
        "action_bins": settings.action_bins,
        "observed_steps": recipe.windows.observed_steps,
        "fps": episodes[0].fps,
    }
    if settings.sensor_bins:
        arguments |= _ranges("state", [episode.states for episode in episodes]) | {"sensor_bins": settings.sensor_bins}
    elif codec is None:
        raise ValueError(
            "pretrain.sensor_bins: expected a number of bins, as without a tokenizer the sensors are all there is to "
            "predict, got 0; set it to 256, say."
        )
    if codec is None:
        return SensorWorldModelProcessor.from_ranges(**arguments)
    return VideoWorldModelProcessor.from_codec(codec, **arguments)


def _weights_identity(codec: torch.nn.Module | None) -> str:
    """Identifies the weights of a codec that came with a checkpoint."""
    if codec is None:
        return ""
    sums = {
        name: [float(value.double().sum()), float(value.double().square().sum())]
        for name, value in codec.state_dict().items()
    }
    return fingerprint(sums)


def _ranges(name: str, arrays: list[np.ndarray | None]) -> dict[str, list[float]]:
    """Lowest and highest value of each dimension."""
    known = [array for array in arrays if array is not None]
    if len(known) < len(arrays):
        raise ValueError(
            f"pretrain.sensor_bins: {len(arrays) - len(known)} of {len(arrays)} episodes were recorded without "
            "states; collect them with states, or leave `sensor_bins` at 0."
        )
    values = np.concatenate(known)
    return {f"{name}_low": values.min(axis=0).tolist(), f"{name}_high": values.max(axis=0).tolist()}


def _tokens(run: StageRun, processor: StepBlockProcessor, split: str) -> datasets.Dataset:
    recipe = run.recipe
    settings = pretrain.read(recipe)
    bf16 = use_bfloat16(settings.bf16, run.processes.device)
    made_from: dict[str, Any] = {
        "episodes": collect.fingerprint(recipe),
        "split": split,
        "windows": dataclasses.asdict(recipe.windows),
        "codec": codec_identity(recipe) if not settings.start_from else _weights_identity(processor.codec),
        "layout": processor.layout.to_dict(),
        "actions": [processor.action_low, processor.action_high],
        "bf16": bf16,
    }
    if "sensors" in processor.predicts:
        made_from["states"] = [processor.state_low, processor.state_high]
    folder = cached("tokens", fingerprint(made_from), partial(_tokenize, recipe, processor, split, bf16))
    return datasets.load_from_disk(str(folder)).with_format("torch")


def _tokenize(recipe: Recipe, processor: StepBlockProcessor, split: str, bf16: bool, folder: Path) -> None:
    from ..training import tokenize_rows

    precision = torch.bfloat16 if bf16 else None
    tokenize_rows(split_rows(recipe, split), processor, autocast_dtype=precision).save_to_disk(str(folder))
