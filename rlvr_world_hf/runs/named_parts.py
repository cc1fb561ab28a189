"""
Parts that a recipe names by import path: `{path: rlvr_world_hf.rewards.MAEReward, weight: 1.0, pixels: all}`.

Keys other than `path` (and, for rewards, `weight`) go to the constructor.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from ..hub.transformer import CANNOT_BE_BUILT
from ..rewards.pixel import PixelReward
from .keys import SettingTypeError, check_known, convert


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
        ValueError: If the path cannot be imported, or the constructor refuses what it is given.

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
    refused = named_setting(where, f"{name} refuses its settings", "Change or leave out the key that is meant.")
    try:
        known = inspect.signature(part_class).parameters
    except (TypeError, ValueError) as error:  # no callable, or one that Python knows no arguments of
        raise ValueError(f"{where}: expected `path` to name a class such as {example}, got {path!r}.") from error
    check_known(settings, [*known, "path"], where=f"{where}: {name}")
    with refused:
        return part_class(**settings)


@contextmanager
def named_setting(where: str, refusal: str, remedy: str) -> Iterator[None]:
    """
    A block in which another part is built from settings: what it raises names the part of the recipe.

    Args:
        where (`str`):
            Name of that part of the recipe.
        refusal (`str`):
            What it means if the part cannot be built.
        remedy (`str`):
            A sentence with what to do.

    Raises:
        ValueError: In place of any error by which classes refuse what they are given.

    Example:

    ```python
    >>> with named_setting("tokenizer", "Codec refuses its settings", "Give a width."):
    ...     {}["width"]
    Traceback (most recent call last):
    ...
    ValueError: tokenizer: Codec refuses its settings: KeyError: 'width'. Give a width.

    ```
    """
    try:
        yield
    except SettingTypeError:
        raise
    except (*CANNOT_BE_BUILT, ValueError) as error:
        # The text of a KeyError is no sentence.
        told = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{where}: {refusal}: {' '.join(told.split()).rstrip('.')}. {remedy}") from error


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


def build_rewards(
    entries: Sequence[Mapping[str, Any]], *, where: str = "grpo.rewards"
) -> tuple[list[Any], list[float]]:
    """
    The rewards of a recipe.

    Args:
        entries (`Sequence[Mapping[str, Any]]`):
            For each reward, its import `path`, its `weight` (1 by default), and what else its constructor takes.
        where (`str`, *optional*):
            Name of that part of the recipe, for errors.

    Returns:
        `tuple[list, list[float]]`: The rewards and their weights.

    Raises:
        ValueError: If there is none, one cannot be built, a weight is not finite, or all weights are 0.
        SettingTypeError: If a weight is not a number.

    Example:

    ```python
    >>> rewards, weights = build_rewards([{"path": "rlvr_world_hf.rewards.MAEReward", "weight": 0.5}])
    >>> rewards[0].name, weights
    ('mae', [0.5])

    ```
    """
    weights = reward_weights(entries, where=where)
    parts = [{name: value for name, value in entry.items() if name != "weight"} for entry in entries]
    return [build_part(part, where=where, example=EXAMPLE) for part in parts], weights


def reward_weights(entries: Sequence[Mapping[str, Any]], *, where: str = "grpo.rewards") -> list[float]:
    """
    The weights of a recipe's rewards; arguments and errors as in [`build_rewards`][].

    Returns:
        `list[float]`: A finite weight for each reward, some of which is not 0.

    Example:

    ```python
    >>> reward_weights([{"path": "rlvr_world_hf.rewards.MAEReward"}])
    [1.0]

    ```
    """
    if not entries:
        raise ValueError(f"{where}: expected at least one reward, got none; add `- path: {EXAMPLE}`.")
    weights = [convert(entry.get("weight", 1.0), float, where=f"{where}.weight") for entry in entries]
    if not all(map(math.isfinite, weights)):
        raise ValueError(f"{where}.weight: expected finite weights, got {weights}; give finite ones.")
    if not any(weights):
        raise ValueError(
            f"{where}.weight: expected a weight other than 0, got {weights}: nothing would be learned; give one."
        )
    return weights


def try_parts(parts: Sequence[Any], *, kinds: Collection[str], where: str) -> None:
    """
    Refuse rewards and metrics that could not measure a world, or lack a file that their first use needs.

    Args:
        parts (`Sequence`):
            The rewards or metrics.
        kinds (`Collection[str]`):
            What the world's states are: `frames`, `sensors` or both; `text`.
        where (`str`):
            Name of that part of the recipe, for errors.

    Raises:
        ValueError: If one of them measures something else.
        FileNotFoundError: If a file is not there.

    Example:

    ```python
    >>> from rlvr_world_hf.rewards import FactF1Reward
    >>> try_parts([FactF1Reward()], kinds=["frames"], where="evaluate.metrics")
    Traceback (most recent call last):
    ...
    ValueError: evaluate.metrics: expected rewards that compare frames, got FactF1Reward, which compares text; give ...

    ```
    """
    for part in parts:
        name = type(part).__name__
        if not all(hasattr(part, needed) for needed in ("name", "metric", "higher_is_better", "floor")):
            raise ValueError(
                f"{where}: expected subclasses of VerifiableReward or TextReward, got {name}; give a reward such as "
                f"{EXAMPLE}."
            )
        compared = "frames" if isinstance(part, PixelReward) else getattr(part, "reads", "text")
        # Other rewards of the default kind, such as that of repetition, take sensors too.
        fits = compared in kinds or (
            "text" not in kinds and compared in ("frames", "states") and not isinstance(part, PixelReward)
        )
        if not fits:
            raise ValueError(
                f"{where}: expected rewards that compare {' or '.join(kinds)}, got {name}, which compares {compared}; "
                "give one for this world."
            )
        if hasattr(part, "check_files"):
            part.check_files()


def refuse_below(least: Mapping[str, float], settings: Any, *, where: str) -> None:
    """
    Refuse numbers that are too small.

    Args:
        least (`Mapping[str, float]`):
            Least value of each key.
        settings (`Any`):
            Object with the keys as attributes.
        where (`str`):
            Name of that part of the recipe, for errors.

    Raises:
        ValueError: If one is below.

    Example:

    ```python
    >>> from types import SimpleNamespace
    >>> refuse_below({"scale": 1}, SimpleNamespace(scale=0), where="predict")
    Traceback (most recent call last):
    ...
    ValueError: predict.scale: expected 1 or more, got 0; raise it.

    ```
    """
    for name, lowest in least.items():
        if getattr(settings, name) < lowest:
            raise ValueError(f"{where}.{name}: expected {lowest} or more, got {getattr(settings, name)}; raise it.")


def refuse_unknown(names: Sequence[str], known: Sequence[str], *, where: str) -> None:
    """
    Refuse names of nothing.

    Args:
        names (`Sequence[str]`):
            What was given.
        known (`Sequence[str]`):
            What there is.
        where (`str`):
            Key of the recipe, for errors.

    Raises:
        ValueError: If one is not among `known`.

    Example:

    ```python
    >>> refuse_unknown(["bsae"], ["base", "rlvr"], where="predict.checkpoints")
    Traceback (most recent call last):
    ...
    ValueError: predict.checkpoints: expected names among base, rlvr, got 'bsae'; did you mean 'base'?

    ```
    """
    for name in names:
        if name not in known:
            nearest = get_close_matches(str(name), known, n=1, cutoff=0.0)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "leave it out."
            raise ValueError(f"{where}: expected names among {', '.join(known)}, got {name!r}; {hint}")
