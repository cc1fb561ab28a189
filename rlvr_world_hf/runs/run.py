"""Run: all stages of a recipe, and a summary of what they found."""

from __future__ import annotations

from pathlib import Path

from ..evaluation.results import Results, read_results
from ..evaluation.table import markdown_table
from .echo import echo
from .main_metrics import main_metrics
from .processes import Processes
from .recipe import Recipe
from .stage import finished_seconds, run_stages


RESULT_FILES = (
    "results.json", "README.md", "strip.png", "strip.gif", "sensors.png", "examples.md", "learning_curves.png",
)  # fmt: skip
"""Files that a finished run may have beside its checkpoints; the pictures depend on the world."""


def run(recipe: Recipe) -> Path:
    """
    Run every stage that has a part in the recipe, in order, and print a summary.

    Args:
        recipe (`Recipe`):
            The recipe. All of its settings are checked before the first stage starts.

    Returns:
        `Path`: The run's folder: checkpoints `base/`, `control/`, `rlvr/`, results, card and pictures.
    """
    run_stages(recipe, recipe.sections)
    if Processes().is_first:
        echo(summary(recipe))
    return recipe.output_dir


def summary(recipe: Recipe) -> str:
    """Table, files and wall time of each stage of a finished run, as text."""
    results = recipe.output_dir / "results.json"
    lines = ["", _table(read_results(results)) if results.exists() else ""]
    lines += [f"  {path}" for path in (recipe.output_dir / name for name in RESULT_FILES) if path.exists()]
    timed = {name: finished_seconds(recipe, name) for name in recipe.sections}
    times = ", ".join(f"{name} {value:.0f}" for name, value in timed.items())
    lines.append(f"wall time in seconds: {times}; in all {sum(timed.values()) / 60:.1f} minutes")
    return "\n".join(lines)


def _table(results: Results) -> str:
    """A table of the rewarded metrics and a few others, which fits into a terminal."""
    return markdown_table(results, metrics=main_metrics(results))
