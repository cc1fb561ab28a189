"""
Settings of a recipe varied, over training seeds, as one table and one plot: `rlvr-world reproduce FINDING`.

A finding is a file of `trainers/findings/`, or one of your own: a recipe, and rows. A row names a checkpoint and the
keys of the recipe that it changes. A row of one training seed is a piece. Stages that a row does not change, such as
the training of base, are taken from the recipe's own run and not trained again. With `rows_of` it measures the
checkpoints of another finding, where that one's runs lie, in another way.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..evaluation.json_files import write_json
from ..evaluation.results import merge_results, summarize
from ..hub import load_world_model
from ..runs.content import own_sources
from ..runs.echo import echo
from ..runs.keys import SettingTypeError, check_known, convert, fill, key, keys_of
from ..runs.locations import finding_path
from ..runs.lock import locked
from ..runs.named_parts import refuse_unknown
from ..runs.processes import Processes
from ..runs.progress import DONE
from ..runs.recipe import Recipe, load_recipe
from ..runs.reproduce import SEEDS, check_seeds, is_checkout
from ..runs.stage import (
    checkpoint_folder,
    find_stage,
    finished_seconds,
    needed_stages,
    run_stages,
    stage_folder,
    stage_that_makes,
    try_stages,
)
from ..runs.stages.evaluate import evaluate, measure_checkpoints, measured_names
from ..runs.yaml_text import read_yaml
from .figures import draw_finding
from .page import renew_evidence
from .pieces import Piece, Pieces
from .record import finding_record, reason_for_few


MEASURED = ("base", "control", "rlvr", "straight_through")
"""Checkpoints that a row may measure."""

YARDSTICKS = ("copy_last", "recorded", "tokenizer_floor", "law", "nothing_changes", "oracle")
"""Rows of every measurement that use no checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRow:
    """One row of a finding."""

    checkpoint: str = key("rlvr", "Checkpoint that is measured: base, control, rlvr or straight_through.")
    at: int = key(0, "Update at which it is measured; 0: the finished one.")
    set: dict[str, Any] = key({}, "Keys of the recipe, by their dotted names, that this row changes.")
    x: float | None = key(None, "Its place on the plot's axis.")
    series: str = key("", "Line of the plot that it is a point of; the checkpoint's name if empty.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    What is varied, and how it is drawn.

    Example:

    ```python
    >>> finding = load_finding("group_size")
    >>> finding.recipe, finding.rows["G 4"].set
    ('pusht/quickstart', {'grpo.num_generations': 4})

    ```
    """

    name: str
    """Name of its file."""

    question: str = key("", "What it answers, in a sentence.")
    """What it answers, in a sentence."""

    recipe: str = key(help="Recipe that is varied.")
    """Recipe that is varied."""

    rows_of: str = key("", "Finding whose checkpoints are measured, with its recipe, keys, rows and seeds.")
    """Finding whose checkpoints are measured; empty for rows of its own."""

    seeds: tuple[int, ...] = key(SEEDS, "Training seeds.")
    """Training seeds."""

    reason: str = key("", "Why there are fewer than 3 training seeds, where there are.")
    """Why there are fewer than 3 training seeds, where there are."""

    set: dict[str, Any] = key({}, "Keys of the recipe that all rows change, by their dotted names.")
    """Keys of the recipe that all rows change, by their dotted names."""

    plot: dict[str, Any] = key({}, "What `draw_finding` is called with.")
    """What `draw_finding` is called with."""

    rows: Mapping[str, FindingRow] = dataclasses.field(default_factory=dict)
    """The rows by name."""


def load_finding(name: str | Path, *, overrides: Mapping[str, Any] | None = None) -> Finding:
    """
    Read a finding.

    Args:
        name (`str` or `Path`):
            Name of a finding that ships with the library, such as `group_size`, or path of a YAML file.
        overrides (`Mapping[str, Any]`, *optional*):
            `seeds`, `recipe`, or keys of the recipe that all rows change.

    Returns:
        `Finding`: The finding; all settings of its rows are known and of the right type.

    Raises:
        FileNotFoundError: If there is no such finding.
        ValueError: If a key or checkpoint is unknown, in a row's recipe too; if the plot could not be drawn; if a seed
            is given twice, or the file has fewer than 3 seeds and no reason.

    Example:

    ```python
    >>> load_finding("group_size", overrides={"seeds": [0, 1, 2], "grpo.max_steps": 4}).set["grpo.max_steps"]
    4

    ```
    """
    path = finding_path(str(name))
    content = read_yaml(path) or {}
    rows: dict[str, FindingRow] = {}
    if content.get("rows_of"):
        content, rows = _of_another(content, where=path.stem)
    own = {name: value for name, value in (overrides or {}).items() if name in ("seeds", "recipe")}
    changed = {name: value for name, value in (overrides or {}).items() if name not in own}
    rows |= {
        str(row): fill(FindingRow, {"set": {}, **(settings or {})}, where=f"{path.stem}: {row}")
        for row, settings in (content.pop("rows", None) or {}).items()
    }
    shared = {**(content.pop("set", None) or {}), **changed}
    finding = fill(Finding, {**content, **own, "set": shared, "name": path.stem}, where=str(name))
    finding = dataclasses.replace(finding, rows=rows)
    if not rows:
        raise ValueError(f"{path}: expected `rows`, each with a checkpoint and the keys it sets, got none.")
    unknown = {row.checkpoint for row in rows.values()} - {*MEASURED}
    if unknown:
        raise ValueError(
            f"{path}: expected checkpoints among {', '.join(MEASURED)}, got {', '.join(sorted(unknown))}."
        )
    for row in rows.values():
        recipe = load_recipe(finding.recipe, overrides={**finding.set, **row.set})
        # An error in the last row is raised now, and not after the others were trained.
        for stage in needed_stages([*recipe.sections]):
            find_stage(stage).read(recipe)
    _check_plot(finding)
    check_seeds(finding.seeds, where=str(path))
    if len(finding.seeds) < len(SEEDS) and not finding.reason:
        # Whoever gives seeds on the command line asks for these; a file must say why they are few.
        if "seeds" not in own:
            raise ValueError(
                f"{path}: expected {len(SEEDS)} seeds, or a `reason` for fewer, got {list(finding.seeds)}."
            )
        finding = dataclasses.replace(finding, reason=reason_for_few(finding.seeds))
    return finding


def _of_another(content: Mapping[str, Any], *, where: str) -> tuple[dict[str, Any], dict[str, FindingRow]]:
    """What a file of `rows_of` has, with recipe, keys, seeds and rows of that finding."""
    twice = sorted({"recipe", "rows"} & content.keys())
    if twice:
        raise ValueError(
            f"{where}: expected `rows_of` without {' and '.join(twice)}, which come of it; leave one out."
        )
    other = load_finding(content["rows_of"])
    changed = {**other.set, **(content.get("set") or {})}
    merged = {"seeds": list(other.seeds), "reason": other.reason, **content, "recipe": other.recipe, "set": changed}
    return merged, dict(other.rows)


def try_finding(finding: Finding) -> None:
    """
    Try every setting of every row, before any is trained.

    Args:
        finding (`Finding`):
            The finding.

    Raises:
        ValueError, SettingTypeError, FileNotFoundError: As [`~rlvr_world_hf.runs.stage.try_stages`], naming the row.
    """
    for name, row in finding.rows.items():
        recipe = load_recipe(finding.recipe, overrides={**finding.set, **row.set})
        try:
            try_stages(recipe, [stage_that_makes(row.checkpoint)])
            # Evaluation needs no control here, which other rows train.
            find_stage("evaluate").try_settings(recipe)
        except (ValueError, SettingTypeError, FileNotFoundError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{finding.name}: {name}: {error}") from error


def measure_finding(finding: Finding, *, folder: Path | None = None, is_whole: bool = True) -> Path:
    """
    Train and measure every row of every seed, except those that are measured already, and write the result.

    Args:
        finding (`Finding`):
            The finding.
        folder (`Path`, *optional*):
            Where runs, pieces and results go; `outputs/findings/<name>` by default. With `rows_of`, the runs are those
            in the folder of that finding's name beside it.
        is_whole (`bool`, *optional*, defaults to `True`):
            Whether no key of its file was overridden; then, in a checkout, the result goes to `docs/evidence/` too.

    Returns:
        `Path`: The JSON file: what [`~rlvr_world_hf.findings.record.finding_record`] gives, `question`, `versions`,
        `rewarded`, `higher_is_better`, `settings` of each row, and `rows` (row -> metric -> `mean`, `std`, `values`,
        one a training seed; `train_seconds` among them).
    """
    try_finding(finding)
    folder = folder or Path("outputs/findings") / finding.name
    runs = folder.parent / Path(finding.rows_of).stem if finding.rows_of else folder
    homes = {seed: _home(finding, seed, runs) for seed in finding.seeds}
    store = Pieces(folder=folder / "pieces", revision=evaluate.revision)
    pieces: dict[str, list[Piece]] = {row: [] for row in finding.rows}
    for home in homes.values():
        for row, of_seeds in pieces.items():
            of_seeds.append(_measure(finding, row, _recipe_of(finding, row, home, runs), home, store))
    record = _merge(finding, pieces)
    file = write_json(record, folder / f"{finding.name}.json")
    draw_finding(record, file.with_suffix(".png"), **finding.plot)
    if is_whole and is_checkout():
        renew_evidence(file, [*finding.plot["metrics"], "train_seconds"])
    echo(str(file))
    return file


def _check_plot(finding: Finding) -> None:
    """Raise a ValueError if the plot could not be drawn of what the rows will have."""
    where = f"{finding.name}: plot"
    known = keys_of(draw_finding)
    check_known(finding.plot, known, where=where)
    plot = {name: convert(value, known[name].hint, where=f"{where}.{name}") for name, value in finding.plot.items()}
    metrics = plot.get("metrics")
    if not metrics or not isinstance(metrics, list) or not all(isinstance(metric, str) for metric in metrics):
        raise ValueError(f"{where}.metrics: expected a list of metrics, got {metrics!r}; give some such as [mae].")
    rows = [*finding.rows, *YARDSTICKS]
    if plot.get("gains_over"):
        refuse_unknown([plot["gains_over"]], rows, where=f"{where}.gains_over")
    places = [row.x for row in finding.rows.values() if row.x is not None]
    if plot.get("log_axis") and any(place <= 0 for place in places):
        raise ValueError(
            f"{where}.log_axis: expected rows with an `x` above 0, got {min(places)}; leave `log_axis` out."
        )
    measured: dict[str, None] = {}
    for row in finding.rows.values():
        recipe = load_recipe(finding.recipe, overrides={**finding.set, **row.set})
        measured |= dict.fromkeys(measured_names(recipe))
    refuse_unknown(metrics, [*measured, "train_seconds"], where=f"{where}.metrics")


def _home(finding: Finding, seed: int, folder: Path) -> Recipe:
    """
    The recipe of all that rows do not change, of one training seed.

    If the finding's own keys change no training, its run is that of `rlvr-world reproduce RECIPE`.
    """
    recipe = load_recipe(finding.recipe, overrides={**finding.set, "seed": seed})
    own = load_recipe(finding.recipe, overrides={"seed": seed})
    # Control comes last in training, and its fingerprint holds those of pretrain and grpo.
    place = own.reproduction_dir if _made_alike(own, recipe, "control") else folder / "shared"
    return dataclasses.replace(recipe, output_dir=place / f"seed-{seed}")


def _recipe_of(finding: Finding, row: str, home: Recipe, folder: Path) -> Recipe:
    """The recipe of a row; if the row changes nothing in training, its run is that of all rows."""
    stage = stage_that_makes(finding.rows[row].checkpoint)
    changed = {**finding.set, **finding.rows[row].set, "seed": home.seed}
    recipe = load_recipe(finding.recipe, overrides=changed)
    own = folder / "runs" / f"{stage}-{find_stage(stage).fingerprint(recipe)}"
    return dataclasses.replace(recipe, output_dir=home.output_dir if _made_alike(home, recipe, stage) else own)


def _made_alike(one: Recipe, other: Recipe, stage: str) -> bool:
    """Whether a stage, with those before it, gives the same in both recipes."""
    return find_stage(stage).fingerprint(one) == find_stage(stage).fingerprint(other)


def _measure(finding: Finding, name: str, recipe: Recipe, home: Recipe, pieces: Pieces) -> Piece:
    """The piece of a row and training seed; where it is not there, the row is trained and measured."""
    row = finding.rows[name]
    stage = stage_that_makes(row.checkpoint)
    settings = {
        "row": name,
        "stage": find_stage(stage).fingerprint(recipe),
        "at": row.at,
        "how": evaluate.read(recipe),
        "rewards": find_stage("grpo").read(recipe).rewards,  # they are measured, too
    }
    sources = own_sources([evaluate.read(recipe).metrics, settings["rewards"]])
    if sources:
        settings["sources"] = sources

    def measure() -> dict[str, Any]:
        echo(f"\n{finding.name}: {name}, seed {recipe.seed}")
        shared = [earlier for earlier in needed_stages([stage]) if _made_alike(home, recipe, earlier)]
        run_stages(home, shared)
        borrow_stages(home, recipe, shared)
        run_stages(recipe, [stage])
        checkpoint, seconds = _load(row, recipe)
        return {"results": measure_checkpoints(recipe, {name: checkpoint}), "train_seconds": seconds}

    return pieces.get(f"{_slug(name)}-seed-{recipe.seed}", settings, measure)


def _load(row: FindingRow, recipe: Recipe) -> tuple[Any, float]:
    """Model and processor of a row, and for how many seconds its stage trained it."""
    from ..hub.training_checkpoints import load_weights, trained_seconds

    name = stage_that_makes(row.checkpoint)
    stage = stage_folder(recipe, name)
    load = partial(load_world_model, checkpoint_folder(recipe, row.checkpoint), device=Processes().device)
    if not row.at:
        return load(), finished_seconds(recipe, name)
    model, processor = load()
    checkpoint = stage / f"checkpoint-{row.at}"
    if not checkpoint.is_dir():
        there = sorted(int(place.name.split("-")[-1]) for place in stage.glob("checkpoint-*"))
        raise ValueError(
            f"There is no checkpoint of update {row.at} in {stage}, only of updates {there}; set `save_steps`, or "
            "control's `save_total_limit`, so that it is kept."
        )
    load_weights(model, checkpoint)
    return (model, processor), trained_seconds(stage, row.at)


def borrow_stages(lender: Recipe, borrower: Recipe, names: list[str]) -> None:
    """
    Copy finished stages from another run, without their checkpoints for resuming.

    Args:
        lender (`Recipe`):
            Recipe of the run that may have finished them; stages that it has not are left out.
        borrower (`Recipe`):
            Recipe of the run that needs them, with the same settings of these stages; stages that it has finished stay
            as they are.
        names (`list[str]`):
            Names of the stages, in the order of a run.
    """
    if lender.output_dir == borrower.output_dir:
        return
    with locked(borrower.output_dir):
        _borrow(lender, borrower, names)


def _borrow(lender: Recipe, borrower: Recipe, names: list[str]) -> None:
    for name in names:
        target = find_stage(name).progress(borrower)
        lent = dataclasses.replace(target, folder=lender.output_dir / target.folder.relative_to(borrower.output_dir))
        if not lent.is_done() or target.is_done():
            continue  # the lender has not finished it, or the borrower has
        target.folder.mkdir(parents=True, exist_ok=True)
        without = shutil.ignore_patterns("checkpoint-*", DONE)
        shutil.copytree(lent.folder, target.folder, ignore=without, dirs_exist_ok=True)
        shutil.copyfile(lent.folder / DONE, target.folder / DONE)  # last, because it says that the copy is complete


def _merge(finding: Finding, pieces: Mapping[str, Sequence[Piece]]) -> dict[str, Any]:
    """The record of a finding, from its pieces: row -> one of each training seed."""
    merged = {row: _over_training([piece["results"] for piece in of_seeds]) for row, of_seeds in pieces.items()}
    first = next(iter(merged.values()))
    rows = {row: first["rows"][row] for row in YARDSTICKS if row in first["rows"]}
    for row, results in merged.items():
        seconds = summarize([piece["train_seconds"] for piece in pieces[row]])
        rows[row] = {**results["rows"][row], "train_seconds": seconds}
    record = finding_record(
        finding.name,
        recipe=finding.recipe,
        measured=merged.values(),
        n=first["samples"],
        training_seeds=finding.seeds,
        sampling_seeds=first["sampling_seeds"],
        reason=finding.reason,
    )
    return {
        **record,
        "question": finding.question,
        "versions": first["versions"],
        "rewarded": first["rewarded"],
        "higher_is_better": {m: better for r in merged.values() for m, better in r["higher_is_better"].items()},
        "settings": {row: _settings(finding, row) for row in finding.rows},
        "rows": rows,
    }


def _over_training(per_seed: list[dict[str, Any]]) -> dict[str, Any]:
    """Results over training seeds: one value a seed, also where there is a single seed."""
    merged = merge_results(per_seed)
    if len(per_seed) > 1:
        return merged
    # The results of a single seed have a value for each sampling seed, whose spread is not that over training.
    rows = {
        row: {metric: summarize([summary["mean"]]) for metric, summary in summaries.items()}
        for row, summaries in merged["rows"].items()
    }
    return {**merged, "rows": rows}


def _settings(finding: Finding, row: str) -> dict[str, Any]:
    """What the JSON says of a row: its own settings, with the keys that the finding changes in all rows."""
    own = finding.rows[row]
    return {**dataclasses.asdict(own), "series": own.series or own.checkpoint, "set": {**finding.set, **own.set}}


def _slug(name: str) -> str:
    """A name as it may stand in the name of a file."""
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower())
