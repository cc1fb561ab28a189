"""The evidence on long rollouts: the error of each frame, far beyond the horizon that models were trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ...data import window_rows
from ...environments.long_rollouts import predict_autoregressively, reconstruct_autoregressively
from ...evaluation.json_files import write_json
from ...evaluation.metrics import measure_steps
from ...evaluation.predictions import Predictor, Sampling, predict_copy_last, row_batches
from ...evaluation.results import summarize
from ...pipeline import WorldModelPipeline
from ...rewards.base import VerifiableReward
from ...rewards.pixel import MAEReward
from ...runs.kinds import kind_of
from ...runs.named_parts import build_metrics
from ...runs.recipe import Recipe
from ...runs.stage import find_stage
from ...runs.stages.evaluate import CHECKPOINTS, evaluate
from ...runs.world import is_text
from ..application import Application
from ..figures import draw_curves
from ..pieces import Piece, Pieces, digest_weights
from ..record import finding_record, reason_for_few


REVISION = 1
"""Raised when the same settings are measured otherwise, see [`Pieces`][]."""

FRAMES = (1, 5, 10, 20, 30)
"""Predicted frames, counted from 1, whose error stands in the table."""

YARDSTICKS = ("copy_last", "tokenizer_floor", "tokenizer_floor_fed_back")
"""Rows without a model: the last given frame repeated; true codes decoded, given recorded frames or decoded ones."""

BATCH_SIZE = 64
"""Number of rollouts in memory at a time."""


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
    Predict many frames of held-out episodes by base, control and rlvr, given the true actions.

    Within a window of the trained horizon, a model continues from its own tokens. Then the window slides: all frames
    the model is given next, the context frame too, are frames that it has predicted. See
    [`~rlvr_world_hf.environments.long_rollouts.predict_autoregressively`].

    Args:
        recipes (`Sequence[Recipe]`):
            Finished runs, one a training seed.
        folder (`Path`):
            Where to write `long_rollouts.json` and the pieces: one for each row and seed, and for rows without a
            model one for each codec.
        windows (`int`, *optional*, defaults to 120):
            Number of starts in test episodes, spread evenly over those with `frames` recorded frames ahead; all of
            them if there are fewer.
        frames (`int`, *optional*, defaults to 30):
            Number of frames to predict.
        temperature (`float`, *optional*, defaults to 0.0):
            Divides the logits; 0 takes the most likely token.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `long_rollouts.json`, with what [`~rlvr_world_hf.findings.record.finding_record`] gives (`n` is the
        number of windows), `rows` (row -> metric -> `mean`, `std`, `values`, one a training seed: the mean over
        frames, and `<metric>_at_<frame>` of single ones) and `curves` (row -> metric -> `mean` and `std` over training
        seeds, one number a frame). Metrics are `mae`, those of the recipe's `evaluate.metrics`, and `repetition_rate`.

    Raises:
        FileNotFoundError: If a checkpoint is not there.
        ValueError: If there is no run, window or frame, no test episode is long enough, or the world is not of frames.
    """
    if not recipes or windows < 1 or frames < 1 or temperature < 0:
        raise ValueError(
            "Expected at least one run, window and frame, and a temperature of 0 or more, got "
            f"{len(recipes)}, {windows}, {frames} and {temperature}."
        )
    # Recipes that differ in their training seed alone share the test episodes.
    rows = long_rows(recipes[0], windows=windows, frames=frames)
    protocol = {"frames": frames, "horizon": recipes[0].windows.horizon, "temperature": temperature}
    pieces = Pieces(folder=Path(folder, "pieces"), revision=REVISION)
    measure = partial(_measure, rows=rows, protocol=protocol, pieces=pieces, device=device)
    measured = {row: [measure(row, recipe) for recipe in recipes] for row in (*YARDSTICKS, *CHECKPOINTS)}
    curves = {row: _stack([piece["curves"] for piece in of_seeds]) for row, of_seeds in measured.items()}
    training_seeds = [recipe.seed for recipe in recipes]
    record = finding_record(
        "long_rollouts",
        recipe=recipes[0].name,
        measured=[piece for of_seeds in measured.values() for piece in of_seeds],
        n=len(rows),
        training_seeds=training_seeds,
        sampling_seeds=[0],
        reason=reason_for_few(training_seeds),
        protocol=protocol,
    )
    record["rows"] = {row: _summarize(values_by_metric) for row, values_by_metric in curves.items()}
    record["curves"] = {
        row: {metric: _band(values) for metric, values in values_by_metric.items()}
        for row, values_by_metric in curves.items()
    }
    return write_json(record, Path(folder, "long_rollouts.json"))


