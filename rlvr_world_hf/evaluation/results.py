"""
`results.json`: the one form in which this project keeps measured numbers.

    {"recipe", "commit", "machine", "versions", "samples", "training_seeds": [...], "sampling_seeds": [...],
     "rewarded": [metric, ...], "higher_is_better": {metric: bool},
     "rows": {row: {metric: {"mean", "std", "values": [...]}}},
     "spread": "training_seeds" | "sampling_seeds", "sampling": {row: [{"temperature", "top_k", "top_p"}, ...]},
     "groups": {group: {"samples", "rows": {row: {metric: mean}}}}}

Metrics are unsigned. `values` holds one number a training seed, or one a sampling seed where there is one training
seed; `spread` says which, and `std` is their sample standard deviation. `sampling` holds, for each row that was
sampled, the settings of each training seed, `reject_repetition` among them where it was set; `groups`, where there are
any, the means of parts of the samples.
"""

import json
import logging
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .json_files import write_json
from .provenance import commit, machine, versions


logger = logging.getLogger(__name__)

Results = dict[str, Any]

TYPES: dict[str, type | tuple[type, ...]] = {
    "recipe": str,
    "commit": str,
    "machine": str,
    "versions": dict,
    "samples": int,
    "training_seeds": list,
    "sampling_seeds": list,
    "rewarded": list,
    "higher_is_better": dict,
    "rows": dict,
    "spread": str,
    "sampling": dict,
    "groups": dict,
}
OPTIONAL = ("spread", "sampling", "groups")


def summarize(values: Sequence[float]) -> dict[str, Any]:
    """
    Mean, sample standard deviation (0 for one value) and the values themselves.

    Args:
        values (`Sequence[float]`):
            One finite number a seed.

    Returns:
        `dict`: `{"mean": float, "std": float, "values": list[float]}`.

    Example:

    ```python
    >>> summarize([1.0, 3.0])
    {'mean': 2.0, 'std': 1.4142135623730951, 'values': [1.0, 3.0]}

    ```
    """
    numbers = [float(value) for value in values]
    spread = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
    return {"mean": statistics.fmean(numbers), "std": spread, "values": numbers}


def make_results(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    recipe: str,
    samples: int,
    training_seed: int,
    sampling_seeds: Sequence[int],
    rewarded: Sequence[str],
    higher_is_better: Mapping[str, bool],
    sampling: Mapping[str, Mapping[str, float]] | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
) -> Results:
    """
    The record of one training seed.

    Args:
        rows (`Mapping`):
            Row name -> metric name -> one value a sampling seed. A metric with a value that is not finite (nothing to
            measure) is left out of its row.
        recipe (`str`):
            Name of the recipe, as in `pusht/quickstart`.
        samples (`int`):
            Number of held-out windows behind each value.
        training_seed (`int`):
            Seed of the training run.
        sampling_seeds (`Sequence[int]`):
            Seeds the predictions were sampled with.
        rewarded (`Sequence[str]`):
            Metrics the reward was made of.
        higher_is_better (`Mapping[str, bool]`):
            Direction of every metric.
        sampling (`Mapping`, *optional*):
            Sampling settings by row.
        groups (`Mapping`, *optional*):
            For parts of the samples, by name, their number (`samples`) and the mean of each row and metric (`rows`).

    Returns:
        `dict`: the record, with commit, machine and versions filled in; it passes [`validate_results`].

    Raises:
        `ValueError`: If the record is not valid, see [`validate_results`].

    Example:

    ```python
    >>> results = make_results(
    ...     {"base": {"mae": [0.25, 0.75]}},
    ...     recipe="pusht/debug",
    ...     samples=8,
    ...     training_seed=0,
    ...     sampling_seeds=[0, 1],
    ...     rewarded=["mae"],
    ...     higher_is_better={"mae": False},
    ... )
    >>> results["rows"]["base"]["mae"]["mean"], results["spread"]
    (0.5, 'sampling_seeds')

    ```
    """
    results: Results = {
        "recipe": recipe,
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "samples": samples,
        "training_seeds": [training_seed],
        "sampling_seeds": list(sampling_seeds),
        "rewarded": list(rewarded),
        "higher_is_better": dict(higher_is_better),
        "rows": {
            row: {metric: summarize(values) for metric, values in metrics.items() if all(map(math.isfinite, values))}
            for row, metrics in rows.items()
        },
        "spread": "sampling_seeds",
        "sampling": {row: [dict(settings)] for row, settings in (sampling or {}).items()},
    }
    if groups:
        results["groups"] = {group: dict(of_group) for group, of_group in groups.items()}
    validate_results(results)
    return results


