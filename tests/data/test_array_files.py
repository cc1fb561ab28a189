"""What a file of arrays gives, and what is refused; test_folder.py checks what a folder's reader tells of it."""

import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rlvr_world_hf.data.array_files import READERS, UnusableArrayError, as_frames, as_rows, resize_frames


def test_the_names_of_columns_are_no_values(tmp_path: Path) -> None:
    path = tmp_path / "push.csv"
    path.write_text("dx,dy\n0.5,-1\n\n2,3e-1\n")
    assert READERS[".csv"](path, "actions", limit=1e6).tolist() == [[0.5, -1.0], [2.0, 0.3]]


@pytest.mark.parametrize(("text", "found"), [("1,2\n3\n", "got 1 in row 1"), ("1,2\n1;2\n", "got '1;2' in row 1")])
def test_rows_that_cannot_be_read_are_refused(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "push.csv"
    path.write_text(text)
    with pytest.raises(UnusableArrayError, match=found):
        READERS[".csv"](path, "actions", limit=1e6)


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "push.npy"
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(UnusableArrayError, match="pickled") as refused:
        READERS[".npy"](path, "actions", limit=1e6)
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


def peak_of(read: Callable[[], object]) -> int:
    """Most bytes that are in use at once while `read` runs."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_header_that_claims_gigabytes_is_refused_before_they_are_allocated(
    tmp_path: Path, suffix: str, version: int
) -> None:
    path = tmp_path / f"bomb{suffix}"
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (80000, 128, 128, 3)}\n"
    header = b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text
    if suffix == ".npy":
        path.write_bytes(header + bytes(1000))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("frames.npy", header + bytes(1000))

    def read() -> None:
        with pytest.raises(UnusableArrayError, match=r"claims 3.932 GB once unpacked, more than the 2 GB of max_g"):
            READERS[suffix](path, "frames", limit=2e9)
        with pytest.raises(UnusableArrayError, match=r"its header claims 3932160000 bytes, the file has"):
            READERS[suffix](path, "frames", limit=4e9)

    assert peak_of(read) < 10_000_000


def test_an_archive_is_unpacked_up_to_the_limit(tmp_path: Path) -> None:
    path, frames = tmp_path / "push.npz", np.zeros((500, 64, 64, 3), np.uint8)
    np.savez_compressed(path, frames=frames)
    assert path.stat().st_size < 20_000 and frames.nbytes == 6_144_000
    assert READERS[".npz"](path, "frames", limit=7e6).shape == frames.shape

    def read() -> None:
        with pytest.raises(
            UnusableArrayError, match=r"claims 0.006144 GB once unpacked, more than the 0.006 GB"
        ) as it:
            READERS[".npz"](path, "frames", limit=6e6)
        assert "raise max_gigabytes" in it.value.remedy

    assert peak_of(read) < 1_000_000


def test_rows_of_text_are_limited_too(tmp_path: Path) -> None:
    path = tmp_path / "push.csv"
    path.write_text("0.5,1.5\n" * 1000)
    with pytest.raises(UnusableArrayError, match="more than the 1e-06 GB of max_gigabytes"):
        READERS[".csv"](path, "actions", limit=1000)


def test_what_is_no_array_in_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "push.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("frames.npy", b"no array")
    with pytest.raises(UnusableArrayError, match="is truncated, or not an array file"):
        READERS[".npz"](path, "frames", limit=1e6)


@pytest.mark.parametrize("values", [np.array([[-(2**63)]]), np.array([[True]]), np.array([[1.0]], np.float16)])
def test_numbers_of_every_kind_are_rows(values: np.ndarray) -> None:
    assert as_rows(values).tolist() == [[float(values[0, 0])]]