def long_rows(recipe: Recipe, *, windows: int, frames: int) -> Any:
    """Dataset rows of the test episodes with that many recorded frames to predict, evenly chosen."""
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
    row: str, recipe: Recipe, *, rows: Any, protocol: Mapping[str, Any], pieces: Pieces, device: Any
) -> Piece:
    """The piece of a row and training seed; rows without a model are those of all training seeds of one codec."""
    is_model = row in CHECKPOINTS
    checkpoint = recipe.output_dir / (row if is_model else CHECKPOINTS[0])
    metrics = evaluate.read(recipe).metrics
    settings = {
        **protocol,
        "row": row,
        # 16 digits, not all 64: pieces measured earlier are named by them and stay usable.
        "weights": digest_weights(checkpoint if is_model else checkpoint / "codec")[:16],
        "episodes": find_stage("collect").fingerprint(recipe),
        "cut": dataclasses.asdict(recipe.windows),
        "windows": len(rows),
        "metrics": metrics,
    }
    name = f"{row}-seed-{recipe.seed}" if is_model else row

    def measure() -> dict[str, Any]:
        pipeline = WorldModelPipeline.from_pretrained(checkpoint, device=device)
        own = [metric for metric in build_metrics(metrics, where="evaluate.metrics") if metric.reads == "frames"]
        return {"curves": _curves(_predictor(row, pipeline, protocol), rows, [MAEReward(), *own], label=name)}

    return pieces.get(name, settings, measure)


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
    """Metric -> its mean over the rows, one number a frame; metrics without a value at some frame are left out."""
    measured: dict[str, list[torch.Tensor]] = {}
    batches = row_batches(rows, size=BATCH_SIZE)
    # `disable=None`: no bar where the output is no terminal.
    for batch in tqdm(batches, total=-(-len(rows) // BATCH_SIZE), desc=label, disable=None):
        for name, values in measure_steps(predict(batch), batch, metrics).items():
            measured.setdefault(name, []).append(values[:, 0].double())  # (B, S)
    means = {name: torch.cat(values).nanmean(dim=0) for name, values in measured.items()}
    # JSON has no nan, and `write_json` refuses it.
    return {name: mean.tolist() for name, mean in means.items() if mean.isfinite().all()}


def _stack(of_seeds: Sequence[Mapping[str, list[float]]]) -> dict[str, np.ndarray]:
    """Metric -> values of all training seeds and frames `(N, S)`; metrics that some seed lacks are left out."""
    shared = [metric for metric in of_seeds[0] if all(metric in curves for curves in of_seeds)]
    return {metric: np.array([curves[metric] for curves in of_seeds]) for metric in shared}


def _summarize(values_by_metric: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Summaries over training seeds, of the mean over frames and of the frames `FRAMES`."""
    summaries: dict[str, Any] = {}
    for metric, values in values_by_metric.items():
        summaries[metric] = summarize(values.mean(axis=1).tolist())
        known = [frame for frame in FRAMES if frame <= values.shape[1]]
        summaries |= {f"{metric}_at_{frame}": summarize(values[:, frame - 1].tolist()) for frame in known}
    return summaries


def _band(values: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation over training seeds, of each frame."""
    summaries = [summarize(of_frame) for of_frame in values.T.tolist()]
    return {name: [summary[name] for summary in summaries] for name in ("mean", "std")}


APPLICATION = Application(
    recipe="pusht/quickstart",
    measure=long_rollouts,
    takes_recipes=True,
    options=("windows", "frames", "temperature"),
    metrics=("mae", *(f"mae_at_{frame}" for frame in FRAMES), "agent_position_mae", "repetition_rate"),
    draw=partial(draw_curves, metrics=("mae", "agent_position_mae", "agent_not_found")),
)
