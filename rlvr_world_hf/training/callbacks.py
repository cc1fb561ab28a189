"""What a run keeps while it goes on: its seconds on disk, its order, its processor, and pictures of predictions."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, wait_for_everyone
from datasets import Dataset
from einops import rearrange
from PIL import Image
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..hub.training_checkpoints import trained_seconds, write_manifest, write_seconds
from ..processors.base import WorldModelProcessor, state_columns
from ..rollouts import rollout


ENDLESS = 10**9  # updates; transformers' `Trainer` needs a limit, also where a clock decides


class Clock(TrainerCallback):
    """
    Counts the seconds of training, evaluation and saving left out, and, if asked, ends it after so many.

    The count is kept in the run's folder at each checkpoint, so that a resumed run goes on counting.

    Args:
        minimum_steps (`int`, *optional*):
            With it, training ends at the first update at which this and `minimum_seconds` are reached. `max_steps`
            of the `Trainer` must then not lie before; [`ENDLESS`] is a way to say so.
        minimum_seconds (`float`, *optional*, defaults to `0.0`):
            Seconds to train for, at least.

    Example:

    ```python
    >>> import tempfile
    >>> from torch import nn
    >>> from transformers import ProgressCallback, Trainer
    >>> class Square(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.x = nn.Parameter(torch.ones(1))
    ...
    ...     def forward(self, labels):
    ...         return {"loss": (self.x**2).sum()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     args = TrainingArguments(folder, max_steps=3, save_steps=3, report_to="none", use_cpu=True)
    ...     trainer = Trainer(Square(), args, train_dataset=[{"labels": 0}] * 8, callbacks=[Clock()])
    ...     trainer.remove_callback(ProgressCallback)
    ...     _ = trainer.train()
    ...     0 < trained_seconds(folder, 3) < 60
    True

    ```
    """

    def __init__(self, *, minimum_steps: int | None = None, minimum_seconds: float = 0.0) -> None:
        self.minimum_steps = minimum_steps
        self.minimum_seconds = minimum_seconds
        self.seconds = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Starts, or goes on from the count of the checkpoint."""
        self.seconds = trained_seconds(args.output_dir, state.global_step)
        self.mark = time.perf_counter()  # monotonic: setting the system's clock changes no count

    def leave_out(self) -> None:
        """Leaves out what was done since the last update, or since the begin."""
        self.mark = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Counts an update, and ends the training when it is time."""
        now = time.perf_counter()
        self.seconds, self.mark = self.seconds + now - self.mark, now
        if self.minimum_steps is not None and state.global_step >= self.minimum_steps:
            self.seconds = broadcast_object_list([self.seconds])[0]  # all processes stop together
            if self.seconds >= self.minimum_seconds:
                # The last weights take part in the choice of the best, and a resumed run finds that this one is over.
                control.should_training_stop = control.should_evaluate = control.should_save = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leaves the evaluation out."""
        self.leave_out()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Writes the count, and leaves the saving out."""
        wait_for_everyone()  # each process writes files of its own
        if state.is_world_process_zero:
            write_manifest(Path(args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"))
            write_seconds(args.output_dir, state.global_step, self.seconds)
        self.leave_out()


class OwnSteps(TrainerCallback):
    """
    Has a training that goes on from another's checkpoint evaluate, save and log as its own arguments say.

    transformers takes these numbers over from the checkpoint.
    """

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Puts them right."""
        state.compute_steps(args, state.max_steps)


class OrderOfEpoch(TrainerCallback):
    """
    Tells the sampler which epoch begins, also where one of several processes goes on in the midst of an epoch.

    The batches that were used before are skipped there by a wrapper, behind which accelerate does not find the
    sampler: without this, the rows would come in the order of the first epoch.
    """

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Tells it."""
        sampler = inner = getattr(train_dataloader, "batch_sampler", None)  # a stream has none
        while inner is not None:
            sampler, inner = inner, getattr(inner, "sampler", None) or getattr(inner, "batch_sampler", None)
        if sampler is not None and hasattr(sampler, "set_epoch"):
            sampler.set_epoch(int(state.epoch or 0))


class ProcessorBeside(TrainerCallback):
    """
    Saves the processor beside the weights of each checkpoint: it is a world model then, while training goes on.

    Args:
        processor ([`WorldModelProcessor`]):
            Processor of the model.
    """

    def __init__(self, processor: WorldModelProcessor) -> None:
        self.processor = processor

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Writes it, on the first process."""
        if state.is_world_process_zero:
            self.processor.save_pretrained(Path(args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"))


class PredictionPictures(TrainerCallback):
    """
    Saves a picture of a few predictions beside their references every so many updates.

    Each row of the picture is one row of the dataset: the last given frame, then the reference above its prediction.
    The noise is the same each time, so that pictures of several steps can be compared.

    Args:
        processor ([`WorldModelProcessor`]):
            Processor of the model.
        rows ([`~datasets.Dataset`]):
            Rows to predict, as the trainer takes them.
        every_steps (`int`, *optional*, defaults to `50`):
            Updates between two pictures, `predictions/step_000050.png` in the run's folder.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the noise.

    Raises:
        ValueError: if the processor predicts no frames.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> from rlvr_world_hf.data import Episode, window_rows
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [1.0, 1.0])
    >>> frames, actions = np.zeros((8, 3, 16, 16), np.uint8), np.zeros((8, 2), np.float32)
    >>> rows = window_rows([Episode(episode_id="0", frames=frames, actions=actions, fps=2.0)], horizon=2)
    >>> pictures = PredictionPictures(processor, rows.select(range(4)), every_steps=50)  # for `trainer.add_callback`
    >>> pictures.every_steps, len(pictures.rows)
    (50, 4)

    ```
    """

    def __init__(self, processor: WorldModelProcessor, rows: Dataset, *, every_steps: int = 50, seed: int = 0) -> None:
        if "frames" not in processor.predicts:
            raise ValueError(f"Expected a processor that predicts frames, got one of {', '.join(processor.predicts)}.")
        self.processor = processor
        self.rows = rows
        self.every_steps = every_steps
        self.seed = seed

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        """Draws the picture when it is time."""
        if state.is_world_process_zero and state.global_step % self.every_steps == 0 and model is not None:
            file = Path(args.output_dir, "predictions", f"step_{state.global_step:06d}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(self._draw(model)).save(file)

    def _draw(self, model: PreTrainedModel) -> np.ndarray:
        rows = [self.rows[index] for index in range(len(self.rows))]
        names = (*self.processor.prompt_columns, "reference")
        columns: dict[str, Any] = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in names}
        record = rollout(
            model,
            self.processor,
            **{name: columns[name] for name in self.processor.prompt_columns},
            horizon=columns["reference"].shape[1],
            seeds=[self.seed + index for index in range(len(rows))],
            decode=False,
        )
        decoded = self.processor.decode_state(record.completion_ids, columns["context"])
        predicted = (state_columns(decoded)["predicted"].cpu() * 255).round().to(torch.uint8)
        given = columns["context"][:, -1:]
        lines = torch.stack([torch.cat([given, columns["reference"]], 1), torch.cat([given, predicted], 1)], 1)
        return rearrange(lines, "B line T C H W -> (B line H) (T W) C").numpy()
