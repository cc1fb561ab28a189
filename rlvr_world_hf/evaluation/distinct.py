"""The metrics of a table, each under a name of its own: a table has one column a name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any


def distinct_metrics(metrics: Sequence[Any]) -> list[Any]:
    """
    Each metric once, where some are given twice, such as a reward that is also listed as a metric.

    Args:
        metrics (`Sequence[VerifiableReward | TextReward]`):
            Metrics, in the order of a table.

    Returns:
        `list`: the first of those that are equal. Settings in `changes_no_value` may differ.

    Raises:
        ValueError: if two that differ have one name, under which a table would hold one of them.

    Example:

    ```python
    >>> from rlvr_world_hf.rewards import MAEReward, SSIMReward
    >>> [metric.name for metric in distinct_metrics([MAEReward(), SSIMReward(), MAEReward()])]
    ['mae', 'ssim']

    ```
    """
    by_name: dict[str, Any] = {}
    for metric in metrics:
        known = by_name.setdefault(metric.name, metric)
        if known is metric:
            continue
        settings, others = _settings(known), _settings(metric)
        differing = [
            setting for setting in settings | others if not _are_equal(settings.get(setting), others.get(setting))
        ]
        if differing or type(known) is not type(metric):
            parameters = inspect.signature(type(metric)).parameters
            remedy = "give one of them a `label`" if "label" in parameters else "give one a `name` in a subclass"
            raise ValueError(
                f"Expected metrics of different names, got two of the name `{metric.name}`, which a table would hold "
                f"in one column: {_described(known, differing)} and {_described(metric, differing)}; leave one of "
                f"them out, or {remedy}."
            )
    return list(by_name.values())


def _settings(metric: Any) -> dict[str, Any]:
    """What decides the values of a metric."""
    # As it is pickled: without what is loaded or started at the first use.
    state = metric.__getstate__() or {}
    return {name: value for name, value in state.items() if name not in getattr(metric, "changes_no_value", ())}


def _are_equal(one: Any, other: Any) -> bool:
    # Of arrays `==` is no bool: two of them are taken for different.
    return one is other or (one == other) is True


def _described(metric: Any, differing: Sequence[str]) -> str:
    """As in `EnergyScoreReward(scale=2.0)`."""
    values = (
        f"{name.removeprefix('_')}={' '.join(repr(getattr(metric, name, None)).split()):.60}" for name in differing
    )
    return f"{type(metric).__name__}({', '.join(values)})"
