"""
Agents that try the same starts: without a model, with base and rlvr of each run, and with the true world.

Each attempt is a piece. A row is the mean over its starts, with a bootstrap interval. So is the difference of rlvr and
base, which is taken start by start.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..evaluation.json_files import write_json
from .intervals import bootstrap_interval
from .pieces import Piece, Pieces, digest_weights
from .record import finding_record, reason_for_few, recipe_and_seeds


FIRST_START = 5_000_000
"""Seed of the first start; no split of a recipe reaches so far."""

MODELS = ("base", "rlvr")
"""Checkpoints of a run that agents plan with."""

Agent = Callable[[Any, int], Any]
"""Called with a world at its start and a seed; returns what decides in that world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Which agents are compared, in which worlds."""

    finding: str
    """Name of the finding and of its JSON file."""

    begin: Callable[[int], Any]
    """Makes the world at the start of that number."""

    attempt: Callable[[Any, Any], Any]
    """Called with a world and what decides in it; returns the record of the attempt, a dataclass."""

    without_model: Mapping[str, Agent]
    """Agents that use no model, by the names of their rows."""

    with_model: Callable[[Path], Agent]
    """Makes the agent that plans with a checkpoint."""

    with_true_world: Mapping[str, Agent]
    """Agents that plan with the true world, which no model can beat, by the names of their rows."""

    metrics_of: Callable[[Piece], dict[str, float]]
    """Metrics of an attempt."""

    protocol: Mapping[str, Any]
    """Settings that all attempts depend on."""

    revision: int = 1
    """Raised when attempts of the same settings go another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table and one training seed of it."""

    name: str
    """The row's name in the table."""

    settings: dict[str, Any]
    """What its attempts depend on, beside the start."""

    try_start: Callable[[int], Any]
    """Makes the attempt from the start of that number; the record of it is a dataclass."""


def measure_agents(
    comparison: Comparison,
    runs: Sequence[Path | str],
    *,
    folder: Path | str,
    starts: int,
    first_start: int = FIRST_START,
    seed: int = 0,
) -> tuple[Path, dict[str, list[list[Piece]]]]:
    """
    Let all agents of a comparison try the same starts.

    Args:
        comparison ([`Comparison`]):
            Agents and worlds.
        runs (`Sequence[Path]`):
            Output folders of runs, one a training seed, each with the checkpoints `base` and `rlvr`.
        folder (`Path`):
            Where to write the JSON and the pieces.
        starts (`int`):
            Number of starts.
        first_start (`int`, *optional*, defaults to 5000000):
            Number of the first start.
        seed (`int`, *optional*, defaults to 0):
            Seed of what agents draw.

    Returns:
        `tuple[Path, dict]`: the JSON file, with what [`finding_record`] gives, `rows` (row -> metric -> `mean`, `low`,
        `high`, `n`, `values`, one value a start) and `differences` (the same of rlvr minus base); and the attempts,
        see [`make_attempts`].

    Raises:
        FileNotFoundError: If a checkpoint is not there.
        ValueError: If there is no run or start.
    """
    rows = _rows(comparison, find_checkpoints(runs, starts), seed)
    attempts = make_attempts(rows, range(first_start, first_start + starts), _pieces(comparison, folder))
    means = {name: mean_by_start(of_seeds, comparison.metrics_of) for name, of_seeds in attempts.items()}
    recipe, training_seeds = recipe_and_seeds(runs)
    reason = reason_for_few(training_seeds)
    record = finding_record(
        comparison.finding,
        recipe=recipe,
        measured=[piece for of_seeds in attempts.values() for pieces in of_seeds for piece in pieces],
        n=starts,
        training_seeds=training_seeds,
        sampling_seeds=[seed],
        reason=f"{reason}; the intervals are over starts, not over training." if reason else "",
        protocol=comparison.protocol,
    )
    path = write_json({**record, **summarize_rows(means)}, Path(folder, f"{comparison.finding}.json"))
    return path, attempts


def _pieces(comparison: Comparison, folder: Path | str) -> Pieces:
    return Pieces(folder=Path(folder, "pieces"), revision=comparison.revision)


def _rows(comparison: Comparison, checkpoints: Mapping[str, Sequence[Path]], seed: int) -> list[Row]:
    """Agents without a model first, then each checkpoint of each model, then agents with the true world."""

    def row(name: str, agent: Agent, **settings: Any) -> Row:
        def try_start(start: int) -> Any:
            world = comparison.begin(start)
            return comparison.attempt(world, agent(world, seed_of_start(seed, start)))

        return Row(name=name, settings={**comparison.protocol, "seed": seed, **settings}, try_start=try_start)

    return [
        *(row(name, agent) for name, agent in comparison.without_model.items()),
        *(
            # 16 digits, not all 64: pieces measured earlier are named by them and stay usable.
            row(name, comparison.with_model(checkpoint), weights=digest_weights(checkpoint)[:16])
            for name, of_runs in checkpoints.items()
            for checkpoint in of_runs
        ),
        *(row(name, agent) for name, agent in comparison.with_true_world.items()),
    ]


