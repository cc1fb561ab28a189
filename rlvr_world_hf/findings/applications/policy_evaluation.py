"""
Policies of PushT judged within world models, against the real simulator.

    success     by the pose of the block in the last frame: its centroid is at most `tolerance` from the goal's centre,
                and its angle at most `turn` from the goal's; judged in the same way on simulated and on predicted
                frames, where a block that has vanished is a failure
    agreement   of the policies' success rates: gap, Pearson, Spearman, MMRV (`findings/rank_agreement.py`)

As in RLVR-World's policy evaluation ([paper](https://huggingface.co/papers/2505.13934)), the models' windows slide
over their own frames. The authors let a human label the last frames; here they are measured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...evaluation.json_files import write_json
from ...pipeline import WorldModelPipeline
from ...runs.reproduce import SEEDS
from ...worlds.pusht.form import common_form
from ...worlds.pusht.goal_policies import POLICIES
from ...worlds.pusht.judging import (
    PolicyMaker,
    PredictedWorld,
    SimulatedWorld,
    World,
    find_scenes,
    play,
    poses_to_goal,
)
from ..application import Application
from ..attempts import MODELS
from ..figures import draw_agreement
from ..pieces import Piece, Pieces, digest_weights
from ..rank_agreement import STATISTICS, bootstrap_interval
from ..record import finding_record, reason_for_few, recipe_and_seeds


REVISION = 2
"""Raised when the same settings are measured otherwise, see [`Pieces`][]."""

SIMULATOR = "simulator"
"""Row of the true world, with which the models are compared."""

Folder = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyProtocol:
    """How policies are compared: the same starts and noise for all worlds."""

    episodes: int = 100
    """Starts, the same for every policy."""

    steps: int = 16
    """Decisions of an episode."""

    seed: int = 0
    """Decides the starts."""

    tolerance: float = 32.0
    """Largest distance of the block's centroid from the goal's centre that is a success, in world units of 512."""

    turn: float = 180.0
    """
    Largest difference of the block's angle from the goal's that is a success, in degrees; 180 for any, as the policies
    do not mean to turn it.
    """

    nearest: float = 64.0
    """Least distance at the start."""

    farthest: float = 170.0
    """Largest distance at the start."""

    horizon: int = 4
    """Steps of a model's window."""

    temperature: float = 0.0
    """Divides the logits of all models; 0 takes the most likely token."""


def policy_evaluation(
    runs: Sequence[Folder],
    *,
    folder: Path,
    episodes: int = 100,
    horizon: int = 4,
    device: str | torch.device | None = None,
) -> Path:
    """
    Judge policies of PushT within base and rlvr of some runs, see [`evaluate_policies`].

    Args:
        runs (`Sequence[Path]`):
            Output folders of runs, one a training seed.
        folder (`Path`):
            Where to write `policy_evaluation.json` and the pieces.
        episodes (`int`, *optional*, defaults to 100):
            Number of starts, the same for every policy.
        horizon (`int`, *optional*, defaults to 4):
            Steps of a window: as many as the models were trained on.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `policy_evaluation.json`.
    """
    recipe, training_seeds = recipe_and_seeds(runs)
    path = folder / "policy_evaluation.json"
    evaluate_policies(
        {name: [Path(run, name) for run in runs] for name in MODELS},
        path,
        recipe=recipe,
        training_seeds=training_seeds,
        reason=reason_for_few(training_seeds),
        protocol=PolicyProtocol(episodes=episodes, horizon=horizon),
        device=device,
    )
    return path


