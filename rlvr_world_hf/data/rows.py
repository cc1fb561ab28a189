"""From episodes to `datasets.Dataset` rows, and back from disk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, overload

import datasets
import numpy as np
import pyarrow as pa
from datasets.arrow_writer import ArrowWriter

from .augmentation import ClipAugmentation
from .episode import Episode
from .folder import RecordedEpisodes, UnusableEpisodesError
from .windows import Window, count_windows, cut_window, draw_context, windows


ARRAYS = ("frames", "actions", "states")
"""Arrays of an episode."""

WRITTEN_AT_ONCE = 16
"""Episodes that an [`EpisodeWriter`] holds in memory."""

FEATURES = datasets.Features(
    {
        "episode": datasets.Value("string"),
        "fps": datasets.Value("float64"),
        # Arrow's plain binary has offsets of 32 bits: at most 2 GiB a chunk.
        **{name: datasets.Value("large_binary") for name in ARRAYS},
        **{f"{name}_shape": datasets.List(datasets.Value("int64")) for name in ARRAYS},
    }
)
"""Columns of stored episodes: raw arrays as bytes beside their shapes, so that no value is changed."""


class EpisodeWriter(AbstractContextManager["EpisodeWriter"]):
    """
    Context manager that stores episodes as they come, with only a few in memory at a time.

    Args:
        folder (`str` or `Path`):
            Folder to write. Its old content is replaced at the end of the context; after an exception it stays.

    Raises:
        `ValueError`: At the end, if no episode was written.

    Example:

    ```python
    >>> import tempfile
    >>> frames, actions = np.zeros((6, 3, 8, 8), np.uint8), np.zeros((6, 2), np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with EpisodeWriter(folder) as writer:
    ...         writer.write(Episode(episode_id="push", frames=frames, actions=actions, fps=2.0))
    ...     len(load_episodes(folder))
    1

    ```
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._count = 0

    def __enter__(self) -> Self:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = TemporaryDirectory(dir=self.folder.parent, prefix=f".{self.folder.name}-")
        self._file = str(Path(self._scratch.name) / "episodes.arrow")
        self._writer = ArrowWriter(path=self._file, features=FEATURES, writer_batch_size=WRITTEN_AT_ONCE)
        return self

    def write(self, episode: Episode) -> None:
        """Store one more episode; all have the same frame size."""
        self._writer.write(_to_row(episode))
        self._count += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._scratch:
            if kind is not None:
                self._writer.close()
                return
            if not self._count:
                raise ValueError(
                    f"Expected at least one episode to store in {self.folder}, got none; collect or load some first."
                )
            self._writer.finalize()
            datasets.Dataset.from_file(self._file).save_to_disk(str(self.folder))


