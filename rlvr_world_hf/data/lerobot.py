"""
Episodes of LeRobot datasets (https://github.com/huggingface/lerobot), versions 3.0 and 2.1, from a folder or the Hub.

    3.0   data/chunk-000/file-000.parquet, videos/{camera}/chunk-000/file-000.mp4: many episodes a file, found by the
          tables in meta/episodes
    2.1   data/chunk-000/episode_000000.parquet, videos/chunk-000/{camera}/episode_000000.mp4: one episode a file

Files are read when their episode is asked for; of a video, only the frames of the episode are decoded. The package
`lerobot` is not needed: PyAV decodes videos (the extra `lerobot`).
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow.parquet as parquet
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from PIL import Image

from . import folder
from .array_files import UnusableArrayError, as_frames, as_rows, refuse_larger
from .folder import UnusableEpisodesError, described


VERSIONS = ("v3.0", "v2.1")
"""Versions of the format that are read."""

CAMERA_TYPES = ("video", "image")
"""Types of features that are frames."""

NAME = "episode_{:06d}"
"""Template of an episode's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Content of the folder `meta` of a dataset."""

    info: Mapping[str, Any]
    """`info.json`: version, frames a second, features, templates of paths."""

    episodes: Mapping[str, Mapping[str, Any]]
    """One row per episode, by name, in order: its length and tasks, and where its data and videos are."""

    stats: Mapping[str, Any]
    """`stats.json`: minimum, maximum, mean and so on of each feature; empty if the file is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEpisodes(folder.RecordedEpisodes):
    """
    A LeRobot dataset. Its fields are keys of the collect stage.

    Example:

    ```python
    >>> RecordedEpisodes(folder=Path("nowhere")).read()
    Traceback (most recent call last):
    ...
    rlvr_world_hf.data.folder.UnusableEpisodesError: Expected a LeRobot dataset at nowhere, found no meta/info.json...

    ```
    """

    world: ClassVar[str] = "episodes of a LeRobot dataset"
    source: ClassVar[str] = "A dataset in the form of [LeRobot](https://github.com/huggingface/lerobot)."

    repo_id: str | None = described(None, "Dataset on the Hub, in place of a folder.")
    """Dataset on the Hub, in place of a folder."""

    revision: str | None = described(None, "Its branch, tag or commit.")
    """Branch, tag or commit of the dataset on the Hub."""

    alignment: Literal["taken_at", "led_to"] | None = described("taken_at", "actions[t] is taken_at frames[t].")
    """LeRobot stores each action with the frame at which it is taken."""

    frames_field: str = described("", "Feature that holds the frames; the first camera if not given.")
    """Feature that holds the frames, such as `observation.images.top`; by default the first camera."""

    actions_field: str = described("action", "Feature that holds the actions.")
    """Feature that holds the actions."""

    def tasks(self) -> list[list[str]]:
        """The instructions of each episode, in the order of [`files`]."""
        return [list(row.get("tasks", ())) for row in self._tables().episodes.values()]

    def stats(self) -> Mapping[str, Any]:
        """Minimum, maximum, mean and so on of each feature, as the dataset states them; empty if it has none."""
        return self._tables().stats

    def files(self) -> list[Path]:
        """
        A name for each episode, in the order of their numbers; several episodes may share a file.

        Raises:
            UnusableEpisodesError: If there is no such dataset, or its version is not supported.
        """
        return [Path(name) for name in self._tables().episodes]

    def contents(self) -> Any:
        """The files that are read, by name, or the name and revision of the dataset on the Hub."""
        if self.folder is None:
            return [self.repo_id, self.revision]
        # `super()` fails here: `slots=True` makes a new class, and `super()` still refers to the one before it.
        return folder.RecordedEpisodes.contents(self)

    def refuse_incomplete(self) -> None:
        """See [`~rlvr_world_hf.data.folder.RecordedEpisodes.refuse_incomplete`]."""
        if (self.folder is None) == (self.repo_id is None):
            raise UnusableEpisodesError(
                "Expected a LeRobot dataset by either `--collect.folder PATH` or `--collect.repo_id OWNER/NAME`, got "
                f"{'neither' if self.folder is None else 'both'}."
            )

    def _name(self, path: Path) -> str:
        inside = self.folder is not None and self.folder in path.parents
        return folder.RecordedEpisodes._name(self, path) if inside else path.name

    def _tables(self) -> Tables:
        self.refuse_incomplete()
        return read_tables(self.folder, self.repo_id, self.revision)

    def _camera(self) -> str:
        features = self._tables().info["features"]
        cameras = [name for name, feature in features.items() if feature["dtype"] in CAMERA_TYPES]
        chosen = self.frames_field or next(iter(cameras), "")
        if chosen not in cameras:
            raise UnusableArrayError(
                f"expected a camera, got {chosen or 'none'!r}; the dataset has {', '.join(cameras) or 'none'}",
                "set frames_field to one of them",
            )
        return chosen

    def _open(self, path: Path) -> tuple[dict[str, Callable[[], np.ndarray]], float]:
        tables = self._tables()
        row = tables.episodes[path.name]
        camera, info = self._camera(), tables.info
        is_video = info["features"][camera]["dtype"] == "video"
        frames = partial(self._read_video if is_video else self._read_images, row, camera)
        fields = [self.actions_field, *([self.states_field] if self.states_field is not None else [])]
        unknown = [name for name in fields if name not in info["features"]]
        if unknown:
            raise UnusableArrayError(
                f"expected the feature {unknown[0]!r}, the dataset has {', '.join(info['features'])}",
                "set actions_field or states_field to one of them",
            )
        return {
            camera: lambda: as_frames(frames()),
            **{name: partial(lambda name: as_rows(self._column(row, name)), name) for name in fields},
        }, float(info["fps"])

    def _column(self, row: Mapping[str, Any], name: str) -> np.ndarray:
        values = self._read_column(row, name)
        array = np.array(values)
        # A feature of one dimension is stored as plain numbers.
        return array[:, None] if array.ndim == 1 else array

    def _read_column(self, row: Mapping[str, Any], name: str) -> list[Any]:
        info, index = self._tables().info, row["episode_index"]
        file = self._file(info["data_path"].format(**_places(info, row, "data")))
        # In version 3.0 a file holds many episodes.
        table = parquet.read_table(file, columns=[name], filters=[("episode_index", "=", index)])
        values: list[Any] = table.column(name).to_pylist()
        if len(values) != row["length"]:
            raise UnusableArrayError(
                f"expected {row['length']} rows in {file.name}, got {len(values)}",
                "copy or download the dataset again",
            )
        return values

    def _read_images(self, row: Mapping[str, Any], camera: str) -> np.ndarray:
        stored = self._read_column(row, camera)
        frames: list[np.ndarray] = []
        for item in stored:
            # As `datasets` stores an image: the bytes of its file.
            picture = Image.open(io.BytesIO(item["bytes"]))
            # The size stands in front of an image: known before its pixels are unpacked.
            refuse_larger(len(stored) * picture.width * picture.height * 3, self._limit)
            frames.append(np.asarray(picture.convert("RGB")))
        return np.stack(frames)

    def _read_video(self, row: Mapping[str, Any], camera: str) -> np.ndarray:
        info = self._tables().info
        places = _places(info, row, f"videos/{camera}")
        file = self._file(info["video_path"].format(video_key=camera, **places))
        start = float(row.get(f"videos/{camera}/from_timestamp", 0.0))
        return read_span(file, start=start, count=row["length"], fps=float(info["fps"]), limit=self._limit)

    def _file(self, name: str) -> Path:
        if self.folder is None:
            return Path(hf_hub_download(str(self.repo_id), name, repo_type="dataset", revision=self.revision))
        path = self.folder / name
        if not path.is_file():
            raise UnusableArrayError(f"expected {name}, found none", "copy or download the dataset again")
        return path


@lru_cache(maxsize=8)
def read_tables(place: Path | None, repo_id: str | None, revision: str | None) -> Tables:
    """
    Read the folder `meta` of a dataset; each is read once.

    Args:
        place (`Path`, *optional*):
            Folder of the dataset.
        repo_id (`str`, *optional*):
            Its id on the Hub, if there is no folder.
        revision (`str`, *optional*):
            Its branch, tag or commit.

    Returns:
        `Tables`: version, features, episodes and statistics.

    Raises:
        UnusableEpisodesError: If there is no such dataset, or its version is not supported.
    """
    where = repo_id if place is None else place
    if place is None:
        try:
            place = Path(
                snapshot_download(str(repo_id), repo_type="dataset", revision=revision, allow_patterns=["meta/**"])
            )
        except (HfHubHTTPError, LocalEntryNotFoundError) as error:
            raise UnusableEpisodesError(f"The Hub did not give the dataset {repo_id}: {error}") from error
    meta = place / "meta"
    if not (meta / "info.json").is_file():
        raise UnusableEpisodesError(
            f"Expected a LeRobot dataset at {where}, found no meta/info.json there; give its folder by "
            "`--collect.folder PATH`, or its id on the Hub by `--collect.repo_id OWNER/NAME`."
        )
    info = json.loads((meta / "info.json").read_text(encoding="utf-8"))
    version = str(info.get("codebase_version"))
    if version not in VERSIONS:
        raise UnusableEpisodesError(
            f"{where}: expected a LeRobot dataset of version {' or '.join(VERSIONS)}, got {version}; convert it by "
            "LeRobot's own script."
        )
    if version == "v2.1":
        lines = (meta / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    else:
        rows = [row for file in sorted(meta.glob("episodes/*/*.parquet")) for row in _without_stats(file)]
    stats = meta / "stats.json"
    return Tables(
        info=info,
        episodes={
            NAME.format(row["episode_index"]): row for row in sorted(rows, key=lambda row: row["episode_index"])
        },
        stats=json.loads(stats.read_text(encoding="utf-8")) if stats.is_file() else {},
    )


def read_span(file: Path, *, start: float, count: int, fps: float, limit: float = math.inf) -> np.ndarray:
    """
    Consecutive frames of a video.

    Args:
        file (`Path`):
            The video.
        start (`float`):
            Time of the first frame, in seconds.
        count (`int`):
            Number of frames.
        fps (`float`):
            Frames a second.
        limit (`float`, *optional*):
            Largest number of bytes of all frames; none by default.

    Returns:
        `np.ndarray` of shape `(count, H, W, 3)`, uint8 RGB.

    Raises:
        UnusableArrayError: If the video cannot be decoded or lacks one of the frames, or these are too large.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise UnusableEpisodesError(
            "Videos of LeRobot datasets are decoded by PyAV, which is missing: pip install 'rlvr-world-hf[lerobot]'."
        ) from error
    found: dict[int, np.ndarray] = {}
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            assert stream.time_base is not None
            # Seeking ends at a key frame at or before `start`: frames are counted by their own time.
            container.seek(int(start / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                number = round((float(frame.time or 0.0) - start) * fps)
                if number >= count:
                    break
                refuse_larger(count * frame.width * frame.height * 3, limit)
                if number >= 0:
                    found[number] = frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError) as error:
        raise UnusableArrayError(f"{file.name} cannot be decoded ({error})", "copy or download it again") from error
    missing = [number for number in range(count) if number not in found]
    if missing:
        raise UnusableArrayError(
            f"{file.name} lacks {len(missing)} of {count} frames from {start:g} s on, first number {missing[0]}",
            "copy or download it again",
        )
    return np.stack([found[number] for number in range(count)])


def _without_stats(file: Path) -> list[dict[str, Any]]:
    """Rows of a table of episodes without their statistics, which are most of its columns and not used."""
    names = [name for name in parquet.read_schema(file).names if not name.startswith("stats/")]
    rows: list[dict[str, Any]] = parquet.read_table(file, columns=names).to_pylist()
    return rows


def _places(info: Mapping[str, Any], row: Mapping[str, Any], kind: str) -> dict[str, int]:
    """Values that fill the path templates for an episode, under the names of both versions."""
    index = row["episode_index"]
    return {
        "episode_index": index,
        # 1,000 is LeRobot's own default.
        "episode_chunk": index // info.get("chunks_size", 1000),
        "chunk_index": row.get(f"{kind}/chunk_index", 0),
        "file_index": row.get(f"{kind}/file_index", 0),
    }
