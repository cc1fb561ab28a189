"""Plots of findings: lines over what was varied, bars, gains of rewards, agents, judged policies, errors by frame."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..evaluation.figures import parent_made
from ..evaluation.metrics import BEST_OF, metric_of


def draw_finding(
    record: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    metrics: Sequence[str],
    axis: str = "",
    log_axis: bool = False,
    gains_over: str = "",
) -> None:
    """
    Draw a finding: a panel a metric, with mean and standard deviation over training seeds.

    Rows with an `x` are points of the line of their series, the other rows are level lines. If no row has an `x`, each
    is a bar. Dots are single seeds. The limits of a panel are those of the trained rows; a row far outside, such as
    `copy_last`, is named above the panel instead. With `gains_over` there is a single panel: by how many percent each
    row improves each metric over that row.

    Args:
        record (`Mapping`):
            A finding's JSON, see [`~rlvr_world_hf.findings.finding.measure_finding`].
        path (`str` or `PathLike`):
            PNG to write.
        metrics (`Sequence[str]`):
            Metrics to draw. `train_seconds` is one, and `<metric>_best_of` is the curve of all `<metric>_best_of_<N>`
            over `N`.
        axis (`str`, *optional*):
            Label of the axis of `x`, with its unit.
        log_axis (`bool`, *optional*, defaults to `False`):
            Whether that axis is logarithmic.
        gains_over (`str`, *optional*):
            Name of the row that all others are compared with.

    Raises:
        `ValueError`: If no row has one of the metrics.

    Example:

    ```python
    >>> import tempfile
    >>> rows = {f"G {x}": {"mae": {"mean": 1 / x, "std": 0.1, "values": [1 / x]}} for x in (2, 4)}
    >>> settings = {f"G {x}": {"x": x, "series": "rlvr"} for x in (2, 4)}
    >>> record = {"rows": rows, "settings": settings, "higher_is_better": {"mae": False}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_finding(record, f"{folder}/plot.png", metrics=["mae"], axis="answers a group")
    ...     os.path.getsize(f"{folder}/plot.png") > 1000
    True

    ```
    """
    record = _with_curves(record, metrics)
    measured = {metric for row in record["rows"].values() for metric in row}
    missing = [metric for metric in metrics if metric not in measured]
    if missing or not metrics:
        raise ValueError(f"Expected metrics that some row has, got {missing or 'none'}; rows have {sorted(measured)}.")
    if gains_over:
        figure = _draw_gains(record, metrics, gains_over)
    else:
        columns = min(3, len(metrics))
        lines = -(-len(metrics) // columns)
        # Without pyplot, which chooses a backend by the display and keeps every figure open.
        figure = Figure(figsize=(4.7 * columns, 3.6 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).flatten()
        for panel in panels[len(metrics) :]:
            panel.set_visible(False)
        has_axis = any(settings.get("x") is not None for settings in record["settings"].values())
        # The last line of panels may have more places than there are metrics.
        for number, (panel, metric) in enumerate(zip(panels, metrics, strict=False)):
            (_draw_lines if has_axis else _draw_bars)(panel, record, metric)
            first = panels[number - number % columns]
            if not has_axis and panel is not first and _labels(panel) == _labels(first):
                panel.tick_params(labelleft=False)
            if has_axis:
                panel.set(xlabel=axis, xscale="log" if log_axis else "linear")
                _mark_places(panel, record)
            panel.grid(alpha=0.3)
        if has_axis:
            handles, names = panels[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(parent_made(path), dpi=110)


def draw_intervals(record: Mapping[str, Any], path: str | os.PathLike[str], *, metrics: Sequence[str]) -> None:
    """
    Draw the results of agents: a panel a metric, a bar a row, with its interval over starts.

    Args:
        record (`Mapping`):
            A finding's JSON whose summaries have `mean`, `low` and `high`, as that of planning.
        path (`str` or `PathLike`):
            PNG to write.
        metrics (`Sequence[str]`):
            Metrics to draw; rows that lack one are left out of its panel.

    Example:

    ```python
    >>> import tempfile
    >>> record = {"rows": {"base": {"success": {"mean": 0.5, "low": 0.4, "high": 0.7, "n": 8}}}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_intervals(record, f"{folder}/plot.png", metrics=["success"])
    ...     os.path.getsize(f"{folder}/plot.png") > 1000
    True

    ```
    """
    figure = Figure(figsize=(4.0 * len(metrics), 0.5 * len(record["rows"]) + 1.5), layout="constrained")
    for panel, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        summaries = {row: by_metric[metric] for row, by_metric in record["rows"].items() if by_metric.get(metric)}
        means = [summary["mean"] for summary in summaries.values()]
        beyond = [
            [s["mean"] - s["low"] for s in summaries.values()],
            [s["high"] - s["mean"] for s in summaries.values()],
        ]
        # Matplotlib refuses negative lengths, and a percentile interval need not hold its mean.
        panel.barh(list(summaries), means, xerr=np.maximum(beyond, 0), alpha=0.6, capsize=3)
        panel.invert_yaxis()
        panel.set_xlabel(metric.replace("_", " "))
        panel.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    figure.savefig(parent_made(path), dpi=110)


def draw_agreement(record: Mapping[str, Any], path: str | os.PathLike[str], *, simulator: str = "simulator") -> None:
    """
    Draw success rates of policies in world models over those in the simulator, a panel a model, a point a policy.

    Args:
        record (`Mapping`):
            The JSON of [`~rlvr_world_hf.findings.applications.policy_evaluation.evaluate_policies`].
        path (`str` or `PathLike`):
            PNG to write.
        simulator (`str`, *optional*, defaults to `"simulator"`):
            The world that the others are compared with.

    Example:

    ```python
    >>> import tempfile
    >>> rates = {"value": 0.5, "low": 0.4, "high": 0.7, "measure": "success", "policy": "still"}
    >>> record = {"rows": [{"world": "simulator", **rates}, {"world": "base", **rates}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_agreement(record, f"{folder}/plot.png")
    ...     os.path.getsize(f"{folder}/plot.png") > 1000
    True

    ```
    """
    rates = {(row["world"], row["policy"]): row for row in record["rows"] if row["measure"] == "success"}
    policies = [policy for world, policy in rates if world == simulator]
    models = list(dict.fromkeys(world for world, _ in rates if world != simulator))
    figure = Figure(figsize=(4.2 * len(models), 4.2), layout="constrained")
    for panel, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        panel.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        for policy in policies:
            across, up = rates[simulator, policy], rates[model, policy]
            spread = [[up["value"] - up["low"]], [up["high"] - up["value"]]]
            panel.errorbar(
                across["value"], up["value"], yerr=np.maximum(spread, 0), marker="o", label=policy, capsize=2
            )
        agreement = {
            row["measure"]: row["value"] for row in record["rows"] if row["world"] == model and not row["policy"]
        }
        words = ", ".join(f"{name} {value:.2f}" for name, value in agreement.items() if value is not None)
        panel.set_title(f"{model}\n{words}" if words else model, fontsize=10)
        panel.set(xlabel="success in the simulator", ylabel="success in the model")
        panel.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    FigureCanvasAgg(figure)
    figure.savefig(parent_made(path), dpi=110)


def draw_curves(record: Mapping[str, Any], path: str | os.PathLike[str], *, metrics: Sequence[str]) -> None:
    """
    Draw errors over the number of predicted frames: a panel a metric, a line a row, with a band of one standard
    deviation over training seeds; a grey line ends the horizon that the models were trained on.

    Args:
        record (`Mapping`):
            A finding's JSON with `curves`, as that of long rollouts.
        path (`str` or `PathLike`):
            PNG to write.
        metrics (`Sequence[str]`):
            Metrics to draw; those that no row has get no panel.

    Raises:
        `ValueError`: If no row has any of the metrics.

    Example:

    ```python
    >>> import tempfile
    >>> curves = {"base": {"mae": {"mean": [0.1, 0.2, 0.4], "std": [0.0, 0.1, 0.1]}}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_curves({"curves": curves, "protocol": {"horizon": 2}}, f"{folder}/plot.png", metrics=["mae"])
    ...     os.path.getsize(f"{folder}/plot.png") > 1000
    True

    ```
    """
    curves = record["curves"]
    shown = [metric for metric in metrics if any(metric in by_metric for by_metric in curves.values())]
    if not shown:
        known = sorted({metric for by_metric in curves.values() for metric in by_metric})
        raise ValueError(f"Expected a metric that some row has, got {list(metrics)}; rows have {known}.")
    figure = Figure(figsize=(4.6 * len(shown), 3.5), layout="constrained")
    for panel, metric in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        panel.axvline(record["protocol"]["horizon"], color="grey", linewidth=0.8)
        for number, (row, by_metric) in enumerate(curves.items()):
            if metric in by_metric:
                mean, std = np.array(by_metric[metric]["mean"]), np.array(by_metric[metric]["std"])
                frames = np.arange(1, len(mean) + 1)
                panel.plot(frames, mean, label=row, color=f"C{number}")
                panel.fill_between(frames, mean - std, mean + std, color=f"C{number}", alpha=0.2)
        panel.set(xlabel="predicted frame", ylabel=metric.replace("_", " "))
        panel.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(parent_made(path), dpi=110)


def _with_curves(record: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    """The record with a point for each `N` of the best-of-N metrics asked for, in place of the rows that have them."""
    rows, settings = dict(record["rows"]), dict(record["settings"])
    directions = dict(record["higher_is_better"])
    for curve in (metric for metric in metrics if metric.endswith(BEST_OF.rstrip("_"))):
        single = metric_of(f"{curve}_")
        directions[curve] = directions.get(single)
        for row, by_metric in record["rows"].items():
            points = {name.removeprefix(f"{curve}_"): value for name, value in by_metric.items()}
            counts = {1: by_metric.get(single), **{int(n): value for n, value in points.items() if n.isdigit()}}
            if len(counts) > 1 and row in settings:
                del settings[row]
                rows |= {f"{row}, best of {n}": {curve: value} for n, value in counts.items() if value}
                settings |= {f"{row}, best of {n}": {"x": n, "series": row} for n in counts}
    return {**record, "rows": rows, "settings": settings, "higher_is_better": directions}


def _draw_lines(panel: Axes, record: Mapping[str, Any], metric: str) -> None:
    """Lines of the rows with an `x`, and level lines of the others."""
    summaries = {row: by_metric[metric] for row, by_metric in record["rows"].items() if metric in by_metric}
    places = {row: record["settings"].get(row, {}).get("x") for row in summaries}
    series: dict[str, list[str]] = {}
    for row in sorted((row for row in summaries if places[row] is not None), key=lambda row: places[row]):
        series.setdefault(record["settings"][row]["series"], []).append(row)
    for number, (name, rows) in enumerate(series.items()):
        means, spreads = ([summaries[row][part] for row in rows] for part in ("mean", "std"))
        panel.errorbar([places[row] for row in rows], means, yerr=spreads, label=name, marker="o", capsize=3)
        for row in rows:
            values = summaries[row].get("values", [])
            panel.plot([places[row]] * len(values), values, color=f"C{number}", linestyle="", marker=".", alpha=0.5)
    levels = [row for row in summaries if places[row] is None]
    for number, row in enumerate(levels, start=len(series)):
        mean, std = summaries[row]["mean"], summaries[row]["std"]
        dashes = (6 * number, (6, 6))  # where two levels coincide, each fills the gaps of the other
        panel.axhline(mean, label=row, color=f"C{number}", linestyle=dashes, linewidth=1)
        if row in record["settings"]:
            panel.axhspan(mean - std, mean + std, color=f"C{number}", alpha=0.1)
    _look_at_trained(panel, {row: summaries[row] for row in levels if row not in record["settings"]}, summaries)
    panel.set_ylabel(_heading(record, metric))


def _look_at_trained(panel: Axes, yardsticks: Mapping[str, Any], summaries: Mapping[str, Any]) -> None:
    """Limit the panel to the trained rows and a margin, and name the yardsticks that lie outside."""
    trained = {row: summary for row, summary in summaries.items() if row not in yardsticks} or summaries
    ends = [
        value
        for summary in trained.values()
        for value in (summary["mean"] - summary["std"], summary["mean"] + summary["std"], *summary.get("values", []))
    ]
    # A yardstick far away, such as copying, would press the trained rows into one line.
    margin = 0.15 * (max(ends) - min(ends)) or 0.1 * abs(ends[0]) or 1.0
    low, high = min(ends) - margin, max(ends) + margin
    panel.set_ylim(low, high)
    beyond = [f"{row} {s['mean']:.3g}" for row, s in yardsticks.items() if not low <= s["mean"] <= high]
    if beyond:
        panel.set_title(f"beyond: {', '.join(beyond)}", fontsize=8, color="grey", loc="right")


def _mark_places(panel: Axes, record: Mapping[str, Any]) -> None:
    """Ticks where the points are, with a number each that has room."""
    places = sorted({row["x"] for row in record["settings"].values() if row.get("x") is not None})
    numbers, right = [], -math.inf
    for place in places:
        across = panel.transAxes.inverted().transform(panel.transData.transform((place, 0)))[0]
        has_room = across - right > 0.06
        numbers.append(f"{place:g}" if has_room else "")
        right = across if has_room else right
    panel.set_xticks(places, numbers, fontsize=8)
    # A logarithmic axis has minor ticks of its own, where no points are.
    panel.set_xticks([], minor=True)


def _draw_bars(panel: Axes, record: Mapping[str, Any], metric: str) -> None:
    """A bar a row that was trained, with the value of each seed."""
    rows = [row for row in record["settings"] if metric in record["rows"][row]]
    means = [record["rows"][row][metric]["mean"] for row in rows]
    spreads = [record["rows"][row][metric]["std"] for row in rows]
    panel.barh(rows, means, xerr=spreads, color="C0", alpha=0.6, capsize=3)
    for place, row in enumerate(rows):
        values = record["rows"][row][metric]["values"]
        panel.plot(values, [place] * len(values), linestyle="", marker=".", color="black")
    if means:
        least, most = min(means), max(means)
        # Bars of equal length need a width of the panel, too.
        margin = 2 * max(most - least, *spreads, 1e-12)
        # Bars may begin above 0, since rows differ by little; errors never go below it.
        panel.set_xlim(max(0.0, least - margin) if least >= 0 else least - margin, most + margin)
    panel.locator_params(axis="x", nbins=5)
    panel.invert_yaxis()
    panel.set_xlabel(_heading(record, metric))


def _labels(panel: Axes) -> list[str]:
    return [label.get_text() for label in panel.get_yticklabels()]


def _draw_gains(record: Mapping[str, Any], metrics: Sequence[str], base: str) -> Figure:
    """Improvement in percent of each row on each metric; the best of a column is bold."""
    rows = [row for row in record["settings"] if row != base]
    gains = np.full((len(rows), len(metrics)), np.nan)
    spreads = np.zeros_like(gains)
    for line, row in enumerate(rows):
        for column, metric in enumerate(metrics):
            mine, others = (record["rows"][name].get(metric) for name in (row, base))
            if mine and others:
                sign = 1 if record["higher_is_better"][metric] else -1
                pairs = zip(mine["values"], others["values"], strict=True)
                each = [100 * sign * (value - other) / abs(other) for value, other in pairs if other]
                gains[line, column] = np.mean(each) if each else math.nan
                spreads[line, column] = np.std(each, ddof=1) if len(each) > 1 else 0.0
    figure = Figure(figsize=(1.6 * len(metrics) + 2.2, 0.6 * len(rows) + 1.6), layout="constrained")
    panel = figure.subplots()
    most = np.nanmax(np.abs(gains), axis=0, initial=1e-12)
    panel.imshow(gains / most, cmap="RdBu", vmin=-1.3, vmax=1.3, aspect="auto")  # a column's own scale; text readable
    for line, column in np.ndindex(gains.shape):
        if not math.isnan(gains[line, column]):
            is_best = gains[line, column] == np.nanmax(gains[:, column])
            text = f"{gains[line, column]:+.2f} ± {spreads[line, column]:.2f}"
            panel.text(column, line, text, ha="center", va="center", fontweight="bold" if is_best else None)
    panel.set_xticks(range(len(metrics)), [_heading(record, metric) for metric in metrics], fontsize=8)
    panel.set_yticks(range(len(rows)), rows)
    panel.set_title(f"improvement over {base}, %; colours are relative to each column's largest", fontsize=10)
    return figure


def _heading(record: Mapping[str, Any], metric: str) -> str:
    better = record["higher_is_better"].get(metric)
    return metric if better is None else f"{metric} {'↑' if better else '↓'}"
