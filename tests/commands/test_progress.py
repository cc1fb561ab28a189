import pytest

from rlvr_world_hf.commands.progress import Progress, cached, fingerprint, read_json, write_json


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
