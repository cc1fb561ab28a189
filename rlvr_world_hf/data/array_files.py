"""
Arrays of one file: `.npz`, `.npy`, `.csv` and `.mp4` read as frames and rows, with nothing repaired or guessed.

What cannot be used raises [`UnusableArrayError`][], which says what was found and the remedy. A compressed file may
unpack to a thousand times its size: what an array takes in memory is read from the file's own tables first, and one
beyond a limit is refused before it is read.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from .opencv import load_opencv


class UnusableArrayError(Exception):
    """An array that cannot be used: what was found, and the remedy. Its reader adds the file and the field."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found = found
        self.remedy = remedy


def refuse_larger(size: int, limit: float) -> None:
    """
    Refuse an array that would take too much memory.

    Args:
        size (`int`):
            Bytes that it takes, as its file claims.
        limit (`float`):
            Largest number of bytes.

    Raises:
        UnusableArrayError: If it is larger.

    Example:

    ```python
    >>> refuse_larger(4_000_000_000, 2_000_000_000)
    Traceback (most recent call last):
    ...
    rlvr_world_hf.data.array_files.UnusableArrayError: claims 4 GB once unpacked, more than the 2 GB of max_gigabytes

    ```
    """
    if size > limit:
        raise UnusableArrayError(
            f"claims {size / 1e9:.4g} GB once unpacked, more than the {limit / 1e9:.4g} GB of max_gigabytes",
            "split the episode into several files, or raise max_gigabytes if the memory suffices",
        )


def check_archive(path: Path) -> None:
    """Raise [`UnusableArrayError`] for a file that is not an `.npz` archive."""
    if zipfile.is_zipfile(path):
        return
    with path.open("rb") as file:
        start = file.read(6)
    if not start:
        raise UnusableArrayError("the file is empty", "write it again, or drop it")
    if start.startswith(b"\x80"):
        raise UnusableArrayError(*_PICKLED)
    if start == b"\x93NUMPY":
        raise UnusableArrayError("expected an .npz archive, got a single .npy array", "write it by `np.savez`")
    raise UnusableArrayError(*_BROKEN)


_PICKLED = (
    "holds pickled Python objects, which are never loaded",
    "store plain numbers, as in `np.savez(path, frames=frames, actions=actions.astype(np.float32))`",
)
_BROKEN = ("is truncated, or not an array file", "copy or write it again, or drop it")
# What numpy and zipfile raise for damaged files. Any other exception is a bug and is not caught.
_READ_ERRORS = (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


def _read_npz(path: Path, name: str, *, limit: float) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.removesuffix(".npy"): member for member in archive.namelist()}
            if name in members:
                # Of a member, no more is unpacked than the archive's directory states.
                size = archive.getinfo(members[name]).file_size
                refuse_larger(size, limit)
                with archive.open(members[name]) as file:
                    _check_header(file, size, limit)
                with archive.open(members[name]) as file:
                    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
            there = list(members)
    except _READ_ERRORS as error:
        raise _unreadable(error) from error
    near = get_close_matches(name, there, n=1)
    raise UnusableArrayError(
        f"is missing; the file has {', '.join(there) or 'no arrays'}",
        "set frames_field, actions_field or states_field to the name in your file"
        + (f", such as {near[0]!r}" if near else ""),
    )


def _read_npy(path: Path, _: str, *, limit: float) -> np.ndarray:
    size = path.stat().st_size
    refuse_larger(size, limit)
    try:
        with path.open("rb") as file:
            _check_header(file, size, limit)
        return np.asarray(np.load(path, allow_pickle=False))
    except _READ_ERRORS as error:
        raise _unreadable(error) from error


def _check_header(file: IO[bytes], size: int, limit: float) -> None:
    """Refuse an array of which the header claims more than the limit, or more than the file's `size`."""
    version = np.lib.format.read_magic(file)
    # Version 3 differs from 2 in the names of fields alone, which do not count here.
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    claimed = math.prod(shape) * dtype.itemsize
    refuse_larger(claimed, limit)
    # NumPy makes room for what the header claims before it reads. Pickled objects have no fixed size.
    if claimed > size and not dtype.hasobject:
        raise ValueError(f"its header claims {claimed} bytes, the file has {size}")


def _read_csv(path: Path, _: str, *, limit: float) -> np.ndarray:
    refuse_larger(path.stat().st_size, limit)
    try:
        # Spreadsheets may put a byte order mark in front.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableArrayError("is not text", "write numbers, separated by commas, one row a frame") from error
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
    if rows and not any(map(_is_number, rows[0])):
        del rows[0]  # the names of the columns
    for number, row in enumerate(rows):
        wrong = next((cell for cell in row if not _is_number(cell)), None)
        if wrong is not None:
            raise UnusableArrayError(
                f"expected numbers, got {wrong!r} in row {number}", "write 0.5 and not 0,5; no empty cells"
            )
        if len(row) != len(rows[0]):
            raise UnusableArrayError(
                f"expected {len(rows[0])} values in each row, got {len(row)} in row {number}",
                "the file may be truncated: write it again",
            )
    return np.array(rows, dtype=np.float64)


class ReadArray(Protocol):
    """A function that reads the array of a given name from a file, at most `limit` bytes of it in memory."""

    def __call__(self, path: Path, name: str, /, *, limit: float) -> np.ndarray:
        """Read the array."""


