import io
import os
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rlvr_world_hf.data.folder import MAX_LISTED, Problem, RecordedEpisodes, UnusableEpisodesError


def arrays(length: int = 6, **changes: Any) -> dict[str, Any]:
    """Frame t is of brightness 20 t, and action t is (t, -t)."""
    times = np.arange(length)
    frames = np.broadcast_to(20 * times[:, None, None, None].astype(np.uint8), (length, 8, 12, 3))
    return {"frames": frames, "actions": np.stack([times, -times], axis=1).astype(np.float32)} | changes


def recorded(folder: Path, **changes: Any) -> RecordedEpisodes:
    return RecordedEpisodes(**{"folder": folder, "alignment": "taken_at", **changes})


def problems(folder: Path, **changes: Any) -> list[str]:
    return [str(item) for item in recorded(folder, **changes).scan() if isinstance(item, Problem)]


def write_video(path: Path, frames: np.ndarray) -> None:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5.0, frames.shape[2:0:-1])
    for frame in frames:
        video.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    video.release()


def test_arrays_in_subfolders_become_episodes(tmp_path: Path) -> None:
    (tmp_path / "push").mkdir()
    (tmp_path / "push" / ".unfinished.npz").write_bytes(b"")
    np.savez(tmp_path / "push" / "0.npz", **arrays(states=np.ones((6, 3)), rewards=np.array(["no numbers"])))
    np.savez_compressed(
        tmp_path / "a.npz", **arrays(frames=arrays()["frames"].transpose(0, 3, 1, 2)), states=np.ones((6, 3))
    )
    episodes = recorded(tmp_path, states_field="states", fps=4.0).read()
    assert [episode.episode_id for episode in episodes] == ["a", "push/0"]
    for episode in episodes:
        assert episode.frames.shape == (6, 3, 8, 12) and episode.frames[:, 1, 3, 5].tolist() == [
            0,
            20,
            40,
            60,
            80,
            100,
        ]
        assert episode.actions.tolist() == [[t, -t] for t in range(6)]
        assert episode.states.shape == (6, 3) and episode.fps == 4.0


@pytest.mark.parametrize(("alignment", "expected"), [("taken_at", [0, 1, 2, 3, 4, 5]), ("led_to", [1, 2, 3, 4, 5, 5])])
def test_an_action_leads_to_the_next_frame_whatever_the_alignment(tmp_path: Path, alignment, expected) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    (episode,) = recorded(tmp_path, alignment=alignment).read()
    assert episode.actions[:, 0].tolist() == expected


def test_a_kept_frame_has_all_actions_up_to_the_next_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays(5))
    (episode,) = recorded(tmp_path, frame_stride=2, clip_actions=(-2.0, 3.0), fps=10.0).read()
    assert episode.frames[:, 0, 0, 0].tolist() == [0, 40, 80]
    assert episode.actions.tolist() == [[0, 0, 1, -1], [2, -2, 3, -2], [3, -2, 3, -2]]
    assert episode.fps == 5.0
    (episode,) = recorded(tmp_path, frame_stride=2, alignment="led_to").read()
    assert episode.actions[:, ::2].tolist() == [[1, 2], [3, 4], [4, 4]]


def test_frames_are_averaged_when_they_shrink(tmp_path: Path) -> None:
    frames = np.zeros((3, 4, 8, 3), np.uint8)
    frames[:, :2, :, 0] = 200
    np.savez(tmp_path / "a.npz", frames=frames, actions=np.zeros((3, 1)))
    (episode,) = recorded(tmp_path, image_size=(1, 2)).read()
    assert episode.frames[0].tolist() == [[[100, 100]], [[0, 0]], [[0, 0]]]
    assert recorded(tmp_path, image_size=2).read()[0].frames[0, 0].tolist() == [[200, 200], [0, 0]]


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
def test_a_video_is_read_with_the_actions_beside_it(tmp_path: Path, suffix: str) -> None:
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30]], np.uint8)
    write_video(tmp_path / "a.mp4", np.broadcast_to(colours[:, None, None], (4, 32, 48, 3)))
    actions = np.arange(8.0).reshape(4, 2)
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez(path, actions=actions)
    elif suffix == ".npy":
        np.save(path, actions)
    else:
        path.write_text("dx, dy\n" + "\n".join(f"{x},{y}" for x, y in actions) + "\n")
    (episode,) = recorded(tmp_path, fps=99.0).read()
    assert (episode.episode_id, episode.fps, episode.frames.shape) == ("a", 5.0, (4, 3, 32, 48))
    assert np.abs(episode.frames[:, :, 16, 24].astype(int) - colours).max() < 16  # RGB, but for compression
    assert np.array_equal(episode.actions, actions)


