import os
import shutil

from rlvr_world_hf.hub import manifest
from rlvr_world_hf.hub.manifest import damaged, describe


def test_what_was_written_is_intact_until_it_changes(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint"
    (folder / "codec").mkdir(parents=True)
    for name in ("model.safetensors", "codec/weights.safetensors", "README.md"):
        (folder / name).write_text("12345")
    written = describe(folder)
    assert set(written) == {"model.safetensors", "codec/weights.safetensors", "README.md"}
    (folder / "new.txt").write_text("added later")
    (folder / "README.md").write_text("edited")
    assert damaged(folder, written) == []
    (folder / "model.safetensors").write_text("1234x")
    (folder / "codec" / "weights.safetensors").write_text("1")
    assert damaged(folder, written) == [
        f"{folder}/codec/weights.safetensors has 1 of its 5 bytes",
        f"{folder}/model.safetensors holds other bytes than were written",
    ]
    (folder / "README.md").unlink()
    assert f"{folder}/README.md is gone" in damaged(folder, written)


def test_a_copy_is_intact_and_what_has_not_changed_is_not_read(tmp_path, monkeypatch):
    file = tmp_path / "base.safetensors"
    file.write_text("1")
    written = describe(file)
    shutil.copyfile(file, tmp_path / "copy.safetensors")
    assert damaged(tmp_path / "copy.safetensors", written) == []
    os.utime(file)
    assert damaged(file, written) == []
    written = describe(file)
    monkeypatch.setattr(manifest, "file_hash", lambda file: 1 / 0)
    assert damaged(file, written) == []


def test_an_empty_folder_is_damaged_when_it_is_gone(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert damaged(folder, describe(folder)) == []
    folder.rmdir()
    assert damaged(folder, {}) == [f"{folder} is gone"]
