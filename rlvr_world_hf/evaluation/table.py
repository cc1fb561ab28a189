"""The Markdown table of a `results.json`: rows, chosen metrics, spread, and what is needed to repeat it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .results import validate_results


NOT_PREDICTIONS = ("tokenizer_floor", "oracle", "law")  # they see the answer, or its law, so they are never the best


def markdown_table(
    results: Mapping[str, Any], *, metrics: Sequence[str] | None = None, rows: Sequence[str] | None = None
) -> str:
    """
    Table of rows and metrics as mean ± spread, and one line on samples, seeds, recipe and commit.

    The best prediction of a rewarded metric is bold, whichever row it is in; `tokenizer_floor`, `oracle` and `law` are
    made of what is to be predicted, or by whoever draws it, and do not compete.

    Args:
        results (`Mapping`):
            A record of `results.json`; nothing else is read.
        metrics (`Sequence[str]`, *optional*):
            Columns. Defaults to all that some row has, rewarded ones first.
        rows (`Sequence[str]`, *optional*):
            Rows, in this order. Defaults to all.

    Returns:
        `str`: Markdown, with a final newline. A row that lacks a metric shows `-`.

    Raises:
        `ValueError`: If the record is not valid, or a row or metric is in none of it.

    Example:

    ```python
    >>> from rlvr_world_hf.evaluation.results import make_results
    >>> results = make_results(
    ...     {"base": {"mae": [0.5, 0.25]}, "rlvr": {"mae": [0.125, 0.125]}},
    ...     recipe="pusht/debug",
    ...     samples=8,
    ...     training_seed=0,
    ...     sampling_seeds=[0, 1],
    ...     rewarded=["mae"],
    ...     higher_is_better={"mae": False},
    ... )
    >>> for line in markdown_table(results).splitlines()[:4]:
    ...     print(line)
    | row | mae ↓ |
    |---|---|
    | base | 0.38 ± 0.18 |
    | rlvr | **0.1250** |

    ```
    """
    validate_results(results)
    measured = list(dict.fromkeys(metric for metrics_of in results["rows"].values() for metric in metrics_of))
    rewarded_first = sorted(measured, key=lambda metric: metric not in results["rewarded"])
    columns = _known(metrics, rewarded_first, "metric")
    names = _known(rows, list(results["rows"]), "row")
    best = {metric: best_row(results, metric, rows=names) for metric in columns if metric in results["rewarded"]}
    lines = ["| row | " + " | ".join(heading(results, metric) for metric in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for row in names:
        cells = [_cell(results["rows"][row].get(metric), bold=best.get(metric) == row) for metric in columns]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", provenance_line(results), ""])


def group_table(results: Mapping[str, Any]) -> str:
    """
    Table of the groups of a record, such as games, and of each row's mean on the first rewarded metric.

    Args:
        results (`Mapping`):
            A record of `results.json`.

    Returns:
        `str`: Markdown, folded up under a heading; empty where nothing was measured by groups.

    Example:

    ```python
    >>> rows = {"base": {"f1": 0.5}, "oracle": {"f1": 1.0}, "rlvr": {"f1": 0.75}}
    >>> record = {"rewarded": ["f1"], "higher_is_better": {"f1": True}}
    >>> record |= {"groups": {"lamp": {"samples": 8, "rows": rows}}}
    >>> print(group_table(record))
    <BLANKLINE>
    <details><summary>f1 by group</summary>
    <BLANKLINE>
    | group | samples | base | rlvr |
    |---|---|---|---|
    | lamp | 8 | 0.5000 | **0.7500** |
    <BLANKLINE>
    </details>
    <BLANKLINE>

    ```
    """
    groups, metric = results.get("groups"), next(iter(results["rewarded"]), None)
    if not groups or metric is None:
        return ""
    best = max if results["higher_is_better"][metric] else min
    of_first = next(iter(groups.values()))["rows"]
    rows = [row for row, means in of_first.items() if metric in means and row not in NOT_PREDICTIONS]
    lines = ["| group | samples | " + " | ".join(rows) + " |", "|---" * (len(rows) + 2) + "|"]
    for group, measured in groups.items():
        means = [measured["rows"][row][metric] for row in rows]
        cells = [f"**{format_number(mean)}**" if mean == best(means) else format_number(mean) for mean in means]
        lines.append(f"| {group} | {measured['samples']} | " + " | ".join(cells) + " |")
    return "\n".join(["", f"<details><summary>{metric} by group</summary>", "", *lines, "", "</details>", ""])


def heading(results: Mapping[str, Any], metric: str) -> str:
    """
    A metric as the table names it, with the direction in which it gets better.

    Args:
        results (`Mapping`):
            A record of `results.json`.
        metric (`str`):
            Which metric.

    Returns:
        `str`: the text.

    Example:

    ```python
    >>> heading({"higher_is_better": {"ssim": True}}, "ssim")
    'ssim ↑'

    ```
    """
    return f"{metric} {'↑' if results['higher_is_better'][metric] else '↓'}"


def best_row(results: Mapping[str, Any], metric: str, *, rows: Sequence[str] | None = None) -> str | None:
    """
    Row whose mean is best on a metric, `tokenizer_floor`, `oracle` and `law` apart.

    Args:
        results (`Mapping`):
            A record of `results.json`.
        metric (`str`):
            Which metric.
        rows (`Sequence[str]`, *optional*):
            Rows that compete. Defaults to all.

    Returns:
        `str` or `None`: its name; `None` when no competing row has the metric.
    """
    means = {
        row: results["rows"][row][metric]["mean"]
        for row in (results["rows"] if rows is None else rows)
        if row not in NOT_PREDICTIONS and metric in results["rows"][row]
    }
    if not means:
        return None
    return (max if results["higher_is_better"][metric] else min)(means, key=means.__getitem__)


def provenance_line(results: Mapping[str, Any]) -> str:
    """
    One line: samples, seeds and what the spread is over, recipe and commit of a record.

    Args:
        results (`Mapping`):
            A record of `results.json`.

    Returns:
        `str`: Markdown.
    """
    training, sampling = results["training_seeds"], results["sampling_seeds"]
    over = "training seeds" if len(training) > 1 else "sampling seeds"
    held_out = "transitions" if "oracle" in results["rows"] else "windows"
    return (
        f"{results['samples']} held-out {held_out}; mean ± sample standard deviation over {over}; "
        f"training seeds {_join(training)}, sampling seeds {_join(sampling)}{_temperature(results)}; "
        f"recipe `{results['recipe']}`, commit `{short_commits(results['commit'])}`."
    )


def format_number(mean: float, spread: float = 0.0) -> str:
    """
    A number and its spread with two digits of the spread, or four digits where there is none.

    Args:
        mean (`float`):
            The number.
        spread (`float`, *optional*, defaults to 0.0):
            Its standard deviation; not shown below a hundred-thousandth of the number, where it is rounding.

    Returns:
        `str`: the text.

    Example:

    ```python
    >>> format_number(0.0144412, 0.00012), format_number(28.1, 0.0)
    ('0.01444 ± 0.00012', '28.10')

    ```
    """
    if spread > 1e-5 * abs(mean):
        # Digits finer than the spread are luck.
        decimals = min(8, max(0, 1 - math.floor(math.log10(spread))))
        return f"{mean:.{decimals}f} ± {spread:.{decimals}f}"
    decimals = 3 - math.floor(math.log10(abs(mean))) if mean else 1
    return f"{mean:.{min(8, max(0, decimals))}f}"


def short_commits(commits: str) -> str:
    """
    Commits in ten digits each, with the mark of changes that were not committed.

    Args:
        commits (`str`):
            `commit` of a record; ` + ` stands between several.

    Returns:
        `str`: the text.

    Example:

    ```python
    >>> short_commits("c5d8584357aa10f2-dirty + e28357dc44b1")
    'c5d8584357-dirty + e28357dc44'

    ```
    """
    return " + ".join(part[:10] + ("-dirty" if part.endswith("-dirty") else "") for part in commits.split(" + "))


def _temperature(results: Mapping[str, Any]) -> str:
    """What the rows without best sampling have in common, where it was recorded."""
    used = [
        settings for row, of_row in results.get("sampling", {}).items() if "best" not in row for settings in of_row
    ]
    temperatures = {settings["temperature"] for settings in used}
    return f" at temperature {temperatures.pop():g}" if len(temperatures) == 1 else ""


def _known(asked: Sequence[str] | None, known: Sequence[str], kind: str) -> list[str]:
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        raise ValueError(f"No {kind} {unknown} in these results; they have {list(known)}.")
    return list(known if asked is None else asked)


def _cell(summary: Mapping[str, Any] | None, *, bold: bool) -> str:
    if summary is None:
        return "-"
    text = format_number(summary["mean"], summary["std"])
    return f"**{text}**" if bold else text


def _join(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
