import json
import shutil

import pytest

from rlvr_world_hf import CompressiveTokenizer, FrameTokenizer
from rlvr_world_hf.commands.tokenizer import codec_identity, load_codec, tokenizer
from tests.official import official_tokenizer, save_weights


def test_a_codec_from_scratch_is_saved_and_loaded(whole_run):
    codec = load_codec(whole_run)
    assert tuple(codec.config.image_size) == (16, 16)
    assert not codec.training


def test_a_codec_is_loaded_as_the_class_its_config_names(small_recipe, tmp_path):
    given = FrameTokenizer(image_size=(16, 16), block_out_channels=(8, 8), norm_num_groups=4)
    given.save_pretrained(tmp_path)
    recipe = small_recipe(tmp_path / "run", tokenizer=str(tmp_path))
    codec = load_codec(recipe)
    assert isinstance(codec, FrameTokenizer) and not codec.training
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("SomeonesTokenizer", "MAEReward", "__builtins__", ""):
        (tmp_path / "config.json").write_text(json.dumps(config | {"_class_name": name}))
        with pytest.raises(ValueError, match="public model of rlvr_world_hf or diffusers, got"):
            load_codec(recipe)


def test_a_codec_of_the_authors_is_loaded_in_their_form(small_recipe, tmp_path):
    folder = tmp_path / "thuml" / "rt1-compressive-tokenizer"
    folder.mkdir(parents=True)
    config, weights = official_tokenizer("compressive")
    (folder / "config.json").write_text(json.dumps(config))
    save_weights(weights, folder / "diffusion_pytorch_model.safetensors")
    codec = load_codec(small_recipe(tmp_path / "run", tokenizer=str(folder)))
    assert isinstance(codec, CompressiveTokenizer) and not codec.training


def test_a_folder_is_known_by_its_weights(whole_run, small_recipe, tmp_path):
    copies = [tmp_path / "first", tmp_path / "second"]
    for copy in copies:
        shutil.copytree(whole_run.output_dir / "codec", copy)
    first, second = (small_recipe(tmp_path, tokenizer=str(copy)) for copy in copies)
    assert codec_identity(first) == codec_identity(second) != codec_identity(whole_run)
    config = copies[1] / "config.json"
    config.write_text(config.read_text().replace("16", "32", 1))
    assert codec_identity(first) != codec_identity(second)


def test_a_codec_that_ships_is_loaded_by_its_name(small_recipe, tmp_path):
    by_name, bundled = (small_recipe(tmp_path, tokenizer=source) for source in ("pusht-codec", "bundled"))
    assert load_codec(by_name).config.image_size == [64, 64]
    assert codec_identity(by_name) == codec_identity(bundled)


def test_a_hub_codec_is_known_by_its_name(small_recipe, tmp_path):
    assert codec_identity(small_recipe(tmp_path, tokenizer="someone/codec")) == "someone/codec"


def test_a_given_codec_is_not_trained(whole_run, small_recipe, tmp_path):
    folder = tokenizer(small_recipe(tmp_path, tokenizer=str(whole_run.output_dir / "codec")))
    assert not (folder / "history.json").exists()
    assert not (tmp_path / "codec").exists()


def test_training_may_start_from_another_codec(whole_run, small_recipe, tmp_path):
    """Whose weights are taken where shapes agree; what it starts from tells runs apart."""
    given = whole_run.output_dir / "codec"
    sizes = {name: value for name, value in load_codec(whole_run).config.items() if not name.startswith("_")}
    sizes = {"path": "rlvr_world_hf.CompressiveTokenizer", **sizes, "dynamics_codes_per_patch": 2}
    changes = {"source": "scratch", "start_from": str(given), "learning_rate": 0.0, "max_steps": 1, "codec": sizes}
    recipe = small_recipe(tmp_path / "run", tokenizer=changes)
    tokenizer(recipe)
    started, trained = (load_codec(one).state_dict() for one in (whole_run, recipe))
    differ = {name for name in started if not started[name].equal(trained[name])}
    assert differ == {"dynamics_in.weight", "dynamics_in.bias", "dynamics_out.weight"}
    assert tokenizer.fingerprint(recipe) != tokenizer.fingerprint(whole_run)
    copy = shutil.copytree(given, tmp_path / "copy")
    config = copy / "config.json"
    config.write_text(config.read_text().replace("}", " }"))
    changed = small_recipe(tmp_path / "run", tokenizer=changes | {"start_from": str(copy)})
    assert tokenizer.fingerprint(changed) != tokenizer.fingerprint(recipe)


def test_a_codec_of_which_nothing_fits_is_no_start(small_recipe, tmp_path):
    FrameTokenizer(image_size=(16, 16), block_out_channels=(12, 12), norm_num_groups=4).save_pretrained(tmp_path)
    recipe = small_recipe(tmp_path / "run", tokenizer={"source": "scratch", "start_from": str(tmp_path)})
    with pytest.raises(ValueError, match="tokenizer.start_from: expected a codec some of whose weights fit"):
        tokenizer(recipe)
    recipe = small_recipe(tmp_path / "run", tokenizer={"source": "scratch", "start_from": str(tmp_path / "none")})
    with pytest.raises(FileNotFoundError, match="tokenizer.start_from: expected a folder or Hub id of a codec, got"):
        tokenizer(recipe)
