"""
How far a run is: its stages, their times and best figures, read from its folder, also while it goes on.

Nothing is imported that learns, and nothing is checked against its hashes: it is there in a moment.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..hub.manifest import DamagedFileError
from ..training.standing import Standing, clock_time, read_standing
from .lock import holder
from .outputs import CURRENT
from .progress import DONE, STARTED, STOPPED, read_json, write_json
from .recipe import STAGES


ASKED = "asked.json"
"""In the folder of all stages: the recipe of the last run, and its stages in order."""

COMPARED = ("base", "control", "control_equal_prompts", "rlvr")
"""Rows whose figures are told."""

WAITING, RUNNING, DONE_STATE, STOPPED_STATE, FAILED = "waiting", "running", "done", "stopped", "failed"
"""States of a stage: not begun with these settings; at work; finished; ended from outside; ended by an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatus:
    """How far a stage is."""

    stage: str
    """Its name."""
    state: str
    """One of the five above."""
    folder: Path | None = None
    """Its folder; `None` before it begins."""
    seconds: float | None = None
    """Seconds that it took, or for which it has been at work this time."""
    reason: str | None = None
    """What ended it before it was finished."""
    standing: Standing | None = None
    """Where its training stands, or stood at its end."""
    figures: Mapping[str, Mapping[str, float]] | None = None
    """Of evaluate: rewarded metric -> checkpoint -> its value."""
    picture: Path | None = None
    """The last picture, clip or text of its predictions."""


def run_status(output_dir: Path) -> list[StageStatus]:
    """
    How far a run is.

    Args:
        output_dir (`Path`):
            The run's folder.

    Returns:
        `list[StageStatus]`: One a stage that the run has, in their order.

    Raises:
        FileNotFoundError: If there is no run in the folder.
    """
    if not (output_dir / "stages").is_dir():
        raise FileNotFoundError(
            f"{output_dir}: expected the output folder of a run, with `stages/` in it, got none; give one."
        )
    stages = output_dir / "stages"
    names = _record(stages / ASKED).get("stages") or [name for name in STAGES if (stages / name).is_dir()]
    settings = {name: str(_record(stages / name / CURRENT).get("fingerprint", "")) for name in names}
    is_held, statuses = holder(output_dir) is not None, []
    for name in names:
        statuses.append(_stage_status(stages, name, settings, is_held=is_held))
        if statuses[-1].state == WAITING:
            settings[name] = ""  # what was made from its earlier result waits, too
    return statuses


def note_asked(output_dir: Path, recipe: str, names: Iterable[str]) -> None:
    """Remember the stages of a run that begins, so that those to come are known."""
    folder = output_dir / "stages"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ASKED, {"recipe": recipe, "stages": list(names)})


def what_is_kept(folder: Path, *, finished: Iterable[str]) -> str:
    """
    A sentence on what an interrupted stage, whose folder it is, leaves to go on from, after `finished` stages.

    Example:

    ```python
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp(), "stages", "grpo", "a1")
    >>> what_is_kept(folder, finished=["collect", "pretrain"])
    'collect, pretrain are finished and kept; grpo begins again, as nothing of it was saved yet.'

    ```
    """
    before = ", ".join(finished)
    kept = f"{before} {'are' if ',' in before else 'is'} finished and kept; " if before else ""
    name, saved = folder.parent.name, _saved(folder)
    if saved is None:
        return f"{kept}{name} begins again, as nothing of it was saved yet."
    return f"{kept}{name} goes on from {saved}."


def describe_run(output_dir: Path, statuses: Iterable[StageStatus]) -> str:
    """
    How far a run is, as lines for a terminal or a file.

    Args:
        output_dir (`Path`):
            The run's folder.
        statuses (`Iterable[StageStatus]`):
            What [`run_status`][] found in it.

    Returns:
        `str`: One line a stage; below it, what ended it and where its last picture is.
    """
    at_work, recipe = holder(output_dir), _record(output_dir / "stages" / ASKED).get("recipe")
    told = f"process {at_work['process']} on {at_work['host']} works in it" if at_work else "nobody works in it"
    lines, statuses = [f"{output_dir}: {recipe or 'a run'}; {told}"], [*statuses]
    width = max([10, *(len(status.stage) for status in statuses)])
    for status in statuses:
        lines += _lines_of(status, width)
    return "\n".join(lines)


