"""
Collect: records episodes of the world or reads recorded ones, split by episode, once for all runs.

A world is a file of `rlvr_world_hf/data/` (or a module of your own). One that can be recorded has a function
`collect_episodes(seeds, *, ...)`, one that was recorded a dataclass `RecordedEpisodes`, see `data/folder.py`; the keys
of the one or the other are keys of this stage. In a world of text these are `collect_transitions` and
`RecordedTransitions`.
"""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from tqdm import tqdm

from ... import worlds
from ...data import Episode, load_episodes, save_episodes, window_rows
from ...data.folder import UnusableEpisodesError
from ...data.rows import EpisodeWriter, split_names
from ...data.transition import save_transitions
from ..keys import key
from ..named_parts import build_part
from ..progress import cache_folder, cached
from ..recipe import Recipe
from ..stage import StageRun, find_stage, stage


SPLITS = {"train": 0, "validation": 1_000_000, "test": 2_000_000}
"""The splits, and what is added to the first seed of each, so that the size of one leaves the others as they are."""


SOURCES = ("collect_episodes", "RecordedEpisodes", "collect_transitions", "RecordedTransitions")
"""What the module of a world has one of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectSettings:
    """What to record."""

    train: int = key(0, "Episodes, or recorded transitions, to train on; of recorded ones 0 for all that are left.")
    validation: int | float = key(40, "Episodes to choose checkpoints and sampling on; of recorded ones also a share.")
    test: int | float = key(60, "Held-out episodes, for the table alone; of recorded ones also a share.")
    first_seed: int = key(0, "Seed of the first episode, the others count from it; of recorded ones, of the split.")
    processes: int = key(2, "Processes that record.", shapes_result=False)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


def world_source(recipe: Recipe) -> Any:
    """
    The function that records episodes of a recipe's world, or the class that reads recorded ones.

    Raises:
        ValueError: If there is no such world.
    """
    module = next(filter(None, map(_imported, _places(recipe.world))), None)
    source = next((getattr(module, known) for known in SOURCES if hasattr(module, known)), None)
    if source is None:
        raise ValueError(
            "world: expected the name of a world in rlvr_world_hf/worlds/ or rlvr_world_hf/data/, or the import path "
            f"of a module with one of {', '.join(SOURCES)}, got {recipe.world!r}."
        )
    return source


def _places(world: str) -> list[str]:
    """Where a world's module may be: an import path as it is; a name among the worlds, or in the package of one."""
    if "." in world:
        return [world]
    packages = [found.name for found in pkgutil.iter_modules(worlds.__path__) if found.ispkg]
    rooms = ["worlds", *(f"worlds.{package}" for package in packages), "data"]
    return [f"rlvr_world_hf.{room}.{world}" for room in rooms]


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks one that it needs
        return None


def is_text(recipe: Recipe) -> bool:
    """Whether the world of a recipe is one of text."""
    return "transitions" in world_source(recipe).__name__.lower()


def is_recorded(source: Any) -> bool:
    """Whether a [`world_source`] reads recorded episodes."""
    return inspect.isclass(source)


def _contents(recipe: Recipe) -> Any:
    """What a folder of recorded episodes holds; `None` for a world that is recorded here."""
    recorded = _recorded(recipe)
    if recorded is None:
        return None
    return recorded.contents() if is_text(recipe) else [recorded.min_frames, recorded.contents()]


def _recorded(recipe: Recipe) -> Any:
    """What was recorded, episodes each long enough for a window; `None` for a world that is recorded here."""
    source = world_source(recipe)
    if not is_recorded(source):
        return None
    if is_text(recipe):
        return source(**collect.read(recipe).arguments)
    windows = recipe.windows
    needed = windows.context_frames + windows.observed_steps + windows.horizon
    return source(**collect.read(recipe).arguments, min_frames=needed)


def hub_dataset(recipe: Recipe) -> str | None:
    """The dataset on the Hub that a recipe's episodes or transitions are read from; `None` if there is none."""
    return getattr(_recorded(recipe), "repo_id", None)


