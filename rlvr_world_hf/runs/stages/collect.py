"""
Collect: records episodes of the world or reads recorded ones, split by episode, once for all runs.

A world is a file or package of `rlvr_world_hf/worlds/`, or a module of your own; `folder` and `lerobot` read episodes
of any world. One that can be recorded has a function `collect_episodes(seeds, *, ...)`, one that was recorded a
dataclass `RecordedEpisodes`, see `data/folder.py`; the keys of the one or the other are keys of this stage. In a world
of text these are `collect_transitions` and `RecordedTransitions`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..keys import key
from ..kinds import kind_of
from ..kinds.kind import SPLITS
from ..progress import cached
from ..recipe import Recipe
from ..stage import StageRun, stage
from ..world import world_source


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectSettings:
    """What to record."""

    train: int = key(0, "Episodes, or recorded transitions, to train on; of recorded ones 0 for all that are left.")
    validation: int | float = key(40, "Episodes to choose checkpoints and sampling on; of recorded ones also a share.")
    test: int | float = key(60, "Held-out episodes, for the table alone; of recorded ones also a share.")
    first_seed: int = key(0, "Seed of the first episode, the others count from it; of recorded ones, of the split.")
    processes: int = key(2, "Processes that record.", affects_result=False)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


def _contents(recipe: Recipe) -> Any:
    """What a folder of recorded data holds; `None` for a world that is recorded here."""
    return kind_of(recipe).contents()


@stage(
    settings=CollectSettings,
    forwards_to=world_source,
    reserved=("min_frames",),
    made_from=_contents,
    shares_seeds=True,
)
def collect(run: StageRun) -> list[Path]:
    """
    Record episodes, or read recorded ones, and cache them by their settings.

    The cache lies in `~/.cache/rlvr_world_hf`, or where the environment variable `RLVR_WORLD_CACHE` points: another
    run, another training seed or another output folder starts with the same episodes at once.
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
