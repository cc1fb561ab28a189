from pathlib import Path

import pytest

from rlvr_world_hf.runs.locations import recipe_names
from rlvr_world_hf.runs.recipe import load_recipe, parse_overrides
from rlvr_world_hf.runs.stage import find_stage


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "seed: 3\nwindows:\n  horizon: 2\ntokenizer:\n  source: bundled\n  steps: 5\ngrpo:\n  beta: 1e-3\n"
    )
    return path


def test_a_recipe_is_read_with_its_defaults(recipe_file):
    recipe = load_recipe(recipe_file)
    assert (recipe.seed, recipe.world, recipe.windows.horizon) == (3, "pusht", 2)
    assert recipe.output_dir == Path("outputs/mine")
    assert list(recipe.sections) == ["tokenizer", "grpo"]


def test_overrides_reach_shared_keys_the_stage_and_other_stages(recipe_file):
    overrides = {"seed": 5, "steps": 7, "windows.horizon": 6, "grpo.beta": 0.5, "output_dir": "there"}
    recipe = load_recipe(recipe_file, overrides=overrides, stage="pretrain")
    assert (recipe.seed, recipe.windows.horizon, recipe.output_dir) == (5, 6, Path("there"))
    assert recipe.sections["pretrain"] == {"steps": 7}
    assert recipe.sections["grpo"] == {"beta": 0.5}


def test_a_tokenizer_named_in_one_word_keeps_its_other_settings(recipe_file):
    recipe = load_recipe(recipe_file, overrides={"tokenizer": "scratch"})
    assert recipe.sections["tokenizer"] == {"source": "scratch", "steps": 5}


def test_a_recipe_may_ask_for_more_where_another_codec_is_used(recipe_file):
    recipe_file.write_text(recipe_file.read_text() + "with_own_codec: {grpo.beta: 0.25, pretrain.steps: 9}\n")
    assert load_recipe(recipe_file).sections["grpo"] == {"beta": "1e-3"}
    own = load_recipe(recipe_file, overrides={"tokenizer": "scratch"})
    assert (own.sections["grpo"], own.sections["pretrain"]) == ({"beta": 0.25}, {"steps": 9})
    asked = {"tokenizer.source": "a/folder", "steps": 7}
    assert load_recipe(recipe_file, overrides=asked, stage="pretrain").sections["pretrain"] == {"steps": 7}
    assert "with_own_codec" not in own.to_dict()
    recipe_file.write_text("with_own_codec: {gpro.beta: 1}\ntokenizer: scratch\n")
    with pytest.raises(ValueError, match="unknown key.*'grpo'"):
        load_recipe(recipe_file)


def test_the_quickstart_trains_a_fresh_policy_on_another_codec():
    bundled, own = (
        load_recipe("pusht/quickstart", overrides={"tokenizer": source}) for source in ("bundled", "scratch")
    )
    stage = find_stage("pretrain")
    assert (stage.read(bundled).start_from, stage.read(own).start_from) == ("bundled", "")
    assert stage.read(own).max_steps > stage.read(bundled).max_steps


@pytest.mark.parametrize(
    ("overrides", "nearest"),
    [({"sed": 1}, "'seed'"), ({"gpro.beta": 1}, "'grpo'"), ({"windows.horizn": 1}, "'horizon'")],
)
def test_unknown_keys_fail_naming_the_nearest(recipe_file, overrides, nearest):
    with pytest.raises(ValueError, match=f"unknown key.*{nearest}"):
        load_recipe(recipe_file, overrides=overrides)


def test_wrong_types_fail(recipe_file):
    with pytest.raises(TypeError, match="seed: expected int"):
        load_recipe(recipe_file, overrides={"seed": "many"})
    with pytest.raises(TypeError, match="grpo: expected dict"):
        load_recipe(recipe_file, overrides={"grpo": 5})


def test_the_command_line_is_parsed_as_yaml():
    parsed = parse_overrides(["--seed", "1", "--grpo.beta=0.5", "--a", "[1, 2]", "--low", "-1", "--flag", "true"])
    assert parsed == {"seed": 1, "grpo.beta": 0.5, "a": [1, 2], "low": -1, "flag": True}
    with pytest.raises(ValueError, match="value after `--seed`"):
        parse_overrides(["--seed", "--grpo.beta"])
    with pytest.raises(ValueError, match="got 'seed'"):
        parse_overrides(["seed", "1"])


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_read_with_all_its_stages(name):
    recipe = load_recipe(name)
    assert recipe.world == name.split("/")[0]
    for stage in recipe.sections:
        find_stage(stage).read(recipe)