@stage(
    settings=CollectSettings,
    passed_on_to=world_source,
    kept_back=("min_frames",),
    made_from=_contents,
    shares_seeds=True,
)
def collect(run: StageRun) -> list[Path]:
    """
    Record episodes, or read recorded ones, and cache them by their settings.

    The cache lies in `~/.cache/rlvr_world_hf`, or where the environment variable `RLVR_WORLD_CACHE` points: another
    run, another training seed or another output folder starts with the same episodes at once.
    """
    folder = cached("episodes", collect.fingerprint(run.recipe), partial(_record, run))
    return [folder / split for split in SPLITS]


def split_rows(recipe: Recipe, split: str, *, count: int = 0) -> datasets.Dataset:
    """
    Rows of one split, cut as the recipe says, see [`window_rows`]; of text, its transitions.

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
    stored = load_split(recipe, split)
    if is_text(recipe):
        rows = stored
    else:
        cut = dataclasses.asdict(recipe.windows) | {"augmentation": augmentation(recipe) if split == "train" else None}
        rows = window_rows(stored, **cut)
    if count == 0 or count >= len(rows):
        return rows
    return rows.select([index * len(rows) // count for index in range(count)])


def augmentation(recipe: Recipe) -> Any:
    """What changes the training frames of a recipe; `None` if nothing does."""
    entry = recipe.windows.augmentation
    return entry and build_part(entry, where="windows.augmentation", example="rlvr_world_hf.data.ClipAugmentation")


def load_split(recipe: Recipe, split: str) -> Any:
    """Episodes, or rows of transitions, of one split of a recipe whose collect stage is finished."""
    folder = cache_folder("episodes", find_stage("collect").fingerprint(recipe)) / split
    return datasets.load_from_disk(str(folder)) if is_text(recipe) else load_episodes(folder)


def _record(run: StageRun, folder: Path) -> None:
    recorded = _recorded(run.recipe)
    if recorded is None:
        _record_new(run, folder)
        return
    if is_text(run.recipe):
        for split, transitions in recorded.read().items():
            save_transitions(_spread(transitions, int(getattr(run.settings, split))), folder / split)
        return
    # Without a name, reading tells what is there instead.
    split_of = _split(recorded.names() or [episode.episode_id for episode in recorded.read()], run.settings)
    with ExitStack() as stack:
        writers = {split: stack.enter_context(EpisodeWriter(folder / split)) for split in SPLITS}
        for episode in tqdm(recorded.stream(), desc="collect", unit="episode", total=len(split_of)):
            if episode.episode_id in split_of:
                writers[split_of[episode.episode_id]].write(episode)


def _spread(items: list[Any], count: int) -> list[Any]:
    """So many of some items, spread evenly, or all for 0."""
    return [items[index * len(items) // count] for index in range(count)] if 0 < count < len(items) else items


def _split(names: list[str], settings: CollectSettings) -> dict[str, str]:
    """The split of each recorded episode that is wanted, by its name."""
    try:
        train, validation, test = split_names(
            names, validation=settings.validation, test=settings.test, seed=settings.first_seed
        )
    except ValueError as error:
        raise UnusableEpisodesError(f"collect: {error}") from error
    if settings.train > len(train):
        raise UnusableEpisodesError(
            f"collect.train: expected at most the {len(train)} episodes that are left of {len(names)}, got "
            f"{settings.train}; lower it, or give 0 for all that are left."
        )
    places = {"train": train[: settings.train or None], "validation": validation, "test": test}
    return {names[place]: split for split, chosen in places.items() for place in chosen}


def _record_new(run: StageRun, folder: Path) -> None:
    settings, record = run.settings, world_source(run.recipe)
    counts = {split: getattr(settings, split) for split in SPLITS}
    if any(count != int(count) or count < 1 for count in counts.values()):
        raise ValueError(f"collect: expected a number of episodes to record for each split, got {counts}; give each.")
    firsts = {split: settings.first_seed + offset for split, offset in SPLITS.items()}
    seeds = [firsts[split] + number for split, count in counts.items() for number in range(count)]
    if is_text(run.recipe):
        for split, first in firsts.items():
            of_split = range(first, first + int(counts[split]))
            transitions = record(of_split, processes=settings.processes, **settings.arguments)
            save_transitions(tqdm(transitions, desc=f"collect {split}", unit="transition"), folder / split)
        return
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
