import json

import numpy as np

from rlvr_world_hf.commands.collect import load_split
from rlvr_world_hf.commands.pretrain import build_processor, pretrain
from rlvr_world_hf.commands.stage import stage_folder


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
