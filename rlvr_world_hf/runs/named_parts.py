"""
Parts that a recipe names by import path: `{path: rlvr_world_hf.rewards.MAEReward, weight: 1.0, pixels: all}`.

Keys other than `path` (and, for rewards, `weight`) go to the constructor.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from .keys import check_known, convert


def build_part(entry: Mapping[str, Any], *, where: str, example: str) -> Any:
    """
    Import a class and construct it.

    Args:
        entry (`Mapping[str, Any]`):
            Its import `path`, and what its constructor takes.
        where (`str`):
            Name of that part of the recipe, for errors.
        example (`str`):
            A path that works, for errors.

    Returns:
        `Any`: The object.

    Raises:
        ValueError: If the path cannot be imported, or the constructor does not take one of the keys.

    Example:

    ```python
    >>> entry = {"path": "rlvr_world_hf.rewards.MAEReward", "pixels": "moving"}
    >>> build_part(entry, where="grpo.rewards", example="...").name
    'mae_moving'

    ```
    """
    path = str(entry.get("path", ""))
    module, _, name = path.rpartition(".")
    try:
        part_class = getattr(import_module(module), name)
    # `import_module` raises ValueError for a path without a dot, whose module name is empty.
    except (ValueError, ModuleNotFoundError, AttributeError) as error:
        raise ValueError(
            f"{where}: expected `path` to name a class that can be imported, such as {example}, got {path!r}: {error}."
        ) from error
    settings = {name: value for name, value in entry.items() if name != "path"}
    check_known(settings, [*inspect.signature(part_class).parameters, "path"], where=f"{where}: {name}")
    return part_class(**settings)


def build_metrics(entries: Sequence[Mapping[str, Any]], *, where: str) -> list[Any]:
    """
    The metrics that a recipe asks for beside the standard ones.

    Args:
        entries (`Sequence[Mapping[str, Any]]`):
            For each, the import `path` of a reward, and what its constructor takes.
        where (`str`):
            Name of that part of the recipe, for errors.

    Returns:
        `list`: The metrics: rewards, of which evaluation reads the unsigned metric.

    Raises:
        ValueError: If one cannot be built.

    Example:

    ```python
    >>> [metric.name for metric in build_metrics([{"path": "rlvr_world_hf.rewards.MAEReward"}], where="...")]
    ['mae']

    ```
    """
    return [build_part(entry, where=where, example="rlvr_world_hf.rewards.MAEReward") for entry in entries]


def build_rewards(entries: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[float]]:
    """
    The rewards of a recipe.

    Args:
        entries (`Sequence[Mapping[str, Any]]`):
            For each reward, its import `path`, its `weight` (1 by default), and what else its constructor takes.

    Returns:
        `tuple[list, list[float]]`: The rewards and their weights.

    Raises:
        ValueError: If there is none, or one cannot be built.
        TypeError: If a weight is not a number.

    Example:

    ```python
    >>> rewards, weights = build_rewards([{"path": "rlvr_world_hf.rewards.MAEReward", "weight": 0.5}])
    >>> rewards[0].name, weights
    ('mae', [0.5])

    ```
    """
    example = "rlvr_world_hf.rewards.MAEReward"
    if not entries:
        raise ValueError(f"grpo.rewards: expected at least one reward, got none; add `- path: {example}`.")
    weights = [convert(entry.get("weight", 1.0), float, where="grpo.rewards.weight") for entry in entries]
    parts = [{name: value for name, value in entry.items() if name != "weight"} for entry in entries]
    return [build_part(part, where="grpo.rewards", example=example) for part in parts], weights