def _stage_status(stages: Path, name: str, settings: Mapping[str, str], *, is_held: bool) -> StageStatus:
    folder = stages / name / settings[name]
    started = _record(folder / STARTED)
    if not settings[name] or not started or not _is_of_this_run(started, settings):
        return StageStatus(stage=name, state=WAITING)
    known: dict[str, Any] = {"stage": name, "folder": folder, "picture": _last_picture(folder)}
    known["standing"] = read_standing(folder)
    done, stopped = _record(folder / DONE), _record(folder / STOPPED)
    if done:
        figures = _figures(folder / "results.json") if name == "evaluate" else None
        return StageStatus(**known, state=DONE_STATE, seconds=done.get("seconds"), figures=figures)
    if stopped:
        state = FAILED if stopped.get("is_failure") else STOPPED_STATE
        return StageStatus(**known, state=state, reason=stopped.get("reason"))
    if not is_held:  # the process was killed
        return StageStatus(**known, state=STOPPED_STATE, reason="its process is gone")
    seconds = max(0.0, time.time() - (folder / STARTED).stat().st_mtime)
    return StageStatus(**known, state=RUNNING, seconds=seconds)


def _is_of_this_run(started: Mapping[str, Any], settings: Mapping[str, str]) -> bool:
    """Whether a stage was made from what the stages before it make now."""
    content = started.get("settings")
    after = content.get("after") if isinstance(content, Mapping) else None
    return all(settings.get(name, made) == made for name, made in (after or {}).items())


def _saved(folder: Path) -> str | None:
    """What a stage can go on from: its newest whole checkpoint, or a tokenizer's saved state."""
    whole = [path.parent for path in folder.glob("checkpoint-*/manifest.json")]
    numbered = {int(number): path for path in whole if (number := path.name.rpartition("-")[2]).isdigit()}
    if numbered:
        return f"update {max(numbered)}, saved in {numbered[max(numbered)]}"
    state = folder / "resume.pt"
    return f"what is saved in {state}" if state.is_file() else None


def _last_picture(folder: Path) -> Path | None:
    """Of the drawings of the last update that has any, the clip, or else the picture or text."""
    for step in sorted((folder / "predictions").glob("step_*"), reverse=True):
        found = {path.suffix: path for path in sorted(step.iterdir())}
        for suffix in (".gif", ".png", ".md"):
            if suffix in found:
                return found[suffix]
    own = (folder / name for name in ("strip.gif", "strip.png", "sensors.png", "examples.md"))
    return next((file for file in own if file.is_file()), None)


def _figures(file: Path) -> dict[str, dict[str, float]]:
    results = _record(file)
    rows = {row: results["rows"][row] for row in COMPARED if row in results.get("rows", {})}
    return {
        metric: {row: float(values[metric]["mean"]) for row, values in rows.items() if metric in values}
        for metric in results.get("rewarded", [])
    }


def _lines_of(status: StageStatus, width: int) -> Iterator[str]:
    line = f"  {status.stage:<{width}} {status.state:<8}"
    if status.seconds is not None:
        line += f" {clock_time(status.seconds):>8}"
    yield f"{line}  {_told(status)}".rstrip()
    if status.reason:
        yield f"{'':{width + 3}}{status.reason}"
    if status.figures:
        for metric, rows in status.figures.items():
            yield f"{'':{width + 3}}{metric}: " + ", ".join(f"{row} {value:.4g}" for row, value in rows.items())
    if status.picture:
        yield f"{'':{width + 3}}{status.picture}"


def _told(status: StageStatus) -> str:
    """Where a training stands, at work with the time left, finished without what is now plain."""
    standing = status.standing
    if standing is None:
        return ""
    shown = standing if status.state == RUNNING else replace(standing, seconds_left=None)
    return str(shown).partition(", ")[2] if status.state == DONE_STATE else str(shown)


def _record(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except (OSError, DamagedFileError):  # it is being written, or was damaged
        return {}
