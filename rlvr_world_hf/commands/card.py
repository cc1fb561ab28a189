"""The card of a run: its README, made of its recipe and its results."""

from __future__ import annotations

import inspect
from pathlib import Path

from ..evaluation.results import read_results
from ..evaluation.table import markdown_table
from ..hub import load_world_model
from ..hub.cards import card_text
from .collect import world_source
from .recipe import Recipe


def write_card(recipe: Recipe, *, checkpoint: Path, folder: Path) -> Path:
    """
    Write the README that goes with a `results.json` and a `strip.png`.

    Args:
        recipe (`Recipe`):
            The recipe of the run.
        checkpoint (`Path`):
            The checkpoint the card is of.
        folder (`Path`):
            Folder with `results.json` and `strip.png`; the card is written there.

    Returns:
        `Path`: The card.
    """
    results = read_results(folder / "results.json")
    _, processor = load_world_model(checkpoint)
    world = world_source(recipe)
    described = {"world": world.world, "data": world.source} if inspect.isclass(world) else {}
    text = card_text(
        processor,
        name=f"rlvr-world-{recipe.world}",
        horizon=recipe.windows.horizon,
        repo_id=f"outputs/{Path(recipe.name).stem}/rlvr",
        results=results,
        table=markdown_table(results),
        recipe=recipe.to_dict(),
        picture="strip.png",
        **described,
    )
    card = folder / "README.md"
    card.write_text(text, encoding="utf-8")
    return card
