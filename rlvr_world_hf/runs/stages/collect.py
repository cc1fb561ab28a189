"""
Collect: records episodes of the world or reads recorded ones, split by episode, once for all runs.

A world is a file or package of `rlvr_world_hf/worlds/`, or a module of your own; `folder` and `lerobot` read episodes
of any world. A world that can be recorded has a function `collect_episodes(seeds, *, ...)`; one that was recorded has
a dataclass `RecordedEpisodes`, see `data/folder.py`. The keys of that function or dataclass are keys of this stage. In
a world of text, they are called `collect_transitions` and `RecordedTransitions`. Where a world model has a part in
what is recorded, `CHECKPOINTS` of the module says which keys name one.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..content import checkpoint_identity
from ..keys import key
from ..kinds import kind_of
from ..kinds.kind import SPLITS
from ..places import check_world_model
from ..progress import cached
from ..recipe import Recipe
from ..stage import StageRun, stage
from ..world import is_recorded, world_module, world_source


REVISION = 1
"""Raised when other episodes come of the same settings, see [`~rlvr_world_hf.runs.stage.Stage`]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectSettings:
    """What to record."""

    train: int = key(0, "Episodes or transitions to train on; with recorded data, 0 takes all that are left.")
    validation: int | float = key(
        40, "Episodes to choose checkpoints and sampling on; with recorded data, also a share."
    )
    test: int | float = key(60, "Held-out episodes, for the table only; with recorded data, also a share.")
    first_seed: int = key(
        0, "Seed of the first episode, from which the others count; with recorded data, seed of the split."
    )
    processes: int = key(2, "Processes that record.", affects_result=False)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


def _contents(recipe: Recipe) -> Any:
    """
    What recorded data consist of; of a world that the run records, the weights of the world models that its settings
    name, and `None` if they name none.
    """
    named = _checkpoints(recipe, collect.read(recipe))
    if named:
        return {name: checkpoint_identity(place) for name, place in named.items()}
    return kind_of(recipe).contents()


def _checkpoints(recipe: Recipe, settings: CollectSettings) -> dict[str, Path]:
    """Key -> the world model that it names, given in the recipe or by default."""
    names = getattr(world_module(recipe), "CHECKPOINTS", ())
    known = inspect.signature(world_source(recipe)).parameters
    return {name: settings.arguments.get(name, known[name].default) for name in names}


def _check_length(recipe: Recipe, settings: CollectSettings) -> None:
    """Recorded episodes must be as long as a window. Those of a folder are measured where they are read."""
    length, needed = settings.arguments.get("length"), kind_of(recipe).needs().get("min_frames", 0)
    if length is not None and length < needed:
        raise ValueError(
            f"windows.horizon: expected windows of at most the {length} frames of an episode, got {needed}: "
            f"{recipe.windows.horizon} to predict after {needed - recipe.windows.horizon} given; lower it, or raise "
            "collect.length."
        )


def _try(recipe: Recipe, settings: CollectSettings) -> None:
    """Of a world that the run records, the number of episodes of each split must be given, and its models be there."""
    if not is_recorded(world_source(recipe)):
        _seeds(settings)
    for name, place in _checkpoints(recipe, settings).items():
        check_world_model(place, where=f"collect.{name}")


@stage(
    settings=CollectSettings,
    revision=REVISION,
    forwards_to=world_source,
    # It follows from the windows, see `WorldKind.needs`.
    reserved=("min_frames",),
    made_from=_contents,
    check=_check_length,
    tries=_try,
    shares_seeds=True,
)
def collect(run: StageRun) -> list[Path]:
    """
    Record episodes, or read recorded ones, and cache them by their settings.

    The cache is in `~/.cache/rlvr_world_hf`, or where the environment variable `RLVR_WORLD_CACHE` points. A run with
    another training seed or output folder uses the same episodes, without recording them again.
    """
    folder = cached("episodes", collect.fingerprint(run.recipe), partial(_fill, run))
    return [folder / split for split in SPLITS]


def _fill(run: StageRun, folder: Path) -> None:
    kind = kind_of(run.recipe)
    recorded = kind.recorded()
    if recorded is None:
        kind.record(_seeds(run.settings), folder)
    else:
        kind.write_recorded(recorded, folder)


def _seeds(settings: CollectSettings) -> dict[str, range]:
    """The seeds of each split."""
    counts = {split: getattr(settings, split) for split in SPLITS}
    if any(count != int(count) or count < 1 for count in counts.values()):
        raise ValueError(f"collect: expected a number of episodes to record for each split, got {counts}; give each.")
    firsts = {split: settings.first_seed + offset for split, offset in SPLITS.items()}
    return {split: range(first, first + int(counts[split])) for split, first in firsts.items()}
