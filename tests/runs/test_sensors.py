"""Worlds of sensors, and of video and sensors, through all stages in one command."""

from pathlib import Path

import pytest
import torch

from rlvr_world_hf import SensorWorldModelProcessor, VideoWorldModelProcessor, WorldModelPipeline
from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.recipe import Recipe, load_recipe
from rlvr_world_hf.runs.run import run
from tests.small_runs import SMALL


def small(recipe: str, folder: Path, **changes: object) -> Recipe:
    return load_recipe(recipe, overrides={**SMALL, "output_dir": str(folder), **changes})


@pytest.mark.slow  # the sensors of the joint world below go through the same stages
@pytest.mark.parametrize(("name", "sensors", "actions"), [("pusht/sensor_debug", 6, 10), ("pendulum/debug", 3, 1)])
def test_a_world_of_sensors_goes_through_all_stages(
    cache: Path, tmp_path: Path, name: str, sensors: int, actions: int
) -> None:
    recipe = small(name, tmp_path / "run")
    run(recipe)
    processor = kind_of(recipe).build_processor()
    assert isinstance(processor, SensorWorldModelProcessor) and processor.layout.sensor_dims == sensors
    results = read_results(recipe.output_dir / "results.json")
    assert list(results["rows"]) == ["copy_last", "tokenizer_floor", "base", "base_best_sampling", "control", "rlvr"]
    assert results["rewarded"] == ["sensor_mse"] and "mae" not in results["rows"]["rlvr"]
    assert (recipe.output_dir / "sensors.png").is_file() and not (recipe.output_dir / "strip.png").exists()
    card = (recipe.output_dir / "README.md").read_text()
    assert "(sensors.png)" in card and f"world model of {'PushT' if actions == 10 else 'Pendulum'}:" in card
    given = processor.layout.observed_steps
    pipeline = WorldModelPipeline.from_pretrained(recipe.output_dir / "rlvr")
    assert pipeline(torch.zeros(given, sensors), torch.zeros(given + 2, actions)).shape == (1, 2, sensors)


def test_video_and_sensors_go_through_all_stages(cache: Path, tmp_path: Path) -> None:
    recipe = small("pusht/joint_debug", tmp_path / "run")
    run(recipe)
    results = read_results(recipe.output_dir / "results.json")
    assert results["rewarded"] == ["mae", "sensor_mse"]
    assert {"mae", "ssim", "sensor_mse", "sensor_accuracy", "repetition_rate"} <= set(results["rows"]["rlvr"])
    assert all((recipe.output_dir / name).is_file() for name in ("strip.png", "strip.gif", "sensors.png"))
    pipeline = WorldModelPipeline.from_pretrained(recipe.output_dir / "rlvr")
    assert isinstance(pipeline.processor, VideoWorldModelProcessor)
    predicted = pipeline(torch.zeros(3, 16, 16), torch.zeros(3, 10), states=torch.zeros(6))
    assert predicted["predicted"].shape == (1, 2, 3, 16, 16) and predicted["predicted_states"].shape == (1, 2, 6)


def test_a_recipe_with_nothing_to_predict_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pretrain.sensor_bins: expected a number of bins"):
        run(small("pendulum/debug", tmp_path / "run", **{"pretrain.sensor_bins": 0}))
