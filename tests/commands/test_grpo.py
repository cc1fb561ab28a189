import json

import torch
from safetensors.torch import load_file

from rlvr_world_hf.commands.grpo import grpo
from rlvr_world_hf.commands.stage import stage_folder


def test_the_policy_moves_and_its_rewards_are_logged(whole_run):
    base, rlvr = (load_file(whole_run.output_dir / name / "model.safetensors") for name in ("base", "rlvr"))
    assert any(not torch.equal(base[name], rlvr[name]) for name in base)
    history = json.loads((stage_folder(whole_run, "grpo") / "history.json").read_text())["log_history"]
    assert any("rewards/mae/mean" in entry for entry in history)


def test_keys_of_the_config_are_keys_of_the_stage(small_recipe, tmp_path):
    settings = grpo.read(small_recipe(tmp_path, **{"grpo.num_iterations": 2, "grpo.loss_type": "dapo"}))
    assert settings.arguments["num_iterations"] == 2
    assert settings.arguments["loss_type"] == "dapo"
