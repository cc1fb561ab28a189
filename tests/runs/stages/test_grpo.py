import json

import torch
from safetensors.torch import load_file

from rlvr_world_hf.findings.finding import borrow_stages
from rlvr_world_hf.runs.stage import stage_folder
from rlvr_world_hf.runs.stages.grpo import grpo
from rlvr_world_hf.runs.stages.pretrain import pretrain


def test_the_policy_moves_and_its_rewards_are_logged(whole_run):
    base, rlvr = (load_file(whole_run.output_dir / name / "model.safetensors") for name in ("base", "rlvr"))
    assert any(not torch.equal(base[name], rlvr[name]) for name in base)
    history = json.loads((stage_folder(whole_run, "grpo") / "history.json").read_text())["log_history"]
    assert any("rewards/mae/mean" in entry for entry in history)


def test_keys_of_the_config_are_keys_of_the_stage(small_recipe, tmp_path):
    settings = grpo.read(small_recipe(tmp_path, **{"grpo.num_iterations": 2, "grpo.loss_type": "dapo"}))
    assert settings.arguments["num_iterations"] == 2
    assert settings.arguments["loss_type"] == "dapo"


def test_rl_may_train_an_adapter_alone(whole_run, small_recipe, tmp_path):
    """Its product comes merged; what is far smaller than the policy changes it by a matrix of low rank."""
    recipe = small_recipe(tmp_path, **{"grpo.lora_rank": 1, "grpo.lora_alpha": 4, "grpo.learning_rate": 1e-2})
    borrow_stages(whole_run, recipe, ["collect", "tokenizer", "pretrain"])
    grpo(recipe)
    base, rlvr = (load_file(recipe.output_dir / name / "model.safetensors") for name in ("base", "rlvr"))
    assert base.keys() == rlvr.keys()
    changes = {name: rlvr[name] - base[name] for name in base}
    changed = [name for name, change in changes.items() if change.abs().max() > 1e-6]
    assert changed and all(torch.linalg.matrix_rank(changes[name], rtol=1e-3) == 1 for name in changed)


def test_an_adapter_of_rl_is_that_of_pretraining_unless_it_says_otherwise(small_recipe, tmp_path):
    keys = {"pretrain.lora_rank": 8, "pretrain.lora_alpha": 4}
    expected = {(): (8, 4), (("grpo.lora_rank", 2),): (2, 4), (("grpo.lora_alpha", 32),): (8, 32)}
    for given, (rank, alpha) in expected.items():
        recipe = small_recipe(tmp_path, **keys | dict(given))
        adapter = grpo.read(recipe).adapter(pretrain.read(recipe))
        assert (adapter.r, adapter.lora_alpha) == (rank, alpha)
    recipe = small_recipe(tmp_path, **keys | {"grpo.lora_rank": 0})
    assert grpo.read(recipe).adapter(pretrain.read(recipe)) is None
