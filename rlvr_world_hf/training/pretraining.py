"""Likelihood training of a world model: the cross-entropy of the tokens it writes, by transformers' `Trainer`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter
from peft import PeftModel
from torch.optim.optimizer import Optimizer
from tqdm.auto import tqdm
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from ..hub.training_checkpoints import (
    best_checkpoint,
    checkpoint_state,
    last_checkpoint,
    load_weights,
    trained_seconds,
)
from ..processors.base import WorldModelProcessor
from ..processors.layout import IGNORED_LABEL, TokenLayout
from ..rollouts.head import RangeHead, accept_range_head
from .callbacks import ENDLESS, Clock, OrderOfEpoch, OwnSteps
from .measuring import LOSS
from .progress_line import ProgressLine
from .schedule import Schedule, ScheduledClock
from .stopping import StopWhenAsked, held_back


Rows = list[dict[str, torch.Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodConfig:
    """
    How [`pretrain`] trains. Learning rate, warm-up and batch size default to those of the
    [paper](https://huggingface.co/papers/2505.13934), section 5.1.

    Example:

    ```python
    >>> args = LikelihoodConfig(max_steps=100, batch_size=8, training_arguments={"weight_decay": 0.01})
    >>> args.trainer_settings()["per_device_eval_batch_size"], args.trainer_settings()["weight_decay"]
    (32, 0.01)

    ```
    """

    max_steps: int
    """Updates, those before `continue_from` included."""

    minimum_seconds: float = 0.0
    """If `max_steps` takes less than these seconds of training, more updates are made until they are over."""

    continue_from: str | Path | None = None
    """Checkpoint of another run to go on from, with its optimizer and its place in the data."""

    eval_steps: int = 500
    """Updates between two evaluations, each followed by a checkpoint."""

    batch_size: int = 32
    """Sequences an update and device."""

    learning_rate: float = 5e-5
    """Constant after the warm-up."""

    warmup_steps: int = 5000
    """Updates over which the learning rate rises from 0."""

    schedule: Schedule | None = None
    """Course of the learning rate over the updates after `continue_from` alone, in place of one over all of them. With
    `minimum_seconds`, their number is measured on the first of them."""

    seed: int = 0
    """Decides the order of the data."""

    choose_by: str = LOSS
    """What the checkpoint that is kept is best at: the validation loss, or the name of something measured."""

    higher_is_better: bool = False
    """Whether more of `choose_by` is better."""

    training_arguments: Mapping[str, Any] = field(default_factory=dict)
    """Any other field of the trainer's own config, such as `bf16`; it goes before what is derived from the fields
    above."""

    def trainer_settings(self, **defaults: Any) -> dict[str, Any]:
        """
        Fields of the trainer's config that hold while it may run: all but where it starts and ends.

        Args:
            defaults (`Any`, *optional*):
                Further fields, which `training_arguments` go before.

        Returns:
            `dict`: Keyword arguments of [`~transformers.TrainingArguments`] or a subclass.
        """
        chosen = {
            "per_device_train_batch_size": self.batch_size,
            "per_device_eval_batch_size": 4 * self.batch_size,  # without gradients, a batch takes less memory
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "eval_steps": self.eval_steps,
            "seed": self.seed,
        }
        return chosen | defaults | dict(self.training_arguments)

    def complete_settings(self, *, output_dir: str | Path, **defaults: Any) -> dict[str, Any]:
        """
        All fields of the trainer's config that a training sets.

        Args:
            output_dir (`str` or `Path`):
                Folder for checkpoints; it is not made here.
            defaults (`Any`, *optional*):
                As of [`trainer_settings`].

        Returns:
            `dict`: Keyword arguments of [`~transformers.TrainingArguments`] or a subclass.

        Raises:
            ValueError: if `minimum_seconds` comes with a schedule of the learning rate that depends on `max_steps`, or
                `training_arguments` hold a field that decides where training starts, ends and saves, or keep a single
                checkpoint.
        """
        settings = self.trainer_settings(**defaults)
        settings = {
            "lr_scheduler_type": "constant_with_warmup",
            "logging_steps": min(settings["eval_steps"], 50),
            "save_total_limit": 2,  # the best and the last
            "report_to": "none",
            "use_cpu": not torch.accelerator.is_available(),
            **settings,
        }
        if self.schedule is not None:
            settings |= {"lr_scheduler_type": self.schedule.kind, "warmup_steps": self.schedule.warmup_steps}
        elif self.minimum_seconds and not str(settings["lr_scheduler_type"]).startswith("constant"):
            raise ValueError(
                f"`minimum_seconds={self.minimum_seconds}` leaves the number of updates open, which the schedule "
                f"{settings['lr_scheduler_type']!r} needs; use 'constant_with_warmup' or 'constant', or a `schedule`."
            )
        fixed = {
            "output_dir": str(output_dir),
            # Trainer stops at `max_steps` whatever callbacks say: where time decides, the clock must be what stops it.
            "max_steps": ENDLESS if self.minimum_seconds else self.max_steps,
            "eval_strategy": "steps",
            "save_strategy": "steps",
            "save_steps": settings["eval_steps"],
            "load_best_model_at_end": True,
            "metric_for_best_model": self.choose_by,
            "greater_is_better": self.higher_is_better,
            "prediction_loss_only": True,
        }
        twice = sorted(fixed.keys() & settings.keys())
        if twice:
            raise ValueError(
                f"Expected `training_arguments` without {', '.join(twice)}, which the training sets itself, got "
                f"{[settings[name] for name in twice]}; leave it out. Checkpoints are saved every `eval_steps`."
            )
        if settings["save_total_limit"] == 1:
            raise ValueError(
                "Expected a `save_total_limit` of at least 2, the best checkpoint and the last, from which training "
                "goes on, got 1; raise it, or give None for all."
            )
        return settings | fixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretraining:
    """What [`pretrain`] did; the model it was given holds the weights of `best_checkpoint`."""

    history: list[dict[str, float]]
    """What was logged: `step` with `loss` and `learning_rate`, or with `eval_loss` (nats a token)."""
    best_checkpoint: str
    """Folder of the checkpoint that is best at `choose_by`."""
    last_checkpoint: str
    """Folder of the last checkpoint, from which training can go on."""
    seconds: float
    """Seconds of training, evaluation and saving left out, over all interruptions."""


def build_policy(
    layout: TokenLayout,
    *,
    hidden_size: int = 768,
    num_hidden_layers: int = 12,
    num_attention_heads: int = 12,
    intermediate_size: int = 3072,
    tie_word_embeddings: bool = False,
    max_position_embeddings: int = 2048,
    seed: int = 0,
) -> LlamaForCausalLM:
    """
    A policy with fresh weights; the defaults are the paper's 138M model.

    Args:
        layout ([`TokenLayout`]):
            Gives the vocabulary and special ids.
        hidden_size (`int`, *optional*, defaults to 768):
            Width.
        num_hidden_layers (`int`, *optional*, defaults to 12):
            Depth.
        num_attention_heads (`int`, *optional*, defaults to 12):
            Heads of each attention.
        intermediate_size (`int`, *optional*, defaults to 3072):
            Width inside the MLPs.
        tie_word_embeddings (`bool`, *optional*, defaults to `False`):
            Whether input and output embeddings are one.
        max_position_embeddings (`int`, *optional*, defaults to 2048):
            Longest sequence the model declares.
        seed (`int`, *optional*, defaults to 0):
            Decides the weights.

    Returns:
        [`~transformers.LlamaForCausalLM`]: The model, float32 on the CPU.

    Example:

    ```python
    >>> layout = TokenLayout(
    ...     context_codebook_size=8, dynamics_codebook_size=8, context_grid=(2, 2), dynamics_grid=(1, 2),
    ...     action_bins=4, action_dims=2,
    ... )
    >>> size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    >>> build_policy(layout, **size).config.vocab_size
    22

    ```
    """
    config = LlamaConfig(
        vocab_size=layout.vocabulary_size,
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        intermediate_size=intermediate_size,
        tie_word_embeddings=tie_word_embeddings,
        max_position_embeddings=max_position_embeddings,
        bos_token_id=layout.bos_id,
        eos_token_id=layout.eos_id,
        pad_token_id=layout.eos_id,
    )
    with torch.random.fork_rng():  # the caller's random state stays as it was
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def tokenize_rows(
    rows: Dataset,
    processor: WorldModelProcessor,
    *,
    batch_size: int = 64,
    file: str | Path | None = None,
) -> Dataset:
    """
    Sequences and labels of rows, encoded once before training, in the precision of the processor.

    Args:
        rows ([`~datasets.Dataset`]):
            Rows of [`~rlvr_world_hf.data.window_rows`], all of one horizon.
        processor ([`WorldModelProcessor`]):
            Writes rows as tokens, on its device.
        batch_size (`int`, *optional*, defaults to 64):
            Rows encoded at a time.
        file (`str` or `Path`, *optional*):
            Arrow file to write, from which the dataset then reads: one batch is in memory at a time. Without it, all
            tokens are.

    Returns:
        [`~datasets.Dataset`]: Columns `input_ids` and `labels` `(L,)`, int32, read as torch tensors; labels are -100
        on the prompt, on actions and on padded steps.

    Raises:
        ValueError: for no rows.

    Example:

    ```python
    >>> import numpy as np
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> from rlvr_world_hf.data import Episode, window_rows
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [1.0, 1.0], action_bins=8)
    >>> noise = np.random.default_rng(0)
    >>> frames = noise.integers(0, 256, (8, 3, 16, 16), dtype=np.uint8)
    >>> episode = Episode(episode_id="0", frames=frames, actions=noise.random((8, 2), dtype=np.float32), fps=2.0)
    >>> rows = window_rows([episode], horizon=2)
    >>> tokens = tokenize_rows(rows, processor)
    >>> len(tokens), tokens[0]["input_ids"].shape, int((tokens[0]["labels"] >= 0).sum())  # 4 codes a step
    (6, torch.Size([18]), 8)

    ```
    """
    parts = _tokenized(rows, processor, batch_size=batch_size)
    first = next(parts, None)
    if first is None:
        raise ValueError("Expected rows to tokenize, got none; record more episodes, or longer ones.")
    features = Features(dict.fromkeys(first, List(Value("int32"), length=first["labels"].shape[1])))
    memory = pa.BufferOutputStream()
    place: dict[str, Any] = {"stream": memory} if file is None else {"path": str(file)}
    with ArrowWriter(features=features, **place) as writer:
        for part in chain([first], parts):
            writer.write_batch(part)
        writer.finalize()
    written = Dataset.from_buffer(memory.getvalue()) if file is None else Dataset.from_file(str(file))
    return written.with_format("torch")


def _tokenized(rows: Dataset, processor: WorldModelProcessor, *, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    names = (*processor.prompt_columns, *processor.reference_columns, "reference_mask")
    for start in tqdm(range(0, len(rows), batch_size), desc="tokenize", disable=None, leave=False):
        batch = rows[start : start + batch_size]
        encoded = processor(**{name: np.stack(batch[name]) for name in names})
        # int32: half of int64 in memory and in the cache.
        yield {name: encoded[name].cpu().numpy().astype(np.int32) for name in ("input_ids", "labels")}


def pretrain(
    model: PreTrainedModel,
    train_tokens: Dataset,
    validation_tokens: Dataset,
    *,
    output_dir: str | Path,
    args: LikelihoodConfig,
    range_head: RangeHead | None = None,
    prepare_optimizer: Callable[[Optimizer], None] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    watch: Callable[[Trainer], None] | None = None,
) -> Pretraining:
    """
    Trains by likelihood and keeps the checkpoint with the least validation loss, or the best at what is measured.

    Called again with the same folder, it goes on from the last complete checkpoint, to the same weights as without the
    interruption.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The policy, trained in place.
        train_tokens ([`~datasets.Dataset`]):
            What [`tokenize_rows`] returns.
        validation_tokens ([`~datasets.Dataset`]):
            The same of other episodes.
        output_dir (`str` or `Path`):
            Folder for checkpoints.
        args ([`LikelihoodConfig`]):
            How to train.
        range_head ([`~rlvr_world_hf.rollouts.head.RangeHead`], *optional*):
            Learn each token among the ids valid at its position only, the distribution that rollouts sample from; only
            their logits are computed. By default among all ids, as the paper's code does.
        prepare_optimizer (`Callable`, *optional*):
            Called with the optimizer when it has been made, see
            [`~rlvr_world_hf.training.structured_embeddings.share_learning`].
        callbacks (`Sequence[TrainerCallback]`, *optional*):
            Callbacks to add.
        watch (`Callable`, *optional*):
            Called with the trainer before it trains: adds what looks on, see
            [`~rlvr_world_hf.training.measuring.measure_at_evaluations`].

    Returns:
        [`Pretraining`]: History, checkpoints and seconds.

    Raises:
        ValueError: as [`LikelihoodConfig.complete_settings`].

    Example:

    ```python
    >>> import tempfile
    >>> import numpy as np
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> from rlvr_world_hf.data import Episode, window_rows
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [1.0, 1.0], action_bins=8)
    >>> noise = np.random.default_rng(0)
    >>> frames = noise.integers(0, 256, (8, 3, 16, 16), dtype=np.uint8)
    >>> episode = Episode(episode_id="0", frames=frames, actions=noise.random((8, 2), dtype=np.float32), fps=2.0)
    >>> rows = window_rows([episode], horizon=2)
    >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    >>> model, tokens = build_policy(processor.layout, **sizes), tokenize_rows(rows, processor)
    >>> args = LikelihoodConfig(max_steps=4, eval_steps=2, warmup_steps=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = pretrain(model, tokens, tokens, output_dir=folder, args=args)
    >>> [entry["step"] for entry in result.history if "eval_loss" in entry]
    [2, 4]

    ```
    """
    collator: Callable[[Rows], dict[str, Any]] = _CompletionCollator(_first_label(train_tokens))
    if range_head is not None:
        accept_range_head(model)
        collator = _RangeHeadCollator(range_head)

    def make_trainer(callbacks: Sequence[TrainerCallback], **settings: Any) -> Trainer:
        return _PreparingTrainer(
            model,
            TrainingArguments(**settings),
            prepare_optimizer=prepare_optimizer,
            data_collator=collator,
            compute_loss_func=None if range_head is None else _mean_negative_log_prob,
            train_dataset=train_tokens,
            eval_dataset=validation_tokens,
            callbacks=list(callbacks),
        )

    settings = args.complete_settings(output_dir=output_dir)
    return train_by_likelihood(
        model, make_trainer, output_dir=output_dir, args=args, settings=settings, callbacks=callbacks, watch=watch
    )


class _PreparingTrainer(Trainer):
    """The trainer, with something done to its optimizer before the scheduler is made."""

    def __init__(
        self, *args: Any, prepare_optimizer: Callable[[Optimizer], None] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_optimizer = prepare_optimizer

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Optimizer:
        made = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if made and self._prepare_optimizer is not None:
            self._prepare_optimizer(optimizer)
        return optimizer


def train_by_likelihood(
    model: PreTrainedModel | PeftModel,
    make_trainer: Callable[..., Trainer],
    *,
    output_dir: str | Path,
    args: LikelihoodConfig,
    settings: Mapping[str, Any],
    callbacks: Sequence[TrainerCallback] = (),
    watch: Callable[[Trainer], None] | None = None,
) -> Pretraining:
    """
    The course of a likelihood training, whatever the trainer: checkpoints, the best of them, where to stop and go on.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, trained in place.
        make_trainer (`Callable[..., Trainer]`):
            Makes the trainer of it from callbacks and training arguments.
        output_dir (`str` or `Path`):
            Folder for checkpoints.
        args ([`LikelihoodConfig`]):
            Where training starts and ends.
        settings (`Mapping[str, Any]`):
            Training arguments of the trainer, see [`LikelihoodConfig.complete_settings`].
        callbacks (`Sequence[TrainerCallback]`, *optional*):
            Callbacks to add.
        watch (`Callable`, *optional*):
            Called with the trainer before it trains.

    Returns:
        [`Pretraining`]: History, checkpoints and seconds.
    """
    max_steps, minimum_seconds = args.max_steps, args.minimum_seconds
    clock = Clock(minimum_steps=max_steps, minimum_seconds=minimum_seconds)
    if args.schedule is not None:
        updates = None if minimum_seconds else max_steps - args.schedule.first_step
        how: dict[str, Any] = {"output_dir": output_dir, "updates": updates, "minimum_seconds": minimum_seconds}
        clock = scheduled = ScheduledClock(args.schedule, **how)
        max_steps, minimum_seconds = scheduled.last_step, 0.0
    # The clock last: it describes the files of a checkpoint, to which others may add.
    trainer = make_trainer([OwnSteps(), OrderOfEpoch(), *callbacks, clock], **settings)
    if isinstance(clock, ScheduledClock):
        clock.attach(trainer)
    if watch is not None:
        watch(trainer)
    if not trainer.args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        chosen: dict[str, Any] = {"chosen": f"eval_{args.choose_by}", "higher_is_better": args.higher_is_better}
        trainer.add_callback(ProgressLine("loss", "eval_loss", **chosen, clock=clock))
    checkpoint = last_checkpoint(output_dir)
    if checkpoint is None or not _is_finished(checkpoint, max_steps, minimum_seconds):
        # A checkpoint of this run goes before the one it continued from, which it has already left behind.
        with held_back() as asked:
            trainer.add_callback(StopWhenAsked(asked))
            trainer.train(resume_from_checkpoint=checkpoint or (args.continue_from and str(args.continue_from)))
        trainer.accelerator.wait_for_everyone()
        checkpoint = str(last_checkpoint(output_dir))
    state, best = checkpoint_state(checkpoint), str(best_checkpoint(checkpoint))
    # Trainer has loaded the best weights only where it trained; a run that was finished before holds its first ones.
    load_weights(model, best)
    return Pretraining(
        history=state.log_history,
        best_checkpoint=best,
        last_checkpoint=checkpoint,
        seconds=trained_seconds(output_dir, state.global_step),
    )


def _is_finished(checkpoint: str, max_steps: int, minimum_seconds: float) -> bool:
    step = checkpoint_state(checkpoint).global_step
    return step >= max_steps and trained_seconds(Path(checkpoint).parent, step) >= minimum_seconds


def _first_label(tokens: Dataset) -> int:
    """Position of the first token that any row learns."""
    parts = tokens.select_columns("labels").with_format("numpy").iter(batch_size=1024)  # all at once may not fit
    learned = np.any([(part["labels"] != IGNORED_LABEL).any(axis=0) for part in parts], axis=0)
    return int(learned.argmax())


class _CompletionCollator:
    """Batches of sequences of one length; logits are computed where there are labels, from `first` on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __call__(self, rows: Rows) -> dict[str, Any]:
        input_ids = torch.stack([row["input_ids"] for row in rows]).long()
        labels = torch.stack([row["labels"] for row in rows]).long()
        # The prompt has no labels, so its logits, each as wide as the vocabulary, are never made. One position before
        # the first label stays: the state before a token predicts it.
        labels = labels[:, self.first - 1 :]
        return {"input_ids": input_ids, "labels": labels, "logits_to_keep": labels.shape[1]}


class _RangeHeadCollator:
    """Batches of sequences of one length, for the range head that scores their completions."""

    def __init__(self, head: RangeHead) -> None:
        self.head = head

    def __call__(self, rows: Rows) -> dict[str, Any]:
        input_ids = torch.stack([row["input_ids"] for row in rows]).long()
        labels = torch.stack([row["labels"] for row in rows]).long()
        scored = {"completion_ids": input_ids[:, -self.head.length :], "with_entropies": False}
        return {"input_ids": input_ids, "labels": labels, "range_head": self.head, **scored}


def _mean_negative_log_prob(
    outputs: tuple[torch.Tensor, torch.Tensor], labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over the labels of a whole batch, of which this may be one process's part."""
    log_probs = outputs[0]
    learned = labels[:, -log_probs.shape[1] :] != IGNORED_LABEL
    # `Trainer` gives the number of labels of all processes and accumulated batches.
    count = learned.sum() if num_items_in_batch is None else num_items_in_batch
    return -log_probs.where(learned, 0.0).sum() / count
