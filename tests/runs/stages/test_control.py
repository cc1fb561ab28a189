import json
import shutil

import pytest

from rlvr_world_hf.findings.finding import borrow_stages
from rlvr_world_hf.hub.manifest import DamagedFileError
from rlvr_world_hf.runs.clock import Clock
from rlvr_world_hf.runs.processes import Processes
from rlvr_world_hf.runs.result_settings import settings_of_result
from rlvr_world_hf.runs.stage import StageRun, stage_folder
from rlvr_world_hf.runs.stages import control as control_module
from rlvr_world_hf.runs.stages.control import ControlSettings, control
from rlvr_world_hf.training import schedule as schedule_module


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


def test_by_default_control_trains_for_as_long_as_grpo_trained(whole_run, small_recipe, monkeypatch):
    """Not for what its stage took besides, such as measuring and drawing."""
    recipe = small_recipe(whole_run.output_dir, **{"control.max_steps": 0, "control.times_rl": 2.0})
    _, asked = asked_of_training(recipe, monkeypatch)
    folder = stage_folder(recipe, "grpo")
    counted = json.loads((folder / "seconds.json").read_text())
    assert asked["minimum_seconds"] == 2 * counted["4"] > 0
    assert 0 < counted["4"] < json.loads((folder / "done.json").read_text())["seconds"]
    assert asked["max_steps"] == 5 and asked["schedule"] is None


@pytest.mark.parametrize("kept", ["history.json", "seconds.json", "done.json"])
def test_how_long_grpo_trained_is_known_of_earlier_versions_too(whole_run, small_recipe, tmp_path, monkeypatch, kept):
    shutil.copytree(whole_run.output_dir, tmp_path / "run", symlinks=True)
    recipe = small_recipe(tmp_path / "run", **{"control.max_steps": 0})
    folder = stage_folder(recipe, "grpo")
    expected = {"done.json": json.loads((folder / "done.json").read_text())["seconds"]}.get(
        kept, json.loads((folder / "seconds.json").read_text())["4"]
    )
    if kept != "history.json":
        (folder / "history.json").write_text('{"log_history": []}')
    if kept != "seconds.json":
        (folder / "seconds.json").unlink()
    _, asked = asked_of_training(recipe, monkeypatch)
    assert asked["minimum_seconds"] == pytest.approx(expected)


def test_control_may_have_a_schedule_of_its_own(whole_run, small_recipe, monkeypatch):
    keys = {"control.lr_scheduler_type": "linear", "control.warmup_steps": 1}
    recipe = small_recipe(whole_run.output_dir, **keys)
    assert control.fingerprint(recipe) != control.fingerprint(whole_run)
    _, asked = asked_of_training(recipe, monkeypatch)
    course = asked["schedule"]
    assert (course.kind, course.warmup_steps, course.first_step) == ("linear", 1, 4) and asked["max_steps"] == 8


def test_a_schedule_over_measured_updates_goes_through(whole_run, small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(schedule_module, "UNMEASURED", 1)
    monkeypatch.setattr(schedule_module, "MEASURED", 1)
    keys = {"control.max_steps": 0, "control.lr_scheduler_type": "cosine", "pretrain.choose_by": "loss"}
    recipe = small_recipe(tmp_path, **keys)
    borrow_stages(whole_run, recipe, ["collect", "tokenizer", "pretrain", "grpo"])
    control(recipe)
    folder = stage_folder(recipe, "control")
    known, history = (json.loads((folder / name).read_text()) for name in ("updates.json", "history.json"))
    assert history["last_checkpoint"].endswith(f"checkpoint-{4 + known['updates']}")
    assert (recipe.output_dir / "control").is_dir()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"control.lr_scheduler_type": "lineal"}, "control.lr_scheduler_type: .*such as 'linear', got 'lineal'"),
        ({"control.save_total_limit": 1}, "control.save_total_limit: expected at least 2, .*got 1; raise it"),
        ({"control.warmup_steps": 3}, "control.warmup_steps: expected 0 .* got 3; give control.lr_scheduler_type"),
        (
            {"control.max_steps": 0, "pretrain.lr_scheduler_type": "linear"},
            "control.max_steps: expected a number of updates.* or control.lr_scheduler_type",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_trained(overrides, message, small_recipe, tmp_path):
    with pytest.raises(ValueError, match=message):
        control.try_settings(small_recipe(tmp_path, **overrides))


def test_a_schedule_of_its_own_needs_no_constant_one_of_pretrain(small_recipe, tmp_path):
    keys = {"control.max_steps": 0, "pretrain.lr_scheduler_type": "linear", "control.lr_scheduler_type": "linear"}
    control.try_settings(small_recipe(tmp_path, **keys))


def test_settings_without_a_schedule_are_those_of_before():
    """Fingerprints are made of these: what was trained before these keys came is found again."""
    assert settings_of_result(ControlSettings()).keys() == {"max_steps", "times_rl"}
    assert settings_of_result(ControlSettings(lr_scheduler_type="linear")).keys() >= {"lr_scheduler_type"}


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
