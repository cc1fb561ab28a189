"""
Clips, by which a tokenizer is trained: context frames and some of the frames that follow, read as they are drawn.

The batch of a step depends on the seed and the step alone. So any process can read it, and reading ahead, or going on
from a step in the middle, changes nothing. This file imports no models: each process that reads clips imports it.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..data.augmentation import ClipAugmentation
from ..data.episode import Episode


Clips = tuple[torch.Tensor, torch.Tensor]
"""Context `(B, K, 3, H, W)` and later frames `(B, S, 3, H, W)`, floats in [0, 1]."""


def sample_clips(
    frames: Sequence[np.ndarray] | torch.Tensor,
    *,
    batch_size: int,
    context_frames: int,
    later_frames: int,
    horizon: int,
    seed: list[int],
    augmentation: ClipAugmentation | None = None,
    part: slice | None = None,
) -> Clips:
    """
    Draw context frames and some of the frames that follow them within `horizon` steps.

    Args:
        frames (`Sequence[np.ndarray]` of shape `(T, 3, H, W)` each, or a `torch.Tensor` of them):
            Episodes, uint8 RGB; only the frames that are drawn are read.
        batch_size (`int`):
            Number `B` of contexts.
        context_frames (`int`):
            Frames `K` of a context.
        later_frames (`int`):
            Number `S` of later frames a context, all different; at most `horizon`.
        horizon (`int`):
            Largest distance of a later frame from the last context frame.
        seed (`list[int]`):
            Decides the draw; one list a step makes a run resumable.
        augmentation (`ClipAugmentation`, *optional*):
            Changes the context and later frames of an item alike.
        part (`slice`, *optional*):
            The items of the batch to read, such as those of one process among several; all by default.

    Returns:
        `tuple`: Context `(B, K, 3, H, W)` and later frames `(B, S, 3, H, W)`, floats in [0, 1].

    Raises:
        `ValueError`: If the episodes are too short, or more than `horizon` later frames are asked for.

    Example:

    ```python
    >>> import torch
    >>> frames = torch.zeros(2, 6, 3, 8, 8, dtype=torch.uint8)
    >>> context, later = sample_clips(
    ...     frames, batch_size=4, context_frames=1, later_frames=2, horizon=3, seed=[0, 0]
    ... )
    >>> context.shape, later.shape
    (torch.Size([4, 1, 3, 8, 8]), torch.Size([4, 2, 3, 8, 8]))

    ```
    """
    # To iterate over stored episodes would make each of them anew, at every step, for nothing but their number.
    known = frames.lengths if isinstance(frames, EpisodeFrames) else None
    lengths = np.array([len(episode) for episode in frames]) if known is None else known
    if lengths.min() < context_frames + horizon:
        raise ValueError(
            f"Expected episodes of at least {context_frames + horizon} frames ({context_frames} of context, {horizon} "
            f"of horizon), got one of {lengths.min()}; shorten the horizon or bring longer episodes."
        )
    if not 1 <= later_frames <= horizon:
        raise ValueError(f"Expected `later_frames` from 1 to the horizon, {horizon}, got {later_frames}; lower it.")
    # Each process draws the whole batch and reads its part of it: several processes see what one would.
    rng = np.random.default_rng(seed)
    episodes = rng.integers(len(frames), size=(batch_size, 1))
    starts = rng.integers(lengths[episodes] - horizon - context_frames + 1)
    offsets = np.stack([rng.permutation(horizon)[:later_frames] for _ in range(batch_size)])
    times = np.concatenate([starts + np.arange(context_frames), starts + context_frames + offsets], axis=1)
    chosen = range(batch_size)[slice(None) if part is None else part]
    drawn = [np.asarray(frames[int(episodes[item, 0])][times[item]]) for item in chosen]
    if augmentation is not None:
        # `item` counts within the whole batch, so that the number of processes changes no clip.
        drawn = [augmentation(clip, seed=[*seed, item]) for item, clip in zip(chosen, drawn, strict=True)]
    context, later = torch.from_numpy(np.stack(drawn)).tensor_split([context_frames], dim=1)
    return context.float() / 255, later.float() / 255


class EpisodeFrames(Sequence[np.ndarray]):
    """
    Frames of each episode, `(T, 3, H, W)` uint8, as the episode has them: of a stored one a view of its file, from
    which no more is read than is taken.

    Raises:
        `ValueError`: If their sizes differ, or there is none, or an episode has no frames.
    """

    def __init__(self, episodes: Sequence[Episode]) -> None:
        shapes = [episode.required_frames.shape for episode in episodes]
        sizes = {shape[1:] for shape in shapes}
        if len(sizes) != 1:
            raise ValueError(
                f"Expected episodes of one frame size, got {sorted(sizes) or 'none'}; resize their frames first."
            )
        self.episodes = episodes
        self.lengths = np.array([length for length, *_ in shapes])

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self.episodes[index].required_frames


class ClipBatches(Dataset[Clips]):
    """
    The batch of each step of a training, see [`sample_clips`].

    Args:
        frames (`Sequence[np.ndarray]` of shape `(T, 3, H, W)` each):
            Episodes, uint8 RGB.
        seed (`int`):
            Decides the batches.
        drawing (`Any`):
            Further arguments of [`sample_clips`].

    Example:

    ```python
    >>> frames = torch.zeros(2, 6, 3, 8, 8, dtype=torch.uint8)
    >>> batches = ClipBatches(frames, seed=0, batch_size=4, context_frames=1, later_frames=2, horizon=3)
    >>> [later.shape for _, later in load_clips(batches, range(10, 12))]
    [torch.Size([4, 2, 3, 8, 8]), torch.Size([4, 2, 3, 8, 8])]

    ```
    """

    def __init__(self, frames: Sequence[np.ndarray] | torch.Tensor, *, seed: int, **drawing: Any) -> None:
        self.frames = frames
        self.seed = seed
        self.drawing = drawing

    def __getitem__(self, step: int) -> Clips:
        return sample_clips(self.frames, seed=[self.seed, step], **self.drawing)


def load_clips(batches: ClipBatches, steps: range, *, workers: int = 0) -> DataLoader[Clips]:
    """
    The batches of some steps, in order.

    Args:
        batches ([`ClipBatches`]):
            What to read.
        steps (`range`):
            The steps.
        workers (`int`, *optional*, defaults to 0):
            Processes that read ahead; 0: each batch is read when it is asked for.

    Returns:
        `DataLoader`: Yields the batch of each step.
    """
    return DataLoader(
        batches,
        batch_size=None,  # what it reads is a batch already
        sampler=steps,
        collate_fn=_as_read,
        num_workers=workers,
        # Not fork: the threads of torch that run here do not survive it.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_leave_ctrl_c_to_the_training if workers else None,
        generator=torch.Generator(),  # without one, it draws from torch's own, and changes what is drawn later
    )


def _as_read(batch: Any) -> Any:
    return batch


def _leave_ctrl_c_to_the_training(worker: int) -> None:
    """A terminal sends it to all processes; the training, which saves first, ends those that read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