class StoredEpisodes(Sequence[Episode]):
    """
    Episodes in a folder, each read when it is asked for.

    The arrays are read-only views of memory-mapped files, so a dataset may be larger than the memory.

    Args:
        folder (`str` or `Path`):
            A folder that [`save_episodes`] or [`EpisodeWriter`] wrote.

    Raises:
        `FileNotFoundError`: If `folder` holds no stored episodes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "dataset_info.json").exists():
            raise FileNotFoundError(f"Expected stored episodes in {folder}, found none; run the collect stage first.")
        rows = datasets.load_from_disk(str(folder))
        self._columns = {name: rows.data.column(name) for name in rows.column_names}

    def __len__(self) -> int:
        return len(self._columns["episode"])

    @overload
    def __getitem__(self, index: int) -> Episode: ...

    @overload
    def __getitem__(self, index: slice) -> list[Episode]: ...

    def __getitem__(self, index: int | slice) -> Episode | list[Episode]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"Expected an index from {-len(self)} to {len(self) - 1}, got {index}.")
        return _from_row({name: column[index % len(self)] for name, column in self._columns.items()})

    # Another process maps the files itself; pickling the columns would copy all episodes.
    def __reduce__(self) -> tuple[type[StoredEpisodes], tuple[Path]]:
        return type(self), (self.folder,)


def save_episodes(episodes: Iterable[Episode], folder: str | Path) -> StoredEpisodes:
    """
    Store episodes as a `datasets` dataset, one row an episode.

    Args:
        episodes (`Iterable[Episode]`):
            Episodes of equal frame size; read once, one after another.
        folder (`str` or `Path`):
            Folder to write; its old content is replaced only after all episodes have been read.

    Returns:
        `StoredEpisodes`: The episodes, as [`load_episodes`] gives them.

    Raises:
        `ValueError`: If there is no episode.

    Example:

    ```python
    >>> import tempfile
    >>> frames, actions = np.zeros((6, 3, 8, 8), np.uint8), np.zeros((6, 2), np.float32)
    >>> episode = Episode(episode_id="push", frames=frames, actions=actions, fps=2.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     stored = save_episodes([episode], folder)
    ...     [loaded.episode_id for loaded in load_episodes(folder)]
    ['push']

    ```
    """
    with EpisodeWriter(folder) as writer:
        for episode in episodes:
            writer.write(episode)
    return load_episodes(folder)


def load_episodes(folder: str | Path) -> StoredEpisodes:
    """
    The episodes that [`save_episodes`] stored, each read when it is asked for.

    Args:
        folder (`str` or `Path`):
            The folder it wrote.

    Returns:
        `StoredEpisodes`: A sequence of episodes, each array as it was stored.

    Raises:
        `FileNotFoundError`: If `folder` holds no stored episodes.

    Example:

    ```python
    >>> load_episodes("nowhere")
    Traceback (most recent call last):
    ...
    FileNotFoundError: Expected stored episodes in nowhere, found none; run the collect stage first.

    ```
    """
    return StoredEpisodes(folder)


def _to_row(episode: Episode) -> dict:
    row = {"episode": episode.episode_id, "fps": episode.fps}
    for name in ARRAYS:
        array = getattr(episode, name)
        row[name] = b"" if array is None else np.ascontiguousarray(array).tobytes()
        row[f"{name}_shape"] = [] if array is None else list(array.shape)
    return row


def _from_row(row: dict[str, pa.Scalar]) -> Episode:
    def read(name: str, dtype: type) -> np.ndarray | None:
        shape = row[f"{name}_shape"].as_py()
        if not shape:
            return None
        array = np.frombuffer(row[name].as_buffer(), dtype).reshape(shape)
        array.flags.writeable = False  # the file is mapped read-only: a write would crash the process
        return array

    actions = read("actions", np.float32)
    assert actions is not None  # every episode has actions
    return Episode(
        episode_id=row["episode"].as_py(),
        fps=row["fps"].as_py(),
        frames=read("frames", np.uint8),
        actions=actions,
        states=read("states", np.float32),
    )


class _WindowReader:
    """Cuts the arrays of windows when rows are read, so that overlapping windows are not stored one by one."""

    def __init__(
        self,
        episodes: Sequence[Episode],
        *,
        context_frames: int,
        observed_steps: int,
        horizon: int,
        context_reach: int,
        augmentation: ClipAugmentation | None,
    ) -> None:
        self.episodes = episodes
        self.cut = {"context_frames": context_frames, "observed_steps": observed_steps, "horizon": horizon}
        self.context_reach = context_reach
        self.augmentation = augmentation

    def __call__(self, batch: dict) -> dict:
        # Windows of a batch often share an episode, which is then read once.
        episodes = {index: self.episodes[index] for index in set(batch["episode_index"])}
        cuts = [
            self._read(episodes[index], seed=[index, start])
            for index, start in zip(batch["episode_index"], batch["start"], strict=True)
        ]
        columns = {
            "episode": [cut.episode_id for cut in cuts],
            "start": [cut.start for cut in cuts],
            "context": [cut.context for cut in cuts],
            "actions": [cut.actions for cut in cuts],
            "reference": [cut.reference for cut in cuts],
            "reference_mask": [cut.reference_mask for cut in cuts],
        }
        if cuts and cuts[0].reference_states is not None:
            columns["context_states"] = [cut.context_states for cut in cuts]
            columns["reference_states"] = [cut.reference_states for cut in cuts]
        return columns

    def _read(self, episode: Episode, *, seed: list[int]) -> Window:
        """The window of an episode. `seed`, the episode's number and the window's first frame, fixes all draws."""
        _, start = seed
        context_start = draw_context(start, context_reach=self.context_reach, seed=seed)
        cut = cut_window(episode, start, **self.cut, context_start=context_start)
        if self.augmentation is None:
            return cut
        clip = self.augmentation(np.concatenate([cut.context, cut.reference]), seed=seed)
        return replace(cut, context=clip[: len(cut.context)], reference=clip[len(cut.context) :])


def window_rows(
    episodes: Sequence[Episode],
    *,
    context_frames: int = 1,
    observed_steps: int = 0,
    horizon: int,
    stride: int = 1,
    padded: bool = False,
    context_reach: int = 0,
    augmentation: ClipAugmentation | None = None,
) -> datasets.Dataset:
    """
    All windows of some episodes as rows. A row's arrays are cut when it is read.

    Args:
        episodes (`Sequence[Episode]`):
            Where to cut.
        context_frames (`int`, *optional*, defaults to 1):
            Frames given in full; 0 where each frame is coded on its own.
        observed_steps (`int`, *optional*, defaults to 0):
            Further frames given, each as one step block.
        horizon (`int`):
            Frames to predict.
        stride (`int`, *optional*, defaults to 1):
            Frames between the starts of two windows.
        padded (`bool`, *optional*, defaults to `False`):
            Keep the windows at the end of an episode that are shorter than the horizon, padded and masked.
        context_reach (`int`, *optional*, defaults to 0):
            Number of frames to draw each window's context from, see [`~rlvr_world_hf.data.windows.draw_context`]; 15
            in the paper's code for multi-step prediction. With 0, the context directly precedes the other frames.
        augmentation (`ClipAugmentation`, *optional*):
            Changes the frames of each window, the same way whenever its row is read.

    Returns:
        `datasets.Dataset`: Rows `episode` (str), `start` (int), `context` `(context_frames + observed_steps, 3, H, W)`
        uint8, `actions` `(max(observed_steps, 1) + horizon, A)` float32, `reference` `(horizon, 3, H, W)` uint8,
        `reference_mask` `(horizon,)` bool, and `context_states` and `reference_states` `(..., P)` float32 of the same
        steps where they are known. In a world of sensors, the states stand in `context` and `reference` themselves.
        See [`~rlvr_world_hf.data.Window`].

    Raises:
        `ValueError`: If no episode is long enough, or a drawn context could contain a frame to predict.

    Example:

    ```python
    >>> import numpy as np
    >>> frames, actions = np.zeros((6, 3, 8, 8), np.uint8), np.zeros((6, 2), np.float32)
    >>> episode = Episode(episode_id="0", frames=frames, actions=actions, fps=2.0)
    >>> rows = window_rows([episode], horizon=4)
    >>> len(rows), rows[0]["reference"].shape, rows[1]["start"]
    (2, (4, 3, 8, 8), 1)

    ```
    """
    if context_reach and not (context_frames and observed_steps):
        raise ValueError(
            f"Expected context frames and observed steps with a `context_reach` of {context_reach}, got "
            f"{context_frames} and {observed_steps}: the frame after the context may be drawn as the context, and "
            "must not be one to predict; set `observed_steps` to 1 or more, or leave `context_reach` at 0."
        )
    cut = {"context_frames": context_frames, "observed_steps": observed_steps}
    index: dict[str, list[int]] = {"episode_index": [], "start": []}
    for number, episode in enumerate(episodes):
        starts = count_windows(episode, **cut, stride=stride)
        last_whole = len(episode) - context_frames - observed_steps - horizon
        for start in range(0, starts * stride, stride):
            if padded or start <= last_whole:
                index["episode_index"].append(number)
                index["start"].append(start)
    if not index["start"]:
        longest = max((len(episode) for episode in episodes), default=0)
        raise ValueError(
            f"Expected episodes of at least {context_frames + observed_steps + horizon} frames, the longest of "
            f"{len(episodes)} has {longest}; shorten the horizon or bring longer episodes."
        )
    reader = _WindowReader(episodes, **cut, horizon=horizon, context_reach=context_reach, augmentation=augmentation)
    return datasets.Dataset.from_dict(index).with_transform(reader)


def split_episodes(
    episodes: Sequence[Episode], *, validation: float, test: float, seed: int = 0
) -> tuple[list[Episode], list[Episode], list[Episode]]:
    """
    Split by episode, never by window, so that no frame of a test episode is trained on.

    The episodes of a subfolder, such as a task (`door-lock/0`, `door-lock/1`), are spread evenly over the parts.

    Args:
        episodes (`Sequence[Episode]`):
            All episodes.
        validation (`float`):
            Share of the episodes for validation, in [0, 1); a value of 1 or more is their number.
        test (`float`):
            Share for testing, in the same form.
        seed (`int`, *optional*, defaults to 0):
            Seed of the split.

    Returns:
        `tuple`: Training, validation and test episodes; each non-zero share gets at least one episode.

    Raises:
        `ValueError`: If a part would be left without an episode.

    Example:

    ```python
    >>> frames, actions = np.zeros((6, 3, 8, 8), np.uint8), np.zeros((6, 2), np.float32)
    >>> episodes = [Episode(episode_id=str(n), frames=frames, actions=actions, fps=2.0) for n in range(10)]
    >>> [len(part) for part in split_episodes(episodes, validation=0.1, test=0.2)]
    [7, 1, 2]

    ```
    """
    parts = split_names([episode.episode_id for episode in episodes], validation=validation, test=test, seed=seed)
    train, for_validation, for_test = ([episodes[place] for place in part] for part in parts)
    return train, for_validation, for_test


def split_names(
    names: Sequence[str], *, validation: float, test: float, seed: int = 0
) -> tuple[list[int], list[int], list[int]]:
    """
    Split episodes by their names alone, as [`split_episodes`] does.

    Args:
        names (`Sequence[str]`):
            Name of each episode.
        validation (`float`):
            See [`split_episodes`].
        test (`float`):
            See [`split_episodes`].
        seed (`int`, *optional*, defaults to 0):
            See [`split_episodes`].

    Returns:
        `tuple`: Indices in `names` of the training, validation and test episodes.

    Raises:
        `ValueError`: If a part would be left without an episode, or a share is no share.

    Example:

    ```python
    >>> split_names(["open/0", "open/1", "shut/0", "shut/1"], validation=0, test=0.5)
    ([1, 3], [], [0, 2])

    ```
    """
    order = _spread(names, np.random.default_rng(seed).permutation(len(names)).tolist())
    counts = [count_share(share, len(names)) for share in (validation, test)]
    if sum(counts) >= len(names):
        raise ValueError(
            f"Expected more than {sum(counts)} episodes to set aside {counts[0]} for validation and {counts[1]} for "
            f"testing, got {len(names)}; bring more or set fewer aside."
        )
    test_count, set_aside = counts[1], sum(counts)
    return sorted(order[set_aside:]), sorted(order[test_count:set_aside]), sorted(order[:test_count])


def count_share(share: float, total: int) -> int:
    """
    How many of some items are meant.

    Args:
        share (`float`):
            A share of them, in (0, 1); or their number, a whole one.
        total (`int`):
            Number of items.

    Returns:
        `int`: Their number, which may be larger than `total`; at least 1 for a share.

    Raises:
        `ValueError`: If `share` is below 0, not finite, or has a fraction and is above 1.

    Example:

    ```python
    >>> count_share(0.1, 50), count_share(0.1, 3), count_share(7, 50), count_share(0, 50)
    (5, 1, 7, 0)

    ```
    """
    if 0 < share < 1:
        return max(1, round(share * total))
    # Comparing first: nan and infinity have no `int`.
    if not 0 <= share < math.inf or share != int(share):
        raise ValueError(f"expected a share in (0, 1), or a whole number of 0 or more, got {share}")
    return int(share)


def _spread(names: Sequence[str], order: list[int]) -> list[int]:
    """Reorder `order` so that every stretch of it has its share of each subfolder's episodes."""
    places: dict[str, list[int]] = {}
    for place in order:
        places.setdefault(names[place].rpartition("/")[0], []).append(place)
    # An episode's rank as a share of its subfolder: sorting by it interleaves the subfolders.
    due = {place: (rank + 0.5) / len(folder) for folder in places.values() for rank, place in enumerate(folder)}
    return sorted(order, key=due.__getitem__)


