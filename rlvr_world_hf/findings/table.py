"""The Markdown table of a finding, whatever its kind."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation.metrics import BEST_OF, metric_of
from ..evaluation.table import format_number, short_commits


def finding_table(record: Mapping[str, Any], *, metrics: Sequence[str]) -> str:
    """
    Rows and metrics of a finding, and one line that says what they were measured with.

    Args:
        record (`Mapping`):
            A finding's JSON. Its rows have `mean` and `std` over training seeds, or `mean`, `low` and `high` over
            starts, or are a list that compares worlds, see
            [`~rlvr_world_hf.findings.applications.policy_evaluation.agreement_rows`].
        metrics (`Sequence[str]`):
            Columns; those that no row has are left out. `<metric>_best_of` stands for `<metric>` and all
            `<metric>_best_of_<N>`.

    Returns:
        `str`: Markdown, with a final newline.

    Example:

    ```python
    >>> record = {"n": 8, "recipe": "pusht/debug", "commit": "abc", "training_seeds": [0, 1, 2], "sampling_seeds": [0]}
    >>> record |= {"rows": {"base": {"mae": {"mean": 0.5, "std": 0.125, "values": []}}}}
    >>> print(finding_table(record, metrics=["mae"]))
    | row | mae |
    |---|---|
    | base | 0.50 ± 0.12 |
    <BLANKLINE>
    8 samples; training seeds 0, 1, 2; sampling seeds 0; recipe `pusht/debug`; commit `abc`.
    <BLANKLINE>

    ```
    """
    if isinstance(record["rows"], list):
        lines = _agreement(record["rows"])
    else:
        measured = dict.fromkeys(metric for row in record["rows"].values() for metric in row)
        asked = [name for metric in metrics for name in measured if name == metric or _is_point(name, metric)]
        columns = [*dict.fromkeys(asked)]
        lines = ["| row | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for row, summaries in record["rows"].items():
            lines.append(f"| {row} | " + " | ".join(_cell(summaries.get(metric)) for metric in columns) + " |")
    return "\n".join([*lines, "", _provenance(record), ""])


def _agreement(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a world, a column a measure, of the rows that are about all policies together."""
    about_all = [row for row in rows if not row["policy"]]
    measures = list(dict.fromkeys(row["measure"] for row in about_all))
    lines = ["| world | " + " | ".join(measures) + " |", "|---" * (len(measures) + 1) + "|"]
    for world in dict.fromkeys(row["world"] for row in about_all):
        of_world = {row["measure"]: row for row in about_all if row["world"] == world}
        cells = [_interval(of_world[measure], "value") for measure in measures]
        lines.append(f"| {world} | " + " | ".join(cells) + " |")
    return lines


def _is_point(name: str, metric: str) -> bool:
    """Whether a metric such as `mae_best_of` stands for this one, `mae` (one sample) or `mae_best_of_<N>`."""
    return metric == f"{metric_of(name)}{BEST_OF.rstrip('_')}"


def _cell(summary: Mapping[str, Any] | None) -> str:
    if not summary:
        return "-"
    return _interval(summary, "mean") if "low" in summary else format_number(summary["mean"], summary["std"])


def _interval(summary: Mapping[str, Any], name: str) -> str:
    if summary[name] is None:
        return "-"
    return f"{summary[name]:.3f} ({summary['low']:.3f} to {summary['high']:.3f})"


def _provenance(record: Mapping[str, Any]) -> str:
    training, sampling = (", ".join(map(str, record[name])) for name in ("training_seeds", "sampling_seeds"))
    reason = f" {record['reason'].capitalize().rstrip('.')}." if record.get("reason") else ""
    uncommitted = " Measured on changes that were not committed." if "-dirty" in record["commit"] else ""
    return (
        f"{record['n']} samples; training seeds {training}; sampling seeds {sampling}; recipe `{record['recipe']}`; "
        f"commit `{short_commits(record['commit'])}`.{uncommitted}{reason}"
    )
