"""The learning curves of a run: what its trainings logged, over the minutes that they had trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..evaluation.results import Results
from ..evaluation.table import heading
from ..hub.training_checkpoints import seconds_by_step
from .main_metrics import main_metrics
from .progress import HISTORY, read_json
from .recipe import Recipe
from .stage import stage_folder


CONTROLS = ("control", "control_equal_prompts")
"""The trainings that go on with base's."""

ROWS = {"pretrain": "base", **{name: name for name in CONTROLS}, "grpo": "rlvr"}
"""The row of the table that each training makes."""

Log = list[dict[str, Any]]
"""What a trainer logged, by update."""


def log_histories(recipe: Recipe) -> dict[str, Log]:
    """
    What each training of a run logged, by the row of the table that it makes.

    RL and controls begin where base ended: so do their minutes. A control, which goes on with base's optimizer and
    counts its updates, begins with what was logged last of base.

    Args:
        recipe (`Recipe`):
            The recipe; one may lack some of the trainings.

    Returns:
        `dict[str, list]`: Entries with `step`, and with `minutes` of training until then, as far as checkpoints tell
        them: those in between are interpolated. If some training left no count of its seconds, no entry has minutes.
    """
    folders = {stage: stage_folder(recipe, stage) for stage in ROWS}
    files = {stage: read_json(folder / HISTORY) for stage, folder in folders.items()}
    logs: dict[str, Log] = {stage: file["log_history"] for stage, file in files.items() if file}
    seconds = {stage: seconds_by_step(folders[stage]) for stage in logs}
    last = max((entry["step"] for entry in logs.get("pretrain", [])), default=0)
    before = max(seconds.get("pretrain", {}).values(), default=0.0)
    timed: dict[str, Log] = {}
    for stage, log in logs.items():
        first = last if stage in CONTROLS else 0
        entries = [entry for entry in log if entry["step"] >= first]
        if entries and not seconds[stage]:
            return {ROWS[name]: log for name, log in logs.items()}
        begin = 0.0 if stage == "pretrain" else before
        counts = {first: 0.0} | seconds[stage]
        minutes = (begin + np.interp([entry["step"] for entry in entries], [*counts], [*counts.values()])) / 60
        timed[ROWS[stage]] = [{**entry, "minutes": at} for entry, at in zip(entries, minutes.tolist(), strict=True)]
    return timed


def curve_titles(results: Results) -> dict[str, str]:
    """
    The table's main metrics under the names by which trainings log them.

    Args:
        results (`Mapping`):
            A record of `results.json`.

    Returns:
        `dict[str, str]`: name in the log -> name in the table.

    Example:

    ```python
    >>> record = {"rewarded": ["mae"], "rows": {"base": {"mae": {}}}, "higher_is_better": {"mae": False}}
    >>> curve_titles(record)
    {'eval_mae': 'mae ↓'}

    ```
    """
    return {f"eval_{metric}": heading(results, metric) for metric in main_metrics(results)}
