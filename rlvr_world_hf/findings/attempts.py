"""
Agents that try the same starts: without a model, with base and rlvr of each run, and with the true world.

Each attempt is a piece. A row is the mean over its starts, with a bootstrap interval over starts and training seeds.
So is the difference of rlvr and base, and of rlvr and control, which is taken start by start and seed by seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm.auto import tqdm

from ..evaluation.json_files import write_json
from .intervals import crossed_interval
from .pieces import Piece, Pieces, digest_weights
from .record import finding_record, reason_for_few, recipe_and_seeds


FIRST_START = 5_000_000
"""Seed of the first start; no split of a recipe reaches so far."""

MODELS: Final = ("base", "rlvr")
"""Checkpoints of a run that agents plan with, unless a comparison has others."""

DIFFERENCES = (("rlvr", "base"), ("rlvr", "control"))
"""Rows that are compared start by start, where both are there."""

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

    models: tuple[str, ...] = MODELS
    """Checkpoints of each run that are planned with."""


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
            Output folders of runs, one a training seed, each with the comparison's checkpoints.
        folder (`Path`):
            Where to write the JSON and the pieces.
        starts (`int`):
            Number of starts.
        first_start (`int`, *optional*, defaults to 5000000):
            Number of the first start.
        seed (`int`, *optional*, defaults to 0):
            Seed of what agents draw.

    Returns:
        `tuple[Path, dict]`: the JSON file, with what [`finding_record`] gives, `weights` (checkpoint -> sixteen digits
        of each run's, equal where runs share it), `rows` and `differences`, see [`summarize_rows`]; and the attempts,
        see [`make_attempts`].

    Raises:
        FileNotFoundError: If a checkpoint is not there.
        ValueError: If there is no run or start.
    """
    checkpoints = find_checkpoints(runs, starts, models=comparison.models)
    rows = _rows(comparison, checkpoints, seed)
    attempts = make_attempts(rows, range(first_start, first_start + starts), _pieces(comparison, folder))
    values = {name: values_by_start(of_seeds, comparison.metrics_of) for name, of_seeds in attempts.items()}
    weights = {name: [digest_weights(each)[:16] for each in of_runs] for name, of_runs in checkpoints.items()}
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
    content = {**record, "weights": weights, **summarize_rows(values)}
    path = write_json(content, Path(folder, f"{comparison.finding}.json"))
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


def find_checkpoints(
    runs: Sequence[Path | str], starts: int, *, models: Sequence[str] = MODELS
) -> dict[str, list[Path]]:
    """Model -> its checkpoint in each run, which must be there."""
    if not runs or starts < 1:
        raise ValueError(f"Expected at least one run and one start, got {len(runs)} and {starts}.")
    checkpoints = {name: [Path(run, name) for run in runs] for name in models}
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


def values_by_start(
    of_seeds: Sequence[Sequence[Piece]], metrics_of: Callable[[Piece], dict[str, float]]
) -> dict[str, dict[int, list[float]]]:
    """Metric -> start -> its value with each training seed. A start has a metric with all of them, or with none."""
    values: dict[str, dict[int, list[float]]] = {}
    for piece in (piece for pieces in of_seeds for piece in pieces):
        for metric, value in metrics_of(piece).items():
            values.setdefault(metric, {}).setdefault(piece["start"], []).append(value)
    return values


def summarize_rows(values: Mapping[str, Mapping[str, Mapping[int, list[float]]]]) -> dict[str, Any]:
    """
    The `rows` and `differences` of the JSON.

    Args:
        values (`Mapping`):
            Row -> what [`values_by_start`] gives of it.

    Returns:
        `dict`: `rows`, row -> metric -> what [`summarize_starts`] gives; and `differences`, the same of `DIFFERENCES`,
        such as `rlvr - base`, where both rows are there.
    """
    differences = {
        f"{row} - {other}": {
            metric: summarize_starts(_by_seed(values[row][metric]) - _by_seed(values[other][metric]))
            for metric in values[row]
        }
        for row, other in DIFFERENCES
        if row in values and other in values
    }
    rows = {
        name: {metric: summarize_starts(_by_seed(of_metric)) for metric, of_metric in of_row.items()}
        for name, of_row in values.items()
    }
    return {"rows": rows, "differences": differences}


def summarize_starts(values: np.ndarray) -> dict[str, Any]:
    """
    Mean, interval and values of one metric.

    Args:
        values (`numpy.ndarray` of shape `(K, n)`):
            Of each training seed one value a start.

    Returns:
        `dict`: `mean`; `low` and `high`, the 95 % bootstrap interval over starts and training seeds; `n`, the number
        of starts; `values`, the mean over training seeds of each; and `by_seed`, all values, if there are several
        training seeds. Empty where there is no start.
    """
    if not values.size:
        return {}
    low, high = crossed_interval(values.tolist())
    means = values.mean(axis=0).tolist()
    by_seed = {"by_seed": values.tolist()} if len(values) > 1 else {}
    return {"mean": float(np.mean(means)), "low": low, "high": high, "n": len(means), "values": means, **by_seed}


def _by_seed(by_start: Mapping[int, list[float]]) -> np.ndarray:
    """Values `(K, n)` of each training seed and start."""
    return np.array([*by_start.values()], dtype=np.float64).T
