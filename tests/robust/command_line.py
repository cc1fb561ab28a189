"""Every key of the debug recipe with a value of another type, and command lines and recipes that cannot be read."""

import enum
import shutil
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from rlvr_world_hf.runs.keys import keys_of
from rlvr_world_hf.runs.recipe import SHARED_KEYS, STAGES, Recipe, WindowSettings, load_recipe
from rlvr_world_hf.runs.stage import find_stage
from tests.robust.campaign import RECIPE, WRONG, Place, Tally


PROMISE = (
    "A value of another type than its key, an unknown key, or a recipe that cannot be read ends in one sentence that "
    "names it, with exit code 2, before anything is written."
)

PATIENCE = 20.0
TEXT, NO_TYPE = "a key of text or of a path takes any value", "a key without a stated type takes any value"

RECIPES: dict[str, bytes] = {
    "empty": b"",
    "a list": b"- 1\n- 2\n",
    "a word": b"hello\n",
    "no YAML": b"grpo: {max_steps: [1\n",
    "tabs": b"grpo:\n\tmax_steps: 1\n",
    "no text": b"\xff\xfe\x00\x01",
    "no UTF-8": "world: caf\xe9\n".encode("latin-1"),
    "windows that are a number": b"windows: 3\npretrain: {}\n",
    "a stage that is a number": b"pretrain: 3\n",
    "a stage that is a list": b"pretrain: [1]\n",
    "an unknown stage": b"pretrian: {max_steps: 1}\n",
    "a key twice removed": b"grpo: {max_steps: {max_steps: 1}}\n",
    "an object of Python": b"grpo: {max_steps: !!python/object/apply:os.getpid []}\n",
    "an anchor to itself": b"grpo: &a {rewards: [*a]}\n",
    "a billion laughs": b"a: &a [x, x]\n"
    + b"".join(
        b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n" % (n + 1, n + 1, *[n] * 8) for n in range(97, 106)
    ),
    "numbers as keys": b"1: {2: 3}\n",
    "no world": b"world: null\npretrain: {}\n",
    "a date": b"seed: 2026-01-01\npretrain: {}\n",
}

LINES: dict[str, tuple[str, ...]] = {
    "no command": ("fly",),
    "no such recipe": ("run", "pusht/debgu"),
    "a recipe that is a folder": ("run", "."),
    "a value without a key": ("run", RECIPE, "7"),
    "a key without a value": ("run", RECIPE, "--grpo.max_steps"),
    "a key of no stage": ("run", RECIPE, "--gro.max_steps", "1"),
    "an unknown key": ("run", RECIPE, "--grpo.max_stesp", "1"),
    "half a key": ("run", RECIPE, "--grpo.", "1"),
    "a whole part": ("run", RECIPE, "--grpo", "1"),
    "no YAML": ("run", RECIPE, "--grpo.rewards", "[{path: "),
    "no number": ("run", RECIPE, "--grpo.learning_rate", "1e-"),
    "a huge number": ("run", RECIPE, "--grpo.max_steps", "9" * 5000),
    "a seed below 0": ("run", RECIPE, "--seed", "-1"),
    "a seed beyond all": ("run", RECIPE, "--seed", "1" * 40),
    "a path as a world": ("run", RECIPE, "--world", "../../etc/passwd"),
    "a module as a world": ("run", RECIPE, "--world", "os"),
    "an unknown world": ("run", RECIPE, "--world", "psuht"),
    "no characters": ("run", RECIPE, "--world", ""),
    "a zero byte": ("run", RECIPE, "--output_dir", "a\0b"),
    "a lone surrogate": ("run", RECIPE, "--world", "\udcff"),
    "a tracker of no library": ("run", RECIPE, "--report_to", "paper"),
    "a reward that is no reward": ("run", RECIPE, "--grpo.rewards", "[{path: os.getcwd}]"),
    "a reward of no module": ("run", RECIPE, "--grpo.rewards", "[{path: no.such.Reward}]"),
    "a reward without a path": ("run", RECIPE, "--grpo.rewards", "[{weight: 1}]"),
    "check without a folder": ("check", "/nowhere"),
    "push of nothing": ("push", "/nowhere", "owner/name"),
    "push of a file": ("push", "/etc/hostname", "owner/name"),
    "demo of nothing": ("demo", "/nowhere"),
    "bundle of nothing": ("bundle", "/nowhere", "name"),
}
"""Further commands are completed by an output folder where they take one."""


