from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlvr_world_hf.commands import cli
from rlvr_world_hf.commands.tools.check import check


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