def stream_window_rows(
    source: RecordedEpisodes, *, context_frames: int = 1, observed_steps: int = 0, horizon: int, stride: int = 1
) -> datasets.IterableDataset:
    """
    Stream all windows of recorded episodes as rows.

    One episode is in memory at a time, so the dataset may have any size. The rows are those of [`window_rows`] with
    `padded=True`, in order.

    Args:
        source (`RecordedEpisodes`):
            Where the episodes come from: a folder, or a LeRobot dataset.
        context_frames (`int`, *optional*, defaults to 1):
            See [`window_rows`].
        observed_steps (`int`, *optional*, defaults to 0):
            See [`window_rows`].
        horizon (`int`):
            See [`window_rows`].
        stride (`int`, *optional*, defaults to 1):
            See [`window_rows`].

    Returns:
        `datasets.IterableDataset`: The rows; its `shuffle` shuffles them within a buffer.

    Raises:
        UnusableEpisodesError: If a needed key of the source is not given, such as its alignment; as rows are read,
            when an episode cannot be used.

    Example:

    ```python
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/0.npz", frames=np.full((5, 8, 8, 3), 9, np.uint8), actions=np.zeros((5, 2)))
    ...     source = RecordedEpisodes(folder=Path(folder), alignment="taken_at")
    ...     [row["start"] for row in stream_window_rows(source, horizon=2)]
    [0, 1, 2, 3]

    ```
    """
    # `scan` does not ask for an alignment, and without one the actions could be off by a step.
    source.refuse_incomplete()
    cut = {"context_frames": context_frames, "observed_steps": observed_steps, "horizon": horizon, "stride": stride}

    def rows() -> Iterator[dict]:
        for item in source.scan():
            if not isinstance(item, Episode):
                raise UnusableEpisodesError(str(item))
            for window in windows(item, **cut):
                columns = asdict(window)
                # `None` in the columns would become a column of a type that `datasets` cannot know.
                yield {
                    "episode": columns.pop("episode_id"),
                    **{name: value for name, value in columns.items() if value is not None},
                }

    return datasets.IterableDataset.from_generator(rows)
