"""
Trains an inverse dynamics model on frames as the codec shows them: those are what a world model predicts, and a reward
reads actions from predictions.

A pair of frames is what the reward will see: the last given frame and the first decoded one, or two decoded ones; and
the frame before them, for a model that is given two.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments

from ..processors.base import state_columns
from ..rewards.base import actions_between, as_frames
from ..rewards.inverse_dynamics import InverseDynamicsModel
from .pretraining import LikelihoodConfig, Pretraining, train_by_likelihood


class FramePairs(Dataset):
    """
    Consecutive frames, and the actions between them.

    Args:
        frames (`torch.Tensor` of shape `(N, S + K, 3, H, W)`):
            Windows of frames, uint8, `K` of them before the first action. An item has these and the next one.
        actions (`torch.Tensor` of shape `(N, S, A)`):
            The action that leads from each frame to the next, in the unit of the data.
        mask (`torch.Tensor` of shape `(N, S)`):
            False where the next frame is padding.

    Example:

    ```python
    >>> frames = torch.zeros(2, 4, 3, 8, 8, dtype=torch.uint8)
    >>> pairs = FramePairs(frames, torch.zeros(2, 3, 1), torch.tensor([[True, True, True], [True, False, False]]))
    >>> len(pairs), pairs[3]["frames"].shape, pairs[3]["labels"].shape
    (4, torch.Size([2, 3, 8, 8]), torch.Size([1]))

    ```
    """

    def __init__(self, frames: torch.Tensor, actions: torch.Tensor, mask: torch.Tensor) -> None:
        self.frames = frames
        self.actions = actions
        self.places = mask.nonzero()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        window, step = self.places[index].tolist()
        end = step + self.frames.shape[1] - self.actions.shape[1] + 1
        return {"frames": self.frames[window, step:end], "labels": self.actions[window, step]}

    @property
    def labels(self) -> torch.Tensor:
        """All actions `(N, A)`, in the order of the pairs."""
        return self.actions[self.places[:, 0], self.places[:, 1]]


@torch.no_grad()
def decoded_pairs(rows: Any, processor: Any, *, given_frames: int = 1, batch_size: int = 64) -> FramePairs:
    """
    Pairs of frames of rows, as a world model would show them at best: encoded and decoded by the codec, after the last
    given frames as they were recorded.

    Args:
        rows (`datasets.Dataset`):
            Rows of [`~rlvr_world_hf.data.window_rows`].
        processor (`VideoWorldModelProcessor`):
            Holds the codec, on its device.
        given_frames (`int`, *optional*, defaults to 1):
            Frames before an action that its model is given.
        batch_size (`int`, *optional*, defaults to 64):
            Rows at a time.

    Returns:
        `FramePairs`: on the CPU, uint8.

    Raises:
        ValueError: if the processor predicts no frames, there are no rows, or they have fewer given frames.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> from rlvr_world_hf.data import Episode, window_rows
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0], [1.0])
    >>> frames, actions = np.zeros((6, 3, 16, 16), np.uint8), np.zeros((6, 1), np.float32)
    >>> episode = Episode(episode_id="0", frames=frames, actions=actions, fps=2.0)
    >>> len(decoded_pairs(window_rows([episode], horizon=2, stride=2), processor))
    4

    ```
    """
    if "frames" not in processor.predicts or not len(rows):
        raise ValueError(
            f"Expected rows with frames to read actions from, got {len(rows)} rows of a processor that predicts "
            f"{' and '.join(processor.predicts)}; give a world of frames."
        )
    names = dict.fromkeys((*processor.prompt_columns, *processor.reference_columns, "reference_mask"))
    parts: list[tuple[torch.Tensor, ...]] = []
    for start in tqdm(range(0, len(rows), batch_size), desc="decode", disable=None, leave=False):
        taken = rows[start : start + batch_size]
        batch = {name: torch.from_numpy(np.stack(taken[name])).to(processor.device) for name in names}
        mask = batch.pop("reference_mask").bool()
        ids = processor.encode_completion(**batch)
        decoded = state_columns(processor.decode_state(ids, batch["context"]))["predicted"]
        if batch["context"].shape[1] < given_frames:
            raise ValueError(
                f"Expected rows with {given_frames} given frames, which the inverse model reads, got "
                f"{batch['context'].shape[1]}; raise `windows.context_frames` or `windows.observed_steps`."
            )
        shown = torch.cat([as_frames(batch["context"])[:, -given_frames:], decoded.float()], dim=1)
        done = actions_between(batch["actions"].float(), decoded.shape[1])
        parts.append(tuple(part.cpu() for part in (shown.mul(255).round().to(torch.uint8), done, mask)))
    return FramePairs(*(torch.cat(column) for column in zip(*parts, strict=True)))


def train_inverse_model(
    model: InverseDynamicsModel,
    train: FramePairs,
    validation: FramePairs,
    *,
    output_dir: str | Path,
    args: LikelihoodConfig,
    callbacks: Sequence[TrainerCallback] = (),
) -> Pretraining:
    """
    Trains an inverse model and keeps the checkpoint with the least loss on validation pairs.

    Called again with the same folder, it goes on from the last complete checkpoint.

    Args:
        model ([`InverseDynamicsModel`]):
            Trained in place.
        train ([`FramePairs`]):
            What to learn from.
        validation ([`FramePairs`]):
            The same of other episodes.
        output_dir (`str` or `Path`):
            Folder for checkpoints.
        args ([`LikelihoodConfig`]):
            How to train.
        callbacks (`Sequence[TrainerCallback]`, *optional*):
            Callbacks to add.

    Returns:
        [`Pretraining`]: History, checkpoints and seconds.

    Example:

    ```python
    >>> import tempfile
    >>> from rlvr_world_hf.rewards import InverseDynamicsConfig
    >>> model = InverseDynamicsModel(InverseDynamicsConfig(image_size=8, width=8, hidden_size=8))
    >>> frames = torch.zeros(4, 3, 3, 8, 8, dtype=torch.uint8)
    >>> pairs = FramePairs(frames, torch.zeros(4, 2, 1), torch.ones(4, 2, dtype=torch.bool))
    >>> args = LikelihoodConfig(max_steps=2, eval_steps=2, batch_size=4, warmup_steps=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = train_inverse_model(model, pairs, pairs, output_dir=folder, args=args)
    >>> [entry["step"] for entry in result.history if "eval_loss" in entry]
    [2]

    ```
    """

    def make_trainer(callbacks: Sequence[TrainerCallback], **settings: Any) -> Trainer:
        return Trainer(
            model,
            TrainingArguments(**settings | {"remove_unused_columns": False}),
            data_collator=_stacked,
            train_dataset=train,
            eval_dataset=validation,
            callbacks=list(callbacks),
        )

    model.train()
    settings = args.complete_settings(output_dir=output_dir)
    try:
        return train_by_likelihood(
            model, make_trainer, output_dir=output_dir, args=args, settings=settings, callbacks=callbacks
        )
    finally:
        model.eval()


@torch.no_grad()
def measure_inverse_model(
    model: InverseDynamicsModel, pairs: FramePairs, *, guess: torch.Tensor | None = None, batch_size: int = 256
) -> dict[str, Any]:
    """
    How well an inverse model reads actions.

    Args:
        model ([`InverseDynamicsModel`]):
            The model.
        pairs ([`FramePairs`]):
            Held-out pairs.
        guess (`torch.Tensor` of shape `(A,)`, *optional*):
            Action that is guessed without looking, such as the median of the training's; the median of the pairs by
            default.
        batch_size (`int`, *optional*, defaults to 256):
            Pairs at a time.

    Returns:
        `dict`: `error`, the mean absolute error over all dimensions, and `errors` of each, in the unit of the data;
        `guess_error`, that of the guess; `pairs`, their number; and, of a model with bins, `log_probability` in nats.

    Example:

    ```python
    >>> from rlvr_world_hf.rewards import InverseDynamicsConfig
    >>> model = InverseDynamicsModel(InverseDynamicsConfig(image_size=8, width=8, hidden_size=8)).eval()
    >>> actions = torch.tensor([[[0.0]], [[1.0]], [[2.0]]])
    >>> pairs = FramePairs(torch.zeros(3, 2, 3, 8, 8, dtype=torch.uint8), actions, torch.ones(3, 1, dtype=torch.bool))
    >>> round(measure_inverse_model(model, pairs)["guess_error"], 3)
    0.667

    ```
    """
    done, read, likely = pairs.labels, [], []
    for start in range(0, len(pairs), batch_size):
        frames = _stacked([pairs[index] for index in range(start, min(start + batch_size, len(pairs)))])["frames"]
        read.append(model(frames.to(model.device)).actions.cpu())
        if model.config.action_bins:
            actions = done[start : start + batch_size].to(model.device)
            likely.append(model.log_probs(frames.to(model.device), actions).cpu())
    errors = (torch.cat(read) - done).abs().mean(dim=0)
    guessed = (done.median(dim=0).values if guess is None else guess) - done
    measured = {
        "error": errors.mean().item(),
        "errors": errors.tolist(),
        "guess_error": guessed.abs().mean().item(),
        "pairs": len(pairs),
    }
    return measured | ({"log_probability": torch.cat(likely).mean().item()} if likely else {})


def _stacked(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in ("frames", "labels")}
