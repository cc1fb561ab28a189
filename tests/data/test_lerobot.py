"""Datasets in LeRobot's form, written here from real episodes and read back frame by frame."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from rlvr_world_hf.data.folder import UnusableEpisodesError
from rlvr_world_hf.data.lerobot import RecordedEpisodes, read_tables
from rlvr_world_hf.data.rows import stream_window_rows, window_rows


CAMERA, FPS = "observation.images.top", 5.0


@dataclass
class Recorded:
    frames: np.ndarray
    actions: np.ndarray
    task: str


def write_video(path: Path, frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=int(FPS), options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv444p"
        for picture in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_parquet(path: Path, columns: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)


def picture_bytes(frame: np.ndarray) -> dict:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def columns_of(episodes: Sequence[tuple[int, Recorded]], camera: str) -> dict:
    columns: dict = {"action": [], "observation.state": [], "episode_index": [], "frame_index": [], "timestamp": []}
    if camera == "image":
        columns[CAMERA] = []
    for index, episode in episodes:
        length = len(episode.frames)
        columns["action"] += episode.actions.tolist()
        columns["observation.state"] += (2 * episode.actions).tolist()
        columns["episode_index"] += [index] * length
        columns["frame_index"] += range(length)
        columns["timestamp"] += [number / FPS for number in range(length)]
        if camera == "image":
            columns[CAMERA] += [picture_bytes(frame) for frame in episode.frames]
    return columns


def write_info(root: Path, version: str, camera: str, **templates: str) -> None:
    features = {CAMERA: {"dtype": camera}, "action": {"dtype": "float32"}, "observation.state": {"dtype": "float32"}}
    info = {"codebase_version": version, "fps": FPS, "features": features, "chunks_size": 2, **templates}
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    (root / "meta" / "stats.json").write_text(json.dumps({"action": {"min": [-1.0], "max": [1.0]}}))


def write_version_3(root: Path, episodes: Sequence[Recorded], *, camera: str = "video") -> Path:
    """Shards of unequal size: data files of two episodes, videos of three."""
    places = {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    write_info(root, "v3.0", camera, **places)
    rows: list[dict] = []
    for index, episode in enumerate(episodes):
        before = [len(other.frames) for other in episodes[index - index % 3 : index]]
        rows.append(
            {
                "episode_index": index,
                "length": len(episode.frames),
                "tasks": [episode.task],
                "data/chunk_index": 0,
                "data/file_index": index // 2,
                f"videos/{CAMERA}/chunk_index": 0,
                f"videos/{CAMERA}/file_index": index // 3,
                f"videos/{CAMERA}/from_timestamp": sum(before) / FPS,
                "stats/action/min": episode.actions.min(axis=0).tolist(),
            }
        )
    half = len(rows) // 2
    for number, part in enumerate((rows[half:], rows[:half])):
        write_parquet(root / f"meta/episodes/chunk-000/file-{number:03d}.parquet", {
            name: [row[name] for row in part] for name in rows[0]
        })  # fmt: skip
    numbered = list(enumerate(episodes))
    for start in range(0, len(numbered), 2):
        columns = columns_of(numbered[start : start + 2], camera)
        write_parquet(root / f"data/chunk-000/file-{start // 2:03d}.parquet", columns)
    for start in range(0, len(episodes), 3) if camera == "video" else ():
        frames = np.concatenate([episode.frames for episode in episodes[start : start + 3]])
        write_video(root / f"videos/{CAMERA}/chunk-000/file-{start // 3:03d}.mp4", frames)
    return root


def write_version_2(root: Path, episodes: Sequence[Recorded]) -> Path:
    places = {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    write_info(root, "v2.1", "video", **places)
    lines = []
    for index, episode in enumerate(episodes):
        chunk = f"chunk-{index // 2:03d}"
        write_parquet(root / f"data/{chunk}/episode_{index:06d}.parquet", columns_of([(index, episode)], "video"))
        write_video(root / f"videos/{chunk}/{CAMERA}/episode_{index:06d}.mp4", episode.frames)
        lines.append(json.dumps({"episode_index": index, "length": len(episode.frames), "tasks": [episode.task]}))
    (root / "meta" / "episodes.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def episodes(shared: Path) -> list[Recorded]:
    """Real ones of two robots, cut to unequal lengths."""
    found = []
    for kind, pattern in (("bridge", "*.npz"), ("metaworld", "**/*.npz")):
        for number, path in enumerate(sorted((shared / "data" / kind).glob(pattern))[:4]):
            with np.load(path) as arrays:
                length = 10 - number
                actions = arrays["actions"][:length, :4].astype(np.float32)
                found.append(Recorded(arrays["frames"][:length], actions, f"{kind} {number}"))
    assert len(found) == 8 and {item.frames.shape[1:] for item in found} == {(64, 64, 3)}
    return found


@pytest.fixture(scope="module", params=["v3.0", "v2.1", "images"])
def root(request, episodes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lerobot") / "robot"
    if request.param == "v2.1":
        return write_version_2(folder, episodes)
    return write_version_3(folder, episodes, camera="video" if request.param == "v3.0" else "image")


def test_every_frame_and_action_is_read_back(root: Path, episodes: list[Recorded]) -> None:
    recorded = RecordedEpisodes(folder=root, states_field="observation.state")
    read = recorded.read()
    assert [episode.episode_id for episode in read] == [f"episode_{number:06d}" for number in range(8)]
    for episode, original in zip(read, episodes, strict=True):
        assert episode.fps == FPS
        difference = np.abs(episode.frames.transpose(0, 2, 3, 1).astype(int) - original.frames)
        assert difference.max() <= 4 and difference.mean() < 1, "only colours are rounded"
        assert np.array_equal(episode.actions, original.actions)
        assert np.array_equal(episode.states, 2 * original.actions)
    assert recorded.tasks() == [[original.task] for original in episodes]
    assert recorded.stats()["action"]["max"] == [1.0]


def test_shards_hold_several_episodes(episodes: list[Recorded], tmp_path: Path) -> None:
    root = write_version_3(tmp_path / "robot", episodes)
    assert len(list(root.glob("data/*/*.parquet"))) == 4 and len(list(root.glob("videos/*/*/*.mp4"))) == 3
    (root / "data/chunk-000/file-003.parquet").unlink()
    lost = [str(item) for item in RecordedEpisodes(folder=root).scan() if not hasattr(item, "frames")]
    assert len(lost) == 2 and all("expected data/chunk-000/file-003.parquet, found none" in item for item in lost)


def test_a_video_that_ends_too_early_says_so(episodes: list[Recorded], tmp_path: Path) -> None:
    root = write_version_3(tmp_path / "robot", episodes)
    write_video(root / f"videos/{CAMERA}/chunk-000/file-002.mp4", episodes[6].frames)
    (problem,) = [str(item) for item in RecordedEpisodes(folder=root).scan() if not hasattr(item, "frames")]
    assert problem.startswith("episode_000007") and "lacks 7 of 7 frames from 1.6 s on" in problem
    (root / f"videos/{CAMERA}/chunk-000/file-002.mp4").write_bytes(b"no video")
    problems = [str(item) for item in RecordedEpisodes(folder=root).scan() if not hasattr(item, "frames")]
    assert len(problems) == 2 and "cannot be decoded" in problems[0]


def test_frames_beyond_the_limit_are_refused_before_they_are_kept(root: Path) -> None:
    found = [str(item) for item in RecordedEpisodes(folder=root, max_gigabytes=1e-6).scan()]
    assert found and all("more than the 1e-06 GB of max_gigabytes" in item for item in found)


def test_bad_settings_say_so(episodes: list[Recorded], tmp_path: Path) -> None:
    root = write_version_3(tmp_path / "robot", episodes[:2])
    with pytest.raises(UnusableEpisodesError, match=r"either `--collect.folder PATH` or .* got neither"):
        RecordedEpisodes().read()
    with pytest.raises(UnusableEpisodesError, match="got both"):
        RecordedEpisodes(folder=root, repo_id="someone/robot").read()
    with pytest.raises(UnusableEpisodesError, match="found no meta/info.json there"):
        RecordedEpisodes(folder=tmp_path).read()
    with pytest.raises(UnusableEpisodesError, match="The Hub did not give the dataset someone/robot"):
        RecordedEpisodes(repo_id="someone/robot").read()
    with pytest.raises(UnusableEpisodesError, match=f"expected a camera, got 'front'; the dataset has {CAMERA}"):
        RecordedEpisodes(folder=root, frames_field="front").read()
    with pytest.raises(UnusableEpisodesError, match="expected the feature 'effort'"):
        RecordedEpisodes(folder=root, actions_field="effort").read()
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"codebase_version": "v1.6"}))
    read_tables.cache_clear()
    with pytest.raises(UnusableEpisodesError, match=r"of version v3.0 or v2.1, got v1.6"):
        RecordedEpisodes(folder=root).read()


def test_the_dataset_is_known_by_its_files(episodes: list[Recorded], tmp_path: Path) -> None:
    contents = RecordedEpisodes(folder=write_version_3(tmp_path / "robot", episodes[:3])).contents()
    assert len(contents) == 7 and contents["meta/stats.json"] == tmp_path / "robot/meta/stats.json"
    assert RecordedEpisodes(repo_id="someone/robot", revision="main").contents() == ["someone/robot", "main"]


def test_windows_are_streamed_an_episode_at_a_time(episodes: list[Recorded], tmp_path: Path) -> None:
    recorded = RecordedEpisodes(folder=write_version_3(tmp_path / "robot", episodes))
    cut = {"context_frames": 1, "observed_steps": 1, "horizon": 3, "stride": 2}
    stored = window_rows(recorded.read(), **cut, padded=True)
    (tmp_path / "robot/data/chunk-000/file-003.parquet").unlink()
    streamed = iter(stream_window_rows(recorded, **cut))
    for expected in stored.select(range(5)):  # the file that is gone is not read for them
        row = next(streamed)
        assert row.keys() == expected.keys()
        assert all(np.array_equal(row[name], expected[name]) for name in row)
    with pytest.raises(UnusableEpisodesError, match="episode_000006"):
        list(streamed)
