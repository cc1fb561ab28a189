"""Results of the same checkpoints under other conditions, such as other policies' actions, as columns of one table."""

from collections.abc import Mapping
from typing import Any

from .results import Results


def beside(results: Results, others: Mapping[str, Results]) -> Results:
    """
    A record with the metrics of other conditions as further columns of its rows, `<metric>_<condition>`.

    Args:
        results (`Mapping`):
            The record of `evaluate` under the usual conditions.
        others (`Mapping[str, Mapping]`):
            Condition -> the record of the same rows under it. Rows that `results` has not are left out.

    Returns:
        `dict`: the record.

    Example:

    ```python
    >>> from rlvr_world_hf.evaluation.results import make_results
    >>> shared = dict(recipe="r", samples=8, training_seed=0, sampling_seeds=[0], rewarded=["mae"])
    >>> usual, fast = (make_results({"base": {"mae": [m]}}, higher_is_better={"mae": False}, **shared) for m in (1, 2))
    >>> row = beside(usual, {"fast": fast})["rows"]["base"]
    >>> row["mae"]["mean"], row["mae_fast"]["mean"]
    (1.0, 2.0)

    ```
    """
    rows: dict[str, dict[str, Any]] = {row: dict(summaries) for row, summaries in results["rows"].items()}
    better = dict(results["higher_is_better"])
    for condition, other in others.items():
        named = {metric: f"{metric}_{condition}" for metric in other["higher_is_better"]}
        better |= {named[metric]: is_better for metric, is_better in other["higher_is_better"].items()}
        for row in rows.keys() & other["rows"].keys():
            rows[row] |= {named[metric]: summary for metric, summary in other["rows"][row].items()}
    return {**results, "rows": rows, "higher_is_better": better}
