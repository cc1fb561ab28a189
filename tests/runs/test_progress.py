from pathlib import Path

import pytest

from rlvr_world_hf.runs.progress import Progress, cached, fingerprint, read_json, write_json


def test_a_folder_is_fresh_then_interrupted_then_done(tmp_path):
    progress = Progress(folder=tmp_path / "grpo", fingerprint="a")
    assert not progress.start()
    (progress.folder / "checkpoint").touch()
    assert progress.start()
    progress.finish(seconds=2.0, outputs=[progress.folder / "checkpoint"])
    assert progress.is_done()
    assert not Progress(folder=progress.folder, fingerprint="b").is_done()
    (progress.folder / "checkpoint").unlink()
    assert not progress.is_done()


def test_a_run_stays_finished_where_it_is_moved_and_wherever_it_is_asked_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    episodes = tmp_path / "cache" / "episodes"
    episodes.mkdir(parents=True)
    progress = Progress(folder=Path("outputs/run/stages/pretrain"), fingerprint="a")
    progress.start()
    base = Path("outputs/run/base")
    base.mkdir()
    progress.finish(seconds=2.0, outputs=[base, progress.folder, episodes])
    assert progress.is_done()
    (tmp_path / "outputs" / "run").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path.parent)
    moved = Progress(folder=tmp_path / "moved" / "stages" / "pretrain", fingerprint="a")
    assert moved.is_done()
    (tmp_path / "moved" / "base").rmdir()
    assert not moved.is_done()


def test_a_finished_run_of_an_earlier_version_stays_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run" / "stages" / "pretrain"
    folder.mkdir(parents=True)
    write_json(folder / "done.json", {"fingerprint": "a", "outputs": ["run/stages"]})
    assert Progress(folder=folder, fingerprint="a").is_done()


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
