import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rlvr_world_hf.findings.applications import planning as planning_module
from rlvr_world_hf.findings.applications.planning import goal_cost, planning
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.worlds.pusht.task import PushTTask
from tests.tiny import tiny_model, tiny_processor, tiny_sensor_processor


FEW: dict[str, Any] = {"starts": 2, "decisions": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    processor = tiny_processor(image_size=32, observed_steps=1)
    for seed, name in enumerate(("base", "rlvr")):
        WorldModelPipeline(tiny_model(processor, seed=seed), processor).save_pretrained(folder / name)
    (folder / "results.json").write_text(json.dumps({"recipe": "pusht/tiny", "training_seeds": [4]}))
    return folder


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"horizon": 2, "candidates": 3, "iterations": 1, "elites": 2}
    monkeypatch.setattr(planning_module, "PLANNER", settings)


def test_all_rows_from_the_same_starts(run: Path, tmp_path: Path) -> None:
    path = planning([run], folder=tmp_path, **FEW)
    record = json.loads(path.read_text())
    assert list(record["rows"]) == ["random", "scripted", "base", "rlvr", "simulator"]
    assert record["recipe"] == "pusht/tiny" and record["training_seeds"] == [4] and record["n"] == 2
    for row in record["rows"].values():
        assert {"success", "position_distance", "seconds_per_decision"} <= row.keys()
        assert row["success"]["n"] == 2 and row["decisions"]["mean"] == 1
        assert row["position_distance"]["low"] <= row["position_distance"]["high"]
    for name in ("best", "worst"):
        with Image.open(tmp_path / f"planning_{name}.gif") as film:
            assert film.n_frames == 2 and film.width == 4 * 256
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "pieces").rglob("*.json")}
    assert len(files) == 10
    assert json.loads(planning([run], folder=tmp_path, **FEW).read_text()) == record
    assert {file: file.stat().st_mtime_ns for file in files} == files, "none was made again"


def test_what_the_goal_does_not_show_costs_nothing() -> None:
    shown = PushTTask(1, image_size=32, lead=1, goal_steps=1).goal_frame
    assert {reward.name for reward in goal_cost(shown).rewards} == {"mae", "agent_position_mae"}
    hidden = np.full((3, 32, 32), 255, np.uint8)
    assert goal_cost(hidden)(torch.ones(2, 1, 3, 32, 32)).tolist() == [0.0, 0.0]


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
