import json

import numpy as np
import pytest
import torch

from rlvr_world_hf.commands.collect import load_split
from rlvr_world_hf.commands.control import control
from rlvr_world_hf.commands.pretrain import build_processor, pretrain
from rlvr_world_hf.commands.stage import stage_folder
from rlvr_world_hf.hub import load_world_model


def test_the_processor_knows_the_ranges_of_the_training_actions(whole_run):
    processor = build_processor(whole_run)
    actions = np.concatenate([episode.actions for episode in load_split(whole_run, "train")])
    np.testing.assert_allclose(processor.action_low, actions.min(axis=0))
    np.testing.assert_allclose(processor.action_high, actions.max(axis=0))
    assert processor.layout.action_bins == 8
    assert processor.fps == 2.0


def test_the_history_names_the_checkpoint_that_control_goes_on_from(whole_run):
    history = json.loads((stage_folder(whole_run, "pretrain") / "history.json").read_text())
    assert history["last_checkpoint"].endswith("checkpoint-4")
    assert any("eval_loss" in entry for entry in history["log_history"])


def test_keys_of_the_trainer_are_passed_on(small_recipe, tmp_path):
    settings = pretrain.read(small_recipe(tmp_path, **{"pretrain.weight_decay": "1e-2"}))
    assert settings.training("cpu")["weight_decay"] == 0.01
    assert settings.training("cpu")["batch_size"] == 8
    assert settings.policy_sizes()["hidden_size"] == 16


def test_a_run_may_start_from_a_world_model_and_leave_it_as_it_is(whole_run, small_recipe, tmp_path):
    keys = {"pretrain.start_from": str(whole_run.output_dir / "base"), "pretrain.max_steps": 0, "control.max_steps": 2}
    recipe = small_recipe(tmp_path, tokenizer=str(whole_run.output_dir / "codec"), **keys)
    control(recipe)
    before, processor_before = load_world_model(whole_run.output_dir / "base")
    base, processor = load_world_model(recipe.output_dir / "base")
    assert all(torch.equal(value, base.state_dict()[name]) for name, value in before.state_dict().items())
    assert processor.layout == processor_before.layout
    assert (processor.action_low, processor.action_high) == (processor_before.action_low, processor_before.action_high)
    trained, _ = load_world_model(recipe.output_dir / "control")
    assert not torch.equal(trained.lm_head.weight, base.lm_head.weight)


def test_a_fresh_policy_needs_updates(small_recipe, tmp_path):
    with pytest.raises(ValueError, match="expected updates for a fresh policy, got 0; give some, or a start_from"):
        pretrain(small_recipe(tmp_path, **{"pretrain.max_steps": 0}))
