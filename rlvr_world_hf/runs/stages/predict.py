"""Predict: draws what the checkpoints predict, the learning curves, and writes the run's card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...evaluation.figures import learning_curves, sensor_lines, strip
from ...pipeline import WorldModelPipeline
from ...processors.base import state_columns
from .. import text_world
from ..card import write_card
from ..echo import echo
from ..keys import key
from ..progress import read_json
from ..recipe import Recipe
from ..stage import StageRun, stage, stage_folder
from .collect import is_text, split_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings:
    """What to draw."""

    examples: int = key(4, "Test episodes to draw, of each the window in which most moves; of text, right and wrong.")
    checkpoints: tuple[str, ...] = key(("base", "rlvr"), "Checkpoints to draw, below the reference.")
    sampling_seed: int = key(0, "Seed of the sampled predictions.")
    temperature: float = key(1.0, "Sampling temperature.")
    scale: int = key(2, "Times that each pixel is repeated.")
    state: str = key("", "Of text: a state to predict from, in place of all this; its prediction is printed.")
    action: str = key("", "Of text: the action taken in that state.")


@stage(settings=PredictSettings, after=("evaluate",))
def predict(run: StageRun) -> list[Path]:
    """
    Draw reference, predictions and errors as `strip.png` and `strip.gif`, and the curves as `learning_curves.png`;
    sensors are drawn as lines over time, `sensors.png`.

    Of test episodes that are spread evenly over the split, the window is drawn in which most moves: a window in which
    nothing happens shows no difference. Of text, right and wrong answers are written to `examples.md`; with `state`
    and `action`, the last of the checkpoints predicts what changes.
    """
    settings, folder = run.settings, run.recipe.output_dir
    if is_text(run.recipe):
        return _predict_text(run)
    rows = lively_rows(split_rows(run.recipe, "test"), settings.examples)
    pipelines = {
        name: WorldModelPipeline.from_pretrained(folder / name, device=run.processes.device)
        for name in settings.checkpoints
    }
    predictions = {
        name: [_predict(pipeline, row, settings, seed) for seed, row in enumerate(rows)]
        for name, pipeline in pipelines.items()
    }
    processor = next(iter(pipelines.values())).processor
    pictures = []
    for kind, suffix in zip(processor.predicts, ("", "_states"), strict=False):
        given, recorded = (
            torch.as_tensor(np.stack([row[name + suffix] for row in rows])) for name in ("context", "reference")
        )
        predicted = {
            name: torch.stack([columns["predicted" + suffix] for columns in of_rows])
            for name, of_rows in predictions.items()
        }
        pictures += DRAW[kind](given, recorded, predicted, folder, settings.scale, 1 / (processor.fps or 2.0))
    files = [*pictures, folder / "learning_curves.png"]
    learning_curves(log_histories(run.recipe), files[-1])
    return [*files, write_card(run.recipe, checkpoint=folder / "rlvr", folder=folder)]


def _predict_text(run: StageRun) -> list[Path]:
    settings, folder = run.settings, run.recipe.output_dir
    pipelines = {
        name: WorldModelPipeline.from_pretrained(folder / name, device=run.processes.device)
        for name in settings.checkpoints
    }
    if settings.state:
        last = list(pipelines.values())[-1]
        echo(last(settings.state, settings.action, temperature=settings.temperature, seed=settings.sampling_seed)[0])
        return []
    files = [folder / "learning_curves.png"]
    learning_curves(log_histories(run.recipe), files[0])
    if settings.examples:
        files += [folder / "examples.md"]
        files[-1].write_text(text_world.examples(run, pipelines), encoding="utf-8")
    return [*files, write_card(run.recipe, checkpoint=folder / "rlvr", folder=folder)]


def _draw_frames(
    context: Any, reference: Any, predictions: Any, folder: Path, scale: int, seconds: float
) -> list[Path]:
    files = [folder / "strip.png", folder / "strip.gif"]
    paths: dict[str, Any] = {"path_png": files[0], "path_gif": files[1]}
    strip(context, reference, predictions, **paths, scale=scale, seconds_per_frame=seconds)
    return files


def _draw_sensors(
    context: Any, reference: Any, predictions: Any, folder: Path, scale: int, seconds: float
) -> list[Path]:
    file = folder / "sensors.png"
    sensor_lines(context, reference, predictions, path_png=file, seconds_per_step=seconds)
    return [file]


DRAW = {"frames": _draw_frames, "sensors": _draw_sensors}
"""How each kind of state is drawn."""


def log_histories(recipe: Recipe) -> dict[str, list[dict[str, Any]]]:
    """What each training stage of a run logged, by the name of the stage."""
    names = ("pretrain", "grpo", "control")
    histories = {name: read_json(stage_folder(recipe, name) / "history.json") for name in names}
    return {name: history["log_history"] for name, history in histories.items() if history}


def lively_rows(rows: Any, count: int) -> list[dict[str, Any]]:
    """
    Rows of different episodes, of each one in which much moves, but not the most: a quarter of its rows move more.

    Args:
        rows (`datasets.Dataset` or `Sequence[Mapping]`):
            Rows of `data.window_rows`; those with padding are passed over.
        count (`int`):
            Number of episodes, evenly chosen.

    Returns:
        `list[dict]`: At most `count` rows.
    """
    moved: dict[str, list[tuple[float, int]]] = {}
    for index, row in enumerate(rows):
        if np.all(row["reference_mask"]):
            change = np.abs(row["reference"].astype(np.float32) - row["context"][-1:]).mean()
            moved.setdefault(row["episode"], []).append((float(change), index))
    chosen = [sorted(of_episode)[3 * (len(of_episode) - 1) // 4][1] for of_episode in moved.values()]
    count = min(count, len(chosen))
    return [rows[chosen[place * len(chosen) // count]] for place in range(count)]


def _predict(pipeline: Any, row: dict[str, Any], settings: PredictSettings, index: int) -> dict[str, torch.Tensor]:
    beside = {"states": row["context_states"]} if "context_states" in pipeline.processor.prompt_columns else {}
    predicted = pipeline(
        row["context"],
        row["actions"],
        **beside,
        num_samples=1,
        temperature=settings.temperature,
        seed=settings.sampling_seed + index,
    )
    return {name: futures[0] for name, futures in state_columns(predicted).items()}
