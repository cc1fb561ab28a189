import json

import pytest
import torch

from rlvr_world_hf.findings.finding import borrow_stages
from rlvr_world_hf.hub import load_world_model
from rlvr_world_hf.rewards.inverse_dynamics import InverseDynamicsConfig, InverseDynamicsModel, load_inverse_model
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stage import stage_folder, try_stages
from rlvr_world_hf.runs.stages.straight_through import straight_through


REWARD = "rlvr_world_hf.rewards.ActionRecoveryReward"
SMALL = {"straight_through.batch_size": 4, "straight_through.eval_steps": 1, "straight_through.validation_windows": 4}


@pytest.fixture(scope="module")
def inverse_run(tmp_path_factory):
    """The folder of a run with an inverse model of random weights for the debug recipe."""
    folder = tmp_path_factory.mktemp("inverse")
    torch.manual_seed(0)
    ranges = {"action_low": [-1.0] * 10, "action_high": [1.0] * 10}
    config = InverseDynamicsConfig(image_size=16, width=8, hidden_size=8, action_law="relative", **ranges)
    InverseDynamicsModel(config).save_pretrained(folder / "inverse")
    return folder


def rewards(inverse_run):
    return [{"path": REWARD, "model": str(inverse_run)}, {"path": "rlvr_world_hf.rewards.MAEReward", "weight": 0.5}]


def test_it_goes_on_from_base_for_as_long_as_rl_and_keeps_codec_and_inverse_model(
    whole_run, small_recipe, inverse_run, tmp_path
):
    keys = {**SMALL, "straight_through.rewards": rewards(inverse_run), "straight_through.max_steps": 2}
    keys |= {"straight_through.choose_by": "mae"}
    recipe = small_recipe(tmp_path, **keys)
    borrow_stages(whole_run, recipe, ["collect", "tokenizer", "pretrain", "grpo"])
    straight_through(recipe)
    folder = recipe.output_dir / "straight_through"
    trained, processor = load_world_model(folder)
    base, of_base = load_world_model(recipe.output_dir / "base")
    changed = [name for name, value in base.state_dict().items() if not torch.equal(value, trained.state_dict()[name])]
    assert changed, "the policy has learned"
    for name, value in of_base.codec.state_dict().items():
        assert torch.equal(value, processor.codec.state_dict()[name])
    for name, value in load_inverse_model(inverse_run).state_dict().items():
        assert torch.equal(value, load_inverse_model(folder).state_dict()[name])
    history = json.loads((stage_folder(recipe, "straight_through") / "history.json").read_text())
    logged = [entry["step"] for entry in history["log_history"] if "eval_mae" in entry]
    assert logged == [0, 1, 2] and history["trained_seconds"] > 0
    timed = small_recipe(tmp_path, **{**keys, "straight_through.max_steps": 0})
    assert straight_through.fingerprint(timed) != straight_through.fingerprint(recipe)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({}, "straight_through.rewards: .*such as ActionRecoveryReward with an inverse model, got none"),
        ({"rewards": [{"path": "rlvr_world_hf.rewards.RepetitionReward"}]}, "got RepetitionReward; leave these to RL"),
        ({"rewards": [{"path": "rlvr_world_hf.rewards.MAEReward", "weight": 0.0}]}, "straight_through.rewards.weight"),
        ({"relaxation": "soft"}, "straight_through: codes cannot be relaxed so: .*got 'soft'"),
        ({"choose_by": "maee"}, "straight_through.choose_by: expected names among loss, mae"),
        ({"batch_size": 0}, "straight_through.batch_size: expected 1 or more"),
        ({"lr_scheduler_type": "steep"}, "straight_through: TrainingArguments refuses the settings: .*'steep'"),
    ],
)
def test_what_cannot_be_trained_is_refused_before(overrides, told, small_recipe, tmp_path):
    given = {"rewards": [{"path": "rlvr_world_hf.rewards.MAEReward"}], **overrides} if overrides else {}
    recipe = small_recipe(tmp_path, **{f"straight_through.{name}": value for name, value in given.items()})
    with pytest.raises(ValueError, match=told):
        straight_through.try_settings(recipe)


def test_without_an_inverse_model_it_says_how_to_train_one(small_recipe, tmp_path):
    entry = {"path": REWARD, "model": str(tmp_path)}
    with pytest.raises(FileNotFoundError, match="`rlvr-world inverse RECIPE` trains one"):
        straight_through.try_settings(small_recipe(tmp_path / "run", **{"straight_through.rewards": [entry]}))


@pytest.mark.parametrize(("name", "states"), [("pusht/sensor_debug", "sensors"), ("textworld/debug", "text")])
def test_worlds_without_frames_are_refused(name, states, tmp_path):
    mae = [{"path": "rlvr_world_hf.rewards.MAEReward"}]
    recipe = load_recipe(name, overrides={"output_dir": str(tmp_path), "straight_through.rewards": mae})
    with pytest.raises(ValueError, match=f"Expected a world of frames, .*got one of {states}"):
        try_stages(recipe, ["straight_through"])
