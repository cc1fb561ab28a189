import shutil
from pathlib import Path

import pytest

from rlvr_world_hf.runs.progress import Progress, cached, fingerprint, read_json, write_json


def made(folder: Path, text: str = "weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.safetensors"
    file.write_text(text)
    return folder


def test_a_folder_is_fresh_then_interrupted_then_done(tmp_path):
    progress = Progress(folder=tmp_path / "grpo" / "a", fingerprint="a")
    assert not progress.start({})
    assert progress.start({}) and not progress.is_done()
    progress.finish(seconds=2.0, outputs=[made(progress.folder / "rlvr")])
    assert progress.is_done() and progress.published() == ["rlvr"]
    assert not Progress(folder=progress.folder, fingerprint="b").is_done()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.unlink(), "model.safetensors is gone"),
        (lambda file: file.write_text("weight"), "has 6 of its 7 bytes"),
        (lambda file: file.write_text("weighty"), "holds other bytes than were written"),
    ],
)
def test_a_stage_whose_outputs_were_damaged_is_not_done_and_keeps_its_checkpoints(tmp_path, caplog, damage, said):
    progress = Progress(folder=tmp_path / "a", fingerprint="a")
    progress.start({})
    checkpoint = made(progress.folder / "checkpoint-8")
    progress.finish(seconds=2.0, outputs=[made(progress.folder / "rlvr")])
    damage(progress.folder / "rlvr" / "model.safetensors")
    (progress.folder / "rlvr" / "notes.txt").write_text("mine")
    assert not progress.is_done() and said in caplog.text
    assert progress.start({}) and (checkpoint / "model.safetensors").is_file()
    assert not (progress.folder / "rlvr").exists()
    assert (progress.folder / "rlvr.damaged-1" / "notes.txt").read_text() == "mine"


def test_without_a_record_a_checkpoint_that_cannot_be_replaced_is_set_aside(tmp_path):
    progress = Progress(folder=tmp_path / "a", fingerprint="a")
    progress.start({})
    for name in ("rlvr", "base"):
        made(progress.folder / name)
    (progress.folder / "base" / "config.json").write_text("{}")
    progress.start({})
    assert sorted(path.name for path in progress.folder.glob("*") if path.is_dir()) == ["base", "rlvr.damaged-1"]


def test_a_card_that_was_edited_is_still_there(tmp_path):
    progress = Progress(folder=tmp_path / "a", fingerprint="a")
    progress.start({})
    card = progress.folder / "README.md"
    card.write_text("made")
    progress.finish(seconds=2.0, outputs=[card])
    card.write_text("edited by hand")
    assert progress.is_done()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fingerprint": "a", "outputs": []}', b"\xff"])
def test_a_record_that_cannot_be_read_makes_the_stage_unfinished(tmp_path, content, caplog):
    progress = Progress(folder=tmp_path / "a", fingerprint="a")
    progress.start({})
    progress.finish(seconds=2.0, outputs=[])
    (progress.folder / "done.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert not progress.is_done()
    assert progress.start({})
    assert "outputs" in str(content) or "done.json" in caplog.text


def test_a_run_stays_finished_where_it_is_moved_and_wherever_it_is_asked_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    episodes = made(tmp_path / "cache" / "episodes")
    progress = Progress(folder=Path("outputs/run/stages/pretrain/a"), fingerprint="a")
    progress.start({})
    progress.finish(seconds=2.0, outputs=[made(progress.folder / "base"), episodes])
    assert progress.is_done() and progress.published() == ["base"]
    (tmp_path / "outputs" / "run").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path.parent)
    moved = Progress(folder=tmp_path / "moved" / "stages" / "pretrain" / "a", fingerprint="a")
    assert moved.is_done()
    copied = tmp_path / "copied"
    shutil.copytree(tmp_path / "moved", copied)
    assert Progress(folder=copied / "stages" / "pretrain" / "a", fingerprint="a").is_done()
    (episodes / "model.safetensors").unlink()
    assert not moved.is_done()


def test_a_record_that_is_no_mapping_is_refused_with_file_and_remedy(tmp_path):
    file = tmp_path / "history.json"
    for content, expected in (("[]", "expected a JSON mapping, got list"), ("{", "expected JSON, and cannot read it")):
        file.write_text(content)
        with pytest.raises(ValueError, match=f"history.json: {expected}.*delete the file"):
            read_json(file)


def test_a_fingerprint_follows_the_content_alone():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})


def test_json_is_replaced_as_a_whole(tmp_path):
    write_json(tmp_path / "record.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "record.json", {"a": object()})
    assert read_json(tmp_path / "record.json") == {"a": 1}
    assert read_json(tmp_path / "none.json") == {}


def test_a_cached_folder_is_built_once_and_never_in_part(tmp_path, monkeypatch):
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path))
    built = []

    def build(folder, *, fails):
        (folder / "part").touch()
        built.append(folder)
        if fails:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("episodes", "a", lambda folder: build(folder, fails=True))
    assert not list((tmp_path / "episodes").iterdir())
    folders = [cached("episodes", "a", lambda folder: build(folder, fails=False)) for _ in range(2)]
    assert folders[0] == folders[1] == tmp_path / "episodes" / "a"
    assert len(built) == 2


def test_a_cached_folder_that_was_damaged_is_built_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path))
    folder = cached("tokens", "a", made)
    assert cached("tokens", "a", lambda folder: pytest.fail("it is intact")) == folder
    for damage in (lambda file: file.unlink(), lambda file: file.write_text("weight")):
        damage(folder / "model.safetensors")
        cached("tokens", "a", made)
        assert (folder / "model.safetensors").read_text() == "weights"
    assert "model.safetensors is gone" in caplog.text and "has 6 of its 7 bytes" in caplog.text
    assert sorted(path.name for path in (tmp_path / "tokens").iterdir()) == ["a", "a.json"]


def test_a_cached_folder_of_an_earlier_version_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path))
    folder = made(tmp_path / "tokens" / "a")
    assert cached("tokens", "a", lambda folder: pytest.fail("it is there")) == folder


def test_what_stopped_a_stage_is_kept_until_it_goes_on(tmp_path):
    progress = Progress(folder=tmp_path / "a", fingerprint="a")
    progress.start({})
    progress.stop(KeyboardInterrupt())
    assert read_json(progress.folder / "stopped.json") == {"is_failure": False, "reason": "interrupted"}
    progress.stop(OSError("no space\nleft"))
    assert read_json(progress.folder / "stopped.json") == {"is_failure": True, "reason": "OSError: no space"}
    assert progress.start({}) and not (progress.folder / "stopped.json").exists()
    shutil.rmtree(progress.folder)
    progress.stop(ValueError())  # where nothing can be written, the error itself is what is told
