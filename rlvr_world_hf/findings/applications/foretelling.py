"""
Which metric foretells use? Separately trained small bases and what RL made of each are measured alike, and used alike.

    metrics     of held-out windows: of the frames of one window, of the last frame of a long rollout (`drift`), and of
                groups that are drawn (the energy score)
    uses        success of planning (`planning.py`), and how far success of policies in the model is from that in the
                simulator (`policy_evaluation.py`)
    foretells   Spearman's correlation over all checkpoints, in the direction in which both get better: 1 where the
                metric puts them into the order of their use. Its interval is by bootstrap of runs, each with all of
                its checkpoints, as those of one run are alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ...environments.long_rollouts import predict_autoregressively
from ...evaluation.json_files import write_json
from ...evaluation.metrics import measure, measure_steps
from ...evaluation.predictions import RowBatch, Sampling, predict_checkpoint, row_batches
from ...pipeline import WorldModelPipeline
from ...rewards.base import VerifiableReward
from ...rewards.energy import EnergyScoreReward
from ...rewards.pixel import MAEReward, SSIMReward
from ...runs.named_parts import build_metrics
from ...runs.progress import read_json
from ...runs.recipe import Recipe
from ...runs.stage import find_stage
from ...runs.stages.evaluate import evaluate
from ..application import Application
from ..attempts import MODELS
from ..pieces import Piece, Pieces, digest_weights
from ..rank_agreement import bootstrap_interval, gap, spearman
from ..record import finding_record
from ..reliability import Quantity, split_half_reliability
from .long_rollouts import long_rows
from .planning import planning
from .policy_evaluation import SIMULATOR, PolicyProtocol, judge_policies


REVISION = 1
"""Raised when the same settings are measured otherwise, see [`Pieces`][]."""

RUNS = (0, 1, 2, 3, 4, 5, 6, 7)
"""Training seeds: of fewer, rank correlations say little."""

DRIFTS = ("mae", "block_pose_error")
"""Metrics whose value at the last frame of a long rollout is a metric, too, where they are measured."""

BATCH_SIZE = 32
"""Rollouts in memory at a time."""

PLANNING, JUDGING = "planning_success", "judging_gap"
"""The uses: of starts, higher is better; of episodes, lower is better."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A metric or a use of all checkpoints."""

    quantity: Quantity
    """From some of its samples to a number of each checkpoint, those of one run beside one another."""

    samples: int
    """Number of its samples."""

    higher_is_better: bool
    """Its direction."""

    @property
    def values(self) -> np.ndarray:
        """Of each checkpoint `(M,)`, by all samples."""
        return self.quantity(np.arange(self.samples))

    @property
    def goodness(self) -> np.ndarray:
        """The same, higher where better."""
        return self.values if self.higher_is_better else -self.values


