"""Reproduce: a recipe with three training seeds, as one table with its spread."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluation.page import renew_page
from ..evaluation.results import merge_results, read_results, write_results
from ..evaluation.table import markdown_table
from .card import write_card
from .echo import echo
from .recipe import Recipe
from .run import run


SEEDS = (0, 1, 2)
"""Training seeds."""

PICTURES = ("strip.png", "strip.gif", "sensors.png", "learning_curves.png")
"""Pictures of the first seed's run that go with the merged table, as far as its world has them."""

README_METRICS = ("mae", "mae_moving", "block_pose_error", "ssim", "agent_position_mae", "repetition_rate")
"""Columns of the table on the front page, which has room for a few; the card has all."""

CHECKOUT = Path(__file__).resolve().parents[2]
"""The checkout this library is run from, if it is one."""


def reproduce(recipe: Recipe, *, seeds: tuple[int, ...] = SEEDS) -> Path:
    """
    Run a recipe once for each training seed and merge what was measured.

    Each seed has its folder `seed-<n>` in the recipe's output folder and resumes there; all share the episodes. In a
    checkout of the library, a recipe with a `card` also renews that folder of `model_cards/`, and the table between
    `<!-- CARD -->` and `<!-- end of CARD -->` in the README.

    Args:
        recipe (`Recipe`):
            The recipe; its own seed is not used.
        seeds (`tuple[int, ...]`, *optional*, defaults to `(0, 1, 2)`):
            Training seeds.

    Returns:
        `Path`: Folder of the merged `results.json`, the card and the pictures of the first seed.
    """
    folders = [
        run(dataclasses.replace(recipe, seed=seed, output_dir=recipe.output_dir / f"seed-{seed}")) for seed in seeds
    ]
    results = merge_results([read_results(folder / "results.json") for folder in folders])
    for folder in _destinations(recipe):
        write_results(results, folder / "results.json")
        for picture in filter(lambda name: (folders[0] / name).exists(), PICTURES):
            shutil.copyfile(folders[0] / picture, folder / picture)
        write_card(recipe, checkpoint=folders[0] / "rlvr", results=folder / "results.json", folder=folder)
    if recipe.card and is_checkout():
        renew_page(CHECKOUT / "README.md", recipe.card, readme_table(results))
    echo(markdown_table(results))
    echo("\n".join(str(folder) for folder in _destinations(recipe)))
    return recipe.output_dir


def readme_table(results: Mapping[str, Any]) -> str:
    """
    The table of a `results.json` as it stands on the front page: rows that measure the same as `base` are left out.

    Args:
        results (`Mapping`):
            A record of `results.json`.

    Returns:
        `str`: Markdown, with a final newline.

    Example:

    ```python
    >>> from rlvr_world_hf.evaluation.results import read_results
    >>> print(readme_table(read_results(CHECKOUT / "model_cards/pusht/results.json")).splitlines()[0])
    | row | mae ↓ | mae_moving ↓ | block_pose_error ↓ | ssim ↑ | agent_position_mae ↓ | repetition_rate ↓ |

    ```
    """
    rows = results["rows"]
    measured = {metric for metrics in rows.values() for metric in metrics}
    metrics = [metric for metric in README_METRICS if metric in measured] or None
    # Where more likelihood does not help, control's best checkpoint is base itself.
    differing = [row for row in rows if row == "base" or rows[row] != rows.get("base")]
    return markdown_table(results, metrics=metrics, rows=differing)


def check_seeds(seeds: Sequence[int], *, where: str) -> None:
    """
    Refuse training seeds that are missing or given twice.

    Args:
        seeds (`Sequence[int]`):
            The seeds.
        where (`str`):
            What they are for, for the error.

    Raises:
        ValueError: If there is none, or one is there twice.

    Example:

    ```python
    >>> check_seeds([0, 1, 1], where="planning")
    Traceback (most recent call last):
    ...
    ValueError: planning: expected training seeds, each once, got [0, 1, 1]; give some such as [0, 1, 2].

    ```
    """
    if not seeds or len({*seeds}) < len(seeds):
        raise ValueError(f"{where}: expected training seeds, each once, got {[*seeds]}; give some such as {[*SEEDS]}.")


def is_checkout() -> bool:
    """
    Whether the library is run from a checkout, whose committed results are to be renewed.

    Returns:
        `bool`: False where it was installed from a wheel.
    """
    return (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "model_cards").is_dir()


def _destinations(recipe: Recipe) -> list[Path]:
    cards = [CHECKOUT / "model_cards" / recipe.card] if recipe.card and is_checkout() else []
    return [recipe.output_dir, *cards]
