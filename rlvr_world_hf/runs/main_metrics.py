"""The metrics of a run that are shown where there is room for a few: on the terminal and among its curves."""

from __future__ import annotations

from ..evaluation.results import Results


ALWAYS_SHOWN = (
    "psnr",
    "ssim",
    "agent_position_mae",
    "sensor_mae",
    "sensor_accuracy",
    "repetition_rate",
    "parse_failure",
)
"""Metrics that are shown after the rewarded ones; `results.json` has all metrics."""

PARTS = ("moving", "changed", "unchanged")
"""Parts of what is predicted on which rewarded metrics are measured apart."""


def main_metrics(results: Results) -> list[str]:
    """
    The rewarded metrics, also of parts of what is predicted, and a few others, as far as they were measured.

    Args:
        results (`Mapping`):
            A record of `results.json`.

    Returns:
        `list[str]`: their names, each once.

    Example:

    ```python
    >>> measured = {"mse": {}, "psnr": {}, "mae_moving": {}, "mae": {}}
    >>> main_metrics({"rewarded": ["mae"], "rows": {"base": measured}})
    ['mae', 'mae_moving', 'psnr']

    ```
    """
    rewarded = results["rewarded"]
    asked = [*rewarded, *(f"{name}_{part}" for name in rewarded for part in PARTS), *ALWAYS_SHOWN]
    measured = {metric for metrics in results["rows"].values() for metric in metrics}
    # Each once: a rewarded metric may also be one that is always shown.
    return [name for name in dict.fromkeys(asked) if name in measured]
