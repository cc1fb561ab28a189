import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlvr_world_hf.data.drafts import draft_path, this_machine
from rlvr_world_hf.runs import drafts as module
from rlvr_world_hf.runs.drafts import STALE_DAYS, remove_drafts


OTHER = "0a1b2c3d"


@pytest.fixture(scope="module")
def gone() -> int:
    """Id of a process that no longer runs."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def named(name: str, process: int, *, machine: str | None = None, kind: str = "draft") -> str:
    return f".{name}.{machine or this_machine()}.{process}.{OTHER}.{kind}"


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "part").write_text("x")
    return folder


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for place in [*path.rglob("*"), path]:
        os.utime(place, (then, then))


def test_drafts_of_a_killed_process_go_and_those_of_others_stay(tmp_path: Path, gone: int) -> None:
    left = [fill(tmp_path / named("episodes", gone)), tmp_path / named("results.json", gone)]
    left[1].touch()
    kept = [
        fill(draft_path(tmp_path / "episodes")),
        draft_path(tmp_path / "results.json"),
        fill(tmp_path / "episodes"),
    ]
    kept[1].touch()
    for name in (".env", "thesis.draft", "notes.7.draft", ".cache", "results.json"):
        kept.append(tmp_path / name)
        kept[-1].touch()
        age(kept[-1], 2 * STALE_DAYS)
    assert sorted(remove_drafts(tmp_path)) == sorted(left)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert remove_drafts(tmp_path) == [] == remove_drafts(tmp_path / "none")


def test_a_process_killed_in_the_middle_leaves_what_is_removed(tmp_path: Path) -> None:
    code = "import os, sys, pathlib; from rlvr_world_hf.runs.progress import cached\n"
    code += "cached('episodes', 'a', lambda folder: ((folder / 'part').touch(), os.kill(os.getpid(), 9)))"
    environment = os.environ | {"RLVR_WORLD_CACHE": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -9
    (left,) = (tmp_path / "episodes").iterdir()
    assert (left / "part").exists()
    assert remove_drafts(tmp_path / "episodes") == [left]
    assert not any((tmp_path / "episodes").iterdir())


def test_what_cannot_be_asked_for_goes_with_time(tmp_path: Path, gone: int) -> None:
    names = [
        named("episodes", gone, machine="elsewhere"),
        named("episodes", os.getpid(), machine="elsewhere-2"),
        f"done.json.{gone}.draft",
        "resume.pt.draft",
        ".results.json.abcd_123",
        ".0123456789abcdef-abcd_123",
    ]
    left = sorted(fill(tmp_path / name) for name in names)
    for path in left:
        age(path, STALE_DAYS - 1)
    assert remove_drafts(tmp_path) == []
    # A folder is as new as the newest file within it.
    for path in left:
        age(path, STALE_DAYS + 1)
        (path / "part").touch()
    assert remove_drafts(tmp_path) == []
    for path in left:
        age(path, STALE_DAYS + 1)
    assert sorted(remove_drafts(tmp_path)) == left
    assert not any(tmp_path.iterdir())


def test_folders_below_are_looked_into_if_asked_but_not_drafts(tmp_path: Path, gone: int) -> None:
    below = fill(tmp_path / "stages" / "grpo" / named("history.json", gone))
    own = fill(draft_path(tmp_path / "base"))
    within = fill(own / named("codec", gone))
    assert remove_drafts(tmp_path) == []
    assert remove_drafts(tmp_path, nested=True) == [below]
    assert within.is_dir()


def test_a_checkpoint_set_aside_is_put_back_unless_it_was_replaced(tmp_path: Path, gone: int) -> None:
    fill(tmp_path / named("base", gone, kind="old"))
    fill(tmp_path / named("rlvr", gone, kind="old"))
    fill(tmp_path / "rlvr")
    assert remove_drafts(tmp_path) == [tmp_path / named("rlvr", gone, kind="old")]
    assert (tmp_path / "base" / "part").exists() and len([*tmp_path.iterdir()]) == 2


def test_a_link_goes_and_not_what_it_names(tmp_path: Path, gone: int) -> None:
    kept = fill(tmp_path / "mine")
    (tmp_path / named("episodes", gone)).symlink_to(kept)
    assert len(remove_drafts(tmp_path)) == 1
    assert (kept / "part").exists()


def test_several_may_remove_at_once(tmp_path: Path, gone: int) -> None:
    left = {fill(tmp_path / named(f"episodes{index}", gone)) for index in range(50)}
    with ThreadPoolExecutor(4) as threads:
        removed = [path for paths in threads.map(lambda _: remove_drafts(tmp_path), range(4)) for path in paths]
    assert set(removed) == left and not any(tmp_path.iterdir())


def test_a_process_of_another_user_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(process: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(module.os, "kill", refuse)
    fill(tmp_path / named("episodes", 1))
    assert remove_drafts(tmp_path) == []