def object_archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, frames=arrays()["frames"], actions=np.array([{"dx": 1}] * 6, dtype=object))
    return file.getvalue()


def numpy_archive(**changes: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays(**changes))
    return file.getvalue()


def corrupted() -> bytes:
    """An archive whose directory is whole and whose compressed frames are not."""
    content = bytearray(numpy_archive(frames=np.random.default_rng(0).integers(0, 255, (6, 8, 12, 3), np.uint8)))
    content[300:340] = bytes(40)
    assert zipfile.is_zipfile(io.BytesIO(bytes(content)))
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "field", "told", "remedy"),
    [
        (b"", "file", "is empty", "write it again"),
        (numpy_archive()[:-40], "file", "is truncated", "copy or write it again"),
        (corrupted(), "frames", "is truncated", "copy or write it again"),
        (b"\x80\x04K\x01.", "file", "pickled Python objects, which are never loaded", "store plain numbers"),
        (object_archive(), "actions", "pickled Python objects", "np.savez"),
        (b"\x93NUMPY\x01\x00", "file", "a single .npy array", "np.savez"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, field: str, told: str, remedy: str) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"a.npz: `{field}`: ") and told in problem and remedy in problem


def with_value(value: float) -> np.ndarray:
    actions = arrays()["actions"].astype(np.float64)
    actions[4, 1] = value
    return actions


@pytest.mark.parametrize(
    ("changes", "field", "told", "remedy"),
    [
        (
            {"actions": with_value(np.nan)},
            "actions",
            "1 values that are not finite, the first in row 4, column 1",
            "drop",
        ),
        ({"actions": with_value(np.inf)}, "actions", "not finite", "repair"),
        ({"actions": with_value(1e39)}, "actions", "beyond the range of float32", "larger unit"),
        ({"actions": np.zeros((5, 2))}, "actions", "one row for each of the 6 frames, got 5 rows", "repeat the one"),
        ({"actions": np.zeros(6)}, "actions", r"shape (T, dims), one row a frame, got (6,)", "values[:, None]"),
        ({"actions": np.zeros((6, 0))}, "actions", "is empty", "drop"),
        ({"actions": np.array([["left"]] * 6)}, "actions", "expected numbers, got dtype <U4", "float32"),
        ({"frames": np.zeros((6, 8, 12), np.uint8)}, "frames", "got (6, 8, 12)", "RGB"),
        ({"frames": np.zeros((6, 8, 12, 4), np.uint8)}, "frames", "got (6, 8, 12, 4)", "alpha"),
        ({"frames": np.zeros((0, 8, 12, 3), np.uint8)}, "frames", "is empty", "drop"),
        ({"frames": np.ones((6, 8, 12, 3), np.float32)}, "frames", "uint8 with values 0 to 255, got float32", "scale"),
        (
            {"frames": np.ones((6, 8, 12, 3), np.uint8)},
            "frames",
            "0 to 255, got none above 1",
            "multiply frames in [0, 1] by 255",
        ),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, changes, field: str, told: str, remedy: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays(**changes))
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"a.npz: `{field}`: ") and told in problem and remedy in problem


