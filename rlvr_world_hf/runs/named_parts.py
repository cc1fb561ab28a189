"""
Parts that a recipe names by import path: `{path: rlvr_world_hf.rewards.MAEReward, weight: 1.0, pixels: all}`.

Keys other than `path` (and, for rewards, `weight`) go to the constructor.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from .keys import check_known, convert


EXAMPLE = "rlvr_world_hf.rewards.MAEReward"
"""A path that works, for errors."""


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
    return [build_part(entry, where=where, example=EXAMPLE) for entry in entries]


def build_rewards(entries: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[float]]:
    """
    The rewards of a recipe.

    Args:
        entries (`Sequence[Mapping[str, Any]]`):
            For each reward, its import `path`, its `weight` (1 by default), and what else its constructor takes.

    Returns:
        `tuple[list, list[float]]`: The rewards and their weights.

    Raises:
        ValueError: If there is none, one cannot be built, or a weight is not finite.
        SettingTypeError: If a weight is not a number.

    Example:

    ```python
    >>> rewards, weights = build_rewards([{"path": "rlvr_world_hf.rewards.MAEReward", "weight": 0.5}])
    >>> rewards[0].name, weights
    ('mae', [0.5])

    ```
    """
    weights = reward_weights(entries)
    parts = [{name: value for name, value in entry.items() if name != "weight"} for entry in entries]
    return [build_part(part, where="grpo.rewards", example=EXAMPLE) for part in parts], weights


def reward_weights(entries: Sequence[Mapping[str, Any]]) -> list[float]:
    """
    The weights of a recipe's rewards; arguments and errors as in [`build_rewards`][].

    Returns:
        `list[float]`: A finite weight for each reward.

    Example:

    ```python
    >>> reward_weights([{"path": "rlvr_world_hf.rewards.MAEReward"}])
    [1.0]

    ```
    """
    if not entries:
        raise ValueError(f"grpo.rewards: expected at least one reward, got none; add `- path: {EXAMPLE}`.")
    weights = [convert(entry.get("weight", 1.0), float, where="grpo.rewards.weight") for entry in entries]
    if not all(map(math.isfinite, weights)):
        raise ValueError(f"grpo.rewards.weight: expected finite weights, got {weights}; give finite ones.")
    return weights
