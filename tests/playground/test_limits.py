"""A checkpoint that is, or says that it is, too large for a page is refused by name before anything is built."""

import json
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

from rlvr_world_hf.hub.transformer import load_transformer
from rlvr_world_hf.playground import checkpoints
from rlvr_world_hf.playground.checkpoints import Checkpoints, replace_from_hub
from rlvr_world_hf.playground.limits import MAX_HEADER, MAX_NUMBERS, MAX_SETTINGS, MAX_TENSORS, refuse_too_large
from tests.worlds.pusht.test_playground import PIPELINES


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PIPELINES["rlvr"].save_pretrained(tmp_path_factory.mktemp("saved") / "rlvr")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "rlvr"))


def settings(name: str, **changed: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))

    return change


def layout(**changed: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = json.loads((folder / "processor_config.json").read_text())["layout"]
        settings("processor_config.json", layout=found | changed)(folder)

    return change


def header(text: bytes, *, length: int | None = None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text)

    return change


def tensors(count: int) -> Callable[[Path], None]:
    return lambda folder: save_file(
        {str(at): torch.zeros(1) for at in range(count)}, folder / "codec" / "x.safetensors"
    )


def numbers(folder: Path) -> None:
    """A file whose numbers are a hole in it, which takes no room."""
    size = MAX_NUMBERS + 1
    text = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    header(text)(folder)
    with (folder / "model.safetensors").open("r+b") as opened:
        opened.truncate(8 + len(text) + size)


def written(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text)


TOO_LARGE = [
    (settings("config.json", num_hidden_layers=10**6), "num_hidden_layers of at most 64 in config.json, got 1000000"),
    (settings("config.json", num_hidden_layers=1e6), "num_hidden_layers of at most 64"),
    (settings("config.json", num_hidden_layers=float("nan")), "num_hidden_layers of at most 64 .* got nan"),
    (settings("config.json", text_config={"n_layer": 65}), "n_layer of at most 64"),
    (settings("config.json", num_attention_heads=17), "num_attention_heads of at most 16"),
    (settings("config.json", num_experts=10**5), "num_experts of at most 64"),
    (settings("config.json", max_position_embeddings=10**9), "max_position_embeddings of at most 1048576"),
    (settings("config.json", hidden_size=-(10**9)), "hidden_size of at most 1048576"),
    (settings("config.json", layer_types=["full_attention"] * 300), "entries of layer_types .* at most 256, got 300"),
    (
        settings("codec/config.json", image_size=[10**5, 10**5]),
        r"image_size of at most 256 in codec/config.json, got 100000",
    ),
    (settings("codec/config.json", image_size=[256, 256], stem_patch_size=1), "patches of .* at most 4096"),
    (settings("codec/config.json", block_out_channels=[10**5, 16]), "block_out_channels of at most 1024"),
    (settings("codec/config.json", decoder_layers=10**6), "decoder_layers of at most 64"),
    (settings("codec/config.json", attention_heads=10**3), "attention_heads of at most 16"),
    (settings("processor_config.json", fps=1e-9), "fps from 0.5 to 50 .* got 1e-09"),
    (settings("processor_config.json", fps="2"), "fps from 0.5 to 50 .* got '2'"),
    (layout(observed_steps=33), "frames given of at most 32"),
    (layout(context_grid=[100, 100]), "tokens of a prompt and a step of at most 2048"),
    (layout(action_dims=10**5), "tokens of a prompt and a step of at most 2048"),
    (written("config.json", "[" * 10**5), "JSON in config.json"),
    (written("config.json", "[]"), "a JSON object in config.json"),
    (written("config.json", " " * (MAX_SETTINGS + 1)), "bytes of config.json of at most"),
    (written("adapter_config.json", "{}"), "a whole model, got an adapter. Merge it first"),
    (header(b"{}", length=MAX_HEADER + 1), "bytes of the header of model.safetensors of at most"),
    (tensors(MAX_TENSORS + 1), "tensors of at most 4096"),
    (numbers, "numbers in its weights of at most 200000000, got 200"),
]


@pytest.mark.parametrize(("change", "words"), TOO_LARGE, ids=[words[:40] for _, words in TOO_LARGE])
def test_what_is_too_large_is_refused_by_name(folder: Path, change: Callable[[Path], Any], words: str) -> None:
    change(folder)
    with pytest.raises(ValueError, match=words) as caught:
        refuse_too_large(folder, name="owner/name")
    assert str(caught.value).startswith("Expected of owner/name ")


def test_checkpoints_of_the_house_are_not_too_large(folder: Path, repository: Path) -> None:
    refuse_too_large(folder, name="owner/name")
    for world in ("pusht/rlvr", "pusht/base", "pusht-base", "pusht-codec", "textworld/base", "textworld/rlvr"):
        refuse_too_large(repository / "model_cards" / world, name=world)


@pytest.mark.parametrize(
    "change",
    [
        settings("config.json", num_hidden_layers=10**6),
        settings("codec/config.json", image_size=[10**5, 10**5]),
        settings("processor_config.json", fps=1e-9),
    ],
    ids=["layers", "image_size", "fps"],
)
def test_a_visitors_checkpoint_is_refused_before_anything_is_built(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    change(folder)
    files = [SimpleNamespace(rfilename="model.safetensors", size=1000)]
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=files))
    monkeypatch.setattr(checkpoints, "snapshot_download", lambda *_, **__: str(folder))
    monkeypatch.setattr(checkpoints, "load", lambda *_, **__: pytest.fail("it was loaded"))
    own = Checkpoints(pipelines=PIPELINES, folder=folder)
    start = time.monotonic()
    with pytest.raises(ValueError, match="Expected of owner/name .* `rlvr-world demo FOLDER`"):
        replace_from_hub(own, {"base": "", "rlvr": " owner/name "})
    assert time.monotonic() - start < 2


def test_of_a_visitor_less_is_downloaded_than_of_who_serves_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [SimpleNamespace(rfilename="model.safetensors", size=3 * 1024**3 // 2)]
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=files))
    monkeypatch.setattr(checkpoints, "snapshot_download", lambda *_, **__: ".")
    checkpoints.fetch("owner/name")
    with pytest.raises(ValueError, match="1.5 GiB of weights and settings, and here 1 GiB are the limit"):
        replace_from_hub(Checkpoints(pipelines=PIPELINES, folder=Path()), {"rlvr": "owner/name"})


def test_a_mask_far_larger_than_the_weights_is_refused(tmp_path: Path) -> None:
    sizes = {"n_embd": 1, "n_layer": 1, "n_head": 1, "vocab_size": 8}
    OpenAIGPTLMHeadModel(OpenAIGPTConfig(n_positions=16, **sizes)).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["transformer.positions_embed.weight"] = torch.zeros(2**16, 1)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    settings("config.json", n_positions=2**16)(tmp_path)
    with pytest.raises(ValueError, match="bytes beside its weights, got 17180393472; its longest sequence"):
        load_transformer(tmp_path, dtype="auto")