def foretelling(
    recipes: Sequence[Recipe],
    *,
    folder: Path | str,
    windows: int = 120,
    frames: int = 30,
    num_samples: int = 4,
    starts: int = 50,
    episodes: int = 50,
    candidates: int = 64,
    iterations: int = 3,
    device: str | torch.device | None = None,
) -> Path:
    """
    Measure and use base and rlvr of each run, and say which metric puts them into the order of their use.

    Args:
        recipes (`Sequence[Recipe]`):
            Finished runs of PushT, one a training seed, each with a base of its own.
        folder (`Path`):
            Where to write `foretelling.json` and the pieces.
        windows (`int`, *optional*, defaults to 120):
            Held-out windows that are measured.
        frames (`int`, *optional*, defaults to 30):
            Frames of a long rollout.
        num_samples (`int`, *optional*, defaults to 4):
            Predictions of a window of which the energy score is, at least 2.
        starts (`int`, *optional*, defaults to 50):
            Starts of planning.
        episodes (`int`, *optional*, defaults to 50):
            Episodes of each policy that is judged.
        candidates (`int`, *optional*, defaults to 64):
            Candidates of an iteration of the planner.
        iterations (`int`, *optional*, defaults to 3):
            Iterations of it.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `foretelling.json`, with what [`~rlvr_world_hf.findings.record.finding_record`] gives (`n` is the
        number of checkpoints), `rows` (metric or use -> `planning` and `judging`, the rank correlations with both
        uses, and `reliability`, see [`~rlvr_world_hf.findings.reliability.split_half_reliability`]; each with `mean`,
        `low`, `high`) and `checkpoints`, a list of `seed`, `checkpoint`, `weights` and `values`. Metrics are MAE, MAE
        of what moves, SSIM, those of the recipe's `evaluate.metrics`, `DRIFTS` and the energy score.

    Raises:
        ValueError: If there are fewer than 3 runs, two runs have the same base, or a number is out of range.
        FileNotFoundError: If a checkpoint is not there.
    """
    if len(recipes) < 3 or num_samples < 2 or min(windows, starts, episodes) < 2:
        raise ValueError(
            "Expected at least 3 runs to put into an order, 2 predictions of a window, and 2 windows, starts and "
            f"episodes to halve, got {len(recipes)}, {num_samples}, {windows}, {starts} and {episodes}; give more."
        )
    runs = [recipe.output_dir for recipe in recipes]
    weights = [[digest_weights(run / name)[:16] for name in MODELS] for run in runs]
    if len({base for base, *_ in weights}) < len(runs):
        raise ValueError(
            "Expected runs of separately trained bases, got some with the same weights; take a recipe that trains "
            "its own, such as pusht/small_bases, in place of one that goes on from the base that ships."
        )
    horizon, folder = recipes[0].windows.horizon, Path(folder)
    rows = long_rows(recipes[0], windows=windows, frames=frames)
    protocol = {"frames": frames, "horizon": horizon, "num_samples": num_samples, "windows": len(rows)}
    pieces = Pieces(folder=folder / "pieces", revision=REVISION)
    of_windows = [
        _measured_piece(recipe, name, rows=rows, protocol=protocol, pieces=pieces, device=device)
        for recipe in recipes
        for name in MODELS
    ]
    planned = planning(
        runs,
        folder=folder / "planning",
        starts=starts,
        window=horizon,
        rows=MODELS,
        candidates=candidates,
        iterations=iterations,
        device=device,
    )
    seeds = [recipe.seed for recipe in recipes]
    successes, judged = judge_policies(
        {name: [run / name for run in runs] for name in MODELS},
        training_seeds=seeds,
        pieces=folder / "judging",
        protocol=PolicyProtocol(episodes=episodes, horizon=horizon),
        device=device,
    )
    uses = {PLANNING: _of_starts(read_json(planned)), JUDGING: _of_episodes(successes)}
    everything = {**_of_windows(of_windows), **uses}
    record = finding_record(
        "foretelling",
        recipe=recipes[0].name,
        measured=[*of_windows, *judged],
        n=len(of_windows),
        training_seeds=seeds,
        sampling_seeds=[0],
        reason="" if len(runs) >= len(RUNS) else f"{len(runs)} training seed(s) were asked for",
        protocol={**protocol, "starts": starts, "episodes": episodes, "planning": read_json(planned)["protocol"]},
    )
    record["rows"] = {
        name: {
            "planning": foretells(measured, uses[PLANNING], runs=len(runs)),
            "judging": foretells(measured, uses[JUDGING], runs=len(runs)),
            "reliability": split_half_reliability(measured.quantity, measured.samples),
        }
        for name, measured in everything.items()
    }
    named = [(seed, name) for seed in seeds for name in MODELS]
    digests = [digest for of_run in weights for digest in of_run]
    record["checkpoints"] = [
        {
            "seed": seed,
            "checkpoint": name,
            "weights": digest,
            "values": {metric: float(measured.values[place]) for metric, measured in everything.items()},
        }
        for place, ((seed, name), digest) in enumerate(zip(named, digests, strict=True))
    ]
    return write_json(record, folder / "foretelling.json")


def foretells(metric: Measured, use: Measured, *, runs: int) -> dict[str, Any]:
    """
    How far a metric puts checkpoints into the order of their use.

    Args:
        metric ([`Measured`]):
            The metric.
        use ([`Measured`]):
            The use.
        runs (`int`):
            Number of runs, each with as many checkpoints beside one another.

    Returns:
        `dict`: `mean`, Spearman's correlation in [-1, 1], 1 where the better is of more use; `low` and `high`, its
        95 % interval by bootstrap of runs; `n`, the number of checkpoints. Empty where it is not defined, or of a use
        with itself.
    """
    if metric is use:
        return {}
    better, of_use = (measured.goodness.reshape(runs, -1) for measured in (metric, use))
    if not (np.isfinite(better).all() and np.isfinite(of_use).all()):
        return {}
    found = bootstrap_interval(lambda drawn: spearman(better[drawn].ravel(), of_use[drawn].ravel()), runs)
    if None in (found["value"], found["low"]):
        return {}
    return {"mean": found["value"], "low": found["low"], "high": found["high"], "n": better.size}


def _metrics(recipe: Recipe) -> list[VerifiableReward]:
    own = build_metrics(evaluate.read(recipe).metrics, where="evaluate.metrics")
    usual: list[VerifiableReward] = [MAEReward(), MAEReward(pixels="moving"), SSIMReward()]
    names = {metric.name for metric in usual}
    return [*usual, *(metric for metric in own if metric.reads != "sensors" and metric.name not in names)]


