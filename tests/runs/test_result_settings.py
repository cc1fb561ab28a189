"""Which keys of a recipe train again, and which do not: one list, held against the trainers' own settings."""

import dataclasses
import shutil
import sys

import pytest
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments

from rlvr_world_hf.runs.content import module_sources
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.result_settings import CADENCE, NO_EFFECT, settings_of_result
from rlvr_world_hf.runs.stage import find_stage
from rlvr_world_hf.training import WorldModelGRPOConfig
from rlvr_world_hf.training.language import FinetuningConfig
from rlvr_world_hf.training.tokenizer_training import TokenizerTrainingConfig


CONFIGS = (TrainingArguments, WorldModelGRPOConfig, FinetuningConfig, TokenizerTrainingConfig)

HARMLESS = {
    "pretrain.logging_steps": 7,
    "pretrain.disable_tqdm": True,
    "pretrain.dataloader_num_workers": 1,
    "pretrain.save_total_limit": 5,
    "pretrain.use_cpu": True,
    "pretrain.per_device_eval_batch_size": 3,
    "tokenizer.save_steps": 3,
    "tokenizer.dataloader_num_workers": 2,
    "grpo.run_name": "x",
    "grpo.log_completions": True,
    "grpo.logging_steps": 3,
    "grpo.save_steps": 3,
    "grpo.eval_strategy": "steps",
    "grpo.eval_steps": 2,
    "grpo.validation_windows": 3,
    "grpo.hub_model_id": "owner/name",
    "collect.processes": 1,
    "report_to": "tensorboard",
}

SHAPING = {
    "pretrain.learning_rate": 1e-5,
    "pretrain.eval_steps": 1,  # the best of the evaluated checkpoints becomes base
    "pretrain.batch_size": 3,
    "pretrain.eval_delay": 2,
    "pretrain.weight_decay": 0.1,
    "grpo.beta": 0.5,
    "grpo.max_grad_norm": 0.5,
    "grpo.temperature": 0.5,
    "grpo.dataloader_drop_last": True,
    "tokenizer.horizon": 1,
    "windows.horizon": 1,
    "seed": 1,
}


def fingerprints(recipe):
    return {name: find_stage(name).fingerprint(recipe) for name in ("collect", "tokenizer", "pretrain", "grpo")}


def test_every_key_of_the_list_is_one_of_a_trainer():
    known = {field.name for config in CONFIGS for field in dataclasses.fields(config)} | {"validation_windows"}
    assert known >= NO_EFFECT | CADENCE
    assert not NO_EFFECT & CADENCE


@pytest.mark.parametrize(("key", "value"), HARMLESS.items())
def test_a_key_that_shapes_no_result_leaves_every_stage_finished(small_recipe, tmp_path, key, value):
    assert fingerprints(small_recipe(tmp_path, **{key: value})) == fingerprints(small_recipe(tmp_path))


@pytest.mark.parametrize(("key", "value"), SHAPING.items())
def test_a_key_that_shapes_the_result_makes_its_stage_another(small_recipe, tmp_path, key, value):
    first, other = fingerprints(small_recipe(tmp_path)), fingerprints(small_recipe(tmp_path, **{key: value}))
    stage = key.partition(".")[0] if key.partition(".")[0] in first else "tokenizer"
    assert first[stage] != other[stage]
    assert first["grpo"] != other["grpo"]


@pytest.mark.parametrize("key", ["grpo.eval_steps", "grpo.save_steps", "grpo.validation_windows"])
def test_where_the_best_checkpoint_is_chosen_its_cadence_counts(small_recipe, tmp_path, key):
    chooses = {"grpo.load_best_model_at_end": True}
    first, other = (small_recipe(tmp_path, **chooses, **more) for more in ({}, {key: 4}))
    assert find_stage("grpo").fingerprint(first) != find_stage("grpo").fingerprint(other)


def test_the_precision_counts_as_it_is_resolved(small_recipe, tmp_path, monkeypatch):
    from rlvr_world_hf.runs import precision

    for computes in (True, False):
        monkeypatch.setattr(precision, "computes_bfloat16", lambda device, computes=computes: computes)
        auto, plain = (small_recipe(tmp_path, **{"pretrain.bf16": value}) for value in ("auto", computes))
        assert find_stage("pretrain").fingerprint(auto) == find_stage("pretrain").fingerprint(plain)
    other = small_recipe(tmp_path, **{"pretrain.bf16": True})
    assert find_stage("pretrain").fingerprint(other) != find_stage("pretrain").fingerprint(plain)


def test_weights_to_start_from_count_by_content_and_not_by_place(whole_run, small_recipe, tmp_path):
    for name in ("first", "moved"):
        shutil.copytree(whole_run.output_dir / "base", tmp_path / name)
    recipes = [small_recipe(tmp_path, **{"pretrain.start_from": str(tmp_path / name)}) for name in ("first", "moved")]
    first, moved = (find_stage("pretrain").fingerprint(recipe) for recipe in recipes)
    assert first == moved
    weights = load_file(tmp_path / "moved" / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, tmp_path / "moved" / "model.safetensors", {"format": "pt"})
    assert find_stage("pretrain").fingerprint(recipes[1]) != first == find_stage("pretrain").fingerprint(recipes[0])


def test_a_users_own_reward_trains_again_when_its_source_changes(small_recipe, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "reward_of_a_user.py"
    source.write_text("from rlvr_world_hf.rewards import MAEReward\n\nclass MyReward(MAEReward): ...\n")
    recipe = small_recipe(tmp_path, **{"grpo.rewards": [{"path": "reward_of_a_user.MyReward"}]})
    before = fingerprints(recipe)
    source.write_text(source.read_text() + "# changed\n")
    module_sources.cache_clear()
    assert fingerprints(recipe) | {"grpo": ""} == before | {"grpo": ""} and fingerprints(recipe) != before
    sys.modules.pop("reward_of_a_user")


def test_a_key_that_came_later_counts_from_its_default_on():
    """What was finished before there was such a key did what the default does, and stays finished."""
    later = {"pretrain": "trim_vocabulary", "grpo": "continue_adapter", "evaluate": "few_shot"}
    for stage, name in later.items():
        settings = find_stage(stage).read(load_recipe("textworld/debug"))
        assert name not in settings_of_result(settings)
        changed = dataclasses.replace(settings, **{name: 1})
        assert settings_of_result(changed)[name] == 1
