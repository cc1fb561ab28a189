"""
The measured results of a checkpoint as a fragment of a page: a table of `results.json`, and the learning curves.

A row of the table is a metric, a column what was measured; what is best by the rewarded metric is bold.
"""

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from ..evaluation.results import read_results
from ..evaluation.table import best_row, format_number, provenance_line


ROWS = {
    "copy_last": "Still picture",
    "tokenizer_floor": "Codec alone",
    "oracle": "True answer",
    "no_change": "Nothing changes",
    "nothing_changes": "Nothing changes",
    "nearest": "Nearest known change",
    "few_shot": "Untrained, with examples",
    "base": "Base",
    "base_best_sampling": "Base, best sampling",
    "control": "Likelihood only",
    "control_equal_prompts": "Likelihood only, equal prompts",
    "rlvr": "RLVR",
}
"""What the rows of a record are called on a page."""

METRICS = {
    "mae": "Mean absolute error",
    "mae_moving": "… where something moves",
    "mse": "Mean squared error",
    "mse_moving": "… where something moves",
    "psnr": "PSNR, dB",
    "psnr_moving": "… where something moves",
    "ssim": "SSIM",
    "ssim_moving": "… where something moves",
    "lpips": "LPIPS",
    "sensor_mae": "Mean absolute error of the sensors",
    "sensor_mse": "Mean squared error of the sensors",
    "sensor_accuracy": "Sensors within tolerance",
    "agent_position_mae": "Error of the agent's position",
    "agent_not_found": "Frames without an agent",
    "block_pose_error": "Error of the block's pose",
    "block_not_found": "Frames without a block",
    "repetition_rate": "Frames that repeat the one before",
    "parse_failure": "Unreadable predictions",
    "exact_match": "Exact match",
    "exact_match_changed": "… where something changes",
    "exact_match_unchanged": "… where nothing changes",
    "fact_f1": "F1 of changed facts",
    "fact_f1_changed": "… where something changes",
    "fact_f1_unchanged": "… where nothing changes",
}
"""What its metrics are called."""

MAX_PICTURE = 1_000_000
"""Most bytes of a picture of learning curves that is shown."""


def results_html(folder: Path, *, title: str) -> str:
    """
    Table and learning curves of a checkpoint.

    Args:
        folder (`Path`):
            Where `results.json` and `learning_curves.png` lie.
        title (`str`):
            Heading.

    Returns:
        `str`: HTML; it says so where nothing was measured, or the record is not valid.
    """
    parts = [f"<h3>{escape(title)}</h3>"]
    record = folder / "results.json"
    if not record.is_file():
        parts.append('<p class="rw-small">Not evaluated yet: there is no <code>results.json</code> beside it.</p>')
    else:
        try:
            parts.append(table_html(read_results(record)))
        except ValueError as error:
            parts.append(f'<p class="rw-error">Its <code>results.json</code> is not valid: {escape(str(error))}</p>')
    curves = folder / "learning_curves.png"
    if curves.is_file() and curves.stat().st_size <= MAX_PICTURE:
        address = base64.b64encode(curves.read_bytes()).decode()
        parts.append(
            '<figure class="rw-learning"><figcaption>Learning curves</figcaption>'
            f'<img src="data:image/png;base64,{address}" alt="Loss and reward over the updates of training"></figure>'
        )
    return f'<div class="rw-results">{"".join(parts)}</div>'


def table_html(results: Mapping[str, Any]) -> str:
    """
    The table of a record: metrics below each other, what was measured side by side.

    Args:
        results (`Mapping`):
            A valid record of `results.json`.

    Returns:
        `str`: HTML, with a line on samples, seeds, recipe and commit.
    """
    rows = results["rows"]
    metrics = list(dict.fromkeys(metric for of_row in rows.values() for metric in of_row))
    # Sorting is stable: rewarded metrics first, the rest in the order of the record.
    metrics.sort(key=lambda metric: _family(metric) not in results["rewarded"])
    heads = "".join(f'<th scope="col">{escape(ROWS.get(row, row.replace("_", " ")))}</th>' for row in rows)
    lines = []
    for metric in metrics:
        best = best_row(results, metric) if metric in results["rewarded"] else None
        arrow = "↑" if results["higher_is_better"][metric] else "↓"
        cells = "".join(f"<td>{_cell(rows[row].get(metric), is_best=row == best)}</td>" for row in rows)
        name = METRICS.get(metric, metric.replace("_", " "))
        rewarded = " <small>rewarded</small>" if metric in results["rewarded"] else ""
        lines.append(f'<tr><th scope="row">{escape(name)} {arrow}{rewarded}</th>{cells}</tr>')
    # The line is Markdown, which a page does not read.
    said = escape(provenance_line(results)).replace("`", "")
    return (
        f'<div class="rw-table" tabindex="0" aria-label="Measured results"><table><thead><tr><td></td>{heads}</tr>'
        f'</thead><tbody>{"".join(lines)}</tbody></table></div><p class="rw-small">{said}</p>'
    )


def _family(metric: str) -> str:
    """The metric that one of a part of the samples belongs to."""
    for ending in ("_moving", "_changed", "_unchanged"):
        metric = metric.removesuffix(ending)
    return metric


def _cell(summary: Mapping[str, Any] | None, *, is_best: bool) -> str:
    if summary is None:
        return "–"
    text = format_number(summary["mean"], summary["std"])
    return f"<b>{text}</b>" if is_best else text
