"""The source of a recipe's data: a function that records a world, or a class that reads recorded data."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from .. import worlds
from .recipe import Recipe


SOURCES = ("collect_episodes", "RecordedEpisodes", "collect_transitions", "RecordedTransitions")
"""Names of a source; the module of a world has one of them."""


def world_source(recipe: Recipe) -> Any:
    """
    The function that records episodes of a recipe's world, or the class that reads recorded ones.

    Args:
        recipe (`Recipe`):
            Its `world` is the name of a world, or the import path of a module of your own.

    Returns:
        `Callable`: one of `SOURCES` of that module.

    Raises:
        ValueError: If there is no such world.

    Example:

    ```python
    >>> from rlvr_world_hf.runs.recipe import load_recipe
    >>> world_source(load_recipe("pusht/quickstart")).__name__
    'collect_episodes'

    ```
    """
    module = next(filter(None, map(_imported, _places(recipe.world))), None)
    source = next((getattr(module, known) for known in SOURCES if hasattr(module, known)), None)
    if source is None:
        raise ValueError(
            "world: expected the name of a world in rlvr_world_hf/worlds/ or rlvr_world_hf/data/, or the import path "
            f"of a module with one of {', '.join(SOURCES)}, got {recipe.world!r}."
        )
    return source


def world_module(recipe: Recipe) -> ModuleType:
    """
    The module that defines the source. It may also define facts about its world.

    Args:
        recipe (`Recipe`):
            The recipe.

    Returns:
        `ModuleType`: it may have `CARD`, in a world of text `PROMPT_TEMPLATE` and `nothing_changes`, and where
        actions may mean several things `processor_settings` and `UNNAMED_LAW`, and where a world model has a part in
        what is recorded `CHECKPOINTS`.
    """
    return import_module(world_source(recipe).__module__)


def processor_settings(recipe: Recipe, *, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    What the world of a recipe tells a processor beside what its episodes show.

    Args:
        recipe (`Recipe`):
            The recipe.
        settings (`Mapping[str, Any]`):
            Arguments of the source.

    Returns:
        `dict[str, Any]`: arguments of the processor; none where the world's module has no `processor_settings`.

    Example:

    ```python
    >>> from rlvr_world_hf.runs.recipe import load_recipe
    >>> processor_settings(load_recipe("pusht/quickstart"), settings={"action_law": "absolute"})
    {'action_law': 'absolute'}

    ```
    """
    told = getattr(world_module(recipe), "processor_settings", None)
    return {} if told is None else told(**settings)


def check_law(recipe: Recipe, spoken: str | None, *, settings: Mapping[str, Any], place: str) -> None:
    """
    Raises if a world model means other things by actions than the episodes of a recipe.

    Args:
        recipe (`Recipe`):
            The recipe.
        spoken (`str`, *optional*):
            `action_law` of the world model's processor. One without a law speaks its world's `UNNAMED_LAW`.
        settings (`Mapping[str, Any]`):
            Arguments of the source.
        place (`str`):
            What the error calls the world model.

    Raises:
        ValueError: If both have a law, and these differ.
    """
    law = processor_settings(recipe, settings=settings).get("action_law")
    spoken = spoken or getattr(world_module(recipe), "UNNAMED_LAW", None)
    if law != spoken and None not in (law, spoken):
        raise ValueError(
            f"pretrain.start_from: {place} speaks the {spoken} law of actions, and the episodes have {law} ones; "
            f"give `--collect.action_law {spoken}`, or another world model."
        )


def is_text(recipe: Recipe) -> bool:
    """
    Whether the world of a recipe is one of text.

    Args:
        recipe (`Recipe`):
            The recipe.

    Returns:
        `bool`: True if its source gives transitions, and not episodes.
    """
    return "transitions" in world_source(recipe).__name__.lower()


def is_recorded(source: Any) -> bool:
    """
    Whether a source reads recorded data.

    Args:
        source (`Any`):
            What [`world_source`] returns.

    Returns:
        `bool`: False for a source that records.
    """
    return inspect.isclass(source)


def _places(world: str) -> list[str]:
    """Import paths to try: a path as it is; a name in `worlds/`, in a package there, or in `data/`; no file's path."""
    if not all(part.isidentifier() for part in world.split(".")):
        return []
    if "." in world:
        return [world]
    packages = [found.name for found in pkgutil.iter_modules(worlds.__path__) if found.ispkg]
    rooms = ["worlds", *(f"worlds.{package}" for package in packages), "data"]
    return [f"rlvr_world_hf.{room}.{world}" for room in rooms]


def _imported(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, but one that it imports does not
        return None
