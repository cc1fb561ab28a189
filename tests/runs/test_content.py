import os
import sys

import pytest

from rlvr_world_hf.runs import content
from rlvr_world_hf.runs.content import (
    checkpoint_identity,
    content_hash,
    module_sources,
    named_folders,
    own_sources,
    with_content,
)
from tests.local_hub import Repository


@pytest.fixture(autouse=True)
def memory(tmp_path_factory, monkeypatch):
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(place))
    return place


@pytest.fixture
def read(monkeypatch):
    """The files whose bytes were read."""
    files = []
    hash_of = content.file_hash
    monkeypatch.setattr(content, "file_hash", lambda file: files.append(file.name) or hash_of(file))
    return files


def settle(file):
    """Make a file older than those whose hash is not remembered."""
    os.utime(file, (1, 1))


def test_paths_count_by_content_and_a_moved_folder_is_the_same(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.npz").write_text("frames")
    before = with_content({"files": {"a": tmp_path / "one" / "a.npz"}, "all": [tmp_path / "one", 3]})
    (tmp_path / "one").rename(tmp_path / "two")
    after = with_content({"files": {"a": tmp_path / "two" / "a.npz"}, "all": [tmp_path / "two", 3]})
    assert before == after and before["all"][1] == 3
    (tmp_path / "two" / "a.npz").rename(tmp_path / "two" / "b.npz")
    assert content_hash(tmp_path / "two") != before["all"][0]
    assert content_hash(tmp_path / "nowhere") is None


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, read, monkeypatch):
    monkeypatch.setattr(content, "SETTLED_SECONDS", 0.0)
    file = tmp_path / "weights.safetensors"
    file.write_text("1")
    settle(file)
    first = content_hash(file)
    assert content_hash(file) == first and read == [file.name]
    file.write_text("2")
    settle(file)  # of the same size and age: only the time of change, which cannot be set, tells them apart
    assert content_hash(file) != first and len(read) == 2


def test_a_hash_of_a_young_file_is_not_remembered(tmp_path, read):
    file = tmp_path / "weights.safetensors"
    file.write_text("1")
    content_hash(file)
    content_hash(file)
    assert len(read) == 2


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_memory_is_made_again(tmp_path, memory, text, monkeypatch):
    monkeypatch.setattr(content, "SETTLED_SECONDS", 0.0)
    file = tmp_path / "weights.safetensors"
    file.write_text("1")
    first = content_hash(file)
    (remembered,) = (memory / "hashes").iterdir()
    remembered.write_text(text)
    assert content_hash(file) == first


def test_a_checkpoint_is_its_weights_and_settings_and_not_what_is_said_about_it(tmp_path):
    (tmp_path / "codec").mkdir()
    for name in ("config.json", "model.safetensors", "codec/diffusion_pytorch_model.safetensors"):
        (tmp_path / name).write_text("1")
    before = checkpoint_identity(tmp_path)
    for name in ("README.md", "results.json", "strip.png"):
        (tmp_path / name).write_text("about it")
    assert checkpoint_identity(tmp_path) == before
    (tmp_path / "codec" / "diffusion_pytorch_model.safetensors").write_text("2")
    assert checkpoint_identity(tmp_path) != before


def test_a_bundled_checkpoint_is_known_by_its_weights_and_one_of_the_hub_by_its_commit():
    assert len(checkpoint_identity("pusht-codec")) == 16
    assert checkpoint_identity("nobody/nothing") == "nobody/nothing@"


def test_a_repository_is_known_by_its_commit(hub):
    repository = hub.repositories["model", "owner/model"] = Repository()
    for text in (b"{}", b'{"a": 1}'):
        commit = repository.commit({"config.json": text})
        content._commit.cache_clear()
        assert checkpoint_identity("owner/model") == f"owner/model@{commit}"


def test_a_users_own_reward_counts_by_its_source_with_that_of_its_base_class(tmp_path, monkeypatch):
    (tmp_path / "my_base.py").write_text("class Base: ...\n")
    (tmp_path / "my_rewards.py").write_text("from my_base import Base\nclass MyReward(Base): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"rewards": [{"path": "my_rewards.MyReward"}, {"path": "rlvr_world_hf.rewards.MAEReward"}]}
    first = own_sources(settings)
    assert set(first) == {"my_rewards", "my_base"}
    (tmp_path / "my_base.py").write_text("class Base: pass\n")
    assert own_sources(settings) == first  # what runs is what was imported
    module_sources.cache_clear()
    second = own_sources(settings)
    assert first["my_rewards"] == second["my_rewards"] and first["my_base"] != second["my_base"]
    assert own_sources([{"path": "no_such_module.Reward"}]) == {}
    for name in ("my_base", "my_rewards"):
        sys.modules.pop(name)


def test_of_a_run_that_a_reward_names_the_inverse_model_counts_and_not_the_records_of_its_stages(tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "inverse").mkdir()
    (tmp_path / "inverse" / "config.json").write_text("{}")
    entries = [{"path": "rlvr_world_hf.rewards.ActionRecoveryReward", "model": str(tmp_path)}]
    before = named_folders(entries)
    (tmp_path / "stages" / "asked.json").write_text('{"stages": ["inverse"]}')
    assert named_folders(entries) == before
    (tmp_path / "inverse" / "config.json").write_text('{"width": 8}')
    assert named_folders(entries) != before
