"""What `--help` shows: the commands, the keys of a stage, what a finding asks and its rows."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ..findings.applications import application_names
from ..runs.keys import Key, keys_of
from ..runs.locations import finding_names, is_finding, recipe_names
from ..runs.recipe import SHARED_KEYS, STAGES, Recipe, WindowSettings, load_recipe
from ..runs.stage import find_stage


WHOLE_RUNS = ("run", "reproduce")
"""Commands that run all stages of a recipe."""

TOOLS = ("bundle", "check", "clean", "demo", "ladder", "push", "push-space", "status")
"""Commands that take no recipe, but words of their own: functions of files in `tools/` of their name, `_` for `-`."""

USAGE = """usage: rlvr-world STAGE RECIPE [--key value ...]

World models trained with verifiable rewards: predict the next frames of a world from frames and actions.

stages, in the order of a run; each first runs what it needs and is not finished:
{stages}
  run              all stages of a recipe
  reproduce        a recipe with three training seeds, merged into one table with its spread; or a finding

without a recipe:
{tools}

recipes: {recipes}, or the path of a YAML file.

findings, most of them a recipe with some of its keys varied: {findings}.

A key is one of the stage (`--learning_rate 1e-4`), one of any stage (`--grpo.learning_rate 1e-4`), or one of the
whole run:
{shared}
  --tokenizer                  codec: bundled, scratch (trained in the run), a folder or a Hub id

Windows, shared by the stages after collect:
{windows}

`rlvr-world STAGE RECIPE --help` lists the keys of a stage, those of the recipe's world among them. A second call skips
what is finished and resumes what is not.
"""


def stage_help(name: str, recipe: Recipe | None = None) -> str:
    """
    What `rlvr-world STAGE RECIPE --help` shows: the stage's purpose and its keys with types, defaults and meaning.

    Args:
        name (`str`):
            The stage.
        recipe (`Recipe`, *optional*):
            Its world has keys of its own. By default, they are those of the main world.

    Returns:
        `str`: The text.

    Example:

    ```python
    >>> stage_help("predict").splitlines()[0]
    'usage: rlvr-world predict RECIPE [--key value ...]'

    ```
    """
    stage = find_stage(name)
    lines = [f"usage: rlvr-world {name} RECIPE [--key value ...]", "", _purpose(stage.work)]
    own = keys_of(stage.settings)
    lines += ["", "keys:", *describe(own)]
    if stage.forwards_to is not None:
        target = stage.forwards_to(recipe or Recipe(name="help"))
        not_here = {*own, *SHARED_KEYS, *stage.reserved}
        lines += [
            "",
            f"and those of {target.__module__}.{target.__qualname__}",
            *describe(_declared(target, not_here)),
        ]
    return "\n".join(lines)


def finding_help(name: str) -> str:
    """
    What `rlvr-world reproduce FINDING --help` shows: what is asked, its rows or its own keys, and those of all.

    Example:

    ```python
    >>> finding_help("planning").splitlines()[0]
    'usage: rlvr-world reproduce planning [--key value ...]'

    ```
    """
    lines = [f"usage: rlvr-world reproduce {name} [--key value ...]", ""]
    if name in application_names():
        from ..findings.application import SEEDS, find_application

        application = find_application(name)
        recipe, seeds, known = application.recipe, list(SEEDS), keys_of(application.measure)
        purpose = _purpose(application.measure).split("\n\n")[0]
        lines += [purpose, "", "keys:", *describe({option: known[option] for option in application.options})]
    else:
        from ..findings.finding import load_finding

        finding = load_finding(name)
        recipe, seeds = finding.recipe, list(finding.seeds)
        lines += [finding.question, "", "rows: " + "; ".join(finding.rows), "", "keys, beside all of the recipe:"]
    shared = {
        "recipe": Key(hint=str, default=recipe, help="Recipe in its place."),
        "seeds": Key(hint=tuple, default=seeds, help="Training seeds, as a list."),
        "output_dir": Key(
            hint=Path, default=f"outputs/findings/{Path(name).stem}", help="Where runs, pieces and results go."
        ),
    }
    return "\n".join([*lines, *describe(shared)])


def help_of(command: str, name: str) -> str:
    """What `rlvr-world COMMAND NAME --help` shows; `name` is that of a recipe or finding, or empty."""
    if command == "reproduce" and (name in application_names() or is_finding(name)):
        return finding_help(name)
    if command in WHOLE_RUNS:
        return usage()
    return stage_help(command, load_recipe(name) if name else None)


def usage() -> str:
    """What `rlvr-world --help` shows."""
    shared = {name: known for name, known in keys_of(Recipe).items() if name in SHARED_KEYS}
    return USAGE.format(
        stages=_summaries("rlvr_world_hf.runs.stages", STAGES),
        tools=_summaries("rlvr_world_hf.commands.tools", TOOLS),
        recipes=", ".join(recipe_names()),
        findings=", ".join([*finding_names(), *application_names()]),
        shared="\n".join(describe(shared)),
        windows="\n".join(describe({f"windows.{name}": known for name, known in keys_of(WindowSettings).items()})),
    )


def _purpose(work: Any) -> str:
    """What a function is for, without its arguments."""
    return inspect.cleandoc(work.__doc__ or "").split("\n\nArgs:")[0]


def _summaries(package: str, names: Sequence[str]) -> str:
    texts = {name: (import_module(f"{package}.{name.replace('-', '_')}").__doc__ or "").strip() for name in names}
    return "\n".join(f"  {name:<16} {text.splitlines()[0]}" for name, text in texts.items())


def describe(keys: dict[str, Key]) -> list[str]:
    """Lines of `--help` on some keys."""
    described = []
    for name, known in keys.items():
        default = "needed" if known.default is dataclasses.MISSING else _short(known.default)
        # A key without help would leave two blanks before its default.
        described.append(f"  --{name:<26} {known.help} [{default}]".replace("  [", " ["))
    return described


def _declared(target: Any, not_here: Collection[str]) -> dict[str, Key]:
    """Keys that a function or class of ours declares itself; another's are in its own documentation."""
    if not target.__module__.startswith("rlvr_world_hf"):
        return {}
    kinds = inspect.getmro(target) if inspect.isclass(target) else ()
    ours = [kind for kind in kinds if kind.__module__.startswith("rlvr_world_hf")]
    declared = {name for kind in ours for name in inspect.get_annotations(kind)} if ours else keys_of(target)
    return {name: known for name, known in keys_of(target).items() if name in declared and name not in not_here}


def _short(default: Any) -> str:
    return "none" if default in (None, "", [], {}) else str(default)
