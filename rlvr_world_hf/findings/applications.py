"""
What world models are of use for, as findings of their own: planning, text agents, judging policies, long rollouts.

`rlvr-world reproduce planning` first finishes the training seeds of the recipe, then measures base and rlvr of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import torch

from ..runs.echo import echo
from ..runs.keys import check_known, convert
from ..runs.progress import read_json
from ..runs.recipe import load_recipe
from ..runs.reproduce import SEEDS, check_seeds, is_checkout, renew_evidence
from ..runs.stage import Processes, run_stages
from .attempts import MODELS
from .figures import draw_agreement, draw_curves, draw_intervals
from .long_rollouts import FRAMES, long_rollouts
from .planning import planning
from .planning_text import text_planning
from .planning_web import web_planning
from .policy_evaluation import PolicyProtocol, evaluate_policies


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One use of world models and how it is measured."""

    recipe: str
    """Recipe whose checkpoints are used."""

    measure: Callable[..., Path]
    """Called with the runs, `folder`, and the options; returns the JSON file it wrote into that folder."""

    takes_recipes: bool = False
    """Whether runs are given as recipes, as their episodes are needed too; if not, as output folders."""

    window: str = ""
    """Argument of `measure` for the steps that the recipe's models predict in one window; none if empty."""

    options: tuple[str, ...]
    """Options that the command takes for it."""

    metrics: tuple[str, ...]
    """Columns of its table, and panels of its plot where `draw` has none of its own."""

    draw: Callable[[Mapping[str, Any], Path], None] | None = None
    """Draws the JSON into a PNG; [`draw_intervals`] by default."""


def measure_application(name: str, *, folder: Path | None = None, **options: Any) -> Path:
    """
    Measure a use of world models, and write its JSON, plot and videos.

    Args:
        name (`str`):
            One of `APPLICATIONS`.
        folder (`Path`, *optional*):
            Where the attempts and the result go; `outputs/findings/<name>` by default.
        options (`dict[str, Any]`):
            `recipe` and `seeds` in place of its own, and what its `options` name. Without any, the result of a
            checkout goes to `docs/evidence/` too.

    Returns:
        `Path`: The JSON file.

    Raises:
        ValueError, TypeError: As [`check_options`].
    """
    check_known([name], APPLICATIONS, where="findings")
    use, folder = APPLICATIONS[name], folder or Path("outputs/findings") / name
    given = check_options(name, options)
    recipe = load_recipe(options.get("recipe", use.recipe))
    recipes = [
        dataclasses.replace(recipe, seed=seed, output_dir=recipe.reproduction_dir / f"seed-{seed}")
        for seed in convert(options.get("seeds", SEEDS), tuple[int, ...], where=f"{name}.seeds")
    ]
    for of_seed in recipes:
        run_stages(of_seed, ["evaluate"])
    runs = recipes if use.takes_recipes else [of_seed.output_dir for of_seed in recipes]
    window = {use.window: recipe.windows.horizon} if use.window else {}
    file = use.measure(runs, folder=folder, device=Processes().device, **window, **given)
    draw = use.draw or partial(draw_intervals, metrics=use.metrics)
    draw(read_json(file), file.with_suffix(".png"))
    if not options and is_checkout():
        renew_evidence(file, use.metrics)
    echo(str(file))
    return file


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """
    Options of a use as what measures it takes them, before anything is trained for it.

    Args:
        name (`str`):
            One of `APPLICATIONS`.
        options (`Mapping`):
            As [`measure_application`] takes them.

    Returns:
        `dict`: Those that the use itself takes.

    Raises:
        ValueError: If there is no such option, a number is below 1, or seeds are missing or given twice.
        TypeError: If a value is of another type than the option's.
        FileNotFoundError: If there is no such recipe.

    Example:

    ```python
    >>> check_options("planning", {"starts": 20, "seeds": [0]})
    {'starts': 20}

    ```
    """
    use = APPLICATIONS[name]
    check_known(options, ["recipe", "seeds", *use.options], where=name)
    load_recipe(options.get("recipe", use.recipe))
    check_seeds(convert(options.get("seeds", SEEDS), tuple[int, ...], where=f"{name}.seeds"), where=name)
    hints = get_type_hints(use.measure)
    given = {
        option: convert(value, hints.get(option), where=f"{name}.{option}")
        for option, value in options.items()
        if option in use.options
    }
    for option, value in given.items():
        if type(value) is int and value < 1:
            raise ValueError(f"{name}.{option}: expected at least 1, got {value}; leave it out for the usual number.")
    return given


def policy_evaluation(
    runs: Sequence[Path | str],
    *,
    folder: Path,
    episodes: int = 50,
    horizon: int = 4,
    device: str | torch.device | None = None,
) -> Path:
    """
    Judge policies of PushT within base and rlvr of some runs, see [`evaluate_policies`].

    Args:
        runs (`Sequence[Path]`):
            Output folders of runs, one a training seed.
        folder (`Path`):
            Where to write `policy_evaluation.json` and the pieces.
        episodes (`int`, *optional*, defaults to 50):
            Starts of each policy.
        horizon (`int`, *optional*, defaults to 4):
            Steps of a window: those that the models were trained on.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `policy_evaluation.json`.
    """
    results = [read_json(Path(run, "results.json")) for run in runs]
    path = folder / "policy_evaluation.json"
    evaluate_policies(
        {name: [Path(run, name) for run in runs] for name in MODELS},
        path,
        recipe=results[0]["recipe"],
        training_seeds=[result["training_seeds"][0] for result in results],
        reason=None if len(runs) >= len(SEEDS) else f"{len(runs)} training seed(s) were asked for",
        protocol=PolicyProtocol(episodes=episodes, horizon=horizon),
        device=device,
    )
    return path


APPLICATIONS: Mapping[str, Application] = {
    "planning": Application(
        recipe="pusht/quickstart",
        measure=planning,
        window="window",
        options=("starts", "decisions", "ceiling"),
        metrics=("success", "success_block_moves", "position_distance", "decisions", "seconds_per_decision"),
    ),
    "planning_text": Application(
        recipe="textworld/quickstart",
        measure=text_planning,
        options=("starts", "commands", "horizon"),
        metrics=("success", "value", "commands", "seconds_per_decision"),
    ),
    "planning_web": Application(
        recipe="webpages/cpu",
        measure=web_planning,
        options=("starts", "actions"),
        metrics=("success", "success_find", "success_fill", "value", "actions", "seconds_per_decision"),
    ),
    "policy_evaluation": Application(
        recipe="pusht/quickstart",
        measure=policy_evaluation,
        window="horizon",
        options=("episodes",),
        metrics=("pearson", "spearman", "mmrv"),
        draw=draw_agreement,
    ),
    "long_rollouts": Application(
        recipe="pusht/quickstart",
        measure=long_rollouts,
        takes_recipes=True,
        options=("windows", "frames", "temperature"),
        metrics=("mae", *(f"mae_at_{frame}" for frame in FRAMES), "agent_position_mae", "repetition_rate"),
        draw=partial(draw_curves, metrics=("mae", "agent_position_mae", "agent_not_found")),
    ),
}
"""The uses by name."""
