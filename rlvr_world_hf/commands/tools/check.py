"""Check: reports what is in a folder of your own episodes, and every problem in it, before you start a run on it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
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

SAMPLED_VALUES = 2**22
"""Actions or states, counted in single numbers, from which ranges are estimated; up to so many they are exact."""

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
    """98 % of the values lie between these two; of many, an estimate, see `SAMPLED_VALUES`."""

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
    found, problems = Summary(), []
    for item in recorded.scan():
        if isinstance(item, Problem):
            problems.append(item)
        else:
            found.add(item)
    echo("\n".join([f"{recorded.folder}: {found.count} usable episodes of {len(recorded.files())}", *found.lines()]))
    if found.count:
        name = Path(words[0]).resolve().name
        sheet = Path(settings.sheet or Path("outputs") / "check" / f"{name}.png")
        contact_sheet(found.shown(SHOWN_EPISODES), path_png=sheet)
        echo(f"contact sheet: {sheet}")
    if problems:
        echo(f"\n{len(problems)} problems in {len({problem.file for problem in problems})} files:")
        echo("\n".join(f"  {problem}" for problem in problems))
        return 1
    echo("no problems")
    return 0


class Summary:
    r"""
    What the usable episodes of a folder hold. Episodes are added one after another and not kept, so that the folder
    may be larger than the memory.

    Example:

    ```python
    >>> frames, actions = np.full((5, 3, 8, 8), 50, np.uint8), np.arange(5, dtype=np.float32)[:, None]
    >>> summary = Summary()
    >>> summary.add(Episode(episode_id="push/0", frames=frames, actions=actions, fps=10.0))
    >>> print(*summary.lines(), sep="\n")
    frames: 5, 5 an episode, 8 x 8 pixels, uint8 RGB
    frames a second: 10
    brightness: 50 on average of 0 to 255
    change from frame to frame: 0.0000 on average, of 0 to 1
    actions: 1 dimensions
      0: 0 to 4, 98 % of them 0.04 to 3.96

    ```
    """

    def __init__(self) -> None:
        self._lengths: list[int] = []
        self._brightness: list[int] = []
        self._changes: list[float] = []
        self._sizes: Counter[str] = Counter()
        self._rates: Counter[str] = Counter()
        self._tasks: Counter[str] = Counter()
        self._values: dict[tuple[str, int], Values] = {}
        self._shown: dict[str, np.ndarray] = {}
        self._every = 1

    @property
    def count(self) -> int:
        """Number of episodes."""
        return len(self._lengths)

    def add(self, episode: Episode) -> None:
        """Count one more episode."""
        frames = episode.required_frames
        if self.count % self._every == 0:
            self._keep_shown(episode.episode_id, frames)
        self._lengths.append(len(frames))
        self._brightness.append(int(frames.mean()))
        # In uint8 a negative difference would wrap around. Two frames at a time, as all would take twice the memory.
        steps = [np.abs(after.astype(np.int16) - before).mean() for before, after in pairwise(frames)]
        self._changes.append(float(np.mean(steps)) / 255 if steps else 0.0)
        self._sizes[f"{frames.shape[2]} x {frames.shape[3]}"] += 1
        self._rates[f"{episode.fps:g}"] += 1
        self._tasks[episode.episode_id.rpartition("/")[0]] += 1
        for name in ("actions", "states"):
            array = getattr(episode, name)
            if array is not None:
                self._values.setdefault((name, array.shape[1]), Values(array.shape[1])).add(array)

    def shown(self, count: int) -> dict[str, np.ndarray]:
        """At most `count` of the episodes, evenly chosen: the first, middle and last frame of each, by its name."""
        names = list(self._shown)
        return {names[place]: self._shown[names[place]] for place in _evenly(len(names), count)}

    def lines(self) -> list[str]:
        """The lines of the report; none without an episode."""
        if not self.count:
            return []
        lengths = self._lengths
        lines = [
            f"frames: {sum(lengths)}, {_from_to(lengths)} an episode, {_counted(self._sizes)} pixels, uint8 RGB",
            f"frames a second: {_counted(self._rates)}",
            f"brightness: {_from_to(self._brightness)} on average of 0 to 255",
            f"change from frame to frame: {np.mean(self._changes):.4f} on average, of 0 to 1",
        ]
        if len(self._tasks) > 1:
            lines.append(f"subfolders: {_counted(self._tasks)}")
        for (name, dims), values in sorted(self._values.items()):
            lines.append(f"{name}: {dims} dimensions")
            lines += [f"  {number}: {described}" for number, described in enumerate(values.ranges())]
        return lines

    def _keep_shown(self, name: str, frames: np.ndarray) -> None:
        self._shown[name] = frames[[0, len(frames) // 2, -1]]
        # How many will come is not known: when there are too many, every second is dropped, and of those that come
        # every second left out.
        if len(self._shown) > 2 * SHOWN_EPISODES:
            self._shown = dict(islice(self._shown.items(), 0, None, 2))
            self._every *= 2


class Values:
    """
    Ranges of the dimensions of many actions or states, of which only a sample is kept.

    Args:
        dims (`int`):
            Number of dimensions.
        kept (`int`, *optional*):
            Numbers to keep; by default `SAMPLED_VALUES`.

    Example:

    ```python
    >>> values = Values(2)
    >>> values.add(np.array([[0.0, 1.0], [0.5, 1.0]]))
    >>> values.add(np.array([[2.0, 1.0]]))
    >>> print(*values.ranges(), sep="; ")
    0 to 2, 98 % of them 0.01 to 1.97; constant, 1

    ```
    """

    def __init__(self, dims: int, *, kept: int = SAMPLED_VALUES) -> None:
        self._most = max(1, kept // dims)
        self._parts: list[np.ndarray] = []
        self._keys: list[np.ndarray] = []
        self._lowest = np.full(dims, np.inf)
        self._highest = np.full(dims, -np.inf)
        self._rng = np.random.default_rng(0)

    def add(self, rows: np.ndarray) -> None:
        """Count further rows `(T, dims)` of finite values."""
        self._lowest = np.minimum(self._lowest, rows.min(axis=0))
        self._highest = np.maximum(self._highest, rows.max(axis=0))
        self._parts.append(rows)
        self._keys.append(self._rng.random(len(rows)))
        # Rarely, as it copies the sample: the rows with the largest of all keys are a uniform sample of all rows.
        if sum(map(len, self._keys)) >= 2 * self._most:
            self._thin()

    def ranges(self) -> list[Range]:
        """The range of each dimension."""
        self._thin()
        (rows,) = self._parts
        first, last = np.quantile(rows, [0.01, 0.99], axis=0)
        every = (self._lowest, self._highest, first, last)
        return [
            Range(lowest=low, highest=high, usual=(begins, ends))
            for low, high, begins, ends in zip(*(values.tolist() for values in every), strict=True)
        ]

    def _thin(self) -> None:
        rows, keys = np.concatenate(self._parts), np.concatenate(self._keys)
        if len(rows) > self._most:
            chosen = np.argpartition(keys, -self._most)[-self._most :]
            rows, keys = rows[chosen], keys[chosen]
        self._parts, self._keys = [rows], [keys]


def _evenly(count: int, most: int) -> list[int]:
    return [place * count // min(count, most) for place in range(min(count, most))]


def _from_to(numbers: Sequence[int]) -> str:
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _counted(counts: Counter[str]) -> str:
    """`64 x 64`, or `64 x 64 (3), 32 x 32 (1)` where there are several."""
    return ", ".join(name if len(counts) == 1 else f"{name or '.'} ({count})" for name, count in counts.most_common())
