"""Check: reports what is in a folder of your own episodes, and every problem in it, before you start a run on it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data import Episode
from ...data.folder import Problem, RecordedEpisodes
from ...evaluation.figures import contact_sheet
from ...runs.echo import echo
from ...runs.keys import fill, key, keys_of
from ...runs.recipe import parse_overrides


SHOWN_EPISODES = 16
"""Episodes of the contact sheet, evenly chosen."""

USAGE = """usage: rlvr-world check FOLDER [--key value ...]

Reads every episode of a folder, lists every problem of every file with its remedy, and summarizes the episodes, with a
contact sheet. Exit code 1 if there are problems. rlvr_world_hf/data/folder.py describes the form of the files.

keys:
{keys}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """Where the report is written."""

    sheet: str = key("", "Picture to write; outputs/check/<folder>.png if not given.")
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Values of one dimension of the actions or states."""

    lowest: float
    """Lowest value."""

    highest: float
    """Highest value."""

    usual: tuple[float, float]
    """98 % of the values lie between these two."""

    def __str__(self) -> str:
        if self.lowest == self.highest:
            return f"constant, {self.lowest:.4g}"
        low, high = self.usual
        return f"{self.lowest:.4g} to {self.highest:.4g}, 98 % of them {low:.4g} to {high:.4g}"


def check(words: Sequence[str]) -> int:
    """
    Check a folder and print what was found.

    Args:
        words (`Sequence[str]`):
            The folder and `--key value` pairs, as after `rlvr-world check`.

    Returns:
        `int`: 0 if all episodes can be used, 1 if not, 2 without a folder.

    Raises:
        ValueError: If a key is unknown, or there is no such folder.
    """
    if not words or {"-h", "--help"} & set(words):
        from ..help import describe

        keys = {**keys_of(CheckSettings), **keys_of(RecordedEpisodes)}
        echo(USAGE.format(keys="\n".join(describe({name: known for name, known in keys.items() if name != "folder"}))))
        return 0 if words else 2
    settings = fill(
        CheckSettings,
        parse_overrides(words[1:]),
        where="check",
        forwards_to=RecordedEpisodes,
        reserved=("folder",),
    )
    recorded = RecordedEpisodes(folder=Path(words[0]).expanduser(), **settings.arguments)
    found = list(recorded.scan())
    episodes = [item for item in found if isinstance(item, Episode)]
    problems = [item for item in found if isinstance(item, Problem)]
    echo("\n".join(summary(recorded, episodes)))
    if episodes:
        name = Path(words[0]).resolve().name
        sheet = Path(settings.sheet or Path("outputs") / "check" / f"{name}.png")
        chosen = [episodes[index] for index in _evenly(len(episodes), SHOWN_EPISODES)]
        contact_sheet({episode.episode_id: episode.required_frames for episode in chosen}, path_png=sheet)
        echo(f"contact sheet: {sheet}")
    if problems:
        echo(f"\n{len(problems)} problems in {len({problem.file for problem in problems})} files:")
        echo("\n".join(f"  {problem}" for problem in problems))
        return 1
    echo("no problems")
    return 0


def summary(recorded: RecordedEpisodes, episodes: Sequence[Episode]) -> list[str]:
    """
    What the usable episodes of a folder hold, line by line.

    Args:
        recorded (`RecordedEpisodes`):
            The folder.
        episodes (`Sequence[Episode]`):
            Its usable episodes.

    Returns:
        `list[str]`: The lines.
    """
    lines = [f"{recorded.folder}: {len(episodes)} usable episodes of {len(recorded.files())}"]
    if not episodes:
        return lines
    lengths = [len(episode) for episode in episodes]
    sizes = Counter(f"{episode.required_frames.shape[2]} x {episode.required_frames.shape[3]}" for episode in episodes)
    rates = Counter(f"{episode.fps:g}" for episode in episodes)
    tasks = Counter(episode.episode_id.rpartition("/")[0] for episode in episodes)
    lines.append(f"frames: {sum(lengths)}, {_from_to(lengths)} an episode, {_counted(sizes)} pixels, uint8 RGB")
    lines.append(f"frames a second: {_counted(rates)}")
    lines.append(
        f"brightness: {_from_to([int(episode.required_frames.mean()) for episode in episodes])} on average of 0 to 255"
    )
    # In uint8 a negative difference would wrap around.
    changes = [np.abs(np.diff(episode.required_frames.astype(np.int16), axis=0)).mean() / 255 for episode in episodes]
    lines.append(f"change from frame to frame: {np.mean(changes):.4f} on average, of 0 to 1")
    if len(tasks) > 1:
        lines.append(f"subfolders: {_counted(tasks)}")
    for name in ("actions", "states"):
        arrays = [array for episode in episodes if (array := getattr(episode, name)) is not None]
        for dims in sorted({array.shape[1] for array in arrays}):
            alike = np.concatenate([array for array in arrays if array.shape[1] == dims])
            lines.append(f"{name}: {dims} dimensions")
            lines += [f"  {number}: {described}" for number, described in enumerate(ranges(alike))]
    return lines


def ranges(values: np.ndarray) -> list[Range]:
    """
    Ranges of the dimensions of actions or states.

    Args:
        values (`numpy.ndarray` of shape `(T, dims)`):
            Finite values.

    Returns:
        `list[Range]`: One a dimension.

    Example:

    ```python
    >>> print(*ranges(np.array([[0.0, 1.0], [0.5, 1.0], [2.0, 1.0]])), sep="; ")
    0 to 2, 98 % of them 0.01 to 1.97; constant, 1

    ```
    """
    low, first, last, high = np.quantile(values, [0.0, 0.01, 0.99, 1.0], axis=0).tolist()
    return [
        Range(lowest=lowest, highest=highest, usual=(begins, ends))
        for lowest, begins, ends, highest in zip(low, first, last, high, strict=True)
    ]


def _evenly(count: int, most: int) -> list[int]:
    return [place * count // min(count, most) for place in range(min(count, most))]


def _from_to(numbers: Sequence[int]) -> str:
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _counted(counts: Counter[str]) -> str:
    """`64 x 64`, or `64 x 64 (3), 32 x 32 (1)` where there are several."""
    return ", ".join(name if len(counts) == 1 else f"{name or '.'} ({count})" for name, count in counts.most_common())
