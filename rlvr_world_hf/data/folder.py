"""
Episodes of your own: a folder of `.npz` files, or of `.mp4` files with their actions beside them.

An episode is one file, in the folder or anywhere below it, and is named by its path:

- `<name>.npz` with arrays `frames`, uint8 RGB of shape `(T, H, W, 3)` or `(T, 3, H, W)`, `actions` of shape `(T, A)`,
  and `states` of shape `(T, P)` if you have them;
- `<name>.mp4` beside `<name>.npz`, `<name>.npy` or `<name>.csv` with one row of actions a frame.

Nothing is repaired, guessed or skipped, and nothing pickled is loaded. What cannot be used is a [`Problem`], and all
problems of a folder are reported at once. The name of an episode is stored as text, so the names of files must be
UTF-8.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from .array_files import (
    READERS,
    UnusableArrayError,
    as_frames,
    as_rows,
    check_archive,
    read_video,
    resize_frames,
    video_fps,
)
from .episode import Episode


ACTION_SUFFIXES = (".npz", ".npy", ".csv")
"""Files that may hold the actions of a video."""

MAX_LISTED = 20
"""Problems that an error message lists; `rlvr-world check` lists all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """
    Why an episode cannot be used.

    Example:

    ```python
    >>> print(Problem(file="push/3.npz", field="actions", found="not finite in row 7", remedy="drop the episode"))
    push/3.npz: `actions`: not finite in row 7; drop the episode.

    ```
    """

    file: str
    """Path of the file below the folder."""

    field: str
    """Array of the file that has the problem, or `file`."""

    found: str
    """What was expected, and what was found."""

    remedy: str
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.file}: `{self.field}`: {self.found}; {self.remedy}."


class UnusableEpisodesError(ValueError):
    """A folder that does not exist, or unusable episodes; the message lists each problem with its remedy."""


