"""
Predictions of a policy while it trains, for the eye: files in the run's folder, and the same in its trackers.

    suffix    tensorboard             wandb           trackio
    .png      image                   wandb.Image     trackio.Image
    .gif      image that moves        wandb.Video     trackio.Image, which moves
    .md       text                    wandb.Html      trackio.Markdown
"""

import re
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..rollouts.lockstep import are_weights_shared_out
from .callbacks import Clock


FOLDER = "predictions"
"""Folder of a run's pictures of predictions."""

Draw = Callable[[PreTrainedModel, Path], Mapping[str, Path]]
"""Takes a policy and a folder, and writes files of these suffixes into it: what each shows -> the file."""


class ShowPredictions(TrainerCallback):
    """
    Draws predictions of the same situations before the first update, every so many updates and after the last one.

    The seconds that it takes are left out of what a [`~rlvr_world_hf.training.callbacks.Clock`] counts.

    Args:
        trainer ([`~transformers.Trainer`]):
            Whose policy and trackers these are.
        draw (`Callable`):
            See [`Draw`].
        every_steps (`int`):
            Updates from one drawing to the next; `predictions/step_000050/` in the run's folder.

    Raises:
        ValueError: for less than one update.
    """

    def __init__(self, trainer: Trainer, draw: Draw, *, every_steps: int) -> None:
        if every_steps < 1:
            raise ValueError(f"Expected at least 1 update from one drawing to the next, got {every_steps}; give more.")
        self.trainer = trainer
        self.draw = draw
        self.every_steps = every_steps

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Shows what the policy begins with."""
        if state.global_step == 0:
            self._show(args, state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Shows what it predicts when it is time."""
        is_last = state.global_step == state.max_steps or control.should_training_stop
        if is_last or state.global_step % self.every_steps == 0:
            self._show(args, state)

    def _show(self, args: TrainingArguments, state: TrainerState) -> None:
        callbacks = self.trainer.callback_handler.callbacks
        policy = self.trainer.accelerator.unwrap_model(self.trainer.model)
        if state.is_world_process_zero:
            folder = Path(args.output_dir, FOLDER, f"step_{state.global_step:06d}")
            folder.mkdir(parents=True, exist_ok=True)
            send_media(self.draw(policy, folder), step=state.global_step, callbacks=callbacks)
        elif are_weights_shared_out(policy):  # the first process needs the parts that the others have
            with TemporaryDirectory() as nowhere:
                self.draw(policy, Path(nowhere))
        for clock in callbacks:
            if isinstance(clock, Clock):
                clock.leave_out()


def send_media(media: Mapping[str, Path], *, step: int, callbacks: Iterable[TrainerCallback]) -> list[str]:
    """
    Sends pictures, moving pictures and texts to the trackers among a trainer's callbacks.

    Args:
        media (`Mapping[str, Path]`):
            What each file shows, such as `"predictions/frames"` -> the file.
        step (`int`):
            Updates made so far.
        callbacks (`Iterable[TrainerCallback]`):
            Those of a trainer in training; of transformers' own, tensorboard, wandb and trackio take media.

    Returns:
        `list[str]`: the trackers that took them.

    Raises:
        ValueError: for a file of another kind.
    """
    unknown = [file.name for file in media.values() if file.suffix not in SUFFIXES]
    if unknown:
        raise ValueError(
            f"Expected files that end in {', '.join(SUFFIXES)}, got {', '.join(unknown)}; write such ones."
        )
    took = []
    for callback in callbacks:
        send = SENDERS.get(type(callback).__name__)
        if send is not None and send(callback, media, step):
            took.append(type(callback).__name__.removesuffix("Callback").lower())
    return took


def _to_tensorboard(callback: Any, media: Mapping[str, Path], step: int) -> bool:
    writer = callback.tb_writer
    if writer is None:
        return False
    from tensorboard.compat.proto.summary_pb2 import Summary

    for name, file in media.items():
        if file.suffix == ".md":
            writer.add_text(name, file.read_text(encoding="utf-8"), step)
            continue
        with Image.open(file) as picture:
            width, height = picture.size
        # As encoded: its page plays a GIF, which torch's writer would want as a video, and another package for it.
        image = Summary.Image(encoded_image_string=file.read_bytes(), height=height, width=width, colorspace=3)
        writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)
    writer.flush()
    return True


def _to_wandb(callback: Any, media: Mapping[str, Path], step: int) -> bool:
    wandb = callback._wandb
    if wandb is None or wandb.run is None:
        return False
    makers = {
        ".png": lambda file: wandb.Image(str(file)),
        ".gif": lambda file: wandb.Video(str(file), format="gif"),
        ".md": lambda file: wandb.Html(_html(file.read_text(encoding="utf-8"))),
    }
    wandb.log({name: makers[file.suffix](file) for name, file in media.items()} | {"train/global_step": step})
    return True


def _html(text: str) -> str:
    """Markdown as it is, but what is bold in green, and what is struck through in red."""
    colored = re.sub(r"\*\*(.+?)\*\*", r'<ins style="color:green">\1</ins>', escape(text))
    colored = re.sub(r"~~(.+?)~~", r'<del style="color:firebrick">\1</del>', colored)
    plain = re.sub(r"\\([^\w\s])", r"\1", colored)
    return f'<pre style="white-space:pre-wrap">{plain}</pre>'


def _to_trackio(callback: Any, media: Mapping[str, Path], step: int) -> bool:
    trackio = callback._trackio
    if trackio is None or trackio.context_vars.current_run.get() is None:
        return False
    makers = {
        ".png": lambda file: trackio.Image(str(file)),
        ".gif": lambda file: trackio.Image(str(file)),  # its page shows a Video by an element that plays no GIF
        ".md": lambda file: trackio.Markdown(file.read_text(encoding="utf-8")),
    }
    trackio.log({name: makers[file.suffix](file) for name, file in media.items()} | {"train/global_step": step})
    return True


SENDERS: dict[str, Callable[[Any, Mapping[str, Path], int], bool]] = {
    "TensorBoardCallback": _to_tensorboard,
    "WandbCallback": _to_wandb,
    "TrackioCallback": _to_trackio,
}
"""How media reach a tracker, by the name of transformers' callback for it."""

SUFFIXES = (".png", ".gif", ".md")
