import json
import shutil

import pytest
import torch

from rlvr_world_hf.commands.tools.bundle import bundle_checkpoints
from rlvr_world_hf.hub import load_world_model
from rlvr_world_hf.runs.stage import stage_folder
from rlvr_world_hf.runs.stages.control import control
from rlvr_world_hf.runs.stages.pretrain import pretrain


def test_the_history_names_the_checkpoint_that_control_goes_on_from(whole_run):
    history = json.loads((stage_folder(whole_run, "pretrain") / "history.json").read_text())
    assert history["last_checkpoint"].endswith("checkpoint-4")
    assert any("eval_loss" in entry for entry in history["log_history"])


def test_keys_of_the_trainer_are_passed_on(small_recipe, tmp_path):
    settings = pretrain.read(small_recipe(tmp_path, **{"pretrain.weight_decay": "1e-2"}))
    training = settings.training("cpu", report_to="none")
    assert training["training_arguments"]["weight_decay"] == 0.01
    assert training["batch_size"] == 8
    assert settings.policy_sizes()["hidden_size"] == 16


def test_each_checkpoint_is_a_world_model_while_training_goes_on(whole_run):
    last = max(stage_folder(whole_run, "pretrain").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert {"processor_config.json", "codec/config.json"} <= json.loads((last / "manifest.json").read_text()).keys()
    model, processor = load_world_model(last)
    _, saved = load_world_model(whole_run.output_dir / "base")
    assert processor.layout == saved.layout and model.config.vocab_size == processor.layout.vocabulary_size


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


def test_a_run_may_start_from_the_base_that_ships(whole_run, small_recipe, tmp_path, monkeypatch):
    """What ships is a bundle: its settings name the codec that ships, which it was trained with."""
    cards = tmp_path / "cards"
    shutil.copytree(whole_run.output_dir / "codec", cards / "pusht-codec")
    (shipped,) = bundle_checkpoints(whole_run.output_dir, "pusht-base", into=cards)
    assert not (shipped / "codec").exists()
    monkeypatch.setattr("rlvr_world_hf.hub.bundled.shipped_folder", lambda name: cards)
    keys = {"pretrain.start_from": "bundled", "pretrain.max_steps": 0}
    recipe = small_recipe(tmp_path / "run", tokenizer="bundled", **keys)
    pretrain(recipe)
    before, processor_before = load_world_model(whole_run.output_dir / "base", dtype=torch.bfloat16)
    base, processor = load_world_model(recipe.output_dir / "base")
    assert all(torch.equal(value.float(), base.state_dict()[name]) for name, value in before.state_dict().items())
    assert processor.layout == processor_before.layout and (recipe.output_dir / "base" / "codec").is_dir()
    identity = pretrain.fingerprint(recipe)
    (shipped / "model.safetensors").write_bytes(b"others")
    assert pretrain.fingerprint(recipe) != identity  # other weights, another result


def test_the_base_that_ships_wants_the_codec_that_ships(whole_run, small_recipe, tmp_path):
    recipe = small_recipe(
        tmp_path, tokenizer=str(whole_run.output_dir / "codec"), **{"pretrain.start_from": "bundled"}
    )
    with pytest.raises(ValueError, match="writes the bundled codec's codes.*train one on yours with"):
        pretrain(recipe)
    assert not list(tmp_path.iterdir())  # it is said before anything is recorded or trained


def test_a_fresh_policy_needs_updates(small_recipe, tmp_path):
    with pytest.raises(ValueError, match="expected updates for a fresh policy, got 0; give some, or a start_from"):
        pretrain(small_recipe(tmp_path, **{"pretrain.max_steps": 0}))
