"""OpenCV is imported by who uses it, and one that cannot be imported is told with the remedy."""

import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlvr_world_hf.data import array_files
from rlvr_world_hf.data.opencv import load_opencv
from rlvr_world_hf.worlds.pusht import physics


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenCV that misses a library of the system."""
    found = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.split(".")[0] == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return found(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_it_is_what_import_gives() -> None:
    import cv2

    assert load_opencv() is cv2


def test_its_users_name_the_remedy(broken: None, tmp_path: Path) -> None:
    uses = [
        load_opencv,
        physics.make_world,
        lambda: array_files.read_video(tmp_path / "video.mp4"),
        lambda: array_files.video_fps(tmp_path / "video.mp4"),
        lambda: array_files.resize_frames(np.zeros((1, 3, 8, 8), np.uint8), 4),
    ]
    for use in uses:
        with pytest.raises(ImportError, match=r"libGL.so.1.*pip install opencv-python-headless"):
            use()


def test_only_one_file_imports_it(repository: Path) -> None:
    files = {
        path.relative_to(repository / "rlvr_world_hf").as_posix()
        for path in (repository / "rlvr_world_hf").rglob("*.py")
        if "import cv2" in path.read_text(encoding="utf-8")
    }
    assert files == {"data/opencv.py"}


def test_reading_arrays_imports_neither_it_nor_the_simulator() -> None:
    """That predicting does not either is a test of the README."""
    code = (
        "import sys, rlvr_world_hf.worlds.pusht.simulator, rlvr_world_hf.data.array_files; "
        "sys.exit(str([name for name in ('cv2', 'gym_pusht') if name in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
