from pathlib import Path

import pytest

from rlvr_world_hf.hub.bundled import bundled_path
from rlvr_world_hf.hub.download import find_file, local_folder
from tests.local_hub import Repository


def test_a_folder_is_its_own_place(tmp_path):
    assert local_folder(tmp_path) == tmp_path
    assert local_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["./rlvr", "outputs/run/rlvr", "~/rlvr"])
def test_a_missing_folder_is_not_looked_for_on_the_hub(name):
    with pytest.raises(FileNotFoundError, match="There is no checkpoint folder"):
        local_folder(name)


def test_a_name_without_a_slash_is_that_of_a_bundled_checkpoint_and_never_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rlvr_world_hf.hub.download.snapshot_download", None)
    assert local_folder("pusht-rlvr") == bundled_path("pusht-rlvr")
    with pytest.raises(FileNotFoundError, match="given 'gpt2'.*Choose among pusht-base, .*or a Hub id, owner/name"):
        local_folder("gpt2")
    (tmp_path / "pusht-rlvr").mkdir()
    assert local_folder("pusht-rlvr") == Path("pusht-rlvr")


def test_a_repository_that_the_hub_does_not_give(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="someone/world is no folder here, and the Hub did not give it either"):
        local_folder("someone/world")
    (tmp_path / "someone").mkdir()
    with pytest.raises(FileNotFoundError, match="There is no checkpoint folder someone/world"):
        local_folder("someone/world")


def test_a_file_of_a_repository_comes_without_the_others_and_then_from_the_cache(hub, monkeypatch):
    hub.repositories["model", "someone/world"] = Repository()
    hub.repositories["model", "someone/world"].commit({"config.json": b"{}", "model.safetensors": b"much"})
    file = find_file("someone/world", "config.json")
    assert file.read_bytes() == b"{}" and [path.name for path in file.parent.iterdir()] == ["config.json"]
    monkeypatch.setattr("rlvr_world_hf.hub.download.hf_hub_download", None)
    assert find_file("someone/world", "config.json") == file


@pytest.mark.parametrize("name", ["someone/nobody", "someone/world", "some one/world"])
def test_a_file_that_there_is_not_is_named(hub, name):
    hub.repositories["model", "someone/world"] = Repository()
    hub.repositories["model", "someone/world"].commit({"README.md": b""})
    with pytest.raises(
        FileNotFoundError, match=f"{name} is no folder here, and the Hub did not give its adapter.json"
    ):
        find_file(name, "adapter.json")


def test_a_file_of_a_hub_that_does_not_answer_is_named():
    with pytest.raises(FileNotFoundError, match="someone/far is no folder here, and the Hub did not give its x.json"):
        find_file("someone/far", "x.json")