def test_missing_fields_and_short_episodes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", frames=arrays()["frames"], action=arrays()["actions"])
    (problem,) = problems(tmp_path)
    assert (
        "`actions`: is missing; the file has frames, action; set frames_field, actions_field or states_field to the "
        "name in your file, such as 'action'" in problem
    )
    assert problems(tmp_path, actions_field="action") == []
    (problem,) = problems(tmp_path, actions_field="action", min_frames=7)
    assert "`frames`: expected at least 7 frames, got 6; drop the episode" in problem
    assert (
        "got 3 (6 with a frame_stride of 2)"
        in problems(tmp_path, actions_field="action", min_frames=4, frame_stride=2)[0]
    )
    assert "`state`: is missing" in problems(tmp_path, actions_field="action", states_field="state")[0]


@pytest.mark.parametrize(
    ("actions", "told"),
    [
        ({}, "expected its actions in one of a.npz, a.npy, a.csv beside it, found 0"),
        ({"a.csv": "1\n2\n3\n4\n", "a.npy": ""}, "found 2 of them; keep one"),
        ({"a.csv": "1,2\n3,4\n5\n7,8\n"}, "expected 2 values in each row, got 1 in row 2; the file may be truncated"),
        ({"a.csv": "1,2\n3,x\n5,6\n7,8\n"}, "expected numbers, got 'x' in row 1"),
        ({"a.csv": "1\n2\nnan\n4\n"}, "not finite, the first in row 2"),
        ({"a.csv": "1\n2\n3\n"}, "one row for each of the 4 frames, got 3 rows"),
        ({"a.csv": ""}, "is empty"),
        ({"a.npy": ""}, "`actions`: is truncated"),
    ],
)
def test_actions_beside_a_video_that_cannot_be_used(tmp_path: Path, actions: dict[str, str], told: str) -> None:
    write_video(tmp_path / "a.mp4", np.full((4, 32, 48, 3), 100, np.uint8))
    for name, content in actions.items():
        (tmp_path / name).write_text(content)
    (problem,) = problems(tmp_path)
    assert problem.startswith("a.mp4: ") and told in problem


def test_a_truncated_video_and_states_where_there_can_be_none(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", np.full((4, 32, 48, 3), 100, np.uint8))
    np.save(tmp_path / "a.npy", np.zeros((4, 1)))
    assert problems(tmp_path) == []
    assert "a.npy holds actions alone" in problems(tmp_path, states_field="state")[0]
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    (problem,) = problems(tmp_path)
    assert problem.startswith("a.mp4: `file`: is truncated, or not a video") and "encode it again" in problem


def test_a_video_that_states_more_frames_than_it_holds_is_truncated(tmp_path: Path, monkeypatch) -> None:
    write_video(tmp_path / "a.mp4", np.full((4, 32, 48, 3), 100, np.uint8))
    np.save(tmp_path / "a.npy", np.zeros((4, 1)))

    class Stating:
        def __init__(self, path: str, open_video: Any = cv2.VideoCapture) -> None:
            self.video = open_video(path)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.video, name)

        def get(self, key: int) -> float:
            return 9.0 if key == cv2.CAP_PROP_FRAME_COUNT else self.video.get(key)

    monkeypatch.setattr(cv2, "VideoCapture", Stating)
    (problem,) = problems(tmp_path)
    assert "`frames`: is truncated: 4 of its stated 9 frames can be decoded" in problem


def test_files_that_differ_from_most_are_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", **arrays())
    np.savez(tmp_path / "c.npz", **arrays(frames=np.full((6, 8, 8, 3), 9, np.uint8), actions=np.zeros((6, 3))))
    first, second = problems(tmp_path)
    assert first.startswith("c.npz: `frames`: expected frames of 8 x 12 pixels") and "got frames of 8 x 8" in first
    assert second.startswith("c.npz: `actions`: expected 2 action dimensions, as in most files, got 3")
    assert len(problems(tmp_path, image_size=4)) == 1


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", **arrays())
    np.savez(tmp_path / "bad.npz", **arrays(frames=np.zeros((6, 8, 12), np.uint8), actions=with_value(np.nan)))
    for number in range(MAX_LISTED):
        (tmp_path / f"{number:02d}.npz").write_bytes(b"")
    with pytest.raises(UnusableEpisodesError, match=f"{MAX_LISTED + 2} problems; `rlvr-world check") as error:
        recorded(tmp_path).read()
    assert "00.npz" in str(error.value) and str(error.value).endswith("and 2 more")
    assert {line.split(":")[1] for line in problems(tmp_path) if line.startswith("bad")} == {" `frames`", " `actions`"}


