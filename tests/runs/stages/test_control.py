import json
import shutil

import pytest

from rlvr_world_hf.findings.finding import borrow_stages
from rlvr_world_hf.hub.manifest import DamagedFileError
from rlvr_world_hf.runs.clock import Clock
from rlvr_world_hf.runs.stage import Processes, StageRun, stage_folder
from rlvr_world_hf.runs.stages import control as control_module
from rlvr_world_hf.runs.stages.control import control


def test_control_goes_on_from_the_last_checkpoint_of_pretraining(whole_run):
    history = json.loads((stage_folder(whole_run, "control") / "history.json").read_text())
    assert history["last_checkpoint"].endswith("checkpoint-8")


def asked_of_training(recipe, monkeypatch):
    """What the stage asks likelihood training for: its settings and its limits."""
    asked = []
    monkeypatch.setattr(
        control_module, "likelihood_training", lambda *given, **limits: asked.extend((given[3], limits))
    )
    control.work(
        StageRun(
            recipe=recipe,
            settings=control.read(recipe),
            folder=stage_folder(recipe, "control"),
            clock=Clock(),
            processes=Processes(),
        )
    )
    return asked


def test_by_default_control_trains_for_the_wall_time_of_grpo(whole_run, small_recipe, monkeypatch):
    recipe = small_recipe(whole_run.output_dir, **{"control.max_steps": 0})
    _, asked = asked_of_training(recipe, monkeypatch)
    record = json.loads((stage_folder(recipe, "grpo") / "done.json").read_text())
    assert asked["minimum_seconds"] == record["seconds"] > 0
    assert asked["max_steps"] == 5


def test_checkpoints_that_are_kept_do_not_make_it_another_run(whole_run, small_recipe, monkeypatch):
    recipe = small_recipe(whole_run.output_dir, **{"control.save_total_limit": None})
    assert control.fingerprint(recipe) == control.fingerprint(whole_run)
    settings, _ = asked_of_training(recipe, monkeypatch)
    assert settings.arguments["save_total_limit"] is None


def test_a_run_that_took_pretrain_from_another_goes_on_from_its_checkpoint(
    whole_run, small_recipe, tmp_path, monkeypatch
):
    recipe = small_recipe(tmp_path)
    borrow_stages(whole_run, recipe, ["collect", "tokenizer", "pretrain"])
    _, asked = asked_of_training(recipe, monkeypatch)
    assert asked["continue_from"].is_dir() and asked["continue_from"].name == "checkpoint-4"


def test_a_damaged_checkpoint_to_go_on_from_is_named_with_the_remedy(whole_run, small_recipe, tmp_path, monkeypatch):
    shutil.copytree(whole_run.output_dir, tmp_path / "run", symlinks=True)
    recipe = small_recipe(tmp_path / "run")
    (stage_folder(recipe, "pretrain") / "checkpoint-4" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(DamagedFileError, match=r"optimizer.pt has 0 of its .* delete .*done.json, and pretrain makes"):
        asked_of_training(recipe, monkeypatch)
