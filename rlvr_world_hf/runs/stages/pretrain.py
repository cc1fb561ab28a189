"""Pretrain: trains the base world model by likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...hub import save_world_model
from ..keys import key
from ..kinds import kind_of
from ..named_parts import named_setting, refuse_below
from ..precision import BF16, Bfloat16, use_bfloat16
from ..processes import Processes
from ..progress import HISTORY, write_json
from ..recipe import Recipe
from ..result_settings import LOSS
from ..stage import StageRun, stage, stage_folder
from ..watching import MEASURED_WINDOWS, SHOWN_WINDOWS, higher_is_better, refuse_unknown_choice, watch
from ..world import is_text


REVISION = 1
"""Raised when another checkpoint comes of the same settings, see [`~rlvr_world_hf.runs.stage.Stage`]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """The transformer and its training; other keys are those of `TrainingArguments`, or with text `SFTConfig`."""

    hidden_size: int = key(768, "Width of the transformer.")
    num_hidden_layers: int = key(12, "Its depth.")
    num_attention_heads: int = key(12, "Heads of each attention.")
    intermediate_size: int = key(3072, "Width inside its MLPs.")
    tie_word_embeddings: bool = key(False, "Whether input and output embeddings are one.")
    structured_start: bool = key(
        False, "Whether embeddings of a fresh policy begin alike for alike codes and neighbouring bins; not for text."
    )
    shared_learning: bool = key(
        False,
        "Whether what is learned of a code or bin is learned of those alike, too: embeddings and head are trained as "
        "sums over what ids mean; not for text, nor with sharded weights.",
        counts_at_default=False,
    )
    action_bins: int = key(256, "Bins of each action dimension.")
    sensor_bins: int = key(0, "Bins of each dimension of a state, with frames or without; 0 for no sensors.")
    sensors_first: bool = key(
        False,
        "Whether the states of a step are written before the codes of its frame, which then fit them.",
        counts_at_default=False,
    )
    max_steps: int = key(450_000, "Updates; 0, with start_from: no training, base is what it starts from.")
    eval_steps: int = key(500, "Updates between two evaluations, each followed by a checkpoint.")
    batch_size: int = key(
        32,
        "Windows per update and process; with gradient_accumulation_steps, of each of the parts of an update, which "
        "in a world of text are cut by length.",
    )
    learning_rate: float = key(5e-5, "Learning rate of AdamW.")
    warmup_steps: int = key(5000, "Updates over which the learning rate rises from 0.")
    bf16: Bfloat16 = BF16
    restrict_log_probs: bool = key(
        False, "Learn each token among the ids valid at its position only, as rollouts sample it; not for text."
    )
    start_from: str = key(
        "",
        "Folder or Hub id of a world model to start from, for text also of a language model; bundled: the one that "
        "ships with the library, for the bundled codec; a fresh one if empty.",
    )
    choose_by: str = key(
        LOSS, "What the saved checkpoint of pretrain and of control is best at: loss, or a metric of the table."
    )
    measured_windows: int = MEASURED_WINDOWS
    shown_windows: int = SHOWN_WINDOWS
    max_length: int = key(1024, "For text: maximum length of prompt and answer in tokens; longer ones are left out.")
    trim_vocabulary: bool = key(
        False,
        "For text: whether the vocabulary of start_from and tokenizer.source is cut to what the training texts and "
        "the world's own words need.",
        counts_at_default=False,
    )
    reasons: int = key(
        0,
        "For text: training transitions, evenly chosen, that carry reasons, written by the world's own program before "
        "the answer; base learns from these alone. 0: no reasons, all are learned from.",
        counts_at_default=False,
    )
    reasons_everywhere: bool = key(
        False,
        "For text: whether all training transitions carry reasons, whatever `reasons` says.",
        counts_at_default=False,
    )
    lora_rank: int = key(0, "For text: rank of a LoRA adapter on all linear layers; 0 trains the whole policy.")
    lora_alpha: int = key(16, "For text: scale of the LoRA adapter.")
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    chooses_best: ClassVar[bool] = True
    """The best checkpoint becomes base: when it is evaluated shapes the result."""

    def __post_init__(self) -> None:
        names = (
            "max_steps",
            "warmup_steps",
            "learning_rate",
            "sensor_bins",
            "lora_rank",
            "measured_windows",
            "reasons",
            "shown_windows",
        )
        least = dict.fromkeys(names, 0)
        sizes = [name for name in self.policy_sizes() if name != "tie_word_embeddings"]
        counts = ("action_bins", "eval_steps", "batch_size", "max_length", "lora_alpha")
        refuse_below({**least, **dict.fromkeys([*sizes, *counts], 1)}, self, where="pretrain")
        if self.sensors_first and not self.sensor_bins:
            raise ValueError(
                "pretrain.sensors_first: expected false where no states are predicted, got true; give "
                "`pretrain.sensor_bins`, or leave it out."
            )

    def adapter(self) -> Any:
        """The `peft.LoraConfig` of the adapter; `None` without one."""
        if not self.lora_rank:
            return None
        from peft import LoraConfig

        # All linear layers, as the authors adapt their language models.
        return LoraConfig(
            r=self.lora_rank, lora_alpha=self.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )

    def policy_sizes(self) -> dict[str, Any]:
        """Arguments of `build_policy`."""
        names = (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "tie_word_embeddings",
        )
        return {name: getattr(self, name) for name in names}

    def training(self, device: Any, *, report_to: str) -> dict[str, Any]:
        """Fields of `training.LikelihoodConfig` for a `torch.device`, seed and number of updates left out."""
        names = ("eval_steps", "batch_size", "learning_rate", "warmup_steps")
        chosen = {name: getattr(self, name) for name in names}
        further = {"bf16": use_bfloat16(self.bf16, device), "report_to": report_to, **self.arguments}
        return chosen | {"training_arguments": further}


