"""What a file of arrays gives, and what is refused; test_folder.py checks what a folder's reader tells of it."""

from pathlib import Path

import numpy as np
import pytest

from rlvr_world_hf.data.array_files import READERS, UnusableArrayError, as_frames, as_rows, resize_frames


def test_the_names_of_columns_are_no_values(tmp_path: Path) -> None:
    path = tmp_path / "push.csv"
    path.write_text("dx,dy\n0.5,-1\n\n2,3e-1\n")
    assert READERS[".csv"](path, "actions").tolist() == [[0.5, -1.0], [2.0, 0.3]]


@pytest.mark.parametrize(("text", "found"), [("1,2\n3\n", "got 1 in row 1"), ("1,2\n1;2\n", "got '1;2' in row 1")])
def test_rows_that_cannot_be_read_are_refused(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "push.csv"
    path.write_text(text)
    with pytest.raises(UnusableArrayError, match=found):
        READERS[".csv"](path, "actions")


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "push.npy"
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(UnusableArrayError, match="pickled") as refused:
        READERS[".npy"](path, "actions")
    assert "plain numbers" in refused.value.remedy


def test_frames_may_have_their_channels_last() -> None:
    frames = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    assert np.array_equal(as_frames(frames), frames.transpose(0, 3, 1, 2))
    assert np.array_equal(as_frames(frames.transpose(0, 3, 1, 2)), frames.transpose(0, 3, 1, 2))


def test_pixels_are_averaged_over_their_area() -> None:
    frames = np.zeros((1, 3, 4, 4), np.uint8)
    frames[0, :, :2, :2] = 100
    frames[0, :, 2:, ::2] = 200
    assert resize_frames(frames, 2)[0, 0].tolist() == [[100, 0], [100, 100]]
    assert resize_frames(frames, (2, 4)).shape == (1, 3, 2, 4)


def test_values_beyond_float32_are_refused() -> None:
    with pytest.raises(UnusableArrayError, match="beyond the range of float32"):
        as_rows(np.array([[1e300]]))
