"""Pretrain, control and RL keep the checkpoint that is best at a metric of the table, if a recipe says so."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rlvr_world_hf.runs.progress import read_json
from rlvr_world_hf.runs.run import run
from rlvr_world_hf.runs.stage import find_stage, stage_folder
from rlvr_world_hf.runs.watching import higher_is_better
from tests.small_runs import small_recipe, small_text_recipe


CHOICES: dict[str, dict[str, Any]] = {
    "frames": {"pretrain.choose_by": "mae", "grpo.choose_by": "mae", "control.save_total_limit": 9},
    "text": {"pretrain.choose_by": "fact_f1", "grpo.choose_by": "fact_f1", "grpo.save_steps": 1},
}


@pytest.mark.parametrize("kind", ["frames", "text"])
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
