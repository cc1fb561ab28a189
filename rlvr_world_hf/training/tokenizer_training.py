"""
Trains a visual tokenizer on pairs of context frames and later frames; its losses are in `tokenizer_losses.py`.

All it asks of a tokenizer beyond a diffusers model: `codec(later, context_frames=context)` gives both reconstructed,
with gradients, and their codes. One that has no context frames is given a single one: to it a frame like all others,
which tells the losses what moves.

Everything that changes during a run is saved as one file, and batches depend on the seed and the step alone
(`clips.py`), so that a run that was cut off ends with the parameters of one that was not.
"""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from tqdm import tqdm

from ..data.augmentation import ClipAugmentation
from ..data.drafts import whole_file
from ..data.episode import Episode
from ..rewards.perceptual import TRUNKS, find_trunk, load_lpips
from .clips import ClipBatches, Clips, EpisodeFrames, load_clips, sample_clips
from .discriminator import Adversary
from .parallel import average_gradients, is_first_process, process_part, share_weights
from .standing import Standing, note_standing
from .stopping import held_back
from .tokenizer_losses import Reconstruction, TokenizerLoss, reconstruction_errors


logger = logging.getLogger(__name__)

SHOWN = ("mae", "mae_moving", "dynamics_codes", "context_codes")
"""Values of the last validation that stand in the progress line."""


@torch.no_grad()
def validate_tokenizer(
    codec: ModelMixin,
    frames: Sequence[np.ndarray] | torch.Tensor,
    *,
    horizon: int,
    batches: int = 8,
    batch_size: int = 16,
) -> dict[str, float]:
    """
    Reconstruction errors and codebook use on fixed clips of held-out episodes.

    Args:
        codec (`ModelMixin`):
            The tokenizer; left in the mode it was in.
        frames (`Sequence[np.ndarray]` of shape `(T, 3, H, W)` each, or a `torch.Tensor` of them):
            Episodes, uint8 RGB.
        horizon (`int`):
            Steps that are reconstructed after the context.
        batches (`int`, *optional*, defaults to 8):
            Number of batches.
        batch_size (`int`, *optional*, defaults to 16):
            Contexts a batch.

    Returns:
        `dict`: `mae`, `mae_moving`, `mae_context`, `mae_copy_last` (of the context repeated), in [0, 1], the share of
        pixels that are `moving`, and the numbers of different `dynamics_codes` and `context_codes` used.
    """
    was_training = codec.training
    codec.eval()
    sums: dict[str, float] = {}
    used: list[set[int]] = [set(), set()]
    for index in range(batches):
        clips = sample_clips(
            frames,
            batch_size=batch_size,
            context_frames=_context_frames(codec),
            later_frames=horizon,
            horizon=horizon,
            seed=[index],  # not the run's: validations of all steps and runs are of the same clips
        )
        batch, codes = reconstruct(codec, *clips)
        copied = batch.later - batch.context[:, -1:]
        for name, value in {**reconstruction_errors(batch), "mae_copy_last": copied.abs().mean()}.items():
            sums[name] = sums.get(name, 0.0) + value.item() / batches
        for seen, new in zip(used, codes, strict=True):
            seen.update(new.unique().tolist())
    codec.train(was_training)
    return sums | {"dynamics_codes": len(used[0]), "context_codes": len(used[1])}


def reconstruct(
    codec: ModelMixin, context: torch.Tensor, later: torch.Tensor
) -> tuple[Reconstruction, list[torch.Tensor]]:
    """The reconstruction of a batch, and its dynamics and context codes; clamped to [0, 1] outside of training."""
    context, later = context.to(codec.device), later.to(codec.device)
    decoded, decoded_context, *codes = codec(later, context_frames=context)
    if not codec.training:  # in training, a clamp would leave values beyond the range without a gradient
        decoded, decoded_context = decoded.clamp(0, 1), decoded_context.clamp(0, 1)
    batch = Reconstruction(later=later, context=context, decoded=decoded, decoded_context=decoded_context)
    return batch, codes


