import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
from rlvr_world_hf.processors.weights import (
    CODEC_WEIGHTS,
    load_whole_codec,
    read_settings,
    refuse_unusable_numbers,
    stored_tensors,
)
from tests.processors.outside_codec import OutsideCodec


SIZES: dict[str, Any] = {"block_out_channels": (16, 16), "norm_num_groups": 4, "image_size": (16, 16)}
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    CompressiveTokenizer(**SIZES).to(torch.bfloat16).save_pretrained(tmp_path)
    return tmp_path


def change_weights(folder: Path, change: Callable[[Tensors], Any]) -> None:
    file = folder / f"{CODEC_WEIGHTS}.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file)


def test_headers_tell_what_the_files_hold(folder: Path) -> None:
    stored = stored_tensors(folder, CODEC_WEIGHTS)
    assert {name: tensor.shape for name, tensor in stored.items()} == {
        name: tuple(value.shape) for name, value in CompressiveTokenizer(**SIZES).state_dict().items()
    }
    assert {tensor.dtype for tensor in stored.values()} == {"BF16"}
    assert stored_tensors(folder, "model") == {}


def test_a_whole_codec_is_loaded(folder: Path) -> None:
    codec = load_whole_codec(CompressiveTokenizer, folder)
    expected = CompressiveTokenizer.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in codec.state_dict().items())
    assert codec.dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "given"),
    [
        (b"[]", r"list \[\]"),
        (b"3", "int 3"),
        (b"{", "text that cannot be read .JSONDecodeError"),
        (b"\xff", "text that cannot be read .UnicodeDecodeError"),
    ],
)
def test_settings_that_are_no_object_are_refused(folder: Path, content: bytes, given: str) -> None:
    file = folder / "config.json"
    assert read_settings(file)["norm_num_groups"] == 4
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"Expected in {file} an object of JSON, got {given}.* Save or download"):
        read_settings(file)
    with pytest.raises(ValueError, match=rf"Expected in {file} an object of JSON"):
        load_whole_codec(CompressiveTokenizer, folder)


def test_the_tensors_of_a_codec_are_those_of_its_class(folder: Path) -> None:
    fill: Tensors = {"fill": torch.zeros(10_000_000)}
    change_weights(folder, lambda weights: (weights.pop("dynamics_in.weight"), weights.update(fill)))
    words = rf"{folder} .* CompressiveTokenizer .* got: 1 missing \(dynamics_in.weight\); 1 superfluous \(fill\)"
    with pytest.raises(ValueError, match=words):
        load_whole_codec(CompressiveTokenizer, folder)


def test_a_codec_of_integers_is_refused(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"dynamics_in.bias": weights["dynamics_in.bias"].int()}))
    with pytest.raises(ValueError, match=rf"floating-point weights in {folder}, got I32 in 1 tensor"):
        load_whole_codec(CompressiveTokenizer, folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": [2**17, 2**17]}, "numbers, got files of"),
        ({"block_out_channels": [16, 2**20]}, "numbers, got files of"),
        ({"encoder_layers": 10**6}, "as many layers as the weights have, got encoder_layers 1000000"),
        ({"decoder_layers": 10**6}, "as many layers as the weights have, got decoder_layers 1000000"),
    ],
)
def test_sizes_that_no_weights_are_for_are_never_allocated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a codec of the declared size is allocated")

    monkeypatch.setattr(CompressiveTokenizer, "from_pretrained", load)
    settings = json.loads((folder / "config.json").read_text())
    conditioning = {"decoder_conditioning": ["attention", "none", "none"], "norm_num_groups": 4}
    (folder / "config.json").write_text(json.dumps(settings | conditioning | change))
    with pytest.raises(ValueError, match=words):
        load_whole_codec(CompressiveTokenizer, folder)


def test_a_codec_that_brings_its_code_lacks_nothing(tmp_path: Path) -> None:
    VideoWorldModelProcessor.from_codec(OutsideCodec(), [0.0], [1.0]).save_pretrained(tmp_path)
    change_weights(tmp_path / "codec", lambda weights: weights.update(other=weights.pop("weight")))
    with pytest.raises(ValueError, match=r"OutsideCodec .* 1 missing \(weight\); 1 superfluous \(other\)"):
        VideoWorldModelProcessor.from_pretrained(tmp_path, trust_remote_code=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_the_largest_numbers_are_finite(dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight.fill_(torch.finfo(dtype).max)
    layer.to(dtype)
    refuse_unusable_numbers(layer, {}, place=Path("world"))
    layer.bias = torch.nn.Parameter(torch.full((4,), torch.nan).to(dtype))
    with pytest.raises(ValueError, match=r"1 tensor \(bias\)"):
        refuse_unusable_numbers(layer, {}, place=Path("world"))


def test_whole_numbers_may_be_buffers(tmp_path: Path) -> None:
    layer = torch.nn.BatchNorm2d(2)
    save_file(layer.state_dict(), tmp_path / "model.safetensors")
    stored = stored_tensors(tmp_path, "model")
    assert stored["num_batches_tracked"].dtype == "I64"
    refuse_unusable_numbers(layer, stored, place=tmp_path)


@pytest.mark.parametrize(
    "part",
    ["../x.safetensors", "/x.safetensors", "a/../../x.safetensors", "C:\\x.safetensors", "..\\x.safetensors", 3],
)
def test_an_index_that_leads_out_of_its_folder_is_refused_by_name(tmp_path: Path, part: Any) -> None:
    folder = tmp_path / "world"
    folder.mkdir()
    save_file({"weight": torch.zeros(1)}, tmp_path / "x.safetensors")  # it is there, and must not be read
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": part}}))
    with pytest.raises(
        ValueError, match="model.safetensors.index.json files of its own folder, got .*outside"
    ) as told:
        stored_tensors(folder, "model")
    assert repr(part) in str(told.value)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": ["x"]}', '{"weight_map": {"weight": {}}}'])
def test_an_index_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match="Expected in .*model.safetensors.index.json a `weight_map`"):
        stored_tensors(tmp_path, "model")
