import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlvr_world_hf.commands.cli import main
from rlvr_world_hf.commands.tools import bundle as module
from rlvr_world_hf.commands.tools.bundle import CODEC_WEIGHTS, bundle, bundle_checkpoints
from rlvr_world_hf.hub import load_world_model
from rlvr_world_hf.playground.checkpoints import Checkpoints, has_checkpoints
from rlvr_world_hf.runs.recipe import Recipe


@pytest.fixture
def run(whole_run: Recipe) -> Path:
    return whole_run.output_dir


@pytest.fixture
def cards(run: Path, tmp_path: Path) -> Path:
    """A folder of cards whose codec is that of the run."""
    (tmp_path / "world").mkdir()
    codec = shutil.copytree(run / "base" / "codec", tmp_path / "world-codec") / CODEC_WEIGHTS
    weights = load_file(codec)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    save_file({name: value.double() for name, value in weights.items()}, codec)  # the same, stored otherwise
    return tmp_path


def test_a_bundle_is_the_run_rounded_and_names_its_codec(
    run: Path, cards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlvr_world_hf.hub.bundled.shipped_folder", lambda name: cards)
    folders = bundle_checkpoints(run, "world", into=cards)
    assert (
        [folder.name for folder in folders]
        == ["base", "rlvr"]
        == sorted(path.name for path in (cards / "world").iterdir())
    )
    for folder in folders:
        assert not (folder / "codec").exists()
        weights, kept = load_file(run / folder.name / "model.safetensors"), load_file(folder / "model.safetensors")
        assert weights.keys() == kept.keys()
        assert all(torch.equal(value.bfloat16(), kept[name]) for name, value in weights.items())
        _, processor = load_world_model(folder)
        assert load_world_model(f"world-{folder.name}")[1].layout == processor.layout
        assert processor.layout == load_world_model(run / folder.name)[1].layout


def test_another_codec_goes_along(run: Path, cards: Path) -> None:
    shutil.rmtree(cards / "world-codec")
    assert all((folder / "codec").is_dir() for folder in bundle_checkpoints(run, "world", into=cards))


def test_what_is_too_large_leaves_what_was_there(run: Path, cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle_checkpoints(run, "world", into=cards)
    before = sorted(cards.rglob("*"))
    monkeypatch.setattr(module, "LIMIT", 1024)
    with pytest.raises(ValueError, match="smaller policy"):
        bundle_checkpoints(run, "world", into=cards)
    assert sorted(cards.rglob("*")) == before
    with pytest.raises(FileNotFoundError):
        bundle_checkpoints(run / "nothing", "world", into=cards)
    assert sorted(cards.rglob("*")) == before


def test_a_base_alone_lies_beside_its_card(run: Path, cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlvr_world_hf.hub.bundled.shipped_folder", lambda name: cards)
    card = cards / "world-base" / "README.md"
    card.parent.mkdir()
    card.write_text("what it is")
    (folder,) = bundle_checkpoints(run, "world-base", into=cards)
    assert folder == card.parent and card.read_text() == "what it is"
    assert not (folder / "codec").exists() and not (folder / ".base").exists()
    weights, kept = load_file(run / "base" / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all(torch.equal(value.bfloat16(), kept[name]) for name, value in weights.items())
    (cards / "world" / "base").mkdir(parents=True, exist_ok=True)  # of an earlier bundle
    (rlvr,) = bundle_checkpoints(run, "world", into=cards)  # counts it, and leaves it
    assert (folder / "model.safetensors").is_file()
    assert rlvr.name == "rlvr" and [path.name for path in (cards / "world").iterdir()] == ["rlvr"]
    assert has_checkpoints(cards / "world")
    found = Checkpoints.from_pretrained(cards / "world")
    assert torch.equal(found.pipelines["base"].model.lm_head.weight, weights["lm_head.weight"].bfloat16().float())


def test_another_base_goes_along(run: Path, cards: Path) -> None:
    bundle_checkpoints(run, "world-base", into=cards)
    stored = cards / "world-base" / "model.safetensors"
    save_file({name: value + 1 for name, value in load_file(stored).items()}, stored)
    assert [folder.name for folder in bundle_checkpoints(run, "world", into=cards)] == ["base", "rlvr"]


def test_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert bundle(["--help"]) == 0 and main(["bundle"]) == 2
    assert "rlvr-world bundle RUN NAME" in capsys.readouterr().out
