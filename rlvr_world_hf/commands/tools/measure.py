"""Measure: the table of any world models on the test episodes of a recipe, beside the recipe's own baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...evaluation.results import write_results
from ...evaluation.table import markdown_table
from ...hub import load_world_model
from ...runs.echo import echo
from ...runs.keys import convert
from ...runs.processes import Processes
from ...runs.recipe import load_recipe, parse_overrides
from ...runs.stage import run_stages, settle
from ...runs.stages.evaluate import YARDSTICKS, evaluate, measure_checkpoints


USAGE = """usage: rlvr-world measure RECIPE ROW=CHECKPOINT [ROW=CHECKPOINT ...] [--key value ...]

Measures world models (each a folder, the name of a bundled one, or a Hub id) as the stage `evaluate` of a recipe does,
and prints their table. It needs no run: test episodes are recorded where they are not, and nothing is trained.

keys: those of the recipe (`rlvr-world evaluate RECIPE --help`), and

  --output                     JSON file to write, in the form of results.json. [none]
"""


def measure(words: Sequence[str]) -> int:
    """
    Measure checkpoints on a recipe's test episodes and print their table.

    Args:
        words (`Sequence[str]`):
            The recipe, `row=checkpoint` pairs and `--key value` pairs, as after `rlvr-world measure`.

    Returns:
        `int`: 0, or 2 without a recipe or a checkpoint.

    Raises:
        FileNotFoundError: If there is no such recipe or checkpoint.
        ValueError: If a row has no checkpoint or a taken name, or a key is unknown.
    """
    given = list(words)
    at = next((number for number, word in enumerate(given) if word.startswith("-")), len(given))
    recipe_words, keys = given[:at], given[at:]
    asks = bool({"-h", "--help"} & set(keys))
    if asks or len(recipe_words) < 2:
        echo(USAGE)
        return 0 if asks else 2
    name, *pairs = recipe_words
    places = _places(pairs)
    overrides = parse_overrides(keys)
    output = convert(overrides.pop("output"), Path, where="output") if "output" in overrides else None
    recipe = settle(load_recipe(name, overrides=overrides), ["collect"])
    evaluate.read(recipe)
    checkpoints = {row: load_world_model(place, device=Processes().device) for row, place in places.items()}
    run_stages(recipe, ["collect"])
    results = measure_checkpoints(recipe, checkpoints)
    echo(markdown_table(results))
    if output is not None:
        echo(f"{write_results(results, output)}")
    return 0


def _places(pairs: Sequence[str]) -> dict[str, str]:
    """Row -> checkpoint."""
    places: dict[str, str] = {}
    for pair in pairs:
        row, equals, place = pair.partition("=")
        if not (row and equals and place):
            raise ValueError(f"Expected ROW=CHECKPOINT, such as base=outputs/mine/base, got {pair!r}.")
        if row in places or row in YARDSTICKS:
            raise ValueError(f"Expected another name than {row!r} for {place}: a row has it already; rename it.")
        places[row] = place
    return places
