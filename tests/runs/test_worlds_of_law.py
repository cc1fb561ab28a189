"""PushT with noise that no model is told, and Pendulum in frames, through all stages in one command."""

import json
from pathlib import Path

import pytest

from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.rewards import load_inverse_model
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.recipe import Recipe, load_recipe
from rlvr_world_hf.runs.run import run
from rlvr_world_hf.runs.stages.collect import collect
from rlvr_world_hf.runs.stages.inverse import inverse
from tests.small_runs import SMALL


def test_a_world_of_noise_goes_through_all_stages_and_its_law_is_measured(cache: Path, tmp_path: Path) -> None:
    recipe = load_recipe("pusht/noisy_debug", overrides={**SMALL, "output_dir": str(tmp_path / "run")})
    run(recipe)
    results = read_results(recipe.output_dir / "results.json")
    assert results["rewarded"] == ["energy_score"]
    for name in ("law_distance", "law_distance_sensors"):
        assert not results["higher_is_better"][name]
        measured = {row: values[name]["mean"] for row, values in results["rows"].items()}
        assert list(measured) == ["copy_last", "tokenizer_floor", "law", "base", "control", "rlvr"]
        assert measured["law"] < min(value for row, value in measured.items() if row != "law")
    assert results["rows"]["law"]["mae"]["mean"] > 0, "what happened is one of many things"
    assert "| law |" in (recipe.output_dir / "README.md").read_text()


def test_noise_is_another_recording_and_none_is_the_one_there_was(tmp_path: Path) -> None:
    def fingerprint(**keys: object) -> str:
        return collect.fingerprint(load_recipe("pusht/debug", overrides={"output_dir": str(tmp_path), **keys}))

    assert fingerprint() != fingerprint(**{"collect.action_noise": 20.0})


def small_pendulum(folder: Path) -> Recipe:
    small = {**SMALL, "inverse.max_steps": 4, "inverse.eval_steps": 2, "output_dir": str(folder)}
    return load_recipe("pendulum/frames_debug", overrides=small)


def test_torques_are_read_from_three_frames_of_pendulum(cache: Path, tmp_path: Path) -> None:
    recipe = small_pendulum(tmp_path / "run")
    inverse(recipe)
    model = load_inverse_model(recipe.output_dir)
    assert (model.config.given_frames, model.config.action_dims, model.config.image_size) == (2, 1, 16)
    assert json.loads((recipe.output_dir / "inverse" / "results.json").read_text())["pairs"] > 0
    episode = kind_of(recipe).stored("test")[0]
    assert episode.frames.shape == (8, 3, 16, 16) and episode.states.shape == (8, 3)


@pytest.mark.slow  # the frames of PushT go through the same stages
def test_pendulum_in_frames_goes_through_all_stages(cache: Path, tmp_path: Path) -> None:
    recipe = small_pendulum(tmp_path / "run")
    run(recipe)
    assert (recipe.output_dir / "strip.gif").is_file()
    results = read_results(recipe.output_dir / "results.json")
    assert results["rewarded"] == ["mae"] and "psnr" in results["rows"]["rlvr"]