def _measured_piece(
    recipe: Recipe, name: str, *, rows: Any, protocol: dict[str, Any], pieces: Pieces, device: Any
) -> Piece:
    """What was measured of a checkpoint: metric -> its value in each window, `None` where there is none."""
    checkpoint = recipe.output_dir / name
    settings = {
        **protocol,
        "weights": digest_weights(checkpoint)[:16],
        "episodes": find_stage("collect").fingerprint(recipe),
        "cut": dataclasses.asdict(recipe.windows),
        "metrics": evaluate.read(recipe).metrics,
    }

    def measured() -> dict[str, Any]:
        pipeline = WorldModelPipeline.from_pretrained(checkpoint, device=device)
        metrics, values = _metrics(recipe), dict[str, list[torch.Tensor]]()
        batches = tqdm(row_batches(rows, size=BATCH_SIZE), total=-(-len(rows) // BATCH_SIZE), desc=name, disable=None)
        for batch in batches:
            for metric, of_rows in _measure_batch(pipeline, batch, metrics, protocol).items():
                values.setdefault(metric, []).append(of_rows.double())
        joined = {metric: torch.cat(parts).tolist() for metric, parts in values.items()}
        return {
            "values": {
                metric: [value if np.isfinite(value) else None for value in of_windows]
                for metric, of_windows in joined.items()
            },
            "higher_is_better": {metric.name: metric.higher_is_better for metric in metrics},
        }

    return pieces.get(f"{name}-seed-{recipe.seed}", settings, measured)


def _measure_batch(
    pipeline: Any, batch: RowBatch, metrics: Sequence[VerifiableReward], protocol: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Metric -> its values `(B,)`."""
    horizon, frames = protocol["horizon"], protocol["frames"]
    found = predict_autoregressively(batch, pipeline=pipeline, horizon=horizon)
    steps = {name: of_rows[:, 0] for name, of_rows in measure_steps(found, batch, metrics).items()}  # (B, S)
    asked = [metric.name for metric in metrics]
    values = {name: steps[name][:, :horizon].nanmean(dim=1) for name in asked if name in steps}
    values |= {f"{name}_at_{frames}": steps[name][:, -1] for name in DRIFTS if name in steps}
    energy = EnergyScoreReward()
    drawn = predict_checkpoint(
        first := _first_window(batch, horizon),
        model=pipeline.model,
        processor=pipeline.processor,
        sampling=Sampling(),
        num_samples=protocol["num_samples"],
    )
    return {**values, energy.name: measure(drawn, first, [energy])[energy.name].mean(dim=1)}


def _first_window(batch: RowBatch, horizon: int) -> RowBatch:
    """The rows with so many frames to predict."""
    ahead = batch.reference.shape[1]
    actions = batch.actions[:, : batch.actions.shape[1] - ahead + horizon]
    states = None if batch.reference_states is None else batch.reference_states[:, :horizon]
    return dataclasses.replace(
        batch,
        actions=actions,
        reference=batch.reference[:, :horizon],
        reference_mask=batch.reference_mask[:, :horizon],
        reference_states=states,
    )


def _of_windows(pieces: Sequence[Piece]) -> dict[str, Measured]:
    """The metrics that all checkpoints have."""
    shared = [name for name in pieces[0]["values"] if all(name in piece["values"] for piece in pieces)]
    values = {name: np.array([piece["values"][name] for piece in pieces], dtype=np.float64) for name in shared}
    directions = pieces[0]["higher_is_better"]
    return {
        name: Measured(
            quantity=partial(_mean_of, of_windows),
            samples=of_windows.shape[1],
            # A drift has the direction of its metric; lower energy scores are better.
            higher_is_better=directions.get(name.rpartition("_at_")[0] or name, False),
        )
        for name, of_windows in values.items()
        if np.isfinite(of_windows).any(axis=1).all()
    }


def _mean_of(values: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Means `(M,)` of values `(M, N)` over some samples, of those that there are."""
    chosen = values[:, samples]
    counts = np.isfinite(chosen).sum(axis=1)
    return np.where(counts > 0, np.nansum(chosen, axis=1) / np.maximum(counts, 1), np.nan)


def _of_starts(planned: dict[str, Any]) -> Measured:
    """Success of planning, over the starts whose block must move, if there are two or more of them."""
    headline = [planned["rows"][name].get("success_block_moves", {"n": 0}) for name in MODELS]
    metric = "success_block_moves" if min(summary["n"] for summary in headline) > 1 else "success"
    by_seed = [planned["rows"][name][metric]["by_seed"] for name in MODELS]
    values = np.array(by_seed).transpose(1, 0, 2)  # (K, C, n)
    flat = values.reshape(-1, values.shape[2])
    return Measured(quantity=partial(_mean_of, flat), samples=flat.shape[1], higher_is_better=True)


def _of_episodes(successes: dict[str, np.ndarray]) -> Measured:
    """The gap of policies' success rates in the model and in the simulator."""
    real = successes[SIMULATOR][0]  # (P, E)
    models = np.stack([successes[name] for name in MODELS], axis=1)  # (K, C, P, E)
    flat = models.reshape(-1, *models.shape[2:])

    def gaps(episodes: np.ndarray) -> np.ndarray:
        rates = real[:, episodes].mean(axis=1)
        return np.array([gap(rates, of_model[:, episodes].mean(axis=1)) for of_model in flat])

    return Measured(quantity=gaps, samples=real.shape[1], higher_is_better=False)


APPLICATION = Application(
    recipe="pusht/small_bases",
    measure=foretelling,
    takes_recipes=True,
    seeds=RUNS,
    options=("windows", "frames", "num_samples", "starts", "episodes", "candidates", "iterations"),
    metrics=("planning", "judging", "reliability"),
)
