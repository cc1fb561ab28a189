"""
The evidence on long rollouts: the error of each frame, far beyond the horizon that models were trained on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..data import window_rows
from ..environments.long_rollouts import predict_autoregressively, reconstruct_autoregressively
from ..evaluation.json_files import write_json
from ..evaluation.metrics import measure_steps
from ..evaluation.predictions import Predictor, Sampling, predict_copy_last, row_batches
from ..evaluation.provenance import commit, machine
from ..evaluation.results import summarize
from ..pipeline import WorldModelPipeline
from ..rewards.base import VerifiableReward
from ..rewards.pixel import MAEReward
from ..runs.kinds import kind_of
from ..runs.named_parts import build_metrics
from ..runs.progress import fingerprint, read_json
from ..runs.recipe import Recipe
from ..runs.reproduce import SEEDS
from ..runs.stage import find_stage
from ..runs.stages.evaluate import CHECKPOINTS, evaluate
from ..runs.world import is_text
from .attempts import digest_weights


FRAMES = (1, 5, 10, 20, 30)
"""Predicted frames, counted from 1, whose error stands in the table."""

YARDSTICKS = ("copy_last", "tokenizer_floor", "tokenizer_floor_fed_back")
"""Rows of no model: the last given frame all along; the true codes read back, given recorded frames or its own."""

BATCH_SIZE = 64
"""Rollouts in memory at a time."""


def long_rollouts(
    recipes: Sequence[Recipe],
    *,
    folder: Path | str,
    windows: int = 120,
    frames: int = 30,
    temperature: float = 0.0,
    device: str | torch.device | None = None,
) -> Path:
    """
    Roll base, control and rlvr on over many frames of held-out episodes, with the true actions.

    Within a window of the trained horizon a model goes on from its own tokens; then the window slides, and all that it
    was given, the context frame too, are frames that it has predicted; see
    [`~rlvr_world_hf.environments.long_rollouts.predict_autoregressively`].

    Args:
        recipes (`Sequence[Recipe]`):
            Finished runs, one a training seed.
        folder (`Path`):
            Where to write `long_rollouts.json` and the pieces, one a row and seed; those of yardsticks one a codec.
        windows (`int`, *optional*, defaults to 120):
            Starts in test episodes, evenly chosen; all if there are not so many with `frames` recorded ones ahead.
        frames (`int`, *optional*, defaults to 30):
            Frames to predict.
        temperature (`float`, *optional*, defaults to 0.0):
            Divides the logits; 0 takes the likeliest token.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `long_rollouts.json`, with `finding`, `recipe`, `commit`, `machine`, `n` (windows), `training_seeds`,
        `sampling_seeds`, `reason` where there are fewer than 3 seeds, `protocol`, `rows` (row -> metric -> `mean`,
        `std`, `values`, one a training seed: the mean over frames, and `<metric>_at_<frame>` of single ones) and
        `curves` (row -> metric -> `mean` and `std` over training seeds, one number a frame). Metrics are `mae`, those
        of the recipe's `evaluate.metrics`, and `repetition_rate`.

    Raises:
        FileNotFoundError: If a checkpoint is not there.
        ValueError: If there is no run, window or frame, no test episode is long enough, or the world is not of frames.
    """
    if not recipes or windows < 1 or frames < 1 or temperature < 0:
        raise ValueError(
            "Expected at least one run, window and frame, and a temperature of 0 or more, got "
            f"{len(recipes)}, {windows}, {frames} and {temperature}."
        )
    rows = _rows(recipes[0], windows=windows, frames=frames)
    protocol = {"frames": frames, "horizon": recipes[0].windows.horizon, "temperature": temperature}
    measure = partial(_measure, rows=rows, protocol=protocol, folder=Path(folder), device=device)
    pieces = {row: [measure(row, recipe) for recipe in recipes] for row in (*YARDSTICKS, *CHECKPOINTS)}
    curves = {row: _stack([piece["curves"] for piece in of_row]) for row, of_row in pieces.items()}
    every = [piece for of_row in pieces.values() for piece in of_row]
    reason = f"{len(recipes)} training seed(s) were asked for"
    record = {
        "finding": "long_rollouts",
        "recipe": recipes[0].name,
        "commit": " + ".join(dict.fromkeys(piece["commit"] for piece in every)),
        "machine": " + ".join(dict.fromkeys(piece["machine"] for piece in every)),
        "n": len(rows),
        "training_seeds": [recipe.seed for recipe in recipes],
        "sampling_seeds": [0],
        **({"reason": reason} if len(recipes) < len(SEEDS) else {}),
        "protocol": protocol,
        "rows": {row: _summarize(of_row) for row, of_row in curves.items()},
        "curves": {
            row: {metric: _band(values) for metric, values in of_row.items()} for row, of_row in curves.items()
        },
    }
    return write_json(record, Path(folder, "long_rollouts.json"))


def _rows(recipe: Recipe, *, windows: int, frames: int) -> Any:
    """Rows of the test episodes with that many recorded frames to predict."""
    episodes = [] if is_text(recipe) else kind_of(recipe).stored("test")
    if not len(episodes) or episodes[0].frames is None:
        raise ValueError(
            f"Expected a world of frames, got the recipe {recipe.name}; give one such as pusht/quickstart."
        )
    cut = dataclasses.asdict(recipe.windows) | {"horizon": frames, "augmentation": None}
    try:
        rows = window_rows(episodes, **cut)
    except ValueError as error:
        raise ValueError(f"No test episode has {frames} frames to predict; ask for fewer `frames`: {error}") from error
    return rows.select([number * len(rows) // windows for number in range(windows)]) if windows < len(rows) else rows


def _measure(
    row: str, recipe: Recipe, *, rows: Any, protocol: Mapping[str, Any], folder: Path, device: Any
) -> dict[str, Any]:
    """The piece of a row and training seed, measured unless its file is there; seeds of one codec share yardsticks."""
    is_model = row in CHECKPOINTS
    place = recipe.output_dir / (row if is_model else CHECKPOINTS[0])
    own = evaluate.read(recipe).metrics
    settings = {
        **protocol,
        "row": row,
        "weights": digest_weights(place if is_model else place / "codec"),
        "episodes": find_stage("collect").fingerprint(recipe),
        "cut": dataclasses.asdict(recipe.windows),
        "windows": len(rows),
        "metrics": own,
    }
    name = f"{row}-seed-{recipe.seed}" if is_model else row
    file = folder / "pieces" / f"{name}-{fingerprint(settings)}.json"
    piece = read_json(file)
    if not piece:
        pipeline = WorldModelPipeline.from_pretrained(place, device=device)
        metrics = [MAEReward(), *(m for m in build_metrics(own, where="evaluate.metrics") if m.reads == "frames")]
        curves = _curves(_predictor(row, pipeline, protocol), rows, metrics, label=name)
        piece = {"settings": settings, "commit": commit(), "machine": machine(), "curves": curves}
        write_json(piece, file)
    return piece


def _predictor(row: str, pipeline: Any, protocol: Mapping[str, Any]) -> Predictor:
    horizon = protocol["horizon"]
    if row == "copy_last":
        return predict_copy_last
    if row in YARDSTICKS:
        is_fed_back = row == "tokenizer_floor_fed_back"
        return partial(
            reconstruct_autoregressively, processor=pipeline.processor, horizon=horizon, feeds_back=is_fed_back
        )
    sampling = Sampling(temperature=protocol["temperature"])
    return partial(predict_autoregressively, pipeline=pipeline, horizon=horizon, sampling=sampling)


def _curves(
    predict: Predictor, rows: Any, metrics: Sequence[VerifiableReward], *, label: str
) -> dict[str, list[float]]:
    """Metric -> its mean over the rows, one number a frame; without those of which a frame has nothing to measure."""
    measured: dict[str, list[torch.Tensor]] = {}
    batches = row_batches(rows, size=BATCH_SIZE)
    for batch in tqdm(batches, total=-(-len(rows) // BATCH_SIZE), desc=label, disable=None):
        for name, values in measure_steps(predict(batch), batch, metrics).items():
            measured.setdefault(name, []).append(values[:, 0].double())  # (B, S)
    means = {name: torch.cat(values).nanmean(dim=0) for name, values in measured.items()}
    return {name: mean.tolist() for name, mean in means.items() if mean.isfinite().all()}


def _stack(of_seeds: Sequence[Mapping[str, list[float]]]) -> dict[str, np.ndarray]:
    """Metric -> training seeds and frames `(N, S)`."""
    shared = [metric for metric in of_seeds[0] if all(metric in curves for curves in of_seeds)]
    return {metric: np.array([curves[metric] for curves in of_seeds]) for metric in shared}


def _summarize(of_row: Mapping[str, np.ndarray]) -> dict[str, Any]:
    summaries: dict[str, Any] = {}
    for metric, values in of_row.items():
        summaries[metric] = summarize(values.mean(axis=1).tolist())
        known = [frame for frame in FRAMES if frame <= values.shape[1]]
        summaries |= {f"{metric}_at_{frame}": summarize(values[:, frame - 1].tolist()) for frame in known}
    return summaries


def _band(values: np.ndarray) -> dict[str, list[float]]:
    of_frames = [summarize(of_frame) for of_frame in values.T.tolist()]
    return {name: [summary[name] for summary in of_frames] for name in ("mean", "std")}
