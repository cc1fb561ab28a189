"""The Hub of the tests: what is pushed to it comes back, byte for byte, at every revision."""

from pathlib import Path

import datasets
import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from tests.local_hub import USER, LocalHub


REPO = f"{USER}/things"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "things" / "inner").mkdir(parents=True)
    (tmp_path / "things" / "small.json").write_text('{"a": 1}')
    (tmp_path / "things" / "inner" / "large.safetensors").write_bytes(bytes(range(256)) * 512)
    return tmp_path / "things"


def content(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != ".gitattributes")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_folder_comes_back(hub: LocalHub, folder: Path, kind: str) -> None:
    api = HfApi()
    assert api.whoami()["name"] == USER
    settings = {"space_sdk": "gradio"} if kind == "space" else {}
    api.create_repo(REPO, repo_type=kind, **settings)
    api.upload_folder(repo_id=REPO, folder_path=folder, repo_type=kind)
    assert content(Path(snapshot_download(REPO, repo_type=kind))) == content(folder)


def test_revisions_and_removals(hub: LocalHub, folder: Path) -> None:
    api = HfApi()
    api.create_repo(REPO)
    first = api.upload_folder(repo_id=REPO, folder_path=folder)
    api.create_tag(REPO, tag="v1")
    (folder / "small.json").write_text("{}")
    api.upload_folder(repo_id=REPO, folder_path=folder, delete_patterns=["inner/*"], allow_patterns=["*.json"])
    assert set(content(Path(snapshot_download(REPO)))) == {"small.json"}
    for revision in (first.oid, "v1"):
        old = content(Path(snapshot_download(REPO, revision=revision)))
        assert old["small.json"] == b'{"a": 1}' and "inner/large.safetensors" in old


def test_what_is_missing_has_its_own_error(hub: LocalHub, folder: Path) -> None:
    api = HfApi()
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download(f"{USER}/nothing")
    api.create_repo(REPO, private=True)
    with pytest.raises(RevisionNotFoundError):
        snapshot_download(REPO, revision="v9")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(REPO, "no.json")
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download(REPO, token=False)


def test_a_dataset_comes_back(hub: LocalHub) -> None:
    rows = datasets.Dataset.from_dict({"state": ["open", "shut"], "action": [[0.0, 1.0], [1.0, 0.0]]})
    rows.push_to_hub(f"{USER}/rows", split="test")
    loaded = datasets.load_dataset(f"{USER}/rows", split="test")
    assert loaded.to_dict() == rows.to_dict()
