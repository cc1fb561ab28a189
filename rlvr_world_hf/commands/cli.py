"""The console command: `rlvr-world STAGE RECIPE [--key value ...]`."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from ..data.folder import UnusableEpisodesError
from .keys import Key, keys_of
from .locations import finding_names, is_finding, recipe_names
from .recipe import SHARED_KEYS, STAGES, Recipe, WindowSettings, load_recipe, parse_overrides
from .say import say
from .stage import Processes, find_stage, needed_stages


WHOLE_RUNS = ("run", "reproduce")
"""Commands that run all stages of a recipe."""

USE_NAMES = ("planning", "planning_text", "planning_web", "policy_evaluation", "long_rollouts")
"""Findings that are measured by programs of their own, see `uses.py`."""

TOOLS = ("bundle", "check", "demo", "push", "push-space")
"""Commands that take no recipe, but words of their own: functions of these in a file of their name, `_` for `-`."""

USAGE = """usage: rlvr-world STAGE RECIPE [--key value ...]

World models trained with verifiable rewards: predict the next frames of a world from frames and actions.

stages, in the order of a run; each first runs what it needs and is not finished:
{stages}
  run         all stages of a recipe
  reproduce   a recipe with three training seeds, merged into one table with its spread; or a finding

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

`rlvr-world STAGE --help` lists the keys of a stage. A second call skips what is finished and resumes what is not.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the console command.

    Args:
        arguments (`Sequence[str]`, *optional*):
            Words of the command line; those of the process by default.

    Returns:
        `int`: Exit code: 0, 1 for episodes with problems, 2 for what cannot be understood, 130 when interrupted.

    Example:

    ```python
    >>> main(["grop", "pusht/quickstart"])
    2

    ```
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        say(_usage())
        return 0
    command, *rest = words
    try:
        if command in TOOLS:
            return find_stage(command.replace("-", "_"))(rest)
        if command not in (*STAGES, *WHOLE_RUNS):
            raise ValueError(_unknown_stage(command))
        if not rest or {"-h", "--help"} & set(rest):
            say(_help(command, rest[0] if rest else ""))
            return 0 if rest else 2
        os.environ.setdefault(
            "HF_DATASETS_DISABLE_PROGRESS_BARS", "1"
        )  # read on import; the stages have their own bars
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        overrides = parse_overrides(rest[1:])
        if command == "reproduce" and (rest[0] in USE_NAMES or is_finding(rest[0])):
            job = _finding_job(rest[0], overrides)
        else:
            job = partial(find_stage(command), _recipe_of(command, rest[0], overrides))
    except (ValueError, TypeError, FileNotFoundError, PermissionError, ConnectionError) as error:
        sys.stderr.write(f"rlvr-world: {error}\n")
        return 2
    return _finish(job)


def _recipe_of(command: str, name: str, overrides: dict[str, Any]) -> Recipe:
    """The recipe of a stage or of a whole run, all its settings read once."""
    stage = command if command in STAGES else None
    recipe = load_recipe(_full_name(name), overrides=overrides, stage=stage)
    if command == "reproduce" and "output_dir" not in overrides:
        recipe = dataclasses.replace(recipe, output_dir=recipe.reproduction_dir)
    for needed in needed_stages(recipe.sections if stage is None else [stage]):
        find_stage(needed).read(recipe)
    return recipe


def _finding_job(name: str, overrides: dict[str, Any]) -> Callable[[], Any]:
    """What measures a finding, its settings read once."""
    folder = Path(overrides.pop("output_dir")) if "output_dir" in overrides else None
    if name in USE_NAMES:
        from .uses import check_options, measure_use

        check_options(name, overrides)
        return partial(measure_use, name, folder=folder, **overrides)
    from .finding import load_finding, measure_finding

    finding = load_finding(name, overrides=overrides)
    return partial(measure_finding, finding, folder=folder, is_whole=not overrides)


def _finish(job: Callable[[], Any]) -> int:
    """Run a job that was understood; returns the exit code."""
    _show_progress()
    try:
        job()
    except UnusableEpisodesError as error:
        sys.stderr.write(f"rlvr-world: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; the same command resumes from the last checkpoint.\n")
        return 130
    Processes().part()
    return 0


def stage_help(name: str) -> str:
    """
    What `rlvr-world STAGE --help` shows: the stage's purpose and its keys with types, defaults and meaning.

    Example:

    ```python
    >>> stage_help("predict").splitlines()[0]
    'usage: rlvr-world predict RECIPE [--key value ...]'

    ```
    """
    stage = find_stage(name)
    lines = [f"usage: rlvr-world {name} RECIPE [--key value ...]", "", inspect.cleandoc(stage.work.__doc__ or "")]
    own = keys_of(stage.settings)
    lines += ["", "keys:", *describe(own)]
    if stage.passed_on_to is not None:
        target = stage.passed_on_to(Recipe(name="help"))
        not_here = {*own, *SHARED_KEYS, *stage.kept_back}
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
    if name in USE_NAMES:
        from .uses import SEEDS, USES

        use = USES[name]
        recipe, seeds, known = use.recipe, list(SEEDS), keys_of(use.measure)
        purpose = inspect.cleandoc(use.measure.__doc__ or "").split("\n\n")[0]
        lines += [purpose, "", "keys:", *describe({option: known[option] for option in use.options})]
    else:
        from .finding import load_finding

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


def _help(command: str, name: str) -> str:
    if command == "reproduce" and (name in USE_NAMES or is_finding(name)):
        return finding_help(name)
    return _usage() if command in WHOLE_RUNS else stage_help(command)


def _usage() -> str:
    shared = {name: known for name, known in keys_of(Recipe).items() if name in SHARED_KEYS}
    return USAGE.format(
        stages=_summaries(STAGES),
        tools=_summaries(TOOLS),
        recipes=", ".join(recipe_names()),
        findings=", ".join([*finding_names(), *USE_NAMES]),
        shared="\n".join(describe(shared)),
        windows="\n".join(describe({f"windows.{name}": known for name, known in keys_of(WindowSettings).items()})),
    )


def _summaries(names: Sequence[str]) -> str:
    texts = {name: (import_module(f".{name.replace('-', '_')}", __package__).__doc__ or "").strip() for name in names}
    return "\n".join(f"  {name:<11} {text.splitlines()[0]}" for name, text in texts.items())


def describe(keys: dict[str, Key]) -> list[str]:
    """Lines of `--help` on some keys."""
    described = []
    for name, known in keys.items():
        default = "needed" if known.default is dataclasses.MISSING else _short(known.default)
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


def _unknown_stage(name: str) -> str:
    from difflib import get_close_matches

    known = [*STAGES, *WHOLE_RUNS, *TOOLS]
    nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return f"unknown stage {name!r}; the nearest is {nearest!r}. Stages: {', '.join(known)}."


def _full_name(name: str) -> str:
    """A recipe's name without its world means that of the main world, or the only one there is."""
    matches = [known for known in recipe_names() if known.endswith(f"/{name}")]
    main_world = f"{Recipe(name=name).world}/{name}"
    if main_world in matches:
        return main_world
    return matches[0] if len(matches) == 1 else name


def _show_progress() -> None:
    from transformers.utils import logging as host_logging

    host_logging.disable_progress_bar()  # of loading and saving; training has its own
    log = logging.getLogger("rlvr_world_hf")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
