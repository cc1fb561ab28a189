"""What the output folder of a run shows, and how a run of an earlier version becomes one of today."""

import json
import os
from pathlib import Path

import pytest

from rlvr_world_hf.runs import outputs
from rlvr_world_hf.runs.lock import RunFolderError
from rlvr_world_hf.runs.outputs import adopt, note_current, publish, refuse_occupied, settings_folders
from rlvr_world_hf.runs.progress import Progress


def made(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(text)


def test_a_name_points_to_what_was_made_last_and_the_rest_stays(tmp_path, caplog):
    caplog.set_level("INFO")
    for settings in ("first", "second", "first"):
        folder = tmp_path / "stages" / "pretrain" / settings
        if not folder.exists():
            made(folder / "base", settings)
        publish(tmp_path, folder, ["base"])
        assert (tmp_path / "base" / "model.safetensors").read_text() == settings
    assert not Path(os.readlink(tmp_path / "base")).is_absolute()
    assert f"the earlier one stays in {tmp_path}/stages/pretrain/first" in caplog.text
    (tmp_path / "run").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "run", "stages"]


def test_a_file_that_was_edited_in_place_of_a_link_stays(tmp_path, caplog):
    folder = tmp_path / "stages" / "predict" / "first"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("made")
    publish(tmp_path, folder, ["README.md"])
    (tmp_path / "README.md").unlink()
    (tmp_path / "README.md").write_text("edited")
    publish(tmp_path, folder, ["README.md"])
    assert (tmp_path / "README.md").read_text() == "edited" and "is a file of yours and stays" in caplog.text


def test_where_no_links_can_be_made_a_warning_says_where_it_is(tmp_path, monkeypatch, caplog):
    def fail(*given, **named):
        raise OSError("links are not supported")

    monkeypatch.setattr(outputs.os, "symlink", fail)
    made(tmp_path / "stages" / "pretrain" / "first" / "base", "first")
    publish(tmp_path, tmp_path / "stages" / "pretrain" / "first", ["base"])
    assert "stages/pretrain/first/base" in caplog.text and not (tmp_path / "base").exists()


def test_a_file_of_the_user_is_in_the_way_and_a_link_is_not(tmp_path):
    made(tmp_path / "stages" / "pretrain" / "first" / "base", "first")
    publish(tmp_path, tmp_path / "stages" / "pretrain" / "first", ["base"])
    refuse_occupied(tmp_path, ["base", "rlvr"])
    (tmp_path / "rlvr").write_text("mine")
    with pytest.raises(RunFolderError, match="rlvr: expected nothing here.*got a file of your own; move it"):
        refuse_occupied(tmp_path, ["base", "rlvr"])


def run_of_an_earlier_version(folder: Path) -> None:
    """As version 0.1 left it: one folder a stage, and what it made beside."""
    for stage, names in (("pretrain", ["base"]), ("evaluate", ["results.json"])):
        at = folder / "stages" / stage
        at.mkdir(parents=True)
        (at / "started.json").write_text(json.dumps({"fingerprint": f"{stage}-settings"}))
        (at / "history.json").write_text("{}")
        for name in names:
            made(folder / name, "weights") if name == "base" else (folder / name).write_text("{}")
        paths = [f"../../{name}" for name in names] + ["history.json"]
        (at / "done.json").write_text(json.dumps({"fingerprint": f"{stage}-settings", "outputs": paths}))
    (folder / "stages" / "pretrain" / "checkpoint-8").mkdir()
    interrupted = folder / "stages" / "grpo"
    interrupted.mkdir()
    (interrupted / "started.json").write_text("damaged")
    (folder / "notes.txt").write_text("mine")


def test_a_run_of_an_earlier_version_keeps_every_file(tmp_path):
    run_of_an_earlier_version(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    adopt(tmp_path)
    adopt(tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
    pretrain = tmp_path / "stages" / "pretrain" / "pretrain-settings"
    assert (tmp_path / "base").resolve() == (pretrain / "base").resolve() and (pretrain / "checkpoint-8").is_dir()
    assert (tmp_path / "results.json").is_symlink()
    assert (tmp_path / "stages" / "grpo" / "earlier_version" / "started.json").read_text() == "damaged"
    # Its fingerprint is that of other settings, hence it is not taken for work of today's.
    assert not Progress(folder=pretrain, fingerprint="pretrain-settings").is_done()


def test_folders_of_settings_say_what_is_current(tmp_path):
    for settings in ("first", "second"):
        progress = Progress(folder=tmp_path / "stages" / "pretrain" / settings, fingerprint=settings)
        progress.start({})
        note_current(progress.folder)
    found = {folder.folder.name: (folder.is_done, folder.is_current) for folder in settings_folders(tmp_path)}
    assert found == {"first": (False, False), "second": (False, True)}
    (tmp_path / "stages" / "pretrain" / "current.json").write_text("[")
    assert all(folder.is_current for folder in settings_folders(tmp_path))