def evaluate_policies(
    checkpoints: Mapping[str, Sequence[Folder]],
    path: Folder,
    *,
    recipe: str,
    training_seeds: Sequence[int],
    reason: str | None = None,
    sampling_seeds: Sequence[int] = (0,),
    protocol: PolicyProtocol | None = None,
    policies: Mapping[str, PolicyMaker] = POLICIES,
    resamples: int = 2000,
    pieces: Folder | None = None,
    device: str | torch.device | None = None,
) -> dict[str, Any]:
    """
    Let policies act in the simulator and in world models, and compare their success rates.

    What one policy does in one world is a piece, see [`~rlvr_world_hf.findings.pieces.Pieces`]; an interrupted
    evaluation resumes.

    Args:
        checkpoints (`Mapping[str, Sequence]`):
            Row name -> one checkpoint folder a training seed, as in `base` and `rlvr`; of PushT, with frames alone.
        path (`str` or `PathLike`):
            JSON file to write.
        recipe (`str`):
            Name of the checkpoints' recipe.
        training_seeds (`Sequence[int]`):
            Training seeds of the folders of each row, in order.
        reason (`str`, *optional*):
            Why there are fewer than 3 training seeds, where there are.
        sampling_seeds (`Sequence[int]`, *optional*, defaults to `(0,)`):
            Seeds of the models' noise; more than one is of use only if the temperature is above 0.
        protocol ([`PolicyProtocol`], *optional*):
            Episodes, steps, and what a success is.
        policies (`Mapping`, *optional*):
            Name -> what makes a policy of a generator. Defaults to the 12 of `POLICIES`. A policy whose code has
            changed needs another name or another folder of pieces, because a piece is found by its name.
        resamples (`int`, *optional*, defaults to 2000):
            Number of draws of the bootstrap, which resamples episodes and training seeds.
        pieces (`str` or `PathLike`, *optional*):
            Folder of the pieces. Defaults to one beside `path`, of its name without the ending.
        device (`str` or `torch.device`, *optional*):
            Where the models compute.

    Returns:
        `dict`: what was written: what [`~rlvr_world_hf.findings.record.finding_record`] gives (`n` is the number of
        episodes), and `rows`, see [`agreement_rows`].

    Raises:
        `ValueError`: If there is not a checkpoint for each training seed, there are fewer than 3 without a reason or
            fewer than 2 policies, or a checkpoint is not of PushT or of another form than the first.
        `FileNotFoundError`: If a checkpoint is not there.

    Example:

    ```python
    >>> evaluate_policies({"base": []}, "policies.json", recipe="pusht/debug", training_seeds=[0, 1, 2])
    Traceback (most recent call last):
    ...
    ValueError: Expected a checkpoint of 'base' for each training seed [0, 1, 2], got 0.

    ```
    """
    _refuse_impossible(checkpoints, training_seeds, reason, policies)
    protocol = protocol or PolicyProtocol()
    successes, measured = judge_policies(
        checkpoints,
        training_seeds=training_seeds,
        sampling_seeds=sampling_seeds,
        protocol=protocol,
        policies=policies,
        pieces=Path(path).with_suffix("") if pieces is None else Path(pieces),
        device=device,
    )
    record = finding_record(
        "policy_evaluation",
        recipe=recipe,
        measured=measured,
        n=protocol.episodes,
        training_seeds=training_seeds,
        sampling_seeds=sampling_seeds,
        reason=reason or "",
        protocol=asdict(protocol),
    )
    record["rows"] = agreement_rows(successes, list(policies), training_seeds=len(training_seeds), resamples=resamples)
    write_json(record, path)
    return record


