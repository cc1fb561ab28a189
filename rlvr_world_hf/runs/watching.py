"""What looks on while a policy trains, on validation windows: measures, and pictures of predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .keys import key
from .kinds import kind_of
from .named_parts import build_metrics, build_rewards, refuse_unknown
from .recipe import Recipe
from .result_settings import LAST, LOSS
from .stage import find_stage


MEASURED_WINDOWS: Any = key(
    64,
    "Validation windows whose likeliest predictions are measured at each evaluation, by the metrics of the table that "
    "compare no predictions with each other; 0: none.",
)
"""The key `measured_windows` of the stages that train a policy."""

SHOWN_WINDOWS: Any = key(
    4,
    "Validation windows that are drawn at each evaluation, for the trackers too; 0: none.",
    affects_result=False,
)
"""The key `shown_windows` of the stages that train a policy."""


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
        ValueError: if nothing of that name is measured, or it compares several predictions with each other.
    """
    if choose_by == usual:
        return
    rewards, metrics = metrics_of(recipe)
    measured = kind_of(recipe).measured(rewards, metrics)
    compared = [metric.name for metric in measured if getattr(metric, "needs_group", False)]
    if choose_by in compared:
        raise ValueError(
            f"{where}.choose_by: expected a metric of one prediction, got {choose_by!r}, which compares several; "
            "while a policy trains, only the likeliest prediction of a window is measured, with none beside it; "
            f"choose by another metric, or leave it at {usual!r}."
        )
    names = [metric.name for metric in measured if metric.name not in compared]
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
    if choose_by in (LOSS, LAST):
        return False
    rewards, metrics = metrics_of(recipe)
    known = {metric.name: metric.higher_is_better for metric in kind_of(recipe).measured(rewards, metrics)}
    return known[choose_by]


def watch(
    recipe: Recipe, processor: Any, settings: Any, *, every_steps: int, at_start: bool, with_loss: bool = True
) -> Callable[[Any], None]:
    """
    What a training is looked at by.

    Args:
        recipe (`Recipe`): the recipe.
        processor (`WorldModelProcessor`): processor of the policy.
        settings (`Any`): settings of the stage, with `measured_windows` and `shown_windows`.
        every_steps (`int`): updates from one drawing to the next.
        at_start (`bool`): whether what the policy begins with is measured, too; a fresh one knows nothing.
        with_loss (`bool`, *optional*, defaults to `True`): whether the trainer evaluates its own dataset, too.

    Returns:
        `Callable`: takes the trainer before it trains, and adds what looks on.
    """
    from ..training.measuring import measure_at_evaluations
    from ..training.showing import ShowPredictions

    kind, (rewards, metrics) = kind_of(recipe), metrics_of(recipe)

    def measure(model: Any) -> dict[str, float]:
        return kind.measure(model, processor, rewards, metrics, count=settings.measured_windows)

    def draw(model: Any, folder: Path) -> dict[str, Path]:
        return kind.show(model, processor, folder, count=settings.shown_windows)

    def look_on(trainer: Any) -> None:
        if settings.measured_windows:
            measure_at_evaluations(trainer, measure, with_loss=with_loss, at_start=at_start)
        if settings.shown_windows:
            trainer.add_callback(ShowPredictions(trainer, draw, every_steps=every_steps))

    return look_on
