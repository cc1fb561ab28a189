"""`rlvr-world clean`: what other settings left is listed, asked for, and deleted; nothing else is."""

import io
from pathlib import Path

import pytest

from rlvr_world_hf.commands import cli
from rlvr_world_hf.runs.lock import locked
from rlvr_world_hf.runs.outputs import note_current, publish
from rlvr_world_hf.runs.progress import Progress


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose pretrain has results of two settings, the second current, and whose grpo is unfinished."""
    for stage, settings in (("pretrain", "first"), ("pretrain", "second"), ("grpo", "second")):
        progress = Progress(folder=tmp_path / "stages" / stage / settings, fingerprint=settings)
        progress.start({"settings": settings})
        note_current(progress.folder)
        if stage == "pretrain":
            base = progress.folder / "base"
            base.mkdir()
            (base / "model.safetensors").write_bytes(b"0" * 2_000_000)
            progress.finish(seconds=1.0, outputs=[base])
            publish(tmp_path, progress.folder, progress.published())
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "stages" / "pretrain" / "notes.txt").write_text("mine")
    return tmp_path


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("answer", ["n\n", "", "\n"])
def test_without_a_yes_nothing_is_deleted(run, answer, monkeypatch, capsys):
    before = files(run)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert cli.main(["clean", str(run)]) == 0
    printed = capsys.readouterr().out
    assert f"{run}/stages/pretrain/first: 2.0 MB, finished" in printed and "second" not in printed
    assert "Nothing was deleted." in printed
    assert before <= files(run)


def test_a_yes_frees_what_other_settings_left_and_nothing_else(run, monkeypatch, capsys):
    before = files(run)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert cli.main(["clean", str(run)]) == 0
    assert "Freed 2.0 MB." in capsys.readouterr().out
    gone = before - files(run)
    assert gone and all(name.startswith("stages/pretrain/first/") for name in gone)
    assert (run / "base" / "model.safetensors").is_file()
    assert cli.main(["clean", str(run)]) == 0
    assert "nothing to free" in capsys.readouterr().out


def test_what_a_name_shows_stays_while_other_settings_are_not_finished(run, capsys):
    third = Progress(folder=run / "stages" / "pretrain" / "third", fingerprint="third")
    third.start({})
    note_current(third.folder)
    assert cli.main(["clean", str(run), "--yes", "true"]) == 0
    assert (run / "base" / "model.safetensors").is_file()
    assert third.folder.is_dir() and not (run / "stages" / "pretrain" / "first").exists()


def test_what_current_work_was_made_from_stays(run):
    grpo = Progress(folder=run / "stages" / "grpo" / "third", fingerprint="third")
    grpo.start({"after": {"pretrain": "first"}})
    note_current(grpo.folder)
    assert cli.main(["clean", str(run), "--yes", "true"]) == 0
    assert (run / "stages" / "pretrain" / "first").is_dir() and not (run / "stages" / "grpo" / "second").exists()


def test_a_run_in_use_and_what_is_no_run_are_refused(run, tmp_path_factory, capsys):
    with locked(run):
        assert cli.main(["clean", str(run), "--yes", "true"]) == 2
    assert "process" in capsys.readouterr().err
    assert (run / "stages" / "pretrain" / "first").is_dir()
    assert cli.main(["clean", str(tmp_path_factory.mktemp("none"))]) == 2
    assert "expected the output folder of a run" in capsys.readouterr().err
    assert cli.main(["clean"]) == 2
