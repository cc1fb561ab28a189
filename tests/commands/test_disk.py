import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import SafetensorError

from rlvr_world_hf.commands import cli
from rlvr_world_hf.commands.disk import disk_trouble
from rlvr_world_hf.runs.locations import cache_root
from tests.robust.forks import Forks


FOLDERS = {Path("/data/run"): "`--output_dir PATH`", Path("/home/me/cache"): "the variable CACHE"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "full", "/data/run/base/model"), "/data/run/base: No space left on device; free some"),
        (OSError(errno.EDQUOT, "full", "/home/me/cache/a"), "another folder by the variable CACHE"),
        (
            PermissionError(errno.EACCES, "no", "/data/run/base"),
            "/data/run/base: cannot be written (Permission denied)",
        ),
        (OSError(errno.EROFS, "no", "/home/me/cache/x"), "(Read-only file system); choose another folder by the vari"),
        (
            FileExistsError(errno.EEXIST, "no", "/data"),
            "/data: cannot be written (File exists); choose another folder",
        ),
    ],
)
def test_folder_cause_and_remedy_are_one_sentence(error: OSError, expected: str) -> None:
    told = disk_trouble(error, FOLDERS)
    assert told is not None and expected in told and "\n" not in told and told.endswith(".")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error", "/data/run/base"),
        PermissionError(errno.EACCES, "no", "/etc/shadow"),
        RuntimeError("[enforce fail at inline_container.cc:664] unexpected pos"),  # the disk has room
        ValueError("a bug"),
    ],
)
def test_other_errors_are_none_of_the_disk(error: Exception, tmp_path: Path) -> None:
    assert disk_trouble(error, {**FOLDERS, tmp_path: "x"}) is None


def test_without_a_file_the_fullest_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = {tmp_path / "run": 100, tmp_path / "cache": 10**9}
    for folder in free:
        folder.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=free[place]))
    folders = {folder: f"`--{folder.name}`" for folder in free}
    for error in (
        SafetensorError("I/O error: No space left on device (os error 28)"),
        RuntimeError("PytorchStreamWriter"),
    ):
        told = disk_trouble(error, folders)
        assert told is not None and told.startswith(f"{tmp_path / 'run'}: No space") and "by `--run`" in told
    wrapped = RuntimeError("writing failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "full")
    assert disk_trouble(wrapped, folders) is not None


@pytest.mark.skipif(os.name == "nt", reason="limits of a process are POSIX")
def test_libraries_report_a_full_disk_in_ways_that_are_known(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIBRARIES, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    told = ended.stdout.splitlines()
    assert len(told) == 3 and all("; free some, or choose another folder by x" in line for line in told)


LIBRARIES = """
import resource, sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from rlvr_world_hf.commands import disk

folder = Path(sys.argv[1])
disk.NO_ROOM = 2**63  # torch does not tell the cause: the disk counts as full
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for save in (
    lambda: (folder / "a").write_text("x" * 100_000),
    lambda: save_file({"x": torch.zeros(100_000)}, folder / "b"),
    lambda: torch.save({"x": torch.zeros(100_000)}, folder / "c"),
):
    try:
        save()
    except disk.DISK_ERRORS as error:
        sys.stdout.write(str(disk.disk_trouble(error, {folder: "x"})) + "\\n")
"""


def limited(*words: str) -> int:
    """In a process of its own: the command, where no file may become large."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    return cli.main(words)


@pytest.mark.skipif(os.name == "nt", reason="limits of a process are POSIX")
def test_a_run_that_cannot_write_more_ends_with_one_sentence(forks: Forks, tmp_path: Path) -> None:
    words = ["collect", "pendulum/debug", "--output_dir", str(tmp_path / "run")]
    environment = {"RLVR_WORLD_CACHE": str(tmp_path / "cache")}
    ended = forks.run(*words, call=f"{__name__}:limited", environment=environment)
    assert ended is not None and ended.code == 2 and not ended.crash, ended
    assert ended.sentence == ended.text.strip().splitlines()[-1]
    assert ended.sentence.startswith(f"rlvr-world: {tmp_path}") and "File too large; free some" in ended.sentence
    assert "RLVR_WORLD_CACHE" in ended.sentence or "--output_dir" in ended.sentence


def test_an_output_folder_that_is_a_file_ends_with_one_sentence(cache: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/below"):
        assert cli.main(["collect", "pendulum/debug", "--output_dir", str(tmp_path / place)]) == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith(f"rlvr-world: {tmp_path / 'file'}") and "choose another folder by `--output_dir" in last
    assert (tmp_path / "file").read_text() == "mine"


def test_a_cache_that_is_a_file_ends_with_one_sentence(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path / "file"))
    assert cache_root() == tmp_path / "file"
    assert cli.main(["collect", "pendulum/debug", "--output_dir", str(tmp_path / "run")]) == 2
    assert "choose another folder by the environment variable RLVR_WORLD_CACHE" in capsys.readouterr().err
