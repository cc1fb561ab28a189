"""
What a use of world models says about itself, and how it is measured: `rlvr-world reproduce planning`.

An application is a file of `findings/applications/`: a function that measures finished runs, and `APPLICATION`, its
record. The command finds it by the name of its file, finishes the training seeds of its recipe, and measures base and
rlvr of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from ..runs.echo import echo
from ..runs.keys import check_known, convert
from ..runs.processes import Processes
from ..runs.progress import read_json
from ..runs.recipe import load_recipe
from ..runs.reproduce import SEEDS, check_seeds, is_checkout
from ..runs.stage import run_stages, try_stages
from .applications import application_names
from .figures import draw_intervals
from .page import renew_evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One use of world models and how it is measured."""

    recipe: str
    """Recipe whose checkpoints are used."""

    measure: Callable[..., Path]
    """Called with the runs, `folder`, `device` and the options; returns the JSON file it wrote into that folder."""

    takes_recipes: bool = False
    """Whether runs are given as recipes, because their episodes are needed too; if not, as output folders."""

    window: str = ""
    """Argument of `measure` for the steps that the recipe's models predict in one window; none if empty."""

    options: tuple[str, ...]
    """Arguments of `measure` that the command takes as options."""

    metrics: tuple[str, ...]
    """Columns of its table, and panels of its plot where `draw` has none of its own."""

    seeds: tuple[int, ...] = SEEDS
    """Training seeds of the runs, where the command names none."""

    draw: Callable[[Mapping[str, Any], Path], None] | None = None
    """Draws the JSON into a PNG; [`draw_intervals`] by default."""


def find_application(name: str) -> Application:
    """
    The application of a name, from the file of that name.

    Args:
        name (`str`):
            One of [`~rlvr_world_hf.findings.applications.application_names`].

    Returns:
        `Application`: Its record.

    Raises:
        ValueError: If there is no such application.

    Example:

    ```python
    >>> find_application("planning").recipe
    'pusht/quickstart'

    ```
    """
    names = application_names()
    if name not in names:
        raise ValueError(f"Expected one of the applications {', '.join(names)}, got {name!r}; give one of these.")
    return import_module(f"{__package__}.applications.{name}").APPLICATION


def measure_application(name: str, *, folder: Path | None = None, **options: Any) -> Path:
    """
    Measure a use of world models, and write its JSON, plot and videos.

    Args:
        name (`str`):
            One of [`~rlvr_world_hf.findings.applications.application_names`].
        folder (`Path`, *optional*):
            Where the pieces and the result go; `outputs/findings/<name>` by default.
        options (`dict[str, Any]`):
            `recipe` and `seeds` in place of its own, and its `options`. Without any, in a checkout, the result goes to
            `docs/evidence/` too.

    Returns:
        `Path`: The JSON file.

    Raises:
        ValueError, TypeError: As [`check_options`].
    """
    application, folder = find_application(name), folder or Path("outputs/findings") / name
    given = check_options(name, options)
    recipe = load_recipe(options.get("recipe", application.recipe))
    recipes = [
        dataclasses.replace(recipe, seed=seed, output_dir=recipe.reproduction_dir / f"seed-{seed}")
        for seed in convert(options.get("seeds", application.seeds), tuple[int, ...], where=f"{name}.seeds")
    ]
    for recipe_of_seed in recipes:
        # In the folders of `rlvr-world reproduce RECIPE`, so what that has finished is not trained again.
        run_stages(recipe_of_seed, ["evaluate"])
    runs = recipes if application.takes_recipes else [recipe_of_seed.output_dir for recipe_of_seed in recipes]
    window = {application.window: recipe.windows.horizon} if application.window else {}
    file = application.measure(runs, folder=folder, device=Processes().device, **window, **given)
    draw = application.draw or partial(draw_intervals, metrics=application.metrics)
    draw(read_json(file), file.with_suffix(".png"))
    # The committed page holds the usual settings only.
    if not options and is_checkout():
        renew_evidence(file, application.metrics)
    echo(str(file))
    return file


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """
    Check the options of an application before anything is trained for it.

    Args:
        name (`str`):
            One of [`~rlvr_world_hf.findings.applications.application_names`].
        options (`Mapping`):
            As [`measure_application`] takes them.

    Returns:
        `dict`: Those for its `measure`, converted to the types of its arguments.

    Raises:
        ValueError: If there is no such application or option, a number is below 1, seeds are missing or given twice,
            or a stage of the recipe could not use a setting.
        TypeError: If a value is of another type than the option's.
        FileNotFoundError: If there is no such recipe.

    Example:

    ```python
    >>> check_options("planning", {"starts": 20, "seeds": [0]})
    {'starts': 20}

    ```
    """
    application = find_application(name)
    check_known(options, ["recipe", "seeds", *application.options], where=name)
    try_stages(load_recipe(options.get("recipe", application.recipe)), ["evaluate"])
    check_seeds(convert(options.get("seeds", application.seeds), tuple[int, ...], where=f"{name}.seeds"), where=name)
    hints = get_type_hints(application.measure)
    given = {
        option: convert(value, hints.get(option), where=f"{name}.{option}")
        for option, value in options.items()
        if option in application.options
    }
    for option, value in given.items():
        if type(value) is int and value < 1:  # not `isinstance`: False is an int, too
            raise ValueError(f"{name}.{option}: expected at least 1, got {value}; leave it out for the usual number.")
    return given
