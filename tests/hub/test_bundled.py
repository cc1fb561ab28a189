"""What ships with the library is found by name, and loads by it, from its folder, and after it was saved or pushed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf import CompressiveTokenizer, WorldModelPipeline
from rlvr_world_hf.hub import bundled
from rlvr_world_hf.hub.bundled import bundled_names, bundled_path
from rlvr_world_hf.hub.checkpoint import load_world_model, save_world_model
from rlvr_world_hf.hub.push import push_checkpoint
from tests.local_hub import USER, LocalHub
from tests.tiny import tiny_model, tiny_processor, tiny_rows


WORLD_MODELS = [name for name in bundled_names() if (bundled_path(name) / "processor_config.json").is_file()]
PROCESSOR = tiny_processor()
ROW = tiny_rows()[0]


def predict(model: Any, processor: Any) -> torch.Tensor:
    return WorldModelPipeline(model, processor)(ROW["context"], ROW["actions"], num_samples=2)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder with checkpoints beside it, as in a checkout: a codec, and a run whose settings name it."""
    cards = tmp_path / "model_cards"
    folder = save_world_model(cards / "tiny" / "rlvr", tiny_model(PROCESSOR), PROCESSOR)
    shutil.move(folder / "codec", cards / "tiny-codec")
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["codec"] = {"class": settings["codec"]["class"], "name": "tiny-codec"}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    (cards / "tiny-sensor").mkdir()
    monkeypatch.setattr(bundled, "_PACKAGE", tmp_path / "rlvr_world_hf")
    return cards


def test_what_holds_weights_is_bundled(shipped: Path) -> None:
    assert bundled_names() == ["tiny-codec", "tiny-rlvr"]
    assert bundled_path("tiny-rlvr") == shipped / "tiny" / "rlvr"
    (shipped / "other").mkdir()
    shutil.copytree(shipped / "tiny" / "rlvr", shipped / "other" / "base")
    assert bundled_names() == ["other-base", "tiny-codec", "tiny-rlvr"]
    shutil.copytree(shipped / "tiny" / "rlvr", shipped / "other-base")
    assert bundled_path("other-base") == shipped / "other-base"  # the folder that has the name itself


@pytest.mark.parametrize("name", ["tiny-rlrv", "tiny", "tiny-sensor"])
def test_an_unknown_name_is_told_the_known_ones(shipped: Path, name: str) -> None:
    for find in (bundled_path, load_world_model):
        with pytest.raises(
            FileNotFoundError, match=f"given '{name}'.*Did you mean.*Choose among tiny-codec, tiny-rlvr"
        ):
            find(name)


def test_what_lies_inside_the_package_comes_first(shipped: Path) -> None:
    inside = shipped.parent / "rlvr_world_hf" / "model_cards"
    shutil.copytree(shipped, inside)
    assert bundled_path("tiny-codec") == inside / "tiny-codec"
    with pytest.raises(FileNotFoundError, match="Reinstall the package"):
        bundled.shipped_folder("spaces")


def test_a_name_and_its_folder_predict_the_same(shipped: Path) -> None:
    expected = predict(tiny_model(PROCESSOR), PROCESSOR)
    for place in ("tiny-rlvr", shipped / "tiny" / "rlvr", str(shipped / "tiny" / "rlvr")):
        assert torch.equal(predict(*load_world_model(place)), expected)


def test_a_folder_that_exists_comes_first(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shipped.parent)
    save_world_model("tiny-rlvr", tiny_model(PROCESSOR, seed=1), PROCESSOR)
    assert torch.equal(predict(*load_world_model("tiny-rlvr")), predict(tiny_model(PROCESSOR, seed=1), PROCESSOR))


def test_saving_writes_the_codec_too(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_world_model(tmp_path / "saved", *load_world_model("tiny-rlvr"))
    monkeypatch.setattr(bundled, "_PACKAGE", tmp_path / "nothing" / "rlvr_world_hf")
    assert torch.equal(predict(*load_world_model(folder)), predict(tiny_model(PROCESSOR), PROCESSOR))
    with pytest.raises(FileNotFoundError, match="model_cards"):
        load_world_model("tiny-rlvr")


def test_pushing_sends_the_codec_too(
    shipped: Path, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoProcessor

    folder = shipped / "tiny" / "rlvr"
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    push_checkpoint(folder, f"{USER}/bundled")
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before
    monkeypatch.setattr(bundled, "_PACKAGE", tmp_path / "nothing" / "rlvr_world_hf")
    model, processor = load_world_model(f"{USER}/bundled")
    assert torch.equal(predict(model, processor), predict(tiny_model(PROCESSOR), PROCESSOR))
    automatic = AutoProcessor.from_pretrained(f"{USER}/bundled")
    assert torch.equal(predict(model, automatic), predict(model, processor))
    assert "codec/modeling_compressive_tokenizer.py" in hub.files(f"{USER}/bundled")


def test_a_codec_that_is_not_there_is_named(shipped: Path) -> None:
    shutil.rmtree(shipped / "tiny-codec")
    with pytest.raises(FileNotFoundError, match="given 'tiny-codec'"):
        load_world_model("tiny-rlvr")


@pytest.mark.parametrize("name", WORLD_MODELS)
def test_every_bundled_world_model_predicts(name: str) -> None:
    """Loaded by its name and from its folder."""
    by_name, from_folder = (WorldModelPipeline.from_pretrained(place) for place in (name, bundled_path(name)))
    if by_name.processor.predicts == ("text",):
        prompt = ("at(player, kitchen)", "go east")
        assert by_name(*prompt, temperature=0.0) == from_folder(*prompt, temperature=0.0)
        return
    start = by_name.example()
    situation = {"frames": start.frames[:2], "actions": start.actions[1:], "states": start.states[:2]}
    futures = by_name(**situation, temperature=0.0)["predicted"]
    assert futures.shape == (1, 4, 3, 64, 64)
    assert torch.equal(futures, from_folder(**situation, temperature=0.0)["predicted"])
    recorded = torch.from_numpy(start.frames[2:]) / 255
    still = torch.from_numpy(start.frames[1:2]) / 255
    assert (futures[0] - recorded).abs().mean() < (still - recorded).abs().mean()  # the right codec


def test_bundled_checkpoints_are_those_of_the_worlds_with_weights(repository: Path) -> None:
    assert {"pusht-base", "pusht-rlvr", "textworld-base", "textworld-rlvr"} <= {*WORLD_MODELS}
    folders = {path.parent for path in (repository / "model_cards").rglob("*.safetensors")}
    loaded = {bundled_path(name) for name in bundled_names()}
    assert folders == loaded
    WorldModelPipeline.from_pretrained(repository / "model_cards" / "pusht" / "rlvr")
    assert CompressiveTokenizer.from_pretrained(bundled_path("pusht-codec")).config.context_frames == 1