def text_metrics(piece: Piece, *, actions: str) -> dict[str, float]:
    """Metrics of a [`~rlvr_world_hf.planning.text_agent.TextAttempt`]; `actions` is what its commands are called."""
    return {
        "success": float(piece["is_success"]),
        "value": piece["value"],
        actions: float(len(piece["commands"])),
        "seconds_per_decision": mean_seconds(piece),
    }


def mean_seconds(piece: Piece) -> float:
    """Mean duration of the decisions of an attempt, in seconds; 0 where none was needed."""
    return float(np.mean(piece["seconds"] or [0.0]))


def find_checkpoints(runs: Sequence[Path | str], starts: int) -> dict[str, list[Path]]:
    """Model -> its checkpoint in each run, which must be there."""
    if not runs or starts < 1:
        raise ValueError(f"Expected at least one run and one start, got {len(runs)} and {starts}.")
    checkpoints = {name: [Path(run, name) for run in runs] for name in MODELS}
    for checkpoint in (checkpoint for of_runs in checkpoints.values() for checkpoint in of_runs):
        if not checkpoint.is_dir():
            raise FileNotFoundError(
                f"There is no checkpoint {checkpoint}; give the output folders of finished runs, as `rlvr-world run "
                "RECIPE` makes them."
            )
    return checkpoints


def seed_of_start(seed: int, start: int) -> int:
    """The seed of one start: far from those of other starts, so that an agent may count on from it."""
    return int(np.random.SeedSequence([seed, start]).generate_state(1)[0])


def make_attempts(rows: Sequence[Row], starts: Sequence[int], pieces: Pieces) -> dict[str, list[list[Piece]]]:
    """Row's name -> training seed -> start -> the piece of that attempt, which has its `start`, too."""

    def attempt(row: Row, start: int) -> dict[str, Any]:
        return {"start": start, **dataclasses.asdict(row.try_start(start))}

    made: list[list[Piece]] = [[] for _ in rows]
    for start in tqdm(starts, desc="starts"):  # a start at a time, so that an interrupted run has whole ones
        for row, of_row in zip(rows, made, strict=True):
            of_row.append(pieces.get(row.name, row.settings, partial(attempt, row, start), part=str(start)))
    attempts: dict[str, list[list[Piece]]] = {}
    for row, of_row in zip(rows, made, strict=True):
        # Rows of one name are the training seeds of one model.
        attempts.setdefault(row.name, []).append(of_row)
    return attempts


def mean_by_start(
    of_seeds: Sequence[Sequence[Piece]], metrics_of: Callable[[Piece], dict[str, float]]
) -> dict[str, dict[int, float]]:
    """Metric -> start -> mean over the training seeds."""
    values: dict[str, dict[int, list[float]]] = {}
    for piece in (piece for pieces in of_seeds for piece in pieces):
        for metric, value in metrics_of(piece).items():
            values.setdefault(metric, {}).setdefault(piece["start"], []).append(value)
    return {
        metric: {start: float(np.mean(of_start)) for start, of_start in of_metric.items()}
        for metric, of_metric in values.items()
    }


def summarize_rows(means: Mapping[str, Mapping[str, Mapping[int, float]]]) -> dict[str, Any]:
    """The `rows` and `differences` of the JSON, from the means of each row: metric -> start -> mean."""
    base, rlvr = (means[name] for name in MODELS)
    differences = {metric: [rlvr[metric][start] - base[metric][start] for start in base[metric]] for metric in base}
    return {
        "rows": {
            name: {metric: summarize_starts([*of_metric.values()]) for metric, of_metric in of_row.items()}
            for name, of_row in means.items()
        },
        "differences": {
            f"{MODELS[1]} - {MODELS[0]}": {m: summarize_starts(values) for m, values in differences.items()}
        },
    }


def summarize_starts(values: Sequence[float]) -> dict[str, Any]:
    """Mean, 95 % bootstrap interval over the starts, their number and the values; empty where there is none."""
    if not values:
        return {}
    low, high = bootstrap_interval(values)
    return {"mean": float(np.mean(values)), "low": low, "high": high, "n": len(values), "values": list(values)}
