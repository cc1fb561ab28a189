"""The console command: `rlvr-world STAGE RECIPE [--key value ...]`."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from ..data.folder import UnusableEpisodesError
from ..findings.applications import application_names
from ..hub.manifest import DamagedFileError
from ..runs.echo import echo
from ..runs.freed_memory import keep_freed_memory
from ..runs.keys import SettingTypeError, Words, convert
from ..runs.locations import cache_root, is_finding, recipe_names
from ..runs.lock import RunFolderError
from ..runs.processes import Processes
from ..runs.recipe import STAGES, Recipe, load_recipe, parse_overrides
from ..runs.stage import find_stage, settle, try_stages
from .bars import one_line_a_minute
from .disk import DISK_ERRORS, disk_trouble
from .help import TOOLS, WHOLE_RUNS, help_of, usage


OUTPUTS = Path("outputs")
"""Folder below which recipes, findings and tools write if no other is given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the console command.

    Args:
        arguments (`Sequence[str]`, *optional*):
            Words of the command line; those of the process by default.

    Returns:
        `int`: Exit code: 0; 1 for episodes with problems; 2 for arguments that are not valid, and for a disk that is
        full or cannot be written to; 130 when interrupted.

    Example:

    ```python
    >>> main(["grop", "pusht/quickstart"])
    2

    ```
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _main(words)
    except KeyboardInterrupt as interrupt:
        _say_how_to_go_on(interrupt, words)
        distributed = sys.modules.get("torch.distributed")
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            # Left to the end of the process, a connection to others may abort it.
            Processes().part()
        return 130


def _main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        echo(usage())
        return 0
    command, *rest = words
    # datasets reads it when it is imported; ours are enough.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    # TRL's trainers send telemetry unless this is set.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        if command in TOOLS:
            return _tool(command)(rest)
        if command not in (*STAGES, *WHOLE_RUNS):
            raise ValueError(_unknown_stage(command))
        if not rest or {"-h", "--help"} & set(rest):
            named = rest[0] if rest and not rest[0].startswith("-") else ""
            echo(help_of(command, _full_name(named) if command in STAGES else named))
            return 0 if rest else 2
        overrides = parse_overrides(rest[1:])
        if command == "reproduce" and (rest[0] in application_names() or is_finding(rest[0])):
            job, folder = _finding_job(rest[0], overrides)
        else:
            recipe = _named_recipe_of(command, rest[0], overrides)
            job, folder = partial(_command(command), recipe), recipe.output_dir
    # What wrong arguments, a missing file or the Hub cause; any other error is a bug and keeps its traceback.
    except (ValueError, SettingTypeError, FileNotFoundError, PermissionError, ConnectionError) as error:
        sys.stderr.write(f"rlvr-world: {disk_trouble(error, _folders()) or error}\n")
        return 2
    except OSError as error:
        trouble = disk_trouble(error, _folders())
        if trouble is None:
            raise
        sys.stderr.write(f"rlvr-world: {trouble}\n")
        return 2
    return _finish(job, _folders(folder))


def _tool(name: str) -> Callable[[Sequence[str]], int]:
    own_name = name.replace("-", "_")
    return getattr(import_module(f".tools.{own_name}", __package__), own_name)


def _command(name: str) -> Callable[[Recipe], Any]:
    """A stage, or the function that runs all of them."""
    if name in STAGES:
        return find_stage(name)
    return getattr(import_module(f"..runs.{name}", __package__), name)


def _named_recipe_of(command: str, name: str, overrides: dict[str, Words]) -> Recipe:
    """As `_recipe_of`; an error names the recipe, not only the key."""
    try:
        return _recipe_of(command, name, overrides)
    except (ValueError, SettingTypeError) as error:
        raise ValueError(f"{error}" if name in str(error) else f"{name}: {error}") from error


