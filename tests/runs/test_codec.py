import json
import shutil

import pytest
from safetensors.torch import load_file

from rlvr_world_hf import CompressiveTokenizer, FrameTokenizer
from rlvr_world_hf.runs.kinds import kind_of
from tests.official import official_tokenizer, save_weights


def test_a_codec_from_scratch_is_saved_and_loaded(whole_run):
    codec = kind_of(whole_run).codec()
    assert tuple(codec.config.image_size) == (16, 16)
    assert not codec.training


def test_a_codec_is_loaded_as_the_class_its_config_names(small_recipe, tmp_path):
    given = FrameTokenizer(image_size=(16, 16), block_out_channels=(8, 8), norm_num_groups=4)
    given.save_pretrained(tmp_path)
    recipe = small_recipe(tmp_path / "run", tokenizer=str(tmp_path))
    codec = kind_of(recipe).codec()
    assert isinstance(codec, FrameTokenizer) and not codec.training
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("SomeonesTokenizer", "MAEReward", "__builtins__", ""):
        (tmp_path / "config.json").write_text(json.dumps(config | {"_class_name": name}))
        with pytest.raises(ValueError, match="public model of rlvr_world_hf or diffusers, got"):
            kind_of(recipe).codec()


def test_a_codec_with_a_missing_tensor_is_not_loaded(small_recipe, tmp_path):
    FrameTokenizer(image_size=(16, 16), block_out_channels=(8, 8), norm_num_groups=4).save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    name = max(weights, key=lambda name: name.startswith("quantizer_in"))
    save_weights({given: value for given, value in weights.items() if given != name}, file)
    with pytest.raises(ValueError, match=f"Expected in {tmp_path} the weights of the FrameTokenizer"):
        kind_of(small_recipe(tmp_path / "run", tokenizer=str(tmp_path))).codec()


def test_a_codec_of_the_authors_is_loaded_in_their_form(small_recipe, tmp_path):
    folder = tmp_path / "thuml" / "rt1-compressive-tokenizer"
    folder.mkdir(parents=True)
    config, weights = official_tokenizer("compressive")
    (folder / "config.json").write_text(json.dumps(config))
    save_weights(weights, folder / "diffusion_pytorch_model.safetensors")
    codec = kind_of(small_recipe(tmp_path / "run", tokenizer=str(folder))).codec()
    assert isinstance(codec, CompressiveTokenizer) and not codec.training


def test_a_codec_that_ships_is_loaded_by_its_name(small_recipe, tmp_path):
    by_name, bundled = (small_recipe(tmp_path, tokenizer=source) for source in ("pusht-codec", "bundled"))
    assert kind_of(by_name).codec().config.image_size == [64, 64]
    assert kind_of(by_name).codec_identity() == kind_of(bundled).codec_identity()


def test_a_folder_is_known_by_its_weights(whole_run, small_recipe, tmp_path):
    copies = [tmp_path / "first", tmp_path / "second"]
    for copy in copies:
        shutil.copytree(whole_run.output_dir / "codec", copy)
    first, second = (small_recipe(tmp_path, tokenizer=str(copy)) for copy in copies)
    assert kind_of(first).codec_identity() == kind_of(second).codec_identity() != kind_of(whole_run).codec_identity()
    config = copies[1] / "config.json"
    config.write_text(config.read_text().replace("16", "32", 1))
    assert kind_of(first).codec_identity() != kind_of(second).codec_identity()


def test_a_hub_codec_out_of_reach_is_known_by_its_name(small_recipe, tmp_path):
    assert kind_of(small_recipe(tmp_path, tokenizer="someone/codec")).codec_identity() == "someone/codec@"
