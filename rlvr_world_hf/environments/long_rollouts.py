"""
Predictions far beyond the horizon a model was trained on, for dataset rows whose actions are all known.

    model     a [`SlidingWindow`] for each row: after `S` frames it slides over the predicted ones
    floor     the true codes, read back in windows that slide alike: over the recorded frames, or over what was read
              back, which is what a model that predicts every code correctly would see

How a window slides stands in `rollouts/sliding.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..evaluation.predictions import Predictions, RowBatch, Sampling, predict_tokenizer_floor, row_seed
from ..rollouts.sliding import slide_windows
from .sliding_window import GIVEN_AS, SlidingWindow, advance
from .starts import read_start


GREEDY = Sampling(temperature=0.0)
"""Always the likeliest token, so that no chance adds up over the frames."""


def predict_autoregressively(
    batch: RowBatch, *, pipeline: Any, horizon: int, sampling: Sampling = GREEDY, sampling_seed: int = 0
) -> Predictions:
    """
    What a world model predicts for each row from its own frames and the recorded actions.

    Args:
        batch (`RowBatch`):
            Rows with more frames to predict than `horizon`; of the reference only their number is read.
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
    first = processor.layout.prompt_actions - 1  # the actions before it led to the given frames
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


def reconstruct_autoregressively(
    batch: RowBatch, *, processor: Any, horizon: int, feeds_back: bool = False
) -> Predictions:
    """
    The reference written as its true tokens and read back, in windows that slide as in [`predict_autoregressively`].

    Args:
        batch (`RowBatch`):
            Rows; their reference is read.
        processor (`WorldModelProcessor`):
            Of frames; writes and reads.
        horizon (`int`):
            Steps of a window.
        feeds_back (`bool`, *optional*, defaults to `False`):
            Whether windows slide over what was read back. If not, they slide over the recorded frames, and the result
            is what the visual tokenizer loses of each frame on its own.

    Returns:
        `Predictions`: frames, one prediction a row.
    """
    seen, states, read_back = batch.context, batch.context_states, []
    for window in slide_windows(processor.layout, steps=batch.reference.shape[1], horizon=horizon):
        ahead = slice(window.done, window.done + window.steps)
        rows = RowBatch(
            indices=batch.indices,
            context=seen[:, window.given],
            actions=batch.actions[:, window.actions],
            reference=batch.reference[:, ahead],
            reference_mask=batch.reference_mask[:, ahead],
            context_states=None if states is None else states[:, window.given],
            reference_states=None if batch.reference_states is None else batch.reference_states[:, ahead],
        )
        frames = predict_tokenizer_floor(rows, processor=processor).predicted[:, 0]
        read_back.append(frames)
        seen = torch.cat([seen, frames if feeds_back else rows.reference], dim=1)
        if states is not None and rows.reference_states is not None:
            states = torch.cat([states, rows.reference_states], dim=1)
    return _one_each(batch, predicted=torch.cat(read_back, dim=1))


def _one_each(batch: RowBatch, **states: torch.Tensor) -> Predictions:
    readable = torch.ones(len(batch.indices), 1, dtype=torch.bool, device=batch.reference.device)
    return Predictions(readable=readable, **{name: values[:, None] for name, values in states.items()})
