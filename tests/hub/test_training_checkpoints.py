import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import TrainerState

from rlvr_world_hf.hub.training_checkpoints import (
    best_checkpoint,
    damages,
    last_checkpoint,
    refuse_damaged,
    trained_seconds,
    write_manifest,
    write_seconds,
)


FILES = (
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "training_args.bin",
)


def checkpoint(folder: Path, step: int, *, best: Path | None = None, described: bool = True) -> Path:
    """A checkpoint as transformers' trainer writes it."""
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    save_file({"weight": torch.arange(64.0) + step}, place / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        torch.save({"state": torch.arange(64.0)}, place / name)
    state = TrainerState(global_step=step, best_model_checkpoint=None if best is None else str(best))
    state.save_to_json(str(place / "trainer_state.json"))
    if described:
        write_manifest(place)
    return place


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("name", FILES[:5])
@pytest.mark.parametrize("damage", [truncate, empty, Path.unlink])
def test_the_newest_intact_checkpoint_is_taken_and_the_damaged_one_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage, described: bool
) -> None:
    older = checkpoint(tmp_path, 4, described=described)
    newer = checkpoint(tmp_path, 12, described=described)
    assert last_checkpoint(tmp_path) == str(newer) and not caplog.text
    damage(newer / name)
    # Without a description, a missing state of the random numbers cannot be told from that of another trainer.
    if not described and damage is Path.unlink and name == "rng_state.pth":
        return
    assert last_checkpoint(tmp_path) == str(older)
    assert f"Passing over {newer}" in caplog.text and name in caplog.text


@pytest.mark.parametrize("name", FILES)
def test_a_single_flipped_bit_is_found(tmp_path: Path, name: str) -> None:
    place = checkpoint(tmp_path, 4)
    flip(place / name)
    assert damages(place) == [f"{place / name} holds other bytes than were written"]
    with pytest.raises(ValueError, match=f"{name}.*; train again"):
        refuse_damaged(place, remedy="train again")


def test_without_a_description_an_archive_is_checked_by_its_own_sums(tmp_path: Path) -> None:
    place = checkpoint(tmp_path, 4, described=False)
    with zipfile.ZipFile(place / "optimizer.pt") as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    content = bytearray((place / "optimizer.pt").read_bytes())
    content[largest.header_offset + 200] ^= 1
    (place / "optimizer.pt").write_bytes(content)
    assert len(damages(place)) == 1 and "optimizer.pt" in damages(place)[0]


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_description_leaves_the_checkpoint_to_its_files(tmp_path: Path, text: str) -> None:
    place = checkpoint(tmp_path, 4)
    (place / "manifest.json").write_text(text)
    assert damages(place) == []


def test_a_checkpoint_is_as_good_as_the_best_one_it_names(tmp_path: Path) -> None:
    oldest, best = checkpoint(tmp_path, 4), checkpoint(tmp_path, 8)
    newest = checkpoint(tmp_path, 12, best=best)
    assert best_checkpoint(newest) == best and best_checkpoint(best) == best
    assert last_checkpoint(tmp_path) == str(newest)
    truncate(best / "model.safetensors")
    assert last_checkpoint(tmp_path) == str(oldest)
    shutil.rmtree(oldest)
    assert last_checkpoint(tmp_path) == str(newest)  # updates are not thrown away for what was best before them
    assert best_checkpoint(newest) == newest and damages(newest) == []


def test_a_folder_of_the_user_beside_the_checkpoints_is_none(tmp_path: Path) -> None:
    kept = checkpoint(tmp_path, 4)
    shutil.copytree(kept, tmp_path / "checkpoint-200.bak")
    assert last_checkpoint(tmp_path) == str(kept)


def test_training_does_not_go_on_without_an_optimizer(tmp_path: Path) -> None:
    kept, without = checkpoint(tmp_path, 4), checkpoint(tmp_path, 8)
    (without / "optimizer.pt").unlink()
    write_manifest(without)
    assert last_checkpoint(tmp_path) == str(kept)


def test_the_best_checkpoint_is_found_again_where_the_run_was_moved(tmp_path: Path) -> None:
    best = checkpoint(tmp_path / "run", 4)
    checkpoint(tmp_path / "run", 8, best=best)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert best_checkpoint(tmp_path / "moved" / "checkpoint-8") == tmp_path / "moved" / "checkpoint-4"
    assert last_checkpoint(tmp_path / "moved") == str(tmp_path / "moved" / "checkpoint-8")


def test_checkpoints_in_pieces_are_passed_over(tmp_path: Path) -> None:
    kept = checkpoint(tmp_path, 12, described=False)
    for step, name in ((16, "trainer_state.json"), (20, "model.safetensors")):
        (checkpoint(tmp_path, step, described=False) / name).unlink()
    assert last_checkpoint(tmp_path) == str(kept)
    assert last_checkpoint(tmp_path / "nothing") is None


def test_seconds_after_the_checkpoint_resumed_from_are_forgotten(tmp_path: Path) -> None:
    for step, seconds in ((10, 1.0), (20, 2.0), (30, 3.0), (20, 2.5)):
        write_seconds(tmp_path, step, seconds)
    assert trained_seconds(tmp_path) == 2.5
    assert trained_seconds(tmp_path, 15) == 1.0
    assert trained_seconds(tmp_path / "nothing") == 0.0


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"8": "soon"})])
def test_seconds_that_cannot_be_read_name_the_file_and_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "seconds.json").write_text(text)
    with pytest.raises(ValueError, match=r"seconds.json: expected the seconds of training.*delete the file"):
        trained_seconds(tmp_path)