def check(place: Place, tally: Tally) -> None:
    wrong = list(_wrong_values(tally))
    for key, value in wrong[place.random.randrange(20) :: 20] if place.is_quick else wrong:
        _refused(place, tally, f"--{key} {value}", ("run", RECIPE, f"--{key}", value), naming=key.rpartition(".")[2])
    recipes, lines = list(RECIPES.items()), list(LINES.items())
    for number, (case, content) in enumerate(recipes[::6] if place.is_quick else recipes):
        path = place.folder / f"recipe-{number}.yaml"
        path.write_bytes(content)
        _refused(place, tally, f"a recipe: {case}", ("run", str(path)), naming=path.name)
    for case, words in lines[::6] if place.is_quick else lines:
        _refused(place, tally, f"a command: {case}", words)


def _wrong_values(tally: Tally) -> Iterator[tuple[str, str]]:
    """Each key of the recipe, and a value that is not of its type."""
    recipe = load_recipe(RECIPE)
    parts: list[tuple[str, dict[str, Any]]] = [
        ("", {name: known for name, known in keys_of(Recipe).items() if name in SHARED_KEYS}),
        ("windows.", keys_of(WindowSettings)),
    ]
    for name in STAGES:
        stage = find_stage(name)
        foreign = keys_of(stage.forwards_to(recipe)) if stage.forwards_to else {}
        reserved = (*SHARED_KEYS, *stage.reserved)
        known = {key: value for key, value in foreign.items() if key not in reserved} | keys_of(stage.settings)
        parts.append((f"{name}.", known))
    for prefix, keys in parts:
        for key, known in keys.items():
            value = wrong_value(known.hint)
            if value is None:
                tally.skip(NO_TYPE if known.hint is Any else TEXT)
            else:
                yield prefix + key, value


def wrong_value(hint: Any) -> str | None:
    """A word that is not of a type; `None` if any word is."""
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if any(choice in (str, Path, Any, object) for choice in choices):
        return None
    known = (int, float, bool, list, tuple, dict, types.NoneType)
    for choice in choices:
        base = get_origin(choice) or choice
        if base is Literal or base in known or (isinstance(base, type) and issubclass(base, enum.Enum)):
            continue
        if getattr(base, "__name__", "") not in ("Mapping", "Sequence"):
            return None
    return "no-such-value"


def _refused(place: Place, tally: Tally, case: str, words: tuple[str, ...], naming: str = "") -> None:
    """Count a command that must be refused; one that begins to work is ended at once."""
    output, cache = place.folder / "run", place.folder / "cache"
    takes_folder = words[0] == "run" and "--output_dir" not in words
    where = ("--output_dir", str(output)) if takes_folder else ()
    command = place.forks.start(*words, *where, environment={"RLVR_WORLD_CACHE": str(cache)})
    end = time.monotonic() + 10 * PATIENCE
    while time.monotonic() < end and not command.poll():
        if ": running in " in command.text():
            command.kill()
        time.sleep(0.005)
    ended = command.wait(PATIENCE)
    if ended is not None and ": running in " in ended.text:
        tally.tried += 1
        tally.fault(WRONG, case, "was accepted")
    else:
        tally.refused(case, ended, naming=(naming,) if naming else ())
        lines = [line for line in (ended.text if ended else "").splitlines() if line.strip()]
        if ended and not ended.crash and len(lines) > 3:
            tally.fault(WRONG, case, f"one sentence was expected, got {len(lines)} lines: {lines[0]}")
    made = [path for path in (output, cache) if path.exists()]
    if made:
        tally.fault(WRONG, case, f"made {', '.join(path.name for path in made)}")
        for path in made:
            shutil.rmtree(path)