def judge_policies(
    checkpoints: Mapping[str, Sequence[Folder]],
    *,
    training_seeds: Sequence[int],
    pieces: Path,
    protocol: PolicyProtocol,
    sampling_seeds: Sequence[int] = (0,),
    policies: Mapping[str, PolicyMaker] = POLICIES,
    device: str | torch.device | None = None,
) -> tuple[dict[str, np.ndarray], list[Piece]]:
    """
    Let policies act in the simulator and in world models.

    Args:
        checkpoints (`Mapping[str, Sequence]`):
            As of [`evaluate_policies`].
        training_seeds (`Sequence[int]`):
            As of it.
        pieces (`Path`):
            Folder of the pieces.
        protocol ([`PolicyProtocol`]):
            Episodes, steps, and what a success is.
        sampling_seeds (`Sequence[int]`, *optional*, defaults to `(0,)`):
            As of it.
        policies (`Mapping`, *optional*):
            As of it.
        device (`str` or `torch.device`, *optional*):
            Where the models compute.

    Returns:
        `tuple[dict[str, np.ndarray], list[dict]]`: row -> successes `(R, P, E)`, as [`agreement_rows`] takes them, the
        simulator's first; and all pieces.
    """
    store = Pieces(folder=pieces, revision=REVISION)
    measured: list[Piece] = []

    @cache
    def load(checkpoint: str) -> WorldModelPipeline:
        return WorldModelPipeline.from_pretrained(checkpoint, device=device)

    form = common_form({str(each): load(str(each)).processor for folders in checkpoints.values() for each in folders})
    near = {"nearest": protocol.nearest, "farthest": protocol.farthest}
    scenes = find_scenes(protocol.episodes, seed=protocol.seed, form=form, **near)
    settings = {**asdict(protocol), **asdict(form), "scenes": scenes}

    def successes_in(name: str, enter: Callable[[], World], **also: Any) -> np.ndarray:
        """Of policies and episodes `(P, E)`: 1 where the block ends at the goal, 0 elsewhere."""
        of_policies = []
        for policy, make in policies.items():
            play_it = partial(_ends, enter, make, scenes, protocol.steps)
            piece = store.get(f"{name}-{policy}", {**settings, **also}, play_it)
            measured.append(piece)
            ends = zip(piece["distances"], piece["turns"], strict=True)
            of_policies.append([_is_success(far, turned, protocol) for far, turned in ends])
        return np.array(of_policies, dtype=float)

    # The simulator has no seeds: it is one run, on the axis that models have for theirs.
    successes = {SIMULATOR: successes_in(SIMULATOR, partial(SimulatedWorld, scenes, form))[None]}
    model_settings = {"horizon": protocol.horizon, "temperature": protocol.temperature, "max_steps": protocol.steps}
    for row, folders in checkpoints.items():
        of_seeds = []
        for training_seed, checkpoint in zip(training_seeds, folders, strict=True):
            weights = digest_weights(checkpoint)
            for noise in sampling_seeds:
                enter = partial(PredictedWorld, load(str(checkpoint)), scenes, noise=noise, **model_settings)
                of_seeds.append(successes_in(f"{row}-{training_seed}-{noise}", enter, weights=weights))
        successes[row] = np.stack(of_seeds)
    return successes, measured


