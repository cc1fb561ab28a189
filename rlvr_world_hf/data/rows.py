"""From episodes to `datasets.Dataset` rows, and back from disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import datasets
import numpy as np

from .episode import Episode
from .folder import RecordedEpisodes, UnusableEpisodesError
from .windows import count_windows, cut_window, windows


def save_episodes(episodes: Iterable[Episode], folder: str | Path) -> datasets.Dataset:
    """
    Store episodes as a `datasets` dataset, one row an episode.

    Args:
        episodes (`Iterable[Episode]`):
            Episodes of equal frame size; read once, one after another.
        folder (`str` or `Path`):
            Folder to write; what it held is replaced only when all episodes have been read.

    Returns:
        `datasets.Dataset`: The rows, with raw arrays as bytes beside their shapes, so that no value is changed.

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
    rows = [_to_row(episode) for episode in episodes]
    if not rows:
        raise ValueError(f"Expected at least one episode to store in {folder}, got none; collect or load some first.")
    dataset = datasets.Dataset.from_list(rows)
    dataset.save_to_disk(str(folder))
    return dataset


def load_episodes(folder: str | Path) -> list[Episode]:
    """
    Read the episodes that [`save_episodes`] stored.

    Args:
        folder (`str` or `Path`):
            The folder it wrote.

    Returns:
        `list[Episode]`: The episodes, each array as it was stored.

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
    if not (Path(folder) / "dataset_info.json").exists():
        raise FileNotFoundError(f"Expected stored episodes in {folder}, found none; run the collect stage first.")
    return [_from_row(row) for row in datasets.load_from_disk(str(folder))]


def _to_row(episode: Episode) -> dict:
    row = {"episode": episode.episode_id, "fps": episode.fps}
    for name in ("frames", "actions", "states"):
        array = getattr(episode, name)
        row[name] = b"" if array is None else np.ascontiguousarray(array).tobytes()
        row[f"{name}_shape"] = [] if array is None else list(array.shape)
    return row


def _from_row(row: dict) -> Episode:
    def read(name: str, dtype: type) -> np.ndarray:
        return np.frombuffer(row[name], dtype).reshape(row[f"{name}_shape"])

    return Episode(
        episode_id=row["episode"],
        fps=row["fps"],
        frames=read("frames", np.uint8) if row["frames_shape"] else None,
        actions=read("actions", np.float32),
        states=read("states", np.float32) if row["states_shape"] else None,
    )


class _WindowReader:
    """Looks up the arrays of windows when rows are read, so that overlapping windows share the episodes' memory."""

    def __init__(self, episodes: Sequence[Episode], *, context_frames: int, observed_steps: int, horizon: int) -> None:
        self.episodes = list(episodes)
        self.cut = {"context_frames": context_frames, "observed_steps": observed_steps, "horizon": horizon}

    def __call__(self, batch: dict) -> dict:
        cuts = [
            cut_window(self.episodes[index], start, **self.cut)
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


def window_rows(
    episodes: Sequence[Episode],
    *,
    context_frames: int = 1,
    observed_steps: int = 0,
    horizon: int,
    stride: int = 1,
    padded: bool = False,
) -> datasets.Dataset:
    """
    All windows of some episodes as rows. The arrays are cut when a row is read.

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

    Returns:
        `datasets.Dataset`: Rows `episode` (str), `start` (int), `context` `(context_frames + observed_steps, 3, H, W)`
        uint8, `actions` `(max(observed_steps, 1) + horizon, A)` float32, `reference` `(horizon, 3, H, W)` uint8,
        `reference_mask` `(horizon,)` bool, and `context_states` and `reference_states` `(..., P)` float32 of the same
        steps where they are known. In a world of sensors, the states stand in `context` and `reference` themselves.
        See [`~rlvr_world_hf.data.Window`].

    Raises:
        `ValueError`: If no episode is long enough.

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
    cut = {"context_frames": context_frames, "observed_steps": observed_steps}
    index: dict[str, list[int]] = {"episode_index": [], "start": []}
    for number, episode in enumerate(episodes):
        starts = count_windows(episode, **cut, stride=stride)
        whole = len(episode) - context_frames - observed_steps - horizon
        for start in range(0, starts * stride, stride):
            if padded or start <= whole:
                index["episode_index"].append(number)
                index["start"].append(start)
    if not index["start"]:
        longest = max((len(episode) for episode in episodes), default=0)
        raise ValueError(
            f"Expected episodes of at least {context_frames + observed_steps + horizon} frames, the longest of "
            f"{len(episodes)} has {longest}; shorten the horizon or bring longer episodes."
        )
    reader = _WindowReader(episodes, **cut, horizon=horizon)
    return datasets.Dataset.from_dict(index).with_transform(reader)


def split_episodes(
    episodes: Sequence[Episode], *, validation: float, test: float, seed: int = 0
) -> tuple[list[Episode], list[Episode], list[Episode]]:
    """
    Split by episode, never by window, so that no frame of a test episode is trained on.

    Episodes of one subfolder (`door-lock/0`, `door-lock/1`), as those of a task, are spread evenly over the parts.

    Args:
        episodes (`Sequence[Episode]`):
            All episodes.
        validation (`float`):
            Share of the episodes for validation, in [0, 1), or from 1 on their number.
        test (`float`):
            Share for testing, in [0, 1), or from 1 on their number.
        seed (`int`, *optional*, defaults to 0):
            Decides who goes where.

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
    order = _spread(episodes, np.random.default_rng(seed).permutation(len(episodes)).tolist())
    counts = [
        int(share) if share >= 1 else max(1, round(share * len(episodes))) if share else 0
        for share in (validation, test)
    ]
    if sum(counts) >= len(episodes):
        raise ValueError(
            f"Expected more than {sum(counts)} episodes to set aside {counts[0]} for validation and {counts[1]} for "
            f"testing, got {len(episodes)}; bring more or set fewer aside."
        )
    names = ["test"] * counts[1] + ["validation"] * counts[0] + ["train"] * (len(episodes) - sum(counts))
    parts: dict[str, list[Episode]] = {name: [] for name in ("train", "validation", "test")}
    for place, name in sorted(zip(order, names, strict=True)):
        parts[name].append(episodes[place])
    return parts["train"], parts["validation"], parts["test"]


def _spread(episodes: Sequence[Episode], order: list[int]) -> list[int]:
    """`order`, changed so that each piece of it holds its share of the episodes of each subfolder."""
    places: dict[str, list[int]] = {}
    for place in order:
        places.setdefault(episodes[place].episode_id.rpartition("/")[0], []).append(place)
    due = {place: (rank + 0.5) / len(of_one) for of_one in places.values() for rank, place in enumerate(of_one)}
    return sorted(order, key=due.__getitem__)


def stream_window_rows(
    source: RecordedEpisodes, *, context_frames: int = 1, observed_steps: int = 0, horizon: int, stride: int = 1
) -> datasets.IterableDataset:
    """
    All windows of recorded episodes as rows, one after another: a single episode is in memory at a time, so that it
    may be a dataset of any size. Its rows are those of [`window_rows`], in order, padded ones too.

    Args:
        source (`RecordedEpisodes`):
            Where the episodes come from: a folder, or a LeRobot dataset.
        context_frames (`int`, *optional*, defaults to 1):
            Frames given in full; 0 where each frame is coded on its own.
        observed_steps (`int`, *optional*, defaults to 0):
            Further frames given, each as one step block.
        horizon (`int`):
            Frames to predict.
        stride (`int`, *optional*, defaults to 1):
            Frames between the starts of two windows.

    Returns:
        `datasets.IterableDataset`: The rows; shuffle it by its buffer.

    Raises:
        UnusableEpisodesError: When an episode cannot be used.

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
    cut = {"context_frames": context_frames, "observed_steps": observed_steps, "horizon": horizon, "stride": stride}

    def rows() -> Iterator[dict]:
        for item in source.scan():
            if not isinstance(item, Episode):
                raise UnusableEpisodesError(str(item))
            for window in windows(item, **cut):
                columns = asdict(window)
                yield {
                    "episode": columns.pop("episode_id"),
                    **{name: value for name, value in columns.items() if value is not None},
                }

    return datasets.IterableDataset.from_generator(rows)