def _context_frames(codec: ModelMixin) -> int:
    """Context frames of a clip: the tokenizer's, or a single one."""
    return max(1, codec.config.context_frames)


def learning_rate_at(step: int, *, max_steps: int, warmup_steps: int, peak: float) -> float:
    """Linear warm-up to `peak`, then half a cosine down to 2 % of it at `max_steps`."""
    warm = min(1.0, (step + 1) / max(warmup_steps, 1))  # + 1: at a rate of 0 the first step would be none
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / max_steps)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerTrainingConfig:
    """
    How [`train_tokenizer`] trains; a recipe sets any of these under `tokenizer`.

    Values of the paper (https://huggingface.co/papers/2505.13934, appendix on visual tokenizers) are named where the
    default differs: the defaults are for a CPU.

    Example:

    ```python
    >>> TokenizerTrainingConfig(horizon=2).drawn_later_frames
    2

    ```
    """

    # Schedule
    max_steps: int = 16_000
    """Optimizer steps; 600,000 in the paper."""

    learning_rate: float = 1e-3
    """Peak of [`learning_rate_at`]; 5e-4 in the paper."""

    warmup_steps: int = 100
    """Steps of linear warm-up."""

    weight_decay: float = 1e-4
    """Of AdamW."""

    bf16: bool = False
    """Compute the tokenizer under bfloat16 autocast."""

    seed: int = 0
    """Decides the batches and the discriminator's first weights."""

    # Data
    batch_size: int = 16
    """Contexts a step, shared by the processes of `accelerate launch`; 16 in the paper."""

    later_frames: int | None = None
    """Later frames a context; 4 by default, or `horizon` where that is less."""

    horizon: int = 4
    """Largest distance of a later frame from its context, in frames."""

    dataloader_num_workers: int = 0
    """Processes that read the clips of the next steps while this one trains; 0: this one reads them. The clips are the
    same. A script that trains with some needs `if __name__ == "__main__":`, as each process imports it."""

    # Losses, in the order of the formula in `tokenizer_losses.py`
    moving_weight: float = 4.0
    """Additional weight of pixels that move."""

    context_weight: float = 0.5
    """Weight of the context's own reconstruction, in each term; 1 gives frames that are coded on their own equal
    weights."""

    hard_pixel_weight: float = 0.0
    """Weight of the squared error of each frame's worst pixels: raise it where small things are left out."""

    hard_pixel_share: float = 0.02
    """Share of a frame's pixels that count as its worst."""

    perceptual_weight: float = 0.0
    """Weight of LPIPS; 1 in the paper. It needs the weights of its trunk."""

    perceptual_net: str = "vgg"
    """Trunk of LPIPS: `"vgg"` as in the paper, `"alex"` or `"squeeze"`."""

    perceptual_trunk: str | Path | None = None
    """File of the trunk's weights; by default torchvision's in torch hub's cache."""

    adversarial_weight: float = 0.0
    """Weight of the patch discriminator's judgement; 0.1 in the paper."""

    # Discriminator
    adversarial_start: int = 10_000
    """Step from which on the discriminator takes part; 10,000 in the paper."""

    adversarial_learning_rate: float = 1e-4
    """Of the discriminator's Adam."""

    discriminator_depth: int = 6
    """Its halvings of the resolution; 6 in the paper."""

    discriminator_width: int = 64
    """Channels of its first convolution."""

    # Saving and validation
    save_steps: int = 500
    """Steps between two validations and saved states."""

    validation_batches: int = 8
    """Batches of a validation."""

    validation_batch_size: int = 16
    """Contexts in each of them."""

    def __post_init__(self) -> None:
        counts = ("max_steps", "batch_size", "horizon", "save_steps", "validation_batches", "validation_batch_size")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"Expected `{name}` of 1 or more, got {getattr(self, name)}; raise it.")
        if self.dataloader_num_workers < 0:
            raise ValueError(
                f"Expected `dataloader_num_workers` of 0 or more, got {self.dataloader_num_workers}; raise it."
            )
        if not 1 <= self.drawn_later_frames <= self.horizon:
            raise ValueError(
                f"Expected `later_frames` from 1 to the horizon, {self.horizon}, got {self.later_frames}; lower it."
            )
        if self.learning_rate < 0 or self.perceptual_net not in TRUNKS:
            raise ValueError(
                f"Expected a `learning_rate` of 0 or more and a `perceptual_net` among {', '.join(TRUNKS)}, got "
                f"{self.learning_rate} and {self.perceptual_net!r}."
            )

    def check_files(self) -> None:
        """Raise a FileNotFoundError if LPIPS has a weight and the file of its trunk is not there."""
        if self.perceptual_weight:
            find_trunk(self.perceptual_net, trunk_path=self.perceptual_trunk)

    @property
    def drawn_later_frames(self) -> int:
        """Later frames that are drawn for a context: `later_frames`, or its default."""
        return min(4, self.horizon) if self.later_frames is None else self.later_frames

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, see [`learning_rate_at`]."""
        return learning_rate_at(
            step, max_steps=self.max_steps, warmup_steps=self.warmup_steps, peak=self.learning_rate
        )

    def make_loss(self, device: torch.device) -> TokenizerLoss:
        """What is minimized, on a device."""
        perceptual = None
        if self.perceptual_weight:
            perceptual = load_lpips(self.perceptual_net, trunk_path=self.perceptual_trunk).to(device)
        return TokenizerLoss(
            moving_weight=self.moving_weight,
            context_weight=self.context_weight,
            hard_pixel_weight=self.hard_pixel_weight,
            hard_pixel_share=self.hard_pixel_share,
            perceptual_weight=self.perceptual_weight,
            perceptual=perceptual,
            adversarial_weight=self.adversarial_weight,
        )

    def make_adversary(self, device: torch.device) -> Adversary | None:
        """The discriminator with its optimizer, on a device; none where it has no weight."""
        if self.adversarial_weight == 0:
            return None
        return Adversary(
            depth=self.discriminator_depth,
            width=self.discriminator_width,
            learning_rate=self.adversarial_learning_rate,
            seed=self.seed,
            device=device,
        )


class TokenizerRun:
    """
    What changes while a tokenizer is trained: its weights, those of its adversary, their optimizers, step, seconds
    and history.

    Args:
        codec (`ModelMixin`):
            The tokenizer.
        loss (`TokenizerLoss`):
            What it minimizes.
        weight_decay (`float`):
            Of AdamW.
        bf16 (`bool`):
            Compute the tokenizer under bfloat16 autocast.
        adversary (`Adversary`, *optional*):
            Its adversary.
    """

    def __init__(
        self,
        codec: ModelMixin,
        loss: TokenizerLoss,
        *,
        weight_decay: float,
        bf16: bool,
        adversary: Adversary | None = None,
    ) -> None:
        self.codec = codec
        self.loss = loss
        self.bf16 = bf16
        self.adversary = adversary
        self.optimizer = torch.optim.AdamW(
            codec.parameters(), weight_decay=weight_decay, betas=(0.9, 0.99), fused=True
        )
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []

    def update(self, clips: Clips, *, learning_rate: float, is_adversarial: bool) -> dict[str, float]:
        """One optimizer step on context and later frames; returns the loss of the adversary where it takes part."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        adversary = self.adversary if is_adversarial else None
        with self.autocast():
            batch, _ = reconstruct(self.codec, *clips)
        self.optimizer.zero_grad()
        self.loss(batch, adversary).backward()
        average_gradients(self.codec.parameters())  # before they are clipped: all processes then clip alike
        torch.nn.utils.clip_grad_norm_(self.codec.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        if adversary is None:
            return {}
        # The discriminator learns from the frames that it has just judged: another pass would cost as much again.
        recorded, reconstructed = (batch.later, batch.context), (batch.decoded, batch.decoded_context)
        return {"discriminator": adversary.update(torch.cat(recorded, dim=1), torch.cat(reconstructed, dim=1))}

    def autocast(self) -> torch.autocast:
        """The block in which the tokenizer computes."""
        return torch.autocast(self.codec.device.type, torch.bfloat16, enabled=self.bf16)

    def save(self, file: Path) -> None:
        """Write everything to `file`; what was there before is kept beside it, see [`previous_of`][]."""
        state = {"codec": self.codec.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        state["seconds"] = self.seconds
        if self.adversary is not None:
            state["adversary"] = self.adversary.state_dict()
        with whole_file(file) as draft:
            torch.save(state | {"history": json.dumps(self.history)}, draft)
            if file.exists():  # kept until the next one, in case this one is damaged
                os.replace(file, previous_of(file))

    def restore(self, file: Path) -> None:
        """
        Go on from `file` as if the run had never stopped.

        Raises:
            `UnreadableStateError`: If the file was damaged; the run is as it was.
            `ValueError`: If one of the run and the file has an adversary and the other has none.
        """
        try:
            # Torch would read what is no archive in an old form of its own, and checks no sums.
            with zipfile.ZipFile(file) as archive:
                broken = archive.testzip()
        except zipfile.BadZipFile as error:
            raise UnreadableStateError(f"{file} was damaged and cannot be read: {error}.") from error
        if broken is not None:
            raise UnreadableStateError(f"{file} was damaged in {broken}.")
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)  # a pickle could otherwise run code
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise UnreadableStateError(f"{file} was damaged and cannot be read: {error}.") from error
        # Without this the discriminator would begin anew, or be lost, in the middle of a run.
        if ("adversary" in state) != (self.adversary is not None):
            raise ValueError(
                f"Expected {file} to be of a run with {'an' if self.adversary else 'no'} adversarial loss, like this "
                "one; give this run another folder, or delete the file to start again."
            )
        self.codec.load_state_dict(state["codec"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])
        self.step, self.history = state["step"], json.loads(state["history"])
        # Earlier versions saved it with the history alone, after a validation.
        self.seconds = state.get("seconds", self.history[-1]["seconds"] if self.history else 0.0)


class UnreadableStateError(ValueError):
    """The saved state of a run was damaged."""


def previous_of(file: Path) -> Path:
    """Where [`TokenizerRun.save`][] keeps what a file of its held before."""
    return file.with_name(f"{file.stem}.previous{file.suffix}")


def restore_newest(run: TokenizerRun, file: Path) -> None:
    """
    Go on from the newest state that can be read, with a warning that names one that cannot.

    Args:
        run (`TokenizerRun`):
            Changed in place; it starts from its first step where there is no such state.
        file (`Path`):
            What [`TokenizerRun.save`][] wrote.
    """
    for place in (file, previous_of(file)):
        if not place.exists():
            continue
        try:
            run.restore(place)
        except UnreadableStateError as error:
            logger.warning("Passing over a saved state: %s", error)
        else:
            return


def train_tokenizer(
    codec: ModelMixin,
    episodes: Sequence[Episode],
    validation_episodes: Sequence[Episode],
    *,
    output_dir: str | Path,
    args: TokenizerTrainingConfig | None = None,
    augmentation: ClipAugmentation | None = None,
) -> list[dict[str, Any]]:
    """
    Train `codec` in place, on the device it is on, and save it to `output_dir`.

    Args:
        codec (`ModelMixin`):
            The tokenizer to train.
        episodes (`Sequence[Episode]`):
            Training episodes of equal frame size. Of stored ones ([`~rlvr_world_hf.data.load_episodes`]) only the
            frames of a clip are read.
        validation_episodes (`Sequence[Episode]`):
            Held-out episodes.
        output_dir (`str` or `Path`):
            Gets the trained tokenizer, `history.json` and, until it is finished, `resume.pt`. A run that was cut off
            goes on from there and ends with the parameters of a run that was not.
        args ([`TokenizerTrainingConfig`], *optional*):
            How to train; the defaults of each field if not given.
        augmentation (`ClipAugmentation`, *optional*):
            Changes the training frames, those of a clip alike.

    Returns:
        `list[dict]`: One entry a validation: `step`, `seconds`, the values of [`validate_tokenizer`], and, where there
        is a discriminator, its loss in the last step as `discriminator`.

    Raises:
        `ValueError`: If the episodes differ in frame size or are too short, or `resume.pt` is of another kind of run.
            If it was damaged, training goes on from the one saved before it, with a warning.
        `FileNotFoundError`: If LPIPS is asked for and the weights of its trunk are missing; it says where to get them.
    """
    args = TokenizerTrainingConfig() if args is None else args
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    resume = output_dir / "resume.pt"
    batches = ClipBatches(
        EpisodeFrames(episodes),
        seed=args.seed,
        batch_size=args.batch_size,
        context_frames=_context_frames(codec),
        later_frames=args.drawn_later_frames,
        horizon=args.horizon,
        augmentation=augmentation,
        part=process_part(args.batch_size),
    )
    run = TokenizerRun(
        codec,
        args.make_loss(codec.device),
        weight_decay=args.weight_decay,
        bf16=args.bf16,
        adversary=args.make_adversary(codec.device),
    )
    share_weights(codec)  # the adversary's first weights are seeded
    restore_newest(run, resume)
    _train(
        run,
        args,
        batches=load_clips(batches, range(run.step, args.max_steps), workers=args.dataloader_num_workers),
        validate=partial(
            validate_tokenizer,
            codec,
            EpisodeFrames(validation_episodes),
            horizon=args.horizon,
            batches=args.validation_batches,
            batch_size=args.validation_batch_size,
        ),
        resume=resume,
    )
    if is_first_process():
        codec.save_pretrained(output_dir)
        with whole_file(output_dir / "history.json") as draft:
            draft.write_text(json.dumps(run.history, indent=1) + "\n", encoding="utf-8")
        for place in (previous_of(resume), resume):  # last, so that a kill before only writes the files above again
            place.unlink(missing_ok=True)
    return run.history


def _train(
    run: TokenizerRun,
    args: TokenizerTrainingConfig,
    *,
    batches: Iterable[Clips],
    validate: Callable[[], dict[str, float]],
    resume: Path,
) -> None:
    """Take a run from its step to the last one, which it saves; leaves the tokenizer in evaluation mode."""
    run.codec.train()
    seconds_before = run.seconds
    steps = range(run.step, args.max_steps)
    with (
        held_back() as asked,
        tqdm(steps, initial=run.step, total=args.max_steps, desc="tokenizer", unit="step") as progress,
    ):
        for step, clips in zip(progress, batches, strict=True):
            is_adversarial = step >= args.adversarial_start
            adversarial_loss = run.update(
                clips, learning_rate=args.learning_rate_at(step), is_adversarial=is_adversarial
            )
            is_asked = asked.by_any_process(run.codec.device)
            is_validated = run.step % args.save_steps == 0 or run.step == args.max_steps
            if is_validated:  # also when asked to end: a run that goes on validates later steps only
                with run.autocast():  # measured in the precision in which it learns
                    values = validate()
            run.seconds = seconds_before + progress.format_dict["elapsed"]
            if is_validated:
                run.history.append({"step": run.step, "seconds": run.seconds, **values, **adversarial_loss})
                standing = _standing(run.history, args.max_steps)
                shown = {name: f"{values[name]:.4g}" for name in SHOWN}
                progress.set_postfix(shown | {"best": f"{standing.best:.4g} at {standing.best_step}"})
            if is_first_process() and (is_validated or is_asked):
                run.save(resume)
                if is_validated:
                    note_standing(resume.parent, standing)
            if is_asked:
                break
    run.codec.eval()


def _standing(history: Sequence[dict[str, Any]], steps: int) -> Standing:
    """Where a training stands after its last validation."""
    last, best = history[-1], min(history, key=lambda entry: entry[SHOWN[0]])
    return Standing(
        step=last["step"],
        steps=steps,
        metric=SHOWN[0],
        value=last[SHOWN[0]],
        best=best[SHOWN[0]],
        best_step=best["step"],
        seconds_left=last["seconds"] / last["step"] * (steps - last["step"]),
    )
