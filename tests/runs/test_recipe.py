from pathlib import Path

import pytest
import yaml

from rlvr_world_hf.runs.locations import is_finding, recipe_names
from rlvr_world_hf.runs.recipe import load_recipe, parse_overrides
from rlvr_world_hf.runs.stage import find_stage, settle


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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "got nothing"),
        ("# all of it is a comment\n", "got nothing"),
        ("- seed", "got list"),
        ("grpo: [1", "mine.yaml: expected YAML"),
        ("windows: 3", "windows: expected dict, got 3"),
        ("grpo: []", "grpo: expected dict"),
        ("seed: -1", "seed: expected a whole number from 0 to 4294967295, got -1"),
        ("seed: 4294967296", "seed: expected a whole number"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused(recipe_file, content, expected):
    recipe_file.write_text(content)
    with pytest.raises((ValueError, TypeError), match=expected):
        load_recipe(recipe_file)


def test_a_file_that_may_be_a_finding_is_refused_alike(recipe_file):
    recipe_file.write_bytes(b"rows: \xff")
    with pytest.raises(ValueError, match="UTF-8"):
        is_finding(str(recipe_file))


def test_the_command_line_is_parsed_by_the_types_of_its_keys():
    words = [
        "--seed",
        "1",
        "--predict.state=lamp: on\nkey: off",
        "--action",
        "no",
        "--card",
        "",
        "--windows.stride",
        "2",
    ]
    words += ["--tokenizer", "scratch", "--grpo", "{beta: 0.5}", "--evaluate.sampling_seeds", "[1, 2]"]
    recipe = load_recipe("pusht/debug", overrides=parse_overrides(words), stage="predict")
    assert (recipe.seed, recipe.card, recipe.windows.stride) == (1, "", 2)
    recipe = settle(recipe, ["predict"])
    assert recipe.sections["predict"]["state"] == "lamp: on\nkey: off"
    assert recipe.sections["predict"]["action"] == "no"
    assert recipe.sections["tokenizer"]["source"] == "scratch"
    assert recipe.sections["grpo"] == {"beta": 0.5}
    assert recipe.sections["evaluate"]["sampling_seeds"] == [1, 2]
    again = yaml.safe_load(yaml.safe_dump(recipe.to_dict()))
    assert again["predict"]["action"] == "no", "what a card shows is this recipe again"
    with pytest.raises(ValueError, match="value after `--seed`"):
        parse_overrides(["--seed", "--grpo.beta"])
    with pytest.raises(ValueError, match="got 'seed'"):
        parse_overrides(["seed", "1"])


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_read_with_all_its_stages(name):
    recipe = load_recipe(name)
    assert {"own_states": "pusht"}.get(recipe.world, recipe.world) == name.split("/")[0]
    for stage in recipe.sections:
        find_stage(stage).read(recipe)