def test_episodes_come_one_after_another_under_names_known_before(tmp_path: Path) -> None:
    (tmp_path / "push").mkdir()
    for name in ("a", "push/0"):
        np.savez(tmp_path / f"{name}.npz", **arrays())
    source = recorded(tmp_path)
    assert source.names() == ["a", "push/0"]
    (tmp_path / "push" / "0.npz").write_bytes(b"")
    episodes = source.stream()
    assert next(episodes).episode_id == "a"
    with pytest.raises(UnusableEpisodesError, match="1 problems.*\n  push/0.npz"):
        next(episodes)


def test_a_folder_must_be_there_and_its_alignment_said(tmp_path: Path) -> None:
    with pytest.raises(UnusableEpisodesError, match="got none; add `--collect.folder PATH`"):
        RecordedEpisodes().read()
    with pytest.raises(UnusableEpisodesError, match="--collect.alignment taken_at.*led_to"):
        RecordedEpisodes(folder=tmp_path).read()
    with pytest.raises(UnusableEpisodesError, match="nowhere, found none; put the data there"):
        recorded(tmp_path / "nowhere").read()
    (tmp_path / "a.h5").touch()
    assert problems(tmp_path) == [
        ".: `file`: expected .npz files, or .mp4 files with actions, found 1 .h5; give the folder that holds them, or "
        "convert your files to one of the two."
    ]


@pytest.mark.parametrize(
    "changes",
    [{"fps": 0.0}, {"frame_stride": 0}, {"image_size": 0}, {"image_size": (8, 0)}, {"clip_actions": (1.0, -1.0)}],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnusableEpisodesError, match="Expected `.*got"):
        RecordedEpisodes(**changes)


def test_contents_are_the_files_that_are_read_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    assert recorded(tmp_path).contents()["a.npz"] == tmp_path / "a.npz"
    assert recorded(tmp_path / "nowhere").contents() == {}


@pytest.mark.parametrize("name", ["a.npz", "a.mp4"])
def test_a_file_that_unpacks_to_more_than_the_limit_is_a_problem(tmp_path: Path, name: str) -> None:
    times = np.arange(30)
    if name == "a.npz":
        np.savez_compressed(tmp_path / name, frames=np.full((30, 64, 64, 3), 9, np.uint8), actions=np.zeros((30, 2)))
    else:
        write_video(tmp_path / name, np.full((30, 64, 64, 3), 9, np.uint8))
        np.savetxt(tmp_path / "a.csv", times, delimiter=",")
    (problem,) = problems(tmp_path, max_gigabytes=0.0003)
    # In an archive the array's header counts, too.
    claimed = "0.0003688" if name == "a.npz" else "0.0003686"
    assert problem.startswith(f"{name}: `frames`: claims {claimed} GB once unpacked, more than the 0.0003 GB")
    assert problem.endswith("split the episode into several files, or raise max_gigabytes if the memory suffices.")
    assert problems(tmp_path, max_gigabytes=0.0004) == []
    with pytest.raises(UnusableEpisodesError, match="max_gigabytes` above 0"):
        recorded(tmp_path, max_gigabytes=float("nan"))
    with pytest.raises(UnusableEpisodesError, match="more than the 0.0003 GB"):
        recorded(tmp_path, max_gigabytes=0.0003).read()


def test_names_that_are_not_utf8_are_told_in_the_error(tmp_path: Path) -> None:
    np.savez(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.npz"), **arrays())
    np.savez(tmp_path / "b.npz", **arrays())
    source = recorded(tmp_path)
    assert source.names() == ["b", "\\xff"]
    with pytest.raises(UnusableEpisodesError) as error:
        source.read()
    assert "\\xff.npz: `file`: expected a path in UTF-8" in str(error.value) and str(error.value).encode()
