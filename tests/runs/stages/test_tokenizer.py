import shutil

import pytest

from rlvr_world_hf import FrameTokenizer
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.stages.tokenizer import tokenizer
from rlvr_world_hf.training.tokenizer_training import TokenizerTrainingConfig


def test_a_given_codec_is_not_trained(whole_run, small_recipe, tmp_path):
    folder = tokenizer(small_recipe(tmp_path, tokenizer=str(whole_run.output_dir / "codec")))
    assert not (folder / "history.json").exists()
    assert not (tmp_path / "codec").exists()


def test_training_may_start_from_another_codec(whole_run, small_recipe, tmp_path):
    """Whose weights are taken where shapes agree; what it starts from tells runs apart."""
    given = whole_run.output_dir / "codec"
    sizes = {name: value for name, value in kind_of(whole_run).codec().config.items() if not name.startswith("_")}
    sizes = {"path": "rlvr_world_hf.CompressiveTokenizer", **sizes, "dynamics_codes_per_patch": 2}
    changes = {"source": "scratch", "start_from": str(given), "learning_rate": 0.0, "max_steps": 1, "codec": sizes}
    recipe = small_recipe(tmp_path / "run", tokenizer=changes)
    tokenizer(recipe)
    started, trained = (kind_of(one).codec().state_dict() for one in (whole_run, recipe))
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
    with pytest.raises(
        FileNotFoundError, match="tokenizer.start_from: expected a codec, got .*Give its folder or Hub id"
    ):
        tokenizer(recipe)


def test_a_recipe_sets_the_fields_of_the_training(small_recipe, tmp_path):
    given = {"source": "scratch", "learning_rate": "2e-3", "hard_pixel_weight": 1, "perceptual_trunk": "vgg.pth"}
    args = TokenizerTrainingConfig(**tokenizer.read(small_recipe(tmp_path, tokenizer=given)).arguments)
    assert (args.learning_rate, args.hard_pixel_weight, str(args.perceptual_trunk)) == (2e-3, 1.0, "vgg.pth")
    for unknown in ("learning_rat", "augmentation", "episodes"):
        with pytest.raises(ValueError, match=f"tokenizer: unknown key '{unknown}'"):
            tokenizer.read(small_recipe(tmp_path, tokenizer={unknown: 1}))
