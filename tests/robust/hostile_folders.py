"""Folders of episodes that are damaged, misnamed or hostile."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.robust.campaign import CRASHED, HUNG, WRONG, Ended, Place, Tally


PROMISE = (
    "A folder of episodes that cannot be used is refused by the name of the file, by `check` and by a run alike, in "
    "bounded time and memory; nothing outside the folder is read, and nothing in it is run."
)

SECONDS = 30.0
MEMORY = 700
"""MiB beyond what the imported library takes."""

FRAMES, ACTIONS = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8), np.zeros((12, 2), np.float32)


def _arrays(name: str = "bad.npz", **arrays: object) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / name, **{"frames": FRAMES, "actions": ACTIONS, **arrays})  # type: ignore[arg-type]


def _raw(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def _header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    """The beginning of an array file that claims a shape."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _archive(folder: Path, *, claims: tuple[int, ...], zeros: int) -> None:
    """An archive whose array of frames claims a shape and holds so many zeros, compressed."""
    with zipfile.ZipFile(folder / "bad.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("frames.npy", "w", force_zip64=True) as file:
            file.write(_header(claims))
            for _ in range(zeros // 2**24):
                file.write(bytes(2**24))
        held = io.BytesIO()
        np.save(held, ACTIONS)
        archive.writestr("actions.npy", held.getvalue())


class _Payload:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return Path.touch, (self.mark,)


def _pickled(folder: Path) -> None:
    (folder / "bad.npz").write_bytes(pickle.dumps(_Payload(folder / "ran")))


def _objects(folder: Path) -> None:
    objects = np.array([_Payload(folder / "ran")] * 12, dtype=object)
    np.savez(folder / "bad.npz", frames=FRAMES, actions=objects)


def _outside(folder: Path) -> None:
    np.savez(folder.parent / "outside.npz", frames=FRAMES, actions=ACTIONS)
    (folder / "bad.npz").symlink_to(folder.parent / "outside.npz")


def _outside_folder(folder: Path) -> None:
    (folder.parent / "secret").mkdir()
    np.savez(folder.parent / "secret" / "bad.npz", frames=FRAMES, actions=ACTIONS)
    (folder / "bad").symlink_to(folder.parent / "secret")


def _no_text(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/bad\xff.npz", "wb") as file:
        np.savez(file, frames=FRAMES, actions=ACTIONS)


def _named_up(folder: Path) -> None:
    held = io.BytesIO()
    np.save(held, FRAMES)
    with zipfile.ZipFile(folder / "bad.npz", "w") as archive:
        archive.writestr("../../frames.npy", held.getvalue())
        archive.writestr("/etc/actions.npy", held.getvalue())


def _cut(folder: Path) -> None:
    np.savez(folder / "bad.npz", frames=FRAMES, actions=ACTIONS)
    content = (folder / "bad.npz").read_bytes()
    (folder / "bad.npz").write_bytes(content[: len(content) // 2])


def _flipped(folder: Path) -> None:
    np.savez_compressed(folder / "bad.npz", frames=FRAMES, actions=ACTIONS)
    content = bytearray((folder / "bad.npz").read_bytes())
    content[len(content) // 3] ^= 0xFF
    (folder / "bad.npz").write_bytes(bytes(content))


def _video(content: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "bad.mp4").write_bytes(content)
        np.save(folder / "bad.npy", ACTIONS)

    return make


def _loop(folder: Path) -> None:
    (folder / "bad").symlink_to(folder)
    (folder / "bad.npz").symlink_to(folder / "bad.npz")


NAN = ACTIONS.copy()
NAN[3, 1] = np.nan

HOSTILE: dict[str, Callable[[Path], object]] = {
    "an empty file": _raw("bad.npz", b""),
    "text": _raw("bad.npz", b"no arrays here"),
    "half a file": _cut,
    "a flipped byte": _flipped,
    "an archive without arrays": _raw("bad.npz", b"PK\x05\x06" + bytes(18)),
    "a pickle": _pickled,
    "an array of objects": _objects,
    "no frames": lambda folder: np.savez(folder / "bad.npz", actions=ACTIONS),
    "zero frames": _arrays(frames=FRAMES[:0], actions=ACTIONS[:0]),
    "one frame": _arrays(frames=FRAMES[:1], actions=ACTIONS[:1]),
    "float frames": _arrays(frames=FRAMES / 255),
    "frames of 16 bits": _arrays(frames=FRAMES.astype(np.uint16)),
    "Boolean frames": _arrays(frames=FRAMES > 9),
    "grey frames": _arrays(frames=FRAMES[..., 0]),
    "frames with alpha": _arrays(frames=np.concatenate([FRAMES, FRAMES[..., :1]], axis=-1)),
    "frames in [0, 1]": _arrays(frames=(FRAMES > 99).astype(np.uint8)),
    "frames of no height": _arrays(frames=FRAMES[:, :0]),
    "frames of another size": _arrays(frames=FRAMES[:, :8]),
    "NaN in the actions": _arrays(actions=NAN),
    "infinite actions": _arrays(actions=ACTIONS + np.inf),
    "actions beyond float32": _arrays(actions=ACTIONS.astype(np.float64) + 1e300),
    "actions of text": _arrays(actions=np.full((12, 2), "left")),
    "complex actions": _arrays(actions=ACTIONS.astype(complex)),
    "dates as actions": _arrays(actions=np.zeros((12, 2), "datetime64[s]")),
    "actions of one dimension": _arrays(actions=ACTIONS[:, 0]),
    "fewer actions than frames": _arrays(actions=ACTIONS[:7]),
    "a number as actions": _arrays(actions=np.float32(3)),
    "another number of actions": _arrays(actions=np.zeros((12, 5), np.float32)),
    "a claim of 4 GB, compressed": lambda folder: _archive(folder, claims=(4000, 600, 600, 3), zeros=2**32),
    "a claim of a petabyte": lambda folder: _archive(folder, claims=(10**9, 600, 600, 3), zeros=2**24),
    "a claim of less than nothing": lambda folder: _archive(folder, claims=(-1, 16, 16, 3), zeros=2**24),
    "names that lead upward": _named_up,
    "a link to a file outside": _outside,
    "a link to a folder outside": _outside_folder,
    "links in a circle": _loop,
    "a name that is no text": _no_text,
    "a file that cannot be decoded as video": _video(b"no video"),
    "an empty video": _video(b""),
    "a video without actions": _raw("bad.mp4", b"no video"),
    "a folder named like a file": lambda folder: (folder / "bad.npz").mkdir(),
    "a pipe named like a file": lambda folder: os.mkfifo(folder / "bad.npz"),
}

MAY_BE_READ = ("links in a circle", "a folder named like a file", "a pipe named like a file", "a name that is no text")
"""These are no files, or whole ones: they may be passed over or read, but must not crash, hang or be read half."""

RESIZED = ("frames of another size",)
"""The recipe resizes all frames to one size, as does a check that is asked to; one that is not refuses them."""

OUTSIDE = ("a link to a file outside", "a link to a folder outside")
"""Links are the user's own: they may be followed, or refused by name."""

QUICK = ("NaN in the actions", "an array of objects", "a name that is no text", "a claim of a petabyte")


def check(place: Place, tally: Tally) -> None:
    for number, (case, make) in enumerate(HOSTILE.items()):
        if place.is_quick and case not in QUICK:
            continue
        folder = place.folder / str(number) / "episodes"
        folder.mkdir(parents=True)
        for name in ("good-1.npz", "good-2.npz", "good-3.npz"):
            np.savez(folder / name, frames=FRAMES, actions=ACTIONS + np.arange(12)[:, None])
        make(folder)
        words = ("check", str(folder), "--sheet", str(folder.parent / "sheet.png"))
        if case in RESIZED:
            plain = place.forks.run(*words, patience=SECONDS)
            _judge(tally, f"check without a size: {case}", "", folder, plain)
        checked = place.forks.run(*words, "--image_size", "64", patience=SECONDS)
        _judge(tally, f"check: {case}", case, folder, checked)
        output = place.folder / str(number) / "run"
        words = ("--collect.folder", str(folder), "--collect.alignment", "taken_at", "--output_dir", str(output))
        cache = {"RLVR_WORLD_CACHE": str(place.folder / str(number) / "cache")}
        run = place.forks.run("collect", "folder/cpu", *words, environment=cache, patience=SECONDS)
        _judge(tally, f"run: {case}", case, folder, run)
        if checked and run and not checked.crash and not run.crash and (checked.code == 0) != (run.code == 0):
            tally.fault(WRONG, f"run: {case}", f"`check` ends with {checked.code}, a run with {run.code}")


def _judge(tally: Tally, case: str, what: str, folder: Path, ended: Ended | None) -> None:
    tally.tried += 1
    if (folder / "ran").exists():
        tally.fault(WRONG, case, "its code was run")
    if ended is None:
        tally.fault(HUNG, case, f"took more than {SECONDS:.0f} s")
        return
    if ended.memory > MEMORY:
        tally.fault(WRONG, case, f"took {ended.memory:.0f} MiB")
    if ended.crash:
        tally.fault(CRASHED, case, ended.crash)
    elif ended.code == 0 and what not in (*MAY_BE_READ, *OUTSIDE, *RESIZED):
        tally.fault(WRONG, case, "was accepted")
    elif ended.code and "bad" not in ended.text and what != "another number of actions":
        tally.fault(WRONG, case, f"exit code {ended.code}, names no file: {ended.text[-200:]!r}")