def merge_results(per_seed: Sequence[Mapping[str, Any]]) -> Results:
    """
    One record of several training seeds: its values are the means of theirs.

    Args:
        per_seed (`Sequence[Mapping]`):
            Records of one training seed each, of the same recipe, samples, sampling seeds, rewarded metrics and
            rows. A metric that was not measured for every seed is left out with a warning; commits and machines that
            differ are all named.

    Returns:
        `dict`: the merged record; for a single one, that one.

    Raises:
        `ValueError`: If the records are of different runs, or share a training seed.

    Example:

    ```python
    >>> shared = dict(recipe="r", samples=8, sampling_seeds=[0], rewarded=["mae"], higher_is_better={"mae": False})
    >>> runs = [make_results({"base": {"mae": [m]}}, training_seed=s, **shared) for s, m in enumerate([1.0, 3.0])]
    >>> merged = merge_results(runs)
    >>> merged["training_seeds"], merged["spread"], merged["rows"]["base"]["mae"]["values"]
    ([0, 1], 'training_seeds', [1.0, 3.0])

    ```
    """
    if not per_seed:
        raise ValueError("`merge_results` needs the results of at least one training seed, got none.")
    for results in per_seed:
        validate_results(results)
    first = per_seed[0]
    if len(per_seed) == 1:
        return dict(first)
    _refuse_different_runs(per_seed)
    return {
        **first,
        "commit": _all_of(per_seed, "commit"),
        "machine": _all_of(per_seed, "machine"),
        "versions": {
            name: ", ".join(dict.fromkeys(str(results["versions"].get(name, "none")) for results in per_seed))
            for name in first["versions"]
        },
        "training_seeds": [seed for results in per_seed for seed in results["training_seeds"]],
        "rows": {row: _merge_row(row, [results["rows"][row] for results in per_seed]) for row in first["rows"]},
        "spread": "training_seeds",
        "sampling": {
            row: [settings for results in per_seed for settings in results.get("sampling", {}).get(row, [])]
            for row in first.get("sampling", {})
        },
        **_merge_groups([results.get("groups", {}) for results in per_seed]),
    }


def validate_results(results: Any) -> None:
    """
    Refuse what is not a record of this module's form.

    Args:
        results (`Any`):
            What may be a record.

    Raises:
        `ValueError`: If a key is missing, unknown or of the wrong type, a rewarded or measured metric has no
        direction, a
            number is not finite, a mean is not that of its values, or a metric has another number of values than there
            are seeds.

    Example:

    ```python
    >>> validate_results({"recipe": "pusht/debug"})
    Traceback (most recent call last):
    ...
    ValueError: Results lack ['commit', 'machine', 'versions', 'samples', 'training_seeds', ...

    ```
    """
    if not isinstance(results, Mapping):
        raise ValueError(
            f"Results must be a mapping of the form described in {__name__}, got {type(results).__name__}."
        )
    missing = [key for key in TYPES if key not in results and key not in OPTIONAL]
    unknown = [key for key in results if key not in TYPES]
    if missing or unknown:
        raise ValueError(f"Results lack {missing} and have unknown {unknown}; write them with `make_results`.")
    for key, kind in TYPES.items():
        if key in results and not isinstance(results[key], kind):
            raise ValueError(f"Results need {key!r} of type {kind}, got {results[key]!r}.")
    directions = results["higher_is_better"]
    undirected = [metric for metric in results["rewarded"] if not isinstance(directions.get(metric), bool)]
    if undirected:
        raise ValueError(f"Rewarded metrics {undirected} need true or false under 'higher_is_better'.")
    for row, metrics in results["rows"].items():
        if not isinstance(metrics, Mapping):
            raise ValueError(f"Row {row!r} must map metrics to numbers, got {metrics!r}.")
        for metric, summary in metrics.items():
            _validate_summary(f"{row}/{metric}", summary, seeds=_seed_count(results))
            if not isinstance(directions.get(metric), bool):
                raise ValueError(f"Metric {metric!r} needs true or false under 'higher_is_better'.")


