"""What is timed runs, at sizes of a moment."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def workloads(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import workloads

    yield workloads
    sys.modules.pop("workloads")


def test_a_step_of_either_way(workloads: Any, tmp_path: Path) -> None:
    sizes = workloads.Workload(prompt_length=12, completion_length=6, prompts=2, group_size=4)
    assert sizes.tokens == {"ours": 2 * 12 + 8 * 6, "trl": 8 * 12 + 8 * 6}
    for way in workloads.WAYS:
        step = workloads.Step(way, sizes, tmp_path / way)
        before = [parameter.clone() for parameter in step.trainer.model.parameters()]
        seconds = step.run()
        assert 0 < seconds["rollout"] < seconds["step"]
        assert any((old != new).any() for old, new in zip(before, step.trainer.model.parameters(), strict=True))


def test_frames_of_either_way(workloads: Any) -> None:
    sizes = workloads.Workload(prompt_length=12, completion_length=48, prompts=1, group_size=2)
    for way in workloads.WAYS:
        assert workloads.Frames(way, sizes).run()["rollout"] > 0


def test_the_reward_of_either_way(workloads: Any) -> None:
    for way in workloads.WAYS:
        assert workloads.Reward(way, prompts=1, group_size=2, horizon=1).run()["reward"] > 0


def test_the_step_of_a_gpu_at_small_sizes(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    command = [sys.executable, str(repository / "benchmarks" / "gpu.py"), "--small", "--output", str(file)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    result = json.loads(file.read_text())
    assert len(result["seconds_a_step"]) == 2
    assert set(result["mean_seconds_of_parts"]) > {"encode and sample", "decode", "rewards"}