def _recipe_of(command: str, name: str, overrides: dict[str, Words]) -> Recipe:
    """The recipe of a stage or of a whole run, all of its settings checked and tried."""
    stage = command if command in STAGES else None
    recipe = load_recipe(_full_name(name), overrides=overrides, stage=stage)
    if command == "reproduce" and "output_dir" not in overrides:
        recipe = dataclasses.replace(recipe, output_dir=recipe.reproduction_dir)
    if stage is None and not recipe.sections:
        raise ValueError(f"{name}: expected stages to run, got none; add some of {', '.join(STAGES)}.")
    names = recipe.sections if stage is None else [stage]
    recipe = settle(recipe, names)
    try_stages(recipe, names)
    return recipe


def _finding_job(name: str, words: dict[str, Words]) -> tuple[Callable[[], Any], Path]:
    """The function that measures a finding, its settings checked, and the folder it writes to."""
    overrides = {key: value.read(key) for key, value in words.items() if key != "output_dir"}
    # Left out above: the place of the output makes a finding no less whole.
    folder = convert(words["output_dir"], Path, where="output_dir") if "output_dir" in words else None
    if name in application_names():
        from ..findings.application import check_options, measure_application

        check_options(name, overrides)
        return partial(measure_application, name, folder=folder, **overrides), folder or OUTPUTS
    from ..findings.finding import load_finding, measure_finding, try_finding

    finding = load_finding(name, overrides=overrides)
    try_finding(finding)
    return partial(measure_finding, finding, folder=folder, is_whole=not overrides), folder or OUTPUTS


def _finish(job: Callable[[], Any], folders: Mapping[Path, str]) -> int:
    """Run a job whose arguments are valid; returns the exit code."""
    _show_progress()
    keep_freed_memory()
    try:
        with one_line_a_minute():
            job()
    except UnusableEpisodesError as error:
        sys.stderr.write(f"rlvr-world: {error}\n")
        return 1
    except (DamagedFileError, RunFolderError) as error:
        sys.stderr.write(f"rlvr-world: {error}\n")
        return 2
    except DISK_ERRORS as error:
        trouble = disk_trouble(error, folders)
        if trouble is None:
            raise
        sys.stderr.write(f"rlvr-world: {trouble}\n")
        return 2
    Processes().part()
    return 0


def _say_how_to_go_on(interrupt: KeyboardInterrupt, words: Sequence[str]) -> None:
    """What an interrupted command leaves, and with which command it goes on; said by one of several processes."""
    if os.environ.get("RANK", "0") != "0":
        return
    lines = ["", "Interrupted.", *getattr(interrupt, "__notes__", [])]
    if words and words[0] in (*STAGES, *WHOLE_RUNS):
        # The words of a launcher are not known here.
        again = "the same launch" if "RANK" in os.environ else f"`{shlex.join(['rlvr-world', *words])}`"
        lines.append(f"Go on with {again}.")
    sys.stderr.write("\n".join(lines) + "\n")


def _folders(output: Path = OUTPUTS) -> dict[Path, str]:
    """The folders that commands write to, and how to choose others."""
    return {
        output: "`--output_dir PATH`",
        cache_root(): "the environment variable RLVR_WORLD_CACHE",
        Path(gettempdir()): "the environment variable TMPDIR",
    }


def _unknown_stage(name: str) -> str:
    from difflib import get_close_matches

    known = [*STAGES, *WHOLE_RUNS, *TOOLS]
    nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return f"unknown stage {name!r}; the nearest is {nearest!r}. Stages: {', '.join(known)}."


def _full_name(name: str) -> str:
    """A recipe's name with its world. Without one, the main world's recipe is meant, or else the only one so named."""
    matches = [known for known in recipe_names() if known.endswith(f"/{name}")]
    main_world = f"{Recipe(name=name).world}/{name}"
    if main_world in matches:
        return main_world
    return matches[0] if len(matches) == 1 else name


def _show_progress() -> None:
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # those of loading and saving; training has its own
    log = logging.getLogger("rlvr_world_hf")
    # A process may call `main` more than once.
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
