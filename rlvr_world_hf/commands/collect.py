"""
Collect: records episodes of the world, split by episode, once for all runs.

A world is a file of `rlvr_world_hf/data/` (or a module of your own) with a function `collect_episodes(seeds, *, ...)`;
the keys of that function are keys of this stage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from tqdm import tqdm

from ..data import Episode, load_episodes, save_episodes, window_rows
from .keys import key
from .progress import cache_folder, cached
from .recipe import Recipe
from .stage import StageRun, find_stage, stage


SPLITS = {"train": 0, "validation": 1_000_000, "test": 2_000_000}
"""The splits, and what is added to the first seed of each, so that the size of one leaves the others as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectSettings:
    """What to record."""

    train: int = key(700, "Episodes to train on.")
    validation: int = key(40, "Episodes to choose checkpoints and sampling settings on.")
    test: int = key(60, "Held-out episodes, for the table alone.")
    first_seed: int = key(0, "Seed of the first episode; the others count from it.")
    processes: int = key(2, "Processes that record.", shapes_result=False)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


def world_source(recipe: Recipe) -> Callable[..., Any]:
    """
    The function that records episodes of a recipe's world.

    Raises:
        ValueError: If there is no such world.
    """
    module = recipe.world if "." in recipe.world else f"rlvr_world_hf.data.{recipe.world}"
    try:
        return import_module(module).collect_episodes
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(
            "world: expected the name of a file in rlvr_world_hf/data/, or the import path of a module with a "
            f"function `collect_episodes`, got {recipe.world!r}."
        ) from error


@stage(settings=CollectSettings, passed_on_to=world_source, shares_seeds=True)
def collect(run: StageRun) -> list[Path]:
    """
    Record episodes and cache them by their settings.

    The cache lies in `~/.cache/rlvr_world_hf`, or where the environment variable `RLVR_WORLD_CACHE` points: another
    run, another training seed or another output folder starts with the same episodes at once.
    """
    folder = cached("episodes", collect.fingerprint(run.recipe), partial(_record, run))
    return [folder / split for split in SPLITS]


def split_rows(recipe: Recipe, split: str, *, count: int = 0) -> datasets.Dataset:
    """
    Rows of one split, cut as the recipe says; see [`window_rows`].

    Args:
        recipe (`Recipe`):
            The recipe; its collect stage is finished.
        split (`str`):
            `train`, `validation` or `test`.
        count (`int`, *optional*, defaults to 0):
            Take so many rows, spread evenly over the split; 0 for all.

    Returns:
        `datasets.Dataset`: The rows.
    """
    rows = window_rows(load_split(recipe, split), **dataclasses.asdict(recipe.windows))
    if count == 0 or count >= len(rows):
        return rows
    return rows.select([index * len(rows) // count for index in range(count)])


def load_split(recipe: Recipe, split: str) -> Any:
    """Episodes of one split of a recipe whose collect stage is finished."""
    return load_episodes(cache_folder("episodes", find_stage("collect").fingerprint(recipe)) / split)


def _record(run: StageRun, folder: Path) -> None:
    settings, record = run.settings, world_source(run.recipe)
    counts = {split: getattr(settings, split) for split in SPLITS}
    firsts = {split: settings.first_seed + offset for split, offset in SPLITS.items()}
    seeds = [firsts[split] + number for split, count in counts.items() for number in range(count)]
    episodes = iter(record(seeds, processes=settings.processes, **settings.arguments))
    with tqdm(total=len(seeds), desc="collect", unit="episode") as bar:
        for split, count in counts.items():
            save_episodes(_counted(islice(episodes, count), bar), folder / split)


def _counted(episodes: Iterable[Episode], bar: tqdm) -> Iterator[Episode]:
    frames = 0
    for episode in episodes:
        frames += len(episode)
        bar.update()
        bar.set_postfix(frames=frames)
        yield episode
