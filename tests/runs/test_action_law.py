"""The law of actions on its way from a recipe to a checkpoint, and to those who use it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf import WorldModelPipeline
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stage import run_stages
from rlvr_world_hf.runs.world import check_law
from rlvr_world_hf.worlds.pusht.form import PushTForm
from rlvr_world_hf.worlds.pusht.judging import PredictedWorld
from rlvr_world_hf.worlds.pusht.playground import Playground
from rlvr_world_hf.worlds.pusht.simulator import policy_of
from tests.small_runs import SMALL, small_recipe


RELATIVE = {"collect.action_law": "relative", "collect.policies": {"scripted": 1, "smooth": 1}}


TOLD_AGENT = {
    "pretrain.sensor_bins": 16,
    "pretrain.sensors_first": True,
    "pretrain.structured_start": True,
    "pretrain.shared_learning": True,  # control goes on with its optimizer
}


@pytest.mark.parametrize(
    "further", [pytest.param({}, id="frames", marks=pytest.mark.slow), pytest.param(TOLD_AGENT, id="told agent")]
)
def test_relative_actions_go_through_all_stages_and_are_played(
    further: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tmp_path / "run", **RELATIVE, **further)
    run_stages(recipe, recipe.sections)
    episodes = kind_of(recipe).stored("train")
    assert {policy_of(episode.episode_id) for episode in episodes} <= {"scripted", "smooth"}
    saved = json.loads((recipe.output_dir / "rlvr" / "processor_config.json").read_text())
    assert saved["action_law"] == "relative" and saved["layout"]["action_dims"] == 10
    assert saved["action_low"] == [-1.0] * 10 and saved["action_high"] == [1.0] * 10
    pipeline = WorldModelPipeline.from_pretrained(recipe.output_dir / "rlvr")
    form = PushTForm.of(pipeline.processor)
    assert form.action_law == "relative" and form.is_told_agent == bool(further)
    assert pipeline.processor.layout.sensors_first == bool(further) and pipeline.processor.action_matrix is not None
    world = PredictedWorld(pipeline, [5_000_000])
    world.act(np.full((1, 10), 0.5))
    assert world.env.single_action_space.shape == (10,) and world.frames().shape == (1, 3, 16, 16)
    playground = Playground({"rlvr": pipeline}, horizon=2)
    start = playground.start(0)
    *_, play = playground.advance(start, playground.plan(start, [(256.0, 256.0)]).actions)
    assert play.steps > 0 and play.actions.shape[1] == 10


def test_sensors_and_relative_actions_go_into_a_processor(cache: Path, tmp_path: Path) -> None:
    recipe = load_recipe("pusht/sensor_debug", overrides={**SMALL, **RELATIVE, "output_dir": str(tmp_path)})
    run_stages(recipe, ["collect"])
    processor = kind_of(recipe).build_processor()
    assert (processor.action_law, processor.layout.action_dims) == ("relative", 10)
    assert processor.encode_prompt(torch.zeros(1, 2, 6), torch.zeros(1, 4, 10)).shape == (1, 2 * 16)


def test_a_world_model_of_another_law_is_not_trained_on(tmp_path: Path) -> None:
    relative = {"action_law": "relative"}
    recipe = small_recipe(tmp_path, **RELATIVE)
    check_law(recipe, "relative", settings=relative, place="mine")
    check_law(recipe, None, settings={"action_law": "absolute"}, place="mine")
    # The first base that was bundled names no law, as there was no other when it was trained.
    with pytest.raises(
        ValueError, match="mine speaks the absolute law of actions, and the episodes have relative ones"
    ):
        check_law(recipe, None, settings=relative, place="mine")
    check_law(load_recipe("pendulum/debug"), None, settings={}, place="mine")


def test_training_from_the_bundled_base_needs_its_law(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path / "cache"))
    changes = {**SMALL, "output_dir": str(tmp_path), "collect.action_law": "absolute"}
    recipe = load_recipe("pusht/quickstart", overrides=changes)
    with pytest.raises(ValueError, match="--collect.action_law relative"):
        run_stages(recipe, ["collect", "tokenizer", "pretrain"])
    assert not [*tmp_path.rglob("*.arrow")], "refused before anything is recorded"


def test_policies_of_a_recipe_are_checked(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, **{**RELATIVE, "collect.policies": {"mad": 1}})
    with pytest.raises(ValueError, match="Expected `policies` among scripted"):
        run_stages(recipe, ["collect"])
