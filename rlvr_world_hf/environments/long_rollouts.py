"""
Predictions far beyond the horizon a model was trained on, of windows whose actions are all known.

    model     a [`SlidingWindow`] a row, greedy or sampled: after `S` frames the window slides over predicted ones
    floor     the true codes, read back, in windows that slide alike: over the recorded frames, or over what was read
              back, as a model with perfect codes would see it

All given frames slide, as within the environments: the context frame too is, from the second window on, a predicted
one. So do the windows of RLVR-World's policy evaluation ([paper](https://huggingface.co/papers/2505.13934)).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..evaluation.predictions import Predictions, RowBatch, Sampling, predict_tokenizer_floor, row_seed
from .sliding_window import GIVEN_AS, SlidingWindow, advance
from .starts import read_start


GREEDY = Sampling(temperature=0.0)
"""The likeliest token: no luck adds up over the frames."""


def predict_rolled_on(
    batch: RowBatch, *, pipeline: Any, horizon: int, sampling: Sampling = GREEDY, sampling_seed: int = 0
) -> Predictions:
    """
    What a world model predicts of each row, fed back its own frames and given the true actions.

    Args:
        batch (`RowBatch`):
            Rows with more frames to predict than `horizon`; their number alone is read of the reference.
        pipeline ([`WorldModelPipeline`]):
            World model of frames, which may come with sensors.
        horizon (`int`):
            Steps of a window, `S`: those the model was trained on.
        sampling (`Sampling`, *optional*):
            How tokens are drawn; the likeliest by default.
        sampling_seed (`int`, *optional*, defaults to 0):
            Seed of the noise, which depends on it and the row alone.

    Returns:
        `Predictions`: one a row, as long as the reference. The first `horizon` frames of greedy ones are those of
        [`~rlvr_world_hf.evaluation.predictions.predict_checkpoint`].

    Raises:
        ValueError: for rows that do not fit the processor.
    """
    processor = pipeline.processor
    columns = batch.columns(processor.prompt_columns)
    windows = [
        SlidingWindow(
            read_start({name: values[row] for name, values in columns.items()}, processor),
            processor,
            horizon=horizon,
            rng=np.random.default_rng(row_seed(sampling_seed, index)),
        )
        for row, index in enumerate(batch.indices)
    ]
    first = processor.layout.prompt_actions - 1  # those before led to the given frames
    reached = [
        advance(pipeline, windows, batch.actions[:, first + step].cpu(), **sampling.to_dict())
        for step in range(batch.reference.shape[1])
    ]
    stacked = {
        name: torch.stack([torch.stack([state[given] for state in states]) for states in reached], dim=1)
        for name, given in GIVEN_AS.items()
        if given in reached[0][0]
    }  # (B, S, ...)
    return _one_each(batch, **stacked)


def predict_floor_rolled_on(batch: RowBatch, *, processor: Any, horizon: int, feeds_back: bool = False) -> Predictions:
    """
    The reference written as its true tokens and read back, in windows that slide as those of [`predict_rolled_on`].

    Args:
        batch (`RowBatch`):
            Rows; their reference is read.
        processor (`WorldModelProcessor`):
            Of frames; writes and reads.
        horizon (`int`):
            Steps of a window.
        feeds_back (`bool`, *optional*, defaults to `False`):
            Whether windows slide over what was read back; if not, over the recorded frames, which gives what the
            visual tokenizer loses of each frame on its own.

    Returns:
        `Predictions`: frames, one prediction a row.
    """
    given, actions = batch.context.shape[1], processor.layout.prompt_actions + horizon
    seen, states, read_back = batch.context, batch.context_states, []
    for done in range(0, batch.reference.shape[1], horizon):
        ahead = slice(done, done + horizon)
        window = RowBatch(
            indices=batch.indices,
            context=seen[:, -given:],
            actions=batch.actions[:, done : done + actions],
            reference=batch.reference[:, ahead],
            reference_mask=batch.reference_mask[:, ahead],
            context_states=None if states is None else states[:, -given:],
            reference_states=None if batch.reference_states is None else batch.reference_states[:, ahead],
        )
        frames = predict_tokenizer_floor(window, processor=processor).predicted[:, 0]
        read_back.append(frames)
        seen = torch.cat([seen, frames if feeds_back else window.reference], dim=1)
        if states is not None and window.reference_states is not None:
            states = torch.cat([states, window.reference_states], dim=1)
    return _one_each(batch, predicted=torch.cat(read_back, dim=1))


def _one_each(batch: RowBatch, **states: torch.Tensor) -> Predictions:
    readable = torch.ones(len(batch.indices), 1, dtype=torch.bool, device=batch.reference.device)
    return Predictions(readable=readable, **{name: values[:, None] for name, values in states.items()})