def write_results(results: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """
    Write a valid record, atomically: a reader sees the old file or the new one, never a part.

    Args:
        results (`Mapping`):
            Record, checked by [`validate_results`].
        path (`str` or `PathLike`):
            File to write; missing folders are made.

    Returns:
        `Path`: the file.

    Raises:
        `ValueError`: If the record is not valid.
    """
    validate_results(results)
    return write_json(results, path)


def read_results(path: str | os.PathLike[str]) -> Results:
    """
    Read a record.

    Args:
        path (`str` or `PathLike`):
            A `results.json`.

    Returns:
        `dict`: the record.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If the file is not JSON or not a record; it names the file and what is wrong.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"No results at {source}; `rlvr-world evaluate RECIPE` writes them.")
    try:
        results = json.loads(source.read_text(encoding="utf-8"))
        validate_results(results)
    except ValueError as error:  # json.JSONDecodeError is one
        raise ValueError(f"{source} holds no valid results: {error}") from error
    return results


def _seed_count(results: Mapping[str, Any]) -> int:
    # Records that do not say have what follows from their seeds.
    spread = results.get("spread", "training_seeds" if len(results["training_seeds"]) > 1 else "sampling_seeds")
    if spread not in ("training_seeds", "sampling_seeds"):
        raise ValueError(f"'spread' must be 'training_seeds' or 'sampling_seeds', got {spread!r}.")
    return len(results[spread])


def _validate_summary(name: str, summary: Any, *, seeds: int) -> None:
    if not isinstance(summary, Mapping) or set(summary) != {"mean", "std", "values"}:
        raise ValueError(f"{name} must be of the form {{'mean', 'std', 'values'}}, got {summary!r}.")
    values = summary["values"]
    numbers = [summary["mean"], summary["std"], *(values if isinstance(values, list) else [None])]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ValueError(f"{name} must hold finite numbers, got {summary!r}.")
    if len(values) != seeds:
        raise ValueError(f"{name} needs one value a seed, that is {seeds}, got {len(values)}.")
    # A mean that was edited by hand, or values that were, must not reach a card.
    if not math.isclose(summary["mean"], statistics.fmean(values), rel_tol=1e-6, abs_tol=1e-9):
        raise ValueError(f"{name} has mean {summary['mean']}, but its values have {statistics.fmean(values)}.")


def _refuse_different_runs(per_seed: Sequence[Mapping[str, Any]]) -> None:
    for key in ("recipe", "samples", "sampling_seeds", "rewarded", "higher_is_better"):
        given = [results[key] for results in per_seed]
        if any(value != given[0] for value in given):
            raise ValueError(f"Only results of one recipe can be merged; {key!r} differs: {given}.")
    rows = [list(results["rows"]) for results in per_seed]
    if any(set(names) != set(rows[0]) for names in rows):
        raise ValueError(f"Only results with the same rows can be merged, got {rows}.")
    seeds = [seed for results in per_seed for seed in results["training_seeds"]]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"Each training seed counts once, got {seeds}.")


def _merge_row(row: str, of_seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    # A metric may lack in one seed alone, as where no pixel moved; a mean of the others would be of other data.
    shared = [metric for metric in of_seeds[0] if all(metric in metrics for metrics in of_seeds)]
    dropped = {metric for metrics in of_seeds for metric in metrics} - set(shared)
    if dropped:
        logger.warning("Row %r has no %s for some training seeds; left out.", row, ", ".join(sorted(dropped)))
    return {metric: summarize([metrics[metric]["mean"] for metrics in of_seeds]) for metric in shared}


def _merge_groups(of_seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means over seeds of the groups' means; nothing where there are no groups."""
    merged = {}
    for group, first in of_seeds[0].items():
        rows = {
            row: {
                metric: statistics.fmean(groups[group]["rows"][row][metric] for groups in of_seeds) for metric in means
            }
            for row, means in first["rows"].items()
        }
        merged[group] = {"samples": first["samples"], "rows": rows}
    return {"groups": merged} if merged else {}


def _all_of(per_seed: Sequence[Mapping[str, Any]], key: str) -> str:
    return " + ".join(dict.fromkeys(results[key] for results in per_seed))
