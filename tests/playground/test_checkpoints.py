import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from rlvr_world_hf.playground import checkpoints as module
from rlvr_world_hf.playground.checkpoints import (
    Checkpoints,
    fetch,
    has_checkpoints,
    load,
    parse_hub_id,
    replace_from_hub,
)
from tests.worlds.pusht.test_playground import PIPELINES


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "pusht"
    for name, pipeline in PIPELINES.items():
        pipeline.save_pretrained(folder / name)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, run: Path) -> list[Any]:
    """A Hub on which every repository is the run's rlvr, and which keeps what was asked."""
    asked: list[Any] = []

    def model_info(self: HfApi, repo: str, **settings: Any) -> Any:
        asked.append((repo, settings["revision"]))
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename="model.safetensors", size=1000)])

    def snapshot_download(repo: str, **settings: Any) -> str:
        asked.append(settings["allow_patterns"])
        return str(run / "rlvr")

    monkeypatch.setattr(HfApi, "model_info", model_info)
    monkeypatch.setattr(module, "snapshot_download", snapshot_download)
    return asked


def prediction(pipeline: Any) -> np.ndarray:
    frames, actions = np.full((2, 16, 16, 3), 200, np.uint8), np.full((3, 2), 256.0)
    return pipeline(frames, actions, temperature=0.0).numpy()


def test_a_run_is_loaded_from_its_folder(run: Path) -> None:
    loaded = Checkpoints.from_pretrained(run, device="cpu")
    assert loaded.predicts == ("frames",) and loaded.folder == run and has_checkpoints(run)
    assert not np.array_equal(*map(prediction, loaded.pipelines.values()))
    for name, pipeline in loaded.pipelines.items():
        assert np.array_equal(prediction(pipeline), prediction(PIPELINES[name]))


def test_bundled_checkpoints_are_a_run_whose_codec_lies_elsewhere(repository: Path) -> None:
    folder = repository / "model_cards" / "pusht"
    loaded = Checkpoints.from_pretrained(folder, device="cpu")
    assert not (folder / "rlvr" / "codec").exists() and (folder / "results.json").is_file()
    assert loaded.pipelines["rlvr"].processor.codec.config.image_size == [64, 64]


def test_a_cpu_computes_in_float32(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "rlvr", tmp_path / "rlvr")
    half = load(tmp_path / "rlvr", device="cpu").model.to(torch.bfloat16)
    half.save_pretrained(tmp_path / "rlvr")
    assert load(tmp_path / "rlvr", device="cpu").model.dtype == torch.float32


def test_what_is_not_there_is_said_and_not_looked_for_on_the_hub(hub: list[Any], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Run `make quickstart` first"):
        Checkpoints.from_pretrained("owner/name")
    assert hub == [] and not has_checkpoints(tmp_path)
    Checkpoints.from_pretrained("hf://owner/name", device="cpu")
    assert [asked[0] for asked in hub[::2]] == ["owner/name-base", "owner/name-rlvr"]


@pytest.mark.parametrize(
    "text",
    ["", "name", "/etc/passwd", "../up", "owner/..", "a/b/c", "owner/name@../x", "owner/na me", "owner/name\nx", "~/x"]
    + ["hf://owner/name", "owner/name@", "C:\\x", "owner/" + "n" * 99, "./model_cards/pusht", "owner/name@a..b"],
)
def test_only_hub_ids_are_hub_ids(text: str) -> None:
    with pytest.raises(ValueError, match="Expected the id of a Hub repository"):
        parse_hub_id(text)


def test_a_folder_of_that_name_is_never_looked_at(
    hub: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model_cards" / "pusht").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    fetch("model_cards/pusht@v1")
    assert hub[0] == ("model_cards/pusht", "v1")


def test_only_safetensors_and_settings_are_fetched(hub: list[Any]) -> None:
    fetch("owner/name")
    assert hub[-1] == ["*.json", "*.safetensors", "learning_curves.png"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("model.bin", 10)], "no weights as safetensors"),
        ([("model.safetensors", 10), ("tokenizer.json", 3 * 1024**3)], "3.0 GiB of weights and settings"),
        ([("model.safetensors", 3 * 1024**3)], "3.0 GiB of weights and settings, and here 2 GiB are the limit"),
    ],
)
def test_what_cannot_be_loaded_is_not_downloaded(
    hub: list[Any], monkeypatch: pytest.MonkeyPatch, files: list[tuple[str, int]], words: str
) -> None:
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in files]
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=siblings))
    with pytest.raises(ValueError, match=words):
        fetch("owner/name")
    assert hub == []


def test_a_repository_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    def missing(*_: Any, **__: Any) -> None:
        answer = httpx.Response(404, request=httpx.Request("GET", "http://hub"))
        raise RepositoryNotFoundError("404. Repository Not Found", response=answer)

    monkeypatch.setattr(HfApi, "model_info", missing)
    with pytest.raises(FileNotFoundError, match=r"did not give owner/name at v2: 404.*Check the id"):
        fetch("owner/name@v2")


def test_models_from_the_hub_stand_in_for_those_at_hand(hub: list[Any], run: Path) -> None:
    own = Checkpoints.from_pretrained(run, device="cpu")
    assert replace_from_hub(own, {"base": "", "rlvr": " "}) is own and hub == []
    mixed = replace_from_hub(own, {"base": "owner/name", "rlvr": ""})
    assert mixed.pipelines["rlvr"] is own.pipelines["rlvr"] and mixed.folder == run / "rlvr"
    assert np.array_equal(*map(prediction, mixed.pipelines.values()))


def test_models_of_another_kind_are_refused(hub: list[Any], run: Path) -> None:
    of_text = SimpleNamespace(processor=SimpleNamespace(predicts=("text",)), model=SimpleNamespace(device="cpu"))
    own = Checkpoints(pipelines={"base": of_text, "rlvr": of_text}, folder=run)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="owner/name predicts frames; here models of text play"):
        replace_from_hub(own, {"base": "owner/name", "rlvr": ""})