def _likelihood_arguments(recipe: Recipe) -> Callable[..., Any]:
    return kind_of(recipe).likelihood_arguments()


def _start_identity(recipe: Recipe) -> Any:
    return kind_of(recipe).start_identity()


def _try(recipe: Recipe, settings: PretrainSettings) -> None:
    """The policy, its adapter and the trainer's arguments."""
    if settings.max_steps == 0 and not settings.start_from:
        raise ValueError("pretrain.max_steps: expected updates for a fresh policy, got 0; give some, or a start_from.")
    if settings.trim_vocabulary and not (is_text(recipe) and settings.start_from):
        raise ValueError(
            "pretrain.trim_vocabulary: expected false without a language model that start_from names, got true; leave "
            "it out."
        )
    if settings.reasons or settings.reasons_everywhere:
        kind_of(recipe).try_reasons()
    kind_of(recipe).try_start(settings)
    settings.adapter()
    refuse_unknown_choice(recipe, settings.choose_by, count=settings.measured_windows, usual=LOSS, where="pretrain")
    try_training(recipe, settings, "pretrain", max_steps=settings.max_steps)


def try_training(recipe: Recipe, settings: PretrainSettings, name: str, **limits: Any) -> None:
    """
    Make the arguments of a likelihood training, as [`likelihood_training`] does, and nothing else.

    Args:
        recipe (`Recipe`):
            The recipe.
        settings (`PretrainSettings`):
            Settings of the training.
        name (`str`):
            Stage that trains.
        limits (`dict[str, Any]`):
            As of [`likelihood_training`].

    Raises:
        ValueError: If transformers or TRL refuse them.
    """
    from transformers.integrations import get_reporting_integration_callbacks

    from ...training import LikelihoodConfig

    kind = kind_of(recipe)
    arguments_class: Any = kind.likelihood_arguments()
    refusal = f"{arguments_class.__name__} refuses the settings"
    with named_setting("pretrain", refusal, "Change the keys that it names."):
        training = settings.training(Processes().device, report_to=recipe.report_to)
        args = LikelihoodConfig(seed=recipe.seed, **limits, **training)
        folder = stage_folder(recipe, name)  # not made here
        made = arguments_class(**args.complete_settings(output_dir=folder, **kind.training_settings()))
    with named_setting("report_to", "the curves cannot be sent there", "Give none, trackio or tensorboard."):
        for callback in get_reporting_integration_callbacks(made.report_to):
            callback()  # asks for its package, and opens nothing before a training begins


@stage(
    settings=PretrainSettings,
    revision=REVISION,
    after=("collect", "tokenizer"),
    makes=("base",),
    forwards_to=_likelihood_arguments,
    made_from=_start_identity,
    by_content=("start_from",),
    tries=_try,
    shares_processes=True,
)
def pretrain(run: StageRun) -> list[Path]:
    """
    Train a transformer on the tokens of the training episodes and save it as `base/`.

    The saved checkpoint is the one with the best likelihood on the validation episodes, or the best at what
    `choose_by` names. The tokens of the rows are computed once and cached, like the episodes.
    """
    settings = run.settings
    processor, model = kind_of(run.recipe).start(run)
    if settings.max_steps == 0:
        return _save(run, "base", model, processor, {"log_history": [], "last_checkpoint": None})
    return likelihood_training(run, model, processor, settings, checkpoint="base", max_steps=settings.max_steps)


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
            The model to train.
        processor (`WorldModelProcessor`):
            Its processor.
        settings (`PretrainSettings`):
            Settings of the training.
        checkpoint (`str`):
            Folder of the stage to save the best checkpoint in.
        limits (`dict[str, Any]`):
            Where training starts and ends: `max_steps`, `minimum_seconds`, `continue_from` and `schedule` of
            `training.LikelihoodConfig`.

    Returns:
        `list[Path]`: What was written.
    """
    from ...hub.training_checkpoints import trained_seconds
    from ...training import LikelihoodConfig

    recipe = run.recipe
    parts = kind_of(recipe).likelihood_parts(run, model, processor, settings)
    run.clock.continue_from(trained_seconds(run.folder))
    training = settings.training(run.processes.device, report_to=recipe.report_to)
    choice: dict[str, Any] = {"choose_by": settings.choose_by}
    choice["higher_is_better"] = higher_is_better(recipe, settings.choose_by)
    result = parts.train(
        parts.model,
        parts.tokens["train"],
        parts.tokens["validation"],
        output_dir=run.folder,
        args=LikelihoodConfig(seed=recipe.seed, **choice, **limits, **training),
        watch=watch(recipe, processor, settings, every_steps=settings.eval_steps, at_start=bool(settings.start_from)),
        **parts.settings,
    )
    history = {"log_history": result.history, "last_checkpoint": result.last_checkpoint}
    # Not `model`: with an adapter, `parts.model` wraps it and is what was trained.
    return _save(run, checkpoint, parts.model, processor, history)


def _save(run: StageRun, checkpoint: str, model: Any, processor: Any, history: dict[str, Any]) -> list[Path]:
    outputs = [run.folder / checkpoint, run.folder / HISTORY]
    if run.processes.is_first:
        save_world_model(outputs[0], model, processor)
        write_json(outputs[1], history)
    return [*outputs, *kind_of(run.recipe).keep_beside(run, model)]