def agreement_rows(
    successes: Mapping[str, np.ndarray], policies: Sequence[str], *, training_seeds: int, resamples: int = 2000
) -> list[dict[str, Any]]:
    """
    Success rates, their agreement with the simulator's, and each model's agreement minus that of the first model.

    Args:
        successes (`Mapping[str, np.ndarray]`):
            Row -> 1 where policy `p` succeeded in episode `e`, else 0: that of `simulator` of shape `(1, P, E)`, those
            of models of shape `(training seeds * sampling seeds, P, E)`.
        policies (`Sequence[str]` of length `P`):
            Names of the policies.
        training_seeds (`int`):
            Number of training seeds.
        resamples (`int`, *optional*, defaults to 2000):
            Number of draws of the bootstrap.

    Returns:
        `list[dict]`: rows with `world`, `policy` (`None` where it is about all), `measure` (`success`, `gap`,
        `pearson`, `spearman`, `mmrv`), `value`, the mean over seeds, its 95 % interval `low` to `high` over episodes
        and training seeds, `undefined` (see [`bootstrap_interval`]) and `values`, one a training seed; `None` where
        nothing is defined. The world `rlvr - base` is the difference of two, over the same draws.

    Example:

    ```python
    >>> real = np.array([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]])
    >>> rows = agreement_rows({"simulator": real, "rlvr": real}, ["poor", "fair", "good"], training_seeds=1)
    >>> [(row["world"], row["measure"], row["value"]) for row in rows[-3:]]
    [('rlvr', 'pearson', 1.0), ('rlvr', 'spearman', 1.0), ('rlvr', 'mmrv', 0.0)]

    ```
    """
    real = successes[SIMULATOR][0]
    models = [row for row in successes if row != SIMULATOR]
    rows = []

    def add(world: str, policy: str | None, measure: str, of_runs: Callable[[np.ndarray], np.ndarray]) -> None:
        seeds = 1 if world == SIMULATOR else training_seeds

        def of_seeds(drawn: np.ndarray) -> np.ndarray:
            # Runs are in the order of training seeds: a seed's value is the mean over its sampling seeds.
            return of_runs(drawn).reshape(seeds, -1).mean(axis=1)

        interval = bootstrap_interval(of_seeds, real.shape[1], runs=seeds, resamples=resamples)
        values = of_seeds(np.arange(real.shape[1]))
        listed = [None if np.isnan(value) else float(value) for value in values]
        rows.append({"world": world, "policy": policy, "measure": measure, **interval, "values": listed})

    def rates_of(row: str, index: int, drawn: np.ndarray) -> np.ndarray:
        return successes[row][:, index, drawn].mean(axis=1)

    def agreement(row: str, name: str, drawn: np.ndarray) -> np.ndarray:
        rates = real[:, drawn].mean(axis=1)
        return np.array([STATISTICS[name](rates, run[:, drawn].mean(axis=1)) for run in successes[row]])

    def gain(row: str, name: str, drawn: np.ndarray) -> np.ndarray:
        # The same episodes are drawn for both, so their common luck cancels out.
        return agreement(row, name, drawn) - agreement(models[0], name, drawn)

    for row in successes:
        for index, policy in enumerate(policies):
            add(row, policy, "success", partial(rates_of, row, index))
    for row in models:
        for name in STATISTICS:
            add(row, None, name, partial(agreement, row, name))
    for row in models[1:]:
        for name in STATISTICS:
            add(f"{row} - {models[0]}", None, name, partial(gain, row, name))
    return rows


def _ends(
    enter: Callable[[], World], make: PolicyMaker, scenes: list[int], steps: int
) -> dict[str, list[float | None]]:
    """What a piece holds of each episode: how far the block ends from the goal; `None` where it has vanished."""
    # The world is made here, so that none is made for a piece that is read.
    distances, turns = poses_to_goal(play(enter(), make, scenes, steps=steps))
    # JSON has no nan.
    return {
        name: [None if np.isnan(value) else float(value) for value in values]
        for name, values in (("distances", distances), ("turns", turns))
    }


def _is_success(distance: float | None, turned: float | None, protocol: PolicyProtocol) -> bool:
    if distance is None or turned is None:
        return False
    return distance <= protocol.tolerance and turned <= protocol.turn


def _refuse_impossible(
    checkpoints: Mapping[str, Sequence[Folder]],
    training_seeds: Sequence[int],
    reason: str | None,
    policies: Mapping[str, PolicyMaker],
) -> None:
    if not checkpoints or SIMULATOR in checkpoints:
        raise ValueError(f"Expected checkpoints by name, none of them {SIMULATOR!r}, got {list(checkpoints)}.")
    for row, folders in checkpoints.items():
        if len(folders) != len(training_seeds):
            raise ValueError(
                f"Expected a checkpoint of {row!r} for each training seed {list(training_seeds)}, got {len(folders)}."
            )
    if not training_seeds or (len(training_seeds) < len(SEEDS) and not reason):
        raise ValueError(
            f"Expected {len(SEEDS)} training seeds, got {len(training_seeds)}; train more, or give the `reason`."
        )
    if len(policies) < 2:
        raise ValueError(f"Expected at least 2 policies to rank, got {list(policies)}.")


APPLICATION = Application(
    recipe="pusht/quickstart",
    measure=policy_evaluation,
    window="horizon",
    options=("episodes",),
    metrics=("gap", "pearson", "spearman", "mmrv"),
    draw=draw_agreement,
)
