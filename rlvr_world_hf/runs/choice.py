"""Which checkpoint of a training is kept: the best by loss, or by what the table measures, on validation windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .keys import key
from .kinds import kind_of
from .named_parts import build_metrics, build_rewards, refuse_unknown
from .recipe import Recipe
from .stage import find_stage


LOSS = "loss"
"""What likelihood trainings choose by, unless a recipe says otherwise."""

LAST = "last"
"""What RL keeps, unless a recipe says otherwise: its last checkpoint."""

MEASURED_WINDOWS: Any = key(
    64,
    "Validation windows whose likeliest predictions are measured as in the table at each evaluation; 0: none.",
)
"""The key `measured_windows` of the stages that train a policy."""


def metrics_of(recipe: Recipe) -> tuple[list[Any], list[Any]]:
    """
    The rewards and further metrics of a recipe's table.

    Args:
        recipe (`Recipe`): the recipe.

    Returns:
        `tuple[list, list]`: rewards of RL, and the recipe's own metrics.
    """
    rewards, _ = build_rewards(find_stage("grpo").read(recipe).rewards)
    return rewards, build_metrics(find_stage("evaluate").read(recipe).metrics, where="evaluate.metrics")


def refuse_unknown_choice(recipe: Recipe, choose_by: str, *, count: int, usual: str, where: str) -> None:
    """
    Refuses to choose checkpoints by what is not measured.

    Args:
        recipe (`Recipe`): the recipe.
        choose_by (`str`): the choice.
        count (`int`): validation windows that are measured.
        usual (`str`): the choice that needs no measure: [`LOSS`] or [`LAST`].
        where (`str`): stage whose key it is.

    Raises:
        ValueError: if nothing of that name is measured.
    """
    if choose_by == usual:
        return
    rewards, metrics = metrics_of(recipe)
    names = dict.fromkeys(metric.name for metric in kind_of(recipe).measured(rewards, metrics))
    refuse_unknown([choose_by], [usual, *names], where=f"{where}.choose_by")
    if not count:
        raise ValueError(
            f"{where}.measured_windows: expected windows to measure {choose_by!r} on, by which checkpoints are "
            "chosen, got 0; give some, such as 64."
        )


def higher_is_better(recipe: Recipe, choose_by: str) -> bool:
    """
    Direction of what a checkpoint is chosen by.

    Args:
        recipe (`Recipe`): the recipe.
        choose_by (`str`): a metric's name, or a choice that needs none.

    Returns:
        `bool`: false for the loss.
    """
    rewards, metrics = metrics_of(recipe)
    known = {metric.name: metric.higher_is_better for metric in kind_of(recipe).measured(rewards, metrics)}
    return known.get(choose_by, False)


def measure_of(recipe: Recipe, processor: Any, *, count: int) -> Callable[[Any], Mapping[str, float]] | None:
    """
    What a training measures of its policy.

    Args:
        recipe (`Recipe`): the recipe.
        processor (`WorldModelProcessor`): processor of the policy.
        count (`int`): validation windows.

    Returns:
        `Callable`: see `training.measuring.Measure`; `None` without windows.
    """
    if not count:
        return None
    kind, (rewards, metrics) = kind_of(recipe), metrics_of(recipe)
    return lambda model: kind.measure(model, processor, rewards, metrics, count=count)
