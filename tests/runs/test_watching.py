"""Pretrain, control and RL keep the checkpoint that is best at a metric of the table, if a recipe says so."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from rlvr_world_hf.hub.training_checkpoints import checkpoint_state, last_checkpoint
from rlvr_world_hf.runs.progress import read_json
from rlvr_world_hf.runs.recipe import Recipe
from rlvr_world_hf.runs.result_settings import settings_of_result
from rlvr_world_hf.runs.run import run
from rlvr_world_hf.runs.stage import find_stage, stage_folder
from rlvr_world_hf.runs.stages.grpo import GrpoSettings, make_config
from rlvr_world_hf.runs.stages.pretrain import PretrainSettings
from rlvr_world_hf.runs.watching import higher_is_better
from tests.small_runs import small_recipe, small_text_recipe


CHOICES: dict[str, dict[str, Any]] = {
    "frames": {"pretrain.choose_by": "mae", "grpo.choose_by": "mae", "control.save_total_limit": 9},
    "text": {"pretrain.choose_by": "fact_f1", "grpo.choose_by": "fact_f1", "grpo.save_steps": 1},
}


@pytest.mark.parametrize("kind", ["frames", pytest.param("text", marks=pytest.mark.slow)])
def test_all_trainings_keep_the_best_at_a_metric(kind: str, tmp_path: Path) -> None:
    make = small_recipe if kind == "frames" else small_text_recipe
    few = {"pretrain.measured_windows": 2, "grpo.measured_windows": 2, "pretrain.save_total_limit": 9}
    recipe = make(tmp_path, **few, **CHOICES[kind])
    run(recipe)
    name = recipe.sections["pretrain"]["choose_by"]
    better = max if higher_is_better(recipe, name) else min
    for stage, checkpoint in (("pretrain", "base"), ("grpo", "rlvr"), ("control", "control")):
        folder = stage_folder(recipe, stage)
        history = read_json(folder / "history.json")["log_history"]
        measured = {entry["step"]: entry[f"eval_{name}"] for entry in history if f"eval_{name}" in entry}
        assert (measured.pop(0, None) is not None) == (stage == "grpo"), "what RL begins with is measured, not chosen"
        assert len(measured) >= 2, stage
        best = better(measured, key=lambda step: measured[step])  # the first of equally good ones
        kept = folder / f"checkpoint-{best}" / "model.safetensors"
        if not kept.exists():  # control may keep one of pretrain's
            kept = stage_folder(recipe, "pretrain") / f"checkpoint-{best}" / "model.safetensors"
        saved, wanted = load_file(folder / checkpoint / "model.safetensors"), load_file(kept)
        assert saved.keys() == wanted.keys()
        assert all(saved[part].equal(wanted[part]) for part in saved), stage


def test_only_a_choice_by_measures_makes_other_weights(tmp_path: Path) -> None:
    usual = small_recipe(tmp_path)
    for stage in ("pretrain", "grpo"):
        named = find_stage(stage).fingerprint
        assert named(small_recipe(tmp_path, **{f"{stage}.measured_windows": 3})) == named(usual)
        chosen = small_recipe(tmp_path, **{f"{stage}.choose_by": "mae"})
        assert named(chosen) != named(usual)
        assert named(small_recipe(tmp_path, **{f"{stage}.choose_by": "mae", f"{stage}.measured_windows": 3})) != named(
            chosen
        )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"pretrain.choose_by": "maee"}, "pretrain.choose_by: expected names among loss, mae, .*did you mean 'mae'"),
        ({"grpo.choose_by": "loss"}, "grpo.choose_by: expected names among last, mae, .*got 'loss'"),
        (
            {"grpo.choose_by": "mae", "grpo.measured_windows": 0},
            "grpo.measured_windows: expected windows to measure 'mae'",
        ),
        ({"pretrain.measured_windows": -1}, "pretrain.measured_windows"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        for stage in ("pretrain", "grpo"):
            find_stage(stage).try_settings(small_recipe(tmp_path, **overrides))


def test_settings_that_choose_as_usual_are_those_of_before() -> None:
    """Fingerprints are made of these: what was trained before these keys came is found again."""
    new = {"choose_by", "measured_windows", "shown_windows"}
    for settings, choice in ((PretrainSettings, "loss"), (GrpoSettings, "last")):
        usual = settings_of_result(settings())
        assert not new & usual.keys()
        changed = {"measured_windows": 7, "shown_windows": 0, "choose_by": choice}
        assert settings_of_result(settings(**changed)) == usual
        chosen = settings_of_result(settings(choose_by="mae"))
        of_evaluations = {"validation_windows"} & chosen.keys() - usual.keys()  # when RL is evaluated matters then
        assert chosen.keys() - usual.keys() - of_evaluations == {"choose_by", "measured_windows"}
        assert settings_of_result(settings(choose_by="mae", shown_windows=0)) == chosen


def test_when_rl_is_saved_shapes_what_is_chosen_and_nothing_else(tmp_path: Path) -> None:
    named = find_stage("grpo").fingerprint
    for choice, is_same in (("last", True), ("mae", False)):
        recipes = [small_recipe(tmp_path, **{"grpo.choose_by": choice, "grpo.save_steps": every}) for every in (1, 2)]
        assert (named(recipes[0]) == named(recipes[1])) is is_same


@pytest.mark.parametrize("given", [{}, {"eval_strategy": "steps"}, {"eval_strategy": "no"}])
def test_who_asks_for_evaluations_of_rl_says_when(tmp_path: Path, given: dict[str, Any]) -> None:
    """The measures come whenever RL is saved, unless a recipe asks for rollouts at evaluations of its own."""
    recipe = small_recipe(tmp_path, **{f"grpo.{name}": value for name, value in given.items()})
    settings = find_stage("grpo").read(recipe)
    config = make_config(recipe, settings, [1.0], torch.device("cpu"))
    assert config.save_steps == 2 and config.logging_steps == 1
    # TRL wants whole groups in a batch of rollouts at an evaluation, of which the recipe says nothing.
    large = small_recipe(tmp_path, **{"grpo.num_generations": 16, "grpo.per_device_train_batch_size": 64})
    find_stage("grpo").try_settings(large)
    assert (config.eval_strategy, config.eval_steps) == {
        (): ("steps", 2),
        ("steps",): ("steps", 1),  # as transformers does where nothing is said: whenever something is logged
        ("no",): ("no", None),
    }[tuple(given.values())]


class Killed(BaseException):
    """Stands for the end of the process."""


def run_until_update(number: int, stage: str, recipe: Recipe) -> None:
    """Run a stage until its optimizer has made so many updates."""
    count = 0

    def hook(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise Killed

    handle = register_optimizer_step_post_hook(hook)
    try:
        with pytest.raises(Killed):
            find_stage(stage)(recipe)
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["frames", pytest.param("text", marks=pytest.mark.slow)])
def test_a_killed_training_chooses_and_draws_the_same(kind: str, tmp_path: Path) -> None:
    make, name = (small_recipe, "mae") if kind == "frames" else (small_text_recipe, "fact_f1")
    keys = {"choose_by": name, "measured_windows": 2, "shown_windows": 2, "learning_rate": 1e-2}
    every: dict[str, Any] = {f"{stage}.{key}": keys[key] for stage in ("pretrain", "grpo") for key in keys}
    every |= {"grpo.max_steps": 4, "grpo.save_steps": 2}
    whole, killed = make(tmp_path / "whole", **every), make(tmp_path / "killed", **every)
    for stage, checkpoint in (("pretrain", "base"), ("grpo", "rlvr")):
        find_stage(stage)(whole)
        run_until_update(3, stage, killed)
        find_stage(stage)(killed)
        folders = [stage_folder(recipe, stage) for recipe in (whole, killed)]
        weights = [load_file(folder / checkpoint / "model.safetensors") for folder in folders]
        assert all(weights[0][part].equal(weights[1][part]) for part in weights[0])
        ends = [checkpoint_state(last_checkpoint(folder) or "") for folder in folders]
        assert ends[0].best_metric == ends[1].best_metric and ends[0].best_global_step == ends[1].best_global_step
        drawn = [
            {str(file.relative_to(folder)): file.read_bytes() for file in folder.glob("predictions/*/*")}
            for folder in folders
        ]
        assert drawn[0] == drawn[1] and len({file.split("/")[1] for file in drawn[0]}) == 3  # before, at 2, at 4
        # Drawings are no outputs: nothing that is published, or looked for, names them.
        assert set(read_json(folders[0] / "done.json")["outputs"]) == {checkpoint, "history.json"}


@pytest.mark.parametrize("kind", ["frames", pytest.param("text", marks=pytest.mark.slow)])
def test_looking_on_changes_no_weights(kind: str, tmp_path: Path) -> None:
    make = small_recipe if kind == "frames" else small_text_recipe
    weights = []
    for name, count in (("watched", 2), ("alone", 0)):
        few = {
            f"{stage}.{key}": count for stage in ("pretrain", "grpo") for key in ("measured_windows", "shown_windows")
        }
        recipe = make(tmp_path / name, **few)
        find_stage("grpo")(recipe)
        weights.append(load_file(recipe.output_dir / "rlvr" / "model.safetensors"))
        assert (stage_folder(recipe, "grpo") / "predictions").exists() is bool(count)
    assert all(weights[0][part].equal(weights[1][part]) for part in weights[0])