READERS: dict[str, ReadArray] = {".npz": _read_npz, ".npy": _read_npy, ".csv": _read_csv}
"""Functions that read the array of a given name from a file, by the file's suffix."""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unreadable(error: BaseException) -> UnusableArrayError:
    # NumPy tells a pickled array from a broken one only by the text of its ValueError.
    if "pickle" in str(error):
        return UnusableArrayError(*_PICKLED)
    found, remedy = _BROKEN
    return UnusableArrayError(f"{found} ({type(error).__name__}: {error})", remedy)


def video_fps(path: Path) -> float:
    """Frames a second, as the video file states."""
    cv2 = load_opencv()
    video = cv2.VideoCapture(str(path))
    fps = float(video.get(cv2.CAP_PROP_FPS)) if video.isOpened() else 0.0
    video.release()
    # Not `<=`: nan is refused, too.
    if not fps > 0:
        raise UnusableArrayError(
            "is truncated, or not a video that OpenCV can decode", "encode it again as H.264 or MPEG-4"
        )
    return fps


def read_video(path: Path, *, limit: float = math.inf) -> np.ndarray:
    """All frames of a video, `(T, H, W, 3)` uint8 RGB; refused if they take more than `limit` bytes."""
    cv2 = load_opencv()
    video = cv2.VideoCapture(str(path))
    stated = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    frames: list[np.ndarray] = []
    try:
        while True:
            there, frame = video.read()
            if not there:
                break
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            # At the first frame, unless the stated number is too low.
            refuse_larger(max(stated, len(frames)) * frame.nbytes, limit)
    finally:
        video.release()
    # OpenCV stops at a broken frame without an error: only the stated number shows it.
    if len(frames) < stated:
        raise UnusableArrayError(
            f"is truncated: {len(frames)} of its stated {stated} frames can be decoded", "copy or encode it again"
        )
    # In the form of frames, so that `as_frames` can say that there are none.
    return np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8)


def as_frames(array: np.ndarray) -> np.ndarray:
    """Frames of an episode as `(T, 3, H, W)` uint8."""
    if array.ndim != 4 or 3 not in (array.shape[-1], array.shape[1]):
        raise UnusableArrayError(
            f"expected shape (T, H, W, 3) or (T, 3, H, W), got {array.shape}",
            "store RGB frames of one camera, without an alpha channel",
        )
    if not array.size:
        raise UnusableArrayError(f"is empty: shape {array.shape}", "drop the episode")
    if array.dtype != np.uint8:
        raise UnusableArrayError(
            f"expected dtype uint8 with values 0 to 255, got {array.dtype}",
            "scale to 0 to 255, round, and convert by `.astype(np.uint8)`",
        )
    if array.max() <= 1:  # frames in [0, 1] that were cast to uint8 without scaling are all but black
        raise UnusableArrayError(
            f"expected values 0 to 255, got none above {array.max()}",
            "multiply frames in [0, 1] by 255 before the conversion",
        )
    return array.transpose(0, 3, 1, 2) if array.shape[-1] == 3 else array


def as_rows(array: np.ndarray) -> np.ndarray:
    """Actions or states of an episode as `(T, dims)` float32."""
    if array.dtype.kind not in "fiub":
        raise UnusableArrayError(f"expected numbers, got dtype {array.dtype}", "store float32")
    if not array.size:
        raise UnusableArrayError(f"is empty: shape {array.shape}", "drop the episode")
    if array.ndim != 2:
        one = "one dimension is stored as `values[:, None]`"
        raise UnusableArrayError(f"expected shape (T, dims), one row a frame, got {array.shape}", one)
    finite = np.isfinite(array)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise UnusableArrayError(
            f"holds {np.count_nonzero(~finite)} values that are not finite, the first in row {row}, column {column}",
            "repair or drop the episode",
        )
    # The conversion would make them infinite without an error. As plain numbers, so that no copy is made.
    if max(abs(float(array.min())), abs(float(array.max()))) > float(np.finfo(np.float32).max):
        raise UnusableArrayError("holds values beyond the range of float32", "give them in a larger unit")
    return array.astype(np.float32)


def resize_frames(frames: np.ndarray, size: int | tuple[int, int] | None) -> np.ndarray:
    """
    Frames in another size, averaged over their area.

    Args:
        frames (`numpy.ndarray` of shape `(T, 3, H, W)`):
            uint8, or float32.
        size (`int`, or `tuple` of height and width):
            The new size; `None` keeps the one they have.

    Returns:
        `numpy.ndarray` of shape `(T, 3, height, width)`: of the same type.

    Example:

    ```python
    >>> resize_frames(np.float32([[[[0, 1], [0, 1]]] * 3]).reshape(1, 3, 2, 2), 1).ravel().tolist()
    [0.5, 0.5, 0.5]

    ```
    """
    if size is None:
        return np.ascontiguousarray(frames)
    cv2 = load_opencv()
    height, width = (size, size) if isinstance(size, int) else size
    resized = [
        cv2.resize(np.ascontiguousarray(frame), (width, height), interpolation=cv2.INTER_AREA)
        for frame in frames.transpose(0, 2, 3, 1)
    ]
    return np.ascontiguousarray(np.stack(resized).transpose(0, 3, 1, 2))
