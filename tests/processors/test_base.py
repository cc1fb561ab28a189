"""A processor survives save and load with its codec; code of strangers runs only where it is trusted."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig

from rlvr_world_hf.processors.video import VideoWorldModelProcessor
from tests.processors.outside_codec import OutsideCodec


def change_class(folder: Path, name: str | None) -> None:
    path = folder / "processor_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["codec"]["class"] = name
    path.write_text(json.dumps(settings), encoding="utf-8")


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_survives_save_and_load(
    processor: VideoWorldModelProcessor, window: dict, tmp_path: Path, stored: torch.dtype
) -> None:
    processor.codec.to(stored)
    processor.save_pretrained(tmp_path)
    assert (tmp_path / "codec" / "diffusion_pytorch_model.safetensors").is_file()
    loaded = VideoWorldModelProcessor.from_pretrained(tmp_path)
    processor.codec.to(torch.float32)
    assert loaded.codec.dtype == torch.float32 and not loaded.codec.training
    assert loaded.layout == processor.layout and loaded.fps == 2.0
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    ids = processor.encode_completion(window["reference"], window["context"], window["actions"])
    assert torch.equal(loaded.encode_completion(window["reference"], window["context"], window["actions"]), ids)
    frames = processor.decode_state(ids, window["context"])
    assert torch.equal(loaded.decode_state(ids, window["context"]), frames)


def test_a_frame_tokenizer_is_loaded_as_one(
    single_step_processor: VideoWorldModelProcessor, window: dict, tmp_path: Path
) -> None:
    single_step_processor.save_pretrained(tmp_path)
    loaded = VideoWorldModelProcessor.from_pretrained(tmp_path)
    assert loaded.layout == single_step_processor.layout
    given = window["reference"][:, :2], window["actions"]
    assert torch.equal(loaded.encode_prompt(*given), single_step_processor.encode_prompt(*given))


def test_settings_are_json_without_weights(processor: VideoWorldModelProcessor, tmp_path: Path) -> None:
    (path,) = processor.save_pretrained(tmp_path)
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    assert settings["codec"] == {
        "class": "rlvr_world_hf.tokenizers.modeling_compressive_tokenizer.CompressiveTokenizer",
        "subfolder": "codec",
    }
    assert settings["action_high"] == [512.0, 1.0] and settings["layout"]["action_bins"] == 8
    assert sorted(settings) == ["action_high", "action_low", "codec", "fps", "layout", "processor_class"]


def test_lies_in_a_subfolder_and_beside_a_model(processor: VideoWorldModelProcessor, tmp_path: Path) -> None:
    folder = tmp_path / "world"
    LlamaConfig(vocab_size=processor.layout.vocabulary_size).save_pretrained(folder)
    processor.save_pretrained(folder)
    loaded = VideoWorldModelProcessor.from_pretrained(tmp_path, subfolder="world")
    assert loaded.layout == processor.layout
    assert AutoTokenizer.from_pretrained(folder)("<d1> <a3>").input_ids == [1, processor.layout.action_offset + 3]


@pytest.mark.parametrize("name", ["os.path.join", "rlvr_world_hf_evil.Codec", "torch.nn.Linear"])
def test_class_of_a_strange_package_is_not_imported(
    processor: VideoWorldModelProcessor, tmp_path: Path, name: str
) -> None:
    processor.save_pretrained(tmp_path)
    change_class(tmp_path, name)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        VideoWorldModelProcessor.from_pretrained(tmp_path)


def test_only_models_are_loaded(processor: VideoWorldModelProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    change_class(tmp_path, "rlvr_world_hf.processors.layout.TokenLayout")
    with pytest.raises(TypeError, match="ModelMixin"):
        VideoWorldModelProcessor.from_pretrained(tmp_path)


def test_strange_codec_brings_its_code_and_needs_trust(tmp_path: Path) -> None:
    codec = OutsideCodec()
    VideoWorldModelProcessor.from_codec(codec, [0.0], [1.0]).save_pretrained(tmp_path)
    assert (tmp_path / "codec" / "outside_codec.py").is_file()
    with pytest.raises(ValueError, match="trust_remote_code"):
        VideoWorldModelProcessor.from_pretrained(tmp_path)
    loaded = VideoWorldModelProcessor.from_pretrained(tmp_path, trust_remote_code=True)
    assert torch.equal(loaded.codec.weight, codec.weight)


def test_code_is_added_beside_a_saved_processor(processor: VideoWorldModelProcessor, tmp_path: Path) -> None:
    saved, code = tmp_path / "saved", tmp_path / "code"
    processor.save_pretrained(saved)
    before = (saved / "processor_config.json").read_bytes()
    processor.save_code(code, settings_directory=saved)
    assert (saved / "processor_config.json").read_bytes() == before and not list(saved.rglob("*.py"))
    files = {file.relative_to(code).as_posix() for file in code.rglob("*") if file.is_file()}
    assert {path for path in files if "/" not in path} == {
        "base.py", "bins.py", "layout.py", "processor_config.json", "step_blocks.py", "video.py",
        "weights.py",
    }  # fmt: skip
    assert {"codec/config.json", "codec/modeling_compressive_tokenizer.py", "codec/convolutions.py"} <= files
    settings = json.loads((code / "processor_config.json").read_text(encoding="utf-8"))
    assert settings.pop("auto_map") == {"AutoProcessor": "video.VideoWorldModelProcessor"}
    assert settings == json.loads(before)
