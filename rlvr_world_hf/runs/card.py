"""The card of a run: its README, made of its recipe and its results."""

from __future__ import annotations

from pathlib import Path

from ..evaluation.results import read_results
from ..evaluation.table import group_table, markdown_table
from ..hub import load_world_model
from ..hub.bundled import bundled_names, shipped_folder
from ..hub.cards import CardResults, CardSubject, card_text, eval_results_text
from ..hub.terms import terms_of
from .kinds import kind_of
from .language_models import PACKAGED
from .recipe import Recipe, load_recipe
from .world import is_recorded, world_module, world_source


PICTURES = ("strip.png", "sensors.png")
"""Pictures for a card; the first one that exists is shown."""

CURVES = "learning_curves.png"
"""Picture of what the trainings logged."""

EVAL_RESULTS = ".eval_results"
"""Folder of a model repository in which the Hub looks for numbers on its datasets."""


def write_card(recipe: Recipe, *, checkpoint: Path, results: Path, folder: Path) -> list[Path]:
    """
    Write the README beside a picture. If the data are a dataset on the Hub, also write `.eval_results/<dataset>.yaml`.

    Args:
        recipe (`Recipe`):
            The recipe of the run.
        checkpoint (`Path`):
            The checkpoint that the card describes.
        results (`Path`):
            Its `results.json`.
        folder (`Path`):
            Folder with the picture; the card is written there.

    Returns:
        `list[Path]`: The card, and the folder `.eval_results` if it was written.
    """
    record = read_results(results)
    model, processor = load_world_model(checkpoint)
    dataset = hub_dataset(recipe)
    text = card_text(
        processor,
        CardSubject(
            name=f"rlvr-world-{recipe.world}",
            horizon=recipe.windows.horizon,
            repo_id=_loaded_as(recipe, folder),
            datasets=[dataset] if dataset else [],
            base_model=_base_model(recipe),
            terms=terms_of(model.config.model_type),
            **about_world(recipe),
        ),
        measured=CardResults(results=record, table=markdown_table(record) + group_table(record)),
        recipe=recipe.to_dict(),
        picture=next((name for name in PICTURES if (folder / name).exists()), None),
        curves=CURVES if (folder / CURVES).exists() else None,
        examples=(folder / "examples.md").read_text(encoding="utf-8") if (folder / "examples.md").exists() else None,
    )
    card = folder / "README.md"
    card.write_text(text, encoding="utf-8")
    if dataset is None:
        return [card]
    measured = folder / EVAL_RESULTS / f"{dataset.split('/')[-1]}.yaml"
    measured.parent.mkdir(exist_ok=True)
    measured.write_text(eval_results_text(record, dataset=dataset), encoding="utf-8")
    return [card, measured.parent]


def _loaded_as(recipe: Recipe, folder: Path) -> str:
    """What the example loads: the short name of what ships with the library, or the folder that the recipe writes."""
    name = f"{folder.name}-rlvr"
    if folder.parent == shipped_folder("model_cards") and name in bundled_names():
        return name
    # Not `recipe.output_dir`: that of `reproduce` has a folder a seed, and `run` writes where the recipe says.
    return (load_recipe(recipe.name).output_dir / "rlvr").as_posix()


def hub_dataset(recipe: Recipe) -> str | None:
    """The dataset on the Hub that a recipe's episodes or transitions are read from; `None` if there is none."""
    return getattr(kind_of(recipe).recorded(), "repo_id", None)


def _base_model(recipe: Recipe) -> str | None:
    """The model on the Hub that a recipe starts from; `None` if there is none."""
    start = recipe.sections.get("pretrain", {}).get("start_from") or ""
    if start in PACKAGED:
        return PACKAGED[start].hub_id or None
    # A folder such as `outputs/base` has one slash, too.
    return start if start.count("/") == 1 and not Path(start).exists() else None


def about_world(recipe: Recipe) -> dict[str, str]:
    """
    Name of a world and source of its data, for the card. A class that reads recorded data has both as attributes; a
    module that records may have them in a mapping `CARD`.

    Args:
        recipe (`Recipe`):
            The recipe.

    Returns:
        `dict[str, str]`: `world` and `data`, Markdown.

    Example:

    ```python
    >>> about_world(load_recipe("textworld/quickstart"))["world"]
    'TextWorld games'

    ```
    """
    source = world_source(recipe)
    if is_recorded(source):
        return {"world": source.world, "data": source.source}
    unnamed = {"world": recipe.world, "data": f"Recorded by `{source.__module__}`."}
    return getattr(world_module(recipe), "CARD", unnamed)