def described(default: Any, help: str) -> Any:
    """
    A field of [`RecordedEpisodes`][] with its line for `--help`.

    Args:
        default (`Any`):
            Its default.
        help (`str`):
            One line on what it is.

    Returns:
        `Any`: the field, for the body of a dataclass.
    """
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEpisodes:
    """
    A folder of episodes. Its fields are keys of the collect stage.

    A world of recorded data is a file of `worlds/` with a subclass of this name that states what its source says:
    alignment, frames a second, clipping, where it comes from.

    Example:

    ```python
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frames, actions = np.full((5, 8, 8, 3), 200, np.uint8), np.arange(5.0)[:, None]
    ...     np.savez(f"{folder}/push.npz", frames=frames, actions=actions)
    ...     recorded = RecordedEpisodes(folder=Path(folder), alignment="led_to")
    ...     [(episode.episode_id, episode.frames.shape, episode.actions.T.tolist()) for episode in recorded.read()]
    [('push', (5, 3, 8, 8), [[1.0, 2.0, 3.0, 4.0, 4.0]])]

    ```
    """

    world: ClassVar[str] = "recorded episodes"
    """Name of the world, for cards."""

    source: ClassVar[str] = "A folder of your own, see `rlvr_world_hf/data/folder.py` for its form."
    """Where the data comes from and under which licence, for cards and for the error about a missing folder."""

    folder: Path | None = described(None, "Folder of the episodes; subfolders are read too.")
    """Folder of the episodes."""

    alignment: Literal["taken_at", "led_to"] | None = described(
        None, "Whether actions[t] was taken_at frames[t], or led_to frames[t] (and frames[0] has a placeholder)."
    )
    """`taken_at`: `actions[t]` is the action taken at `frames[t]`; `led_to`: the one that led to `frames[t]`."""

    fps: float = described(10.0, "Frames a second of arrays; a video states its own.")
    """Frames a second of arrays, before `frame_stride`."""

    frames_field: str = described("frames", "Array of an .npz file that holds the frames.")
    """Name of the array of frames."""

    actions_field: str = described("actions", "Array of an .npz file that holds the actions.")
    """Name of the array of actions."""

    states_field: str | None = described(None, "Array of an .npz file that holds low-dimensional states.")
    """Name of the array of states, if there is one."""

    image_size: int | tuple[int, int] | None = described(
        None, "Height and width to resize frames to; theirs if not given."
    )
    """Height and width of the frames; pixels are averaged over their area. `None` keeps those of the source."""

    clip_actions: tuple[float, float] | None = described(None, "Lowest and highest value that actions are clipped to.")
    """Range that the world itself clips actions to."""

    frame_stride: int = described(1, "Keep every n-th frame, each with all actions up to the next kept frame.")
    """Every `frame_stride`-th frame is kept; the actions between two kept frames are joined into one."""

    min_frames: int = described(2, "Least number of frames of an episode, counted after frame_stride.")
    """A shorter episode is a [`Problem`]."""

    max_gigabytes: float = described(
        2.0, "Memory that one array of an episode may take, in GB; a larger one is refused before it is read."
    )
    """
    Memory that one array of an episode may take as it is read, in GB (10^9 bytes). A small compressed file may claim
    to unpack to more than the memory holds. While an array is brought into its form, it takes about twice as much.
    """

    def __post_init__(self) -> None:
        """
        Raises:
            UnusableEpisodesError: If a number is out of range.
        """
        sizes = self.image_size if isinstance(self.image_size, tuple) else (self.image_size,)
        given = (self.frame_stride, self.min_frames, self.fps, self.max_gigabytes)
        # Not `min`: nan is refused, too.
        if not all(number > 0 for number in (*given, *(size for size in sizes if size is not None))):
            raise UnusableEpisodesError(
                "Expected `image_size`, `frame_stride`, `min_frames`, `fps` and `max_gigabytes` above 0, got "
                f"{self.image_size}, {self.frame_stride}, {self.min_frames}, {self.fps} and {self.max_gigabytes}."
            )
        if self.clip_actions is not None and not self.clip_actions[0] < self.clip_actions[1]:
            raise UnusableEpisodesError(
                f"Expected `clip_actions` as [lowest, highest], got {list(self.clip_actions)}."
            )

    def read(self) -> list[Episode]:
        """All episodes of [`stream`], in memory."""
        return list(self.stream())

    def stream(self) -> Iterator[Episode]:
        """
        All episodes, sorted by name, one after another.

        Yields:
            `Episode`: `actions[t]` leads from `frames[t]` to `frames[t + 1]`, whatever the alignment of the source.
            If the source has no last action, the one before is repeated. No episode follows the first problem.

        Raises:
            UnusableEpisodesError: If the folder or the alignment is not given or the folder does not exist; at the
                end, if any file in the folder cannot be used.
        """
        self.refuse_incomplete()
        problems = []
        for item in self.scan():
            if isinstance(item, Problem):
                problems.append(str(item))  # go on reading: one error lists the problems of all files
            elif not problems:
                yield item
        if problems:
            more = f"\n  and {len(problems) - MAX_LISTED} more" if len(problems) > MAX_LISTED else ""
            listed = "".join(f"\n  {problem}" for problem in problems[:MAX_LISTED])
            raise UnusableEpisodesError(
                f"{self.folder}: {len(problems)} problems; `rlvr-world check {self.folder}` lists all.{listed}{more}"
            )

    def names(self) -> list[str]:
        """
        Name of each episode, in the order of [`stream`], before any is read.

        Raises:
            UnusableEpisodesError: If the folder or the alignment is not given, or the folder does not exist.
        """
        self.refuse_incomplete()
        return [_episode_id(self._name(path)) for path in self.files()]

    def scan(self) -> Iterator[Episode | Problem]:
        """
        Read file after file.

        Yields:
            `Episode | Problem`: The episode of each usable file, and the problems of each unusable one. At the end, a
            problem for each file that differs from most others in frame size, frames a second or dimensions.

        Raises:
            UnusableEpisodesError: If there is no such folder.
        """
        forms: dict[str, dict[str, Any]] = {}
        files = self.files()
        if not files:
            there = Counter(path.suffix or path.name for path in self._all_files())
            listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(there.items())) or "nothing"
            yield Problem(
                file=".",
                field="file",
                found=f"expected .npz files, or .mp4 files with actions, found {listed}",
                remedy="give the folder that holds them, or convert your files to one of the two",
            )
        for path in files:
            for item in self._read_file(path):
                if isinstance(item, Episode):
                    forms[self._name(path)] = self._form(item)
                yield item
        yield from _unequal(forms)

    def files(self) -> list[Path]:
        """
        The file of each episode, sorted; the actions of a video are not listed.

        Raises:
            UnusableEpisodesError: If there is no such folder.
        """
        files = self._all_files()
        videos = {path.with_suffix("") for path in files if path.suffix == ".mp4"}
        arrays = (path for path in files if path.suffix == ".npz" and path.with_suffix("") not in videos)
        return sorted([*arrays, *(path for path in files if path.suffix == ".mp4")])

    def contents(self) -> dict[str, Path]:
        """The files that are read, by name: a run counts each by its content. Empty without a folder."""
        if self.folder is None or not self.folder.is_dir():
            return {}
        return {self._name(path): path for path in self._all_files()}

    def refuse_incomplete(self) -> None:
        """
        Refuse a source of which a needed key is not given, before anything is read.

        Raises:
            UnusableEpisodesError: If the folder or the alignment is not given.
        """
        if self.folder is None:
            raise UnusableEpisodesError(
                f"Expected a folder of episodes, got none; add `--collect.folder PATH`. Source: {self.source}"
            )
        if self.alignment is None:
            raise UnusableEpisodesError(
                f"{self.folder}: expected an alignment of actions and frames, got none; add `--collect.alignment "
                "taken_at` if actions[t] is taken at frames[t], or `--collect.alignment led_to` if it led there."
            )

    def _all_files(self) -> list[Path]:
        if self.folder is None or not self.folder.is_dir():
            raise UnusableEpisodesError(
                f"Expected a folder of episodes at {self.folder}, found none; put the data there, or give its "
                f"folder by `--collect.folder PATH`. Source: {self.source}"
            )
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        # Hidden folders, such as `.cache` of a download from the Hub, hold no episodes.
        return sorted(path for path in paths if not any(part[0] == "." for part in self._name(path).split("/")))

    def _name(self, path: Path) -> str:
        # Bytes that are not UTF-8 are shown as `\xff`, so that the name can be printed and stored in JSON.
        return os.fsencode(path.relative_to(self.folder or Path()).as_posix()).decode("utf-8", "backslashreplace")

    @property
    def _limit(self) -> float:
        return self.max_gigabytes * 1e9

    def _read_file(self, path: Path) -> Iterator[Episode | Problem]:
        problem = partial(Problem, file=self._name(path))
        arrays: dict[str, np.ndarray] = {}
        try:
            _refuse_other_encodings(path)
            fields, fps = self._open(path)
        except UnusableArrayError as error:
            yield problem(field="file", found=error.found, remedy=error.remedy)
            return
        for name, load in fields.items():
            try:
                arrays[name] = load()
            except UnusableArrayError as error:
                yield problem(field=name, found=error.found, remedy=error.remedy)
        if arrays.keys() < fields.keys():
            return
        frames, *rows = arrays.values()
        kept = -(-len(frames) // self.frame_stride)
        problems: list[Episode | Problem] = [
            problem(
                field=name,
                found=f"expected one row for each of the {len(frames)} frames, got {len(arrays[name])} rows",
                remedy="cut both to the same steps; where the last frame has no action, repeat the one before it",
            )
            for name in list(fields)[1:]
            if len(arrays[name]) != len(frames)
        ]
        if kept < self.min_frames:
            every = f" ({len(frames)} with a frame_stride of {self.frame_stride})" if self.frame_stride > 1 else ""
            problems.append(
                problem(
                    field=next(iter(fields)),
                    found=f"expected at least {self.min_frames} frames, got {kept}{every}",
                    remedy="drop the episode, or shorten the horizon of the windows",
                )
            )
        yield from problems or [self._build(self._name(path), frames, *rows, fps=fps)]

    def _open(self, path: Path) -> tuple[dict[str, Callable[[], np.ndarray]], float]:
        """How to load each array of a file, by its field, frames first; and its frames a second."""
        frames: Callable[[], np.ndarray]
        if path.suffix == ".mp4":
            beside = [path.with_suffix(suffix) for suffix in ACTION_SUFFIXES if path.with_suffix(suffix).is_file()]
            if len(beside) != 1:
                expected = ", ".join(f"{path.stem}{suffix}" for suffix in ACTION_SUFFIXES)
                raise UnusableArrayError(
                    f"expected its actions in one of {expected} beside it, found {len(beside)} of them",
                    "write the action at each frame as one row" if not beside else "keep one of them",
                )
            frames, fps = partial(read_video, path, limit=self._limit), video_fps(path)
            values, fields = beside[0], [self.actions_field]
        else:
            frames = partial(READERS[".npz"], path, self.frames_field, limit=self._limit)
            fps, values = self.fps, path
            fields = [self.actions_field]
        if values.suffix == ".npz":
            check_archive(values)
        elif self.states_field is not None:
            raise UnusableArrayError(
                f"{values.name} holds actions alone, and `states_field` asks for {self.states_field!r}",
                "store both in an .npz file, or leave `states_field` out",
            )
        if self.states_field is not None:
            fields.append(self.states_field)
        read = partial(READERS[values.suffix], limit=self._limit)
        # `partial` binds each name now; a plain lambda would see the last name of the loop.
        return {
            self.frames_field: lambda: as_frames(frames()),
            **{name: partial(lambda name: as_rows(read(values, name)), name) for name in fields},
        }, fps

    def _build(
        self, name: str, frames: np.ndarray, actions: np.ndarray, states: np.ndarray | None = None, *, fps: float
    ) -> Episode:
        if self.alignment == "led_to":
            actions = np.concatenate([actions[1:], actions[-1:]])
        if self.clip_actions is not None:
            actions = actions.clip(*self.clip_actions)
        starts = np.arange(0, len(frames), self.frame_stride)
        # After the last kept frame there may be too few actions: the last one is repeated.
        acting = np.minimum(starts[:, None] + np.arange(self.frame_stride), len(frames) - 1)  # (kept, stride)
        return Episode(
            episode_id=_episode_id(name),
            frames=resize_frames(frames[starts], self.image_size),
            actions=actions[acting].reshape(len(starts), -1),  # (kept, stride * A)
            fps=fps / self.frame_stride,
            states=None if states is None else states[starts],
        )

    def _form(self, episode: Episode) -> dict[str, Any]:
        """What must be equal in all episodes of a folder, by field, in words."""
        _, _, height, width = episode.required_frames.shape
        form = {
            self.frames_field: f"frames of {height} x {width} pixels at {episode.fps:g} a second",
            self.actions_field: f"{episode.actions.shape[1] // self.frame_stride} action dimensions",
        }
        if episode.states is not None:
            form[str(self.states_field)] = f"{episode.states.shape[1]} state dimensions"
        return form


def _refuse_other_encodings(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UnusableArrayError(
            "expected a path in UTF-8, as an episode is named by it", "rename the file, or the folder so named"
        ) from error


def _episode_id(name: str) -> str:
    return name.rpartition(".")[0] or name


def _unequal(forms: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    for name in dict.fromkeys(name for form in forms.values() for name in form):
        usual, _ = Counter(form[name] for form in forms.values()).most_common(1)[0]
        for file, form in forms.items():
            if form[name] != usual:
                yield Problem(
                    file=file,
                    field=name,
                    found=f"expected {usual}, as in most files, got {form[name]}",
                    remedy="bring all to one form, or keep the others in a folder of their own",
                )
