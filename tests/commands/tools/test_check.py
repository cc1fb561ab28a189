import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlvr_world_hf.commands import cli
from rlvr_world_hf.commands.tools.check import SHOWN_EPISODES, Summary, Values, check
from rlvr_world_hf.data import Episode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good episodes of two tasks."""
    for number, task in enumerate(("push", "push", "pull")):
        (tmp_path / "mine" / task).mkdir(parents=True, exist_ok=True)
        frames = np.full((5, 16, 16, 3), 50 + number, np.uint8)
        actions = np.stack([np.arange(5.0), np.full(5, 2.0)], axis=1)
        np.savez(tmp_path / "mine" / task / f"{number}.npz", frames=frames, actions=actions)
    return tmp_path / "mine"


def test_a_good_folder_is_summed_up_with_a_sheet(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", str(folder)]) == 0
    report = capsys.readouterr().out
    assert "3 usable episodes of 3" in report and "frames: 15, 5 an episode, 16 x 16 pixels" in report
    assert "subfolders: push (2), pull (1)" in report
    assert "0: 0 to 4, 98 % of them" in report and "1: constant, 2" in report
    assert "no problems" in report
    with Image.open(tmp_path / "outputs" / "check" / "mine.png") as sheet:
        assert sheet.size[0] > 3 * 3 * 96


def test_every_problem_of_every_file_is_told(folder: Path, tmp_path: Path, capsys) -> None:
    (folder / "a.npz").write_bytes(b"")
    np.savez(folder / "b.npz", frames=np.zeros((5, 16, 16), np.uint8), actions=np.full((5, 2), np.nan))
    sheet = tmp_path / "sheet.png"
    assert check([str(folder), "--sheet", str(sheet)]) == 1
    report = capsys.readouterr().out
    assert "3 usable episodes of 5" in report and "3 problems in 2 files" in report and sheet.exists()
    assert all(told in report for told in ("a.npz: `file`: ", "b.npz: `frames`: ", "b.npz: `actions`: "))


def test_keys_are_those_of_the_episodes(folder: Path, tmp_path: Path, capsys) -> None:
    assert check([str(folder), "--min_frames", "6", "--sheet", str(tmp_path / "sheet.png")]) == 1
    report = capsys.readouterr().out
    assert report.count("at least 6 frames, got 5") == 3 and "0 usable" in report
    assert not (tmp_path / "sheet.png").exists()
    assert check(["--help"]) == 0
    assert "--frames_field" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"), [(["nowhere"], "nowhere, found none"), ([".", "--frame", "x"], "unknown key 'frame'")]
)
def test_what_cannot_be_understood_is_said_in_one_line(words: list[str], expected: str, capsys) -> None:
    assert cli.main(["check", *words]) == 2
    message = capsys.readouterr().err
    assert expected in message and message.count("\n") == 1


def test_the_memory_does_not_grow_with_the_folder(tmp_path: Path, capsys) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (32, 96, 96, 3), dtype=np.uint8)
    for number in range(40):
        np.savez(tmp_path / f"{number}.npz", frames=frames + np.uint8(number), actions=np.zeros((32, 2)))
    sheet = str(tmp_path / "sheet.png")
    check([str(tmp_path), "--sheet", sheet])  # what is imported and cached on the first use does not count
    tracemalloc.start()
    try:
        assert check([str(tmp_path), "--sheet", sheet]) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "40 usable episodes" in capsys.readouterr().out
    # A few episodes, and three frames of each that may be drawn.
    assert peak < 10 * frames.nbytes, f"{peak / frames.nbytes:.1f} episodes"


def test_of_many_episodes_those_drawn_are_spread_evenly() -> None:
    summary = Summary()
    for number in range(1000):
        frames = np.full((2, 3, 4, 4), number % 256, np.uint8)
        summary.add(Episode(episode_id=f"{number}", frames=frames, actions=np.zeros((2, 1), np.float32), fps=1.0))
    drawn = [int(name) for name in summary.shown(SHOWN_EPISODES)]
    assert len(drawn) == SHOWN_EPISODES and drawn[0] == 0 and drawn[-1] > 900
    assert max(np.diff(drawn)) <= 2 * min(np.diff(drawn))
    assert list(Summary().shown(4)) == [] and Summary().lines() == []


def test_ranges_of_more_values_than_are_kept_are_estimated() -> None:
    values, rng = Values(2, kept=4_000), np.random.default_rng(1)
    for _ in range(100):
        values.add(rng.uniform(0, 1, (1_000, 2)) * [1.0, 10.0])
    one, ten = values.ranges()
    assert 0 <= one.lowest < 1e-4 and 0.9999 < one.highest <= 1 and ten.highest > 9.999
    assert one.usual == pytest.approx((0.01, 0.99), abs=0.01) and ten.usual == pytest.approx((0.1, 9.9), abs=0.1)
    assert sum(map(len, values._parts)) == 2_000


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_a_name_that_is_not_utf8_is_a_problem_that_can_be_printed(folder: Path, tmp_path: Path, capfdbinary) -> None:
    (folder / "push" / "0.npz").rename(os.fsdecode(os.fsencode(folder / "push") + b"/\xff.npz"))
    assert check([str(folder), "--sheet", str(tmp_path / "sheet.png")]) == 1
    report = capfdbinary.readouterr().out.decode()
    assert "2 usable episodes of 3" in report and "expected a path in UTF-8" in report
    assert "push/\\xff.npz: `file`: " in report and "rename the file" in report
    folder = folder.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe"))
    assert check([str(folder), "--sheet", str(tmp_path / "sheet.png")]) == 1
    assert "3 problems in 3 files" in capfdbinary.readouterr().out.decode()
