import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.evaluation.predictions import row_batches
from rlvr_world_hf.findings.application import find_application
from rlvr_world_hf.findings.applications import foretelling as foretelling_module
from rlvr_world_hf.findings.applications.foretelling import Measured, foretelling, foretells
from rlvr_world_hf.findings.figures import draw_intervals
from rlvr_world_hf.findings.table import finding_table
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.runs.recipe import Recipe, load_recipe
from rlvr_world_hf.runs.stage import try_stages
from rlvr_world_hf.runs.stages.collect import collect
from tests.tiny import tiny_model, tiny_processor, tiny_rows


FEW: dict[str, Any] = {
    "windows": 4, "frames": 4, "num_samples": 2, "starts": 2, "episodes": 2, "candidates": 2, "iterations": 1,
}  # fmt: skip


def of_values(values: list[float], *, higher_is_better: bool = True) -> Measured:
    numbers = np.array(values)
    return Measured(quantity=lambda drawn: numbers, samples=2, higher_is_better=higher_is_better)


def test_a_metric_foretells_in_the_direction_in_which_both_get_better() -> None:
    use = of_values([0.1, 0.2, 0.3, 0.4, 0.5, 0.9])
    errors = of_values([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], higher_is_better=False)
    for metric, expected in ((errors, 1.0), (of_values([*errors.values]), -1.0)):
        found = foretells(metric, use, runs=3)
        assert (found["mean"], found["n"]) == (pytest.approx(expected), 6)
        assert found["low"] == pytest.approx(found["high"]), "every draw of runs has the same order"
    assert foretells(use, use, runs=3) == {} and foretells(of_values([1.0] * 6), use, runs=3) == {}


def test_runs_are_drawn_whole() -> None:
    """Within each of two runs the metric errs, between them it is right: draws of one run alone say the opposite."""
    use, metric = of_values([0.1, 0.2, 0.8, 0.9]), of_values([0.2, 0.1, 0.9, 0.8])
    found = foretells(metric, use, runs=2)
    assert found["mean"] == pytest.approx(0.6) and found["low"] == pytest.approx(-1.0)


def test_windows_without_a_value_are_left_out_of_a_mean() -> None:
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, 4.0]])
    assert foretelling_module._mean_of(values, np.arange(3)).tolist() == [2.0, 4.0]
    half = foretelling_module._mean_of(values, np.array([0, 1]))
    assert half[0] == 1.0 and np.isnan(half[1])


def test_the_first_window_of_long_rows_is_that_of_short_ones() -> None:
    long, short = (next(iter(row_batches(tiny_rows(horizon=horizon), size=2))) for horizon in (4, 2))
    first = foretelling_module._first_window(long, 2)
    for name in ("context", "actions", "reference", "reference_mask"):
        assert torch.equal(getattr(first, name), getattr(short, name)), name


@pytest.fixture
def recipes(cache: Path, tmp_path: Path) -> list[Recipe]:
    """Three finished runs of random weights, and test episodes."""
    overrides = {"windows.observed_steps": 1, "collect.image_size": 32, "collect.test": 2, "collect.length": 10}
    recipe = load_recipe("pusht/debug", overrides={**overrides, "output_dir": str(tmp_path / "none")})
    collect(recipe)
    processor = tiny_processor(image_size=32, observed_steps=1, action_law="relative")
    made = [dataclasses.replace(recipe, seed=seed, output_dir=tmp_path / f"seed-{seed}") for seed in range(3)]
    for number, each in enumerate(made):
        for place, name in enumerate(("base", "rlvr")):
            model = tiny_model(processor, seed=2 * number + place)
            WorldModelPipeline(model, processor).save_pretrained(each.output_dir / name)
    return made


@pytest.mark.slow
def test_all_checkpoints_are_measured_and_used_alike(
    recipes: list[Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = foretelling_module.PolicyProtocol
    monkeypatch.setattr(
        foretelling_module, "PolicyProtocol",
        lambda **given: scenes(**given, steps=1, nearest=20.0, farthest=400.0),
    )  # fmt: skip
    path = foretelling(recipes, folder=tmp_path / "out", **FEW)
    record = json.loads(path.read_text())
    assert record["finding"] == path.stem and record["n"] == 6 and "3 training seed(s)" in record["reason"]
    metrics = {"mae", "mae_moving", "ssim", "agent_position_mae", "mae_at_4", "energy_score"}
    assert metrics <= {*record["rows"]} and [*record["rows"]][-2:] == ["planning_success", "judging_gap"]
    assert [(one["seed"], one["checkpoint"]) for one in record["checkpoints"]][:3] == [
        (0, "base"), (0, "rlvr"), (1, "base"),
    ]  # fmt: skip
    maes = [one["values"]["mae"] for one in record["checkpoints"]]
    assert len(set(maes)) == 6 and all({*record["rows"]} == {*one["values"]} for one in record["checkpoints"])
    assert record["rows"]["planning_success"]["planning"] == {}
    for of_metric in record["rows"].values():
        for column in of_metric.values():
            assert not column or -1 - 1e-9 <= column["low"] <= column["high"] <= 1 + 1e-9
    application = find_application("foretelling")
    assert "| mae | " in finding_table(record, metrics=application.metrics)
    draw_intervals(record, tmp_path / "plot.png", metrics=application.metrics)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*-seed-*.json")}
    again = json.loads(foretelling(recipes, folder=tmp_path / "out", **FEW).read_text())
    assert again == record and {file: file.stat().st_mtime_ns for file in files} == files and len(files) == 6


def test_what_cannot_be_ranked_is_refused(recipes: list[Recipe], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 3 runs to put into an order.*got 2"):
        foretelling(recipes[:2], folder=tmp_path / "out", **FEW)
    shutil.rmtree(recipes[1].output_dir / "base")
    shutil.copytree(recipes[0].output_dir / "base", recipes[1].output_dir / "base")
    with pytest.raises(ValueError, match="separately trained bases, got some with the same weights"):
        foretelling(recipes, folder=tmp_path / "out", **FEW)


def test_its_recipe_trains_a_base_for_each_seed() -> None:
    application = find_application("foretelling")
    recipe = load_recipe(application.recipe)
    assert len(application.seeds) >= 8 and recipe.sections["pretrain"]["max_steps"] > 0
    assert "start_from" not in recipe.sections["pretrain"]
    try_stages(recipe, ["pretrain"])
