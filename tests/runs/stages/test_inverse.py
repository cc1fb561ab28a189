import json

import pytest
import torch

from rlvr_world_hf.findings.finding import borrow_stages
from rlvr_world_hf.hub import load_world_model
from rlvr_world_hf.rewards import load_inverse_model
from rlvr_world_hf.runs.content import named_folders
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stage import try_stages
from rlvr_world_hf.runs.stages.evaluate import evaluate
from rlvr_world_hf.runs.stages.grpo import grpo
from rlvr_world_hf.runs.stages.inverse import inverse


SMALL = {"inverse.width": 8, "inverse.hidden_size": 8, "inverse.max_steps": 4, "inverse.eval_steps": 2}
REWARD = "rlvr_world_hf.rewards.ActionRecoveryReward"


@pytest.fixture(scope="module")
def trained(whole_run, small_recipe, tmp_path_factory):
    """A run whose inverse model is trained on the codec of the finished one."""
    folder = tmp_path_factory.mktemp("inverse")
    recipe = small_recipe(folder, tokenizer=str(whole_run.output_dir / "codec"), **SMALL)
    inverse(recipe)
    return recipe


def test_it_leaves_a_model_with_card_and_errors(trained):
    folder = trained.output_dir / "inverse"
    model = load_inverse_model(trained.output_dir)
    assert (model.config.image_size, model.config.action_dims, model.config.action_law) == (16, 10, "relative")
    measured = json.loads((folder / "results.json").read_text())
    assert measured["pairs"] > 0 and measured["error"] > 0 and len(measured["errors"]) == 10
    assert f"{measured['error']:.3g}" in (folder / "README.md").read_text()
    assert "gym-pusht" in (folder / "README.md").read_text()


def test_all_processes_train_it():
    """One alone would wait for the others in its first update, and they for its end."""
    assert inverse.shares_processes


def test_a_second_call_does_nothing_and_other_sizes_are_another_model(trained, small_recipe, whole_run, caplog):
    with caplog.at_level("INFO", logger="rlvr_world_hf"):
        inverse(trained)
    assert "inverse: already done" in caplog.text
    keys = {"tokenizer": str(whole_run.output_dir / "codec"), **SMALL, "inverse.width": 16}
    assert inverse.fingerprint(small_recipe(trained.output_dir, **keys)) != inverse.fingerprint(trained)


def test_a_model_of_one_given_frame_stays_what_it_was(trained, small_recipe):
    """The key is younger than models that were trained without it."""
    keys = {"tokenizer": trained.sections["tokenizer"]["source"], **SMALL}
    asked = small_recipe(trained.output_dir, **keys, **{"inverse.given_frames": 1})
    assert inverse.fingerprint(asked) == inverse.fingerprint(trained)
    more = small_recipe(trained.output_dir, **keys, **{"inverse.given_frames": 2})
    assert inverse.fingerprint(more) != inverse.fingerprint(trained)


def test_rl_is_rewarded_by_it_the_table_judges_by_it_and_the_checkpoint_holds_it(
    trained, whole_run, small_recipe, tmp_path
):
    entry = {"path": REWARD, "model": str(trained.output_dir)}
    keys = {"grpo.rewards": [{**entry, "weight": 1e-3}, {"path": "rlvr_world_hf.rewards.MAEReward"}]}
    keys["evaluate.metrics"] = [{**entry, "label": "judge"}]
    recipe = small_recipe(tmp_path / "run", **keys)
    borrow_stages(whole_run, recipe, ["collect", "tokenizer", "pretrain"])
    grpo(recipe)
    rlvr = recipe.output_dir / "rlvr"
    load_world_model(rlvr)
    own, kept = load_inverse_model(trained.output_dir), load_inverse_model(rlvr)
    for name, value in own.state_dict().items():
        assert torch.equal(value, kept.state_dict()[name])
    assert not (recipe.output_dir / "base" / "inverse").exists()
    evaluate(recipe)
    rows = json.loads((recipe.output_dir / "results.json").read_text())["rows"]
    assert {"action_recovery_error", "action_recovery_error_judge"} <= rows["rlvr"].keys()
    errors = [
        rows["tokenizer_floor"][name]["mean"] for name in ("action_recovery_error", "action_recovery_error_judge")
    ]
    assert errors[0] == errors[1] > 0


def test_another_inverse_model_in_the_same_folder_is_another_reward(trained, tmp_path):
    entries = [{"path": REWARD, "model": str(trained.output_dir), "weight": 1.0}]
    before = named_folders(entries)
    assert before is not None and len(before) == 1
    model = load_inverse_model(trained.output_dir)
    with torch.no_grad():
        model.head[-1].bias.add_(1)
    model.save_pretrained(tmp_path)
    assert named_folders([{"path": REWARD, "model": str(tmp_path)}]) != before
    assert named_folders([{"path": "rlvr_world_hf.rewards.MAEReward", "pixels": "all"}]) is None


def test_what_cannot_be_trained_is_refused_before(small_recipe, tmp_path):
    for name, value, told in (
        ("width", 12, "InverseDynamicsConfig refuses"),
        ("max_steps", 0, "inverse.max_steps: expected 1 or more"),
        ("lr_scheduler_type", "steep", "TrainingArguments refuses"),
    ):
        with pytest.raises(ValueError, match=told):
            try_stages(small_recipe(tmp_path, **{f"inverse.{name}": value}), ["inverse"])
    given = {"inverse.given_frames": 2, "windows.observed_steps": 0}
    with pytest.raises(ValueError, match="inverse.given_frames: expected at most the 1 frames that a window gives"):
        try_stages(small_recipe(tmp_path, **given), ["inverse"])
    with pytest.raises(ValueError, match="expected a world of frames.* got one of sensors"):
        try_stages(load_recipe("pusht/sensor_debug", overrides={"output_dir": str(tmp_path)}), ["inverse"])
    with pytest.raises(ValueError, match="expected a world of frames.* got one of text"):
        try_stages(load_recipe("textworld/debug", overrides={"output_dir": str(tmp_path)}), ["inverse"])


def test_a_recipe_without_its_inverse_model_says_how_to_train_one(small_recipe, tmp_path):
    keys = {"grpo.rewards": [{"path": REWARD, "model": str(tmp_path)}]}
    with pytest.raises(FileNotFoundError, match="`rlvr-world inverse RECIPE` trains one"):
        try_stages(small_recipe(tmp_path / "run", **keys), ["grpo"])
