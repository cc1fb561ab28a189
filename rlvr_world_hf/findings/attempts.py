"""
Attempts of agents from many starts, as evidence: made one by one, resumed where they stopped, summed up.

Each attempt is written at once as a file of its own; what it depends on, checkpoints included, is in the name of its
folder. The summary has a bootstrap interval over the starts.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..evaluation.provenance import commit, machine
from ..runs.progress import fingerprint, read_json, write_json
from .intervals import bootstrap_interval


FIRST_START = 5_000_000
"""Seed of the first start; no split of a recipe reaches so far."""

MODELS = ("base", "rlvr")
"""Checkpoints of a run that plans are imagined with."""

Piece = dict[str, Any]
"""The record of one attempt."""

Agent = Callable[[Any, int], Any]
"""What decides in a world, such as a game at its start, made of that world and a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table: a way to decide, with all that its numbers depend on."""

    name: str
    """Its name in the table."""

    settings: dict[str, Any]
    """What its attempts depend on, beside start and seed."""

    try_start: Callable[[int], Any]
    """Makes the attempt from the start of that number; the record of it is a dataclass."""


def measure_agents(
    finding: str,
    runs: Sequence[Path | str],
    *,
    begin: Callable[[int], Any],
    attempt: Callable[[Any, Any], Any],
    agents: Mapping[str, Agent],
    imagined: Callable[[Path], Agent],
    ceiling: Mapping[str, Agent],
    measure: Callable[[Piece], dict[str, float]],
    folder: Path | str,
    starts: int,
    first_start: int,
    seed: int,
    protocol: dict[str, Any],
) -> tuple[Path, dict[str, list[list[Piece]]]]:
    """
    Let agents without a model, with base and rlvr of each run, and with the true world try the same starts.

    Args:
        finding (`str`):
            Name of the finding and of its JSON file.
        runs (`Sequence[Path]`):
            Output folders of runs, one a training seed.
        begin (`Callable`):
            The world at the start of that number.
        attempt (`Callable`):
            Lets what decides try that world; the record of it is a dataclass.
        agents (`Mapping[str, Callable]`):
            Agents without a model, by the names of their rows.
        imagined (`Callable`):
            The agent that plans with a checkpoint.
        ceiling (`Mapping[str, Callable]`):
            Agents that plan with the true world.
        measure (`Callable`):
            Metrics of an attempt.
        folder (`Path`):
            Where to write the JSON and the finished attempts.
        starts (`int`):
            Number of starts; the same for all rows.
        first_start (`int`):
            Number of the first start.
        seed (`int`):
            Of what agents draw.
        protocol (`dict`):
            What all attempts depend on.

    Returns:
        `tuple[Path, dict]`: the JSON file, see [`evidence_record`], and the attempts, see [`make_attempts`].
    """
    places = find_checkpoints(runs, starts)

    def try_start(agent: Agent, start: int) -> Any:
        world = begin(start)
        return attempt(world, agent(world, seed_of_start(seed, start)))

    def row(name: str, agent: Agent, **settings: Any) -> Row:
        return Row(name=name, settings={**protocol, "seed": seed, **settings}, try_start=partial(try_start, agent))

    rows = [row(name, agent) for name, agent in agents.items()]
    rows += [
        row(name, imagined(place), weights=digest_weights(place))
        for name, of_runs in places.items()
        for place in of_runs
    ]
    rows += [row(name, agent) for name, agent in ceiling.items()]
    of_rows = make_attempts(rows, [first_start + number for number in range(starts)], Path(folder))
    measured = {name: mean_by_start(pieces, measure) for name, pieces in of_rows.items()}
    record = evidence_record(finding, runs, of_rows, measured, seed=seed, starts=starts, protocol=protocol)
    path = Path(folder, f"{finding}.json")
    write_json(path, record)
    return path, of_rows


def measure_text(piece: Piece, *, actions: str) -> dict[str, float]:
    """Metrics of a [`~rlvr_world_hf.planning.text_agent.TextAttempt`]; `actions` is what its commands are called."""
    return {
        "success": float(piece["is_success"]),
        "value": piece["value"],
        actions: float(len(piece["commands"])),
        "seconds_per_decision": mean_seconds(piece),
    }


def mean_seconds(piece: Piece) -> float:
    """What a decision of an attempt took, in seconds; 0 where none was needed."""
    return float(np.mean(piece["seconds"] or [0.0]))


def find_checkpoints(runs: Sequence[Path | str], starts: int) -> dict[str, list[Path]]:
    """Model -> its checkpoint in each run, which must be there."""
    if not runs or starts < 1:
        raise ValueError(f"Expected at least one run and one start, got {len(runs)} and {starts}.")
    places = {name: [Path(run, name) for run in runs] for name in MODELS}
    for place in (place for of_model in places.values() for place in of_model):
        if not place.is_dir():
            raise FileNotFoundError(
                f"There is no checkpoint {place}; give the output folders of finished runs, as `rlvr-world run RECIPE`"
                " makes them."
            )
    return places


def seed_of_start(seed: int, start: int) -> int:
    """The seed of one start: that of no other, whatever is drawn from it and the few after it."""
    return int(np.random.SeedSequence([seed, start]).generate_state(1)[0])


def digest_weights(place: Path) -> str:
    """Sixteen digits that change with the weights."""
    digest = hashlib.sha256()
    for file in sorted(place.rglob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def make_attempts(rows: Sequence[Row], starts: Sequence[int], folder: Path) -> dict[str, list[list[Piece]]]:
    """Row -> training seed -> start -> the record of the attempt, made now unless it lies in the folder."""
    of_rows: dict[str, list[list[Piece]]] = {}
    for row in rows:
        of_rows.setdefault(row.name, []).append([])
    places = [(row, folder / "pieces" / f"{row.name}-{fingerprint(row.settings)}") for row in rows]
    for start in tqdm(starts, desc="starts"):  # a start at a time, so that an interrupted run has whole ones
        number: dict[str, int] = {}
        for row, place in places:
            file = place / f"{start}.json"
            piece = read_json(file)
            if not piece:
                place.mkdir(parents=True, exist_ok=True)
                made = dataclasses.asdict(row.try_start(start))
                piece = {"start": start, "commit": commit(), "machine": machine(), **made}
                write_json(file, piece)
            which = number[row.name] = number.get(row.name, -1) + 1
            of_rows[row.name][which].append(piece)
    return of_rows


def mean_by_start(
    seeds: list[list[Piece]], measure: Callable[[Piece], dict[str, float]]
) -> dict[str, dict[int, float]]:
    """Metric -> start -> mean over the training seeds."""
    values: dict[str, dict[int, list[float]]] = {}
    for piece in (piece for of_seed in seeds for piece in of_seed):
        for metric, value in measure(piece).items():
            values.setdefault(metric, {}).setdefault(piece["start"], []).append(value)
    return {metric: {s: float(np.mean(v)) for s, v in of_starts.items()} for metric, of_starts in values.items()}


def summarize_starts(values: Sequence[float]) -> dict[str, Any]:
    """Mean, bootstrap interval over the starts (95 %), their number and the values; empty where there is none."""
    if not values:
        return {}
    low, high = bootstrap_interval(values)
    return {"mean": float(np.mean(values)), "low": low, "high": high, "n": len(values), "values": list(values)}


def evidence_record(
    finding: str,
    runs: Sequence[Path | str],
    of_rows: Mapping[str, list[list[Piece]]],
    measured: Mapping[str, dict[str, dict[int, float]]],
    *,
    seed: int,
    starts: int,
    protocol: dict[str, Any],
) -> dict[str, Any]:
    """
    What a finding's JSON holds: where it was measured, the summary of each row, and what rlvr has more than base.
    """
    results = [read_json(Path(run, "results.json")) for run in runs]
    seeds = [result.get("training_seeds", [number])[0] for number, result in enumerate(results)]
    pieces = [piece for of_row in of_rows.values() for of_seed in of_row for piece in of_seed]
    base, last = (measured[name] for name in MODELS)
    differences = {metric: [last[metric][s] - base[metric][s] for s in base[metric]] for metric in base}
    reason = f"{len(seeds)} training seed(s) were at hand; the intervals are over starts, not over training."
    return {
        "finding": finding,
        "recipe": " + ".join(dict.fromkeys(result.get("recipe", "unknown") for result in results)),
        "commit": " + ".join(dict.fromkeys(piece["commit"] for piece in pieces)),
        "machine": " + ".join(dict.fromkeys(piece["machine"] for piece in pieces)),
        "n": starts,
        "training_seeds": seeds,
        "sampling_seeds": [seed],
        **({"reason": reason} if len(seeds) < 3 else {}),
        "protocol": protocol,
        "rows": {
            name: {metric: summarize_starts(list(values.values())) for metric, values in of_row.items()}
            for name, of_row in measured.items()
        },
        "differences": {
            f"{MODELS[1]} - {MODELS[0]}": {m: summarize_starts(values) for m, values in differences.items()}
        },
    }
