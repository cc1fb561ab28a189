"""How the ladder of a base rises as its training goes on: a file that grows, and its plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from transformers.trainer import TRAINER_STATE_NAME

from ..evaluation.figures import parent_made
from ..evaluation.json_files import write_json
from ..hub.training_checkpoints import checkpoint_state, trained_seconds


SAME = ("windows", "steps", "horizon", "temperature", "sampling_seeds", "form", "within")
"""Settings that all entries of a history share."""

LEVELS = ("copy_last", "tokenizer_floor", "yardstick")
"""Rows that training does not change: they are drawn as levels, from the last entry that has them."""


def trained_so_far(checkpoint: str | Path) -> dict[str, float]:
    """
    How long a checkpoint of a training has been trained.

    Args:
        checkpoint (`str` or `Path`):
            Its folder, `checkpoint-N` of a run.

    Returns:
        `dict[str, float]`: `updates`, and `hours` without evaluation and saving.

    Raises:
        ValueError: If it is no checkpoint of a training, which alone knows both.
    """
    folder = Path(checkpoint)
    if not (folder / TRAINER_STATE_NAME).is_file():
        raise ValueError(
            f"{checkpoint}: expected the folder of a training's checkpoint, with {TRAINER_STATE_NAME}, as a history "
            "is drawn over hours; give a `checkpoint-N` of a run, or leave `history` out."
        )
    step = checkpoint_state(folder).global_step
    return {"updates": step, "hours": round(trained_seconds(folder.parent, step) / 3600, 3)}


def add_to_history(record: Mapping[str, Any], file: Path, *, trained: Mapping[str, float]) -> list[dict[str, Any]]:
    """
    Put a ladder into a history, in the place of an earlier one of as many updates.

    Args:
        record (`Mapping`):
            What [`measure_ladder`] returns.
        file (`Path`):
            JSON file, which is made if it is not there.
        trained (`Mapping[str, float]`):
            What [`trained_so_far`] returns.

    Returns:
        `list[dict]`: all entries, by updates.

    Raises:
        ValueError: If the entries of the file were measured with other settings.
    """
    entries = json.loads(file.read_text(encoding="utf-8"))["entries"] if file.is_file() else []
    record = json.loads(json.dumps(record))  # lists for tuples, as in the file
    for entry in entries[:1]:
        if differing := [name for name in SAME if entry[name] != record[name]]:
            raise ValueError(
                f"{file}: expected a ladder measured as those in it, got other {', '.join(differing)}; measure alike, "
                "or give another file."
            )
    entries = [entry for entry in entries if entry["updates"] != trained["updates"]]
    entries = sorted([*entries, {**trained, **record}], key=lambda entry: entry["updates"])
    write_json({"entries": entries}, file)
    return entries


def draw_history(entries: list[dict[str, Any]], path: Path) -> None:
    """
    Draw the share of windows whose block is right over hours of training: a panel a policy, a line a step.

    Args:
        entries (`list[dict]`):
            What [`add_to_history`] returns.
        path (`Path`):
            PNG to write.
    """
    last = entries[-1]
    policies, steps = list(last["rows"]["model"]), [str(step) for step in last["steps"]]
    figure = Figure(figsize=(4.2 * len(policies), 3.5), layout="constrained")
    for panel, policy in zip(figure.subplots(1, len(policies), squeeze=False, sharey=True)[0], policies, strict=True):
        for number, step in enumerate(steps):
            points = [(entry["hours"], _share(entry, "model", policy, step)) for entry in entries]
            panel.plot(*zip(*points, strict=True), marker="o", color=f"C{number}", label=f"after {step}")
            for row, style in zip(LEVELS, (":", "--", "-."), strict=True):
                if row in last["rows"]:
                    panel.axhline(_share(last, row, policy, step), color=f"C{number}", linestyle=style, linewidth=0.8)
        panel.set(title=policy, xlabel="hours of training", ylim=(0, 1))
        panel.grid(alpha=0.3)
    units, degrees = last["within"]["units"], last["within"]["degrees"]
    figure.axes[0].set_ylabel(f"block within {units:g} units and {degrees:g}°")
    figure.axes[0].legend(title="decisions", fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(parent_made(path), dpi=110)


def _share(entry: Mapping[str, Any], row: str, policy: str, step: str) -> float:
    return entry["rows"][row][policy][step]["within"]["mean"]
