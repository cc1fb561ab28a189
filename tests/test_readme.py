"""The README's code is that of the examples, and runs; its table and pictures are those of the committed results."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.hub import save_world_model
from rlvr_world_hf.runs.reproduce import readme_table
from rlvr_world_hf.training.pretraining import build_policy
from tests.tiny import tiny_processor


COLUMNS = ["mae", "mae_moving", "block_pose_error", "ssim", "agent_position_mae", "repetition_rate"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a quickstart seems to have run."""
    processor = tiny_processor(image_size=64, observed_steps=1)
    save_world_model(tmp_path / "outputs" / "quickstart" / "rlvr", build_policy(processor.layout, **SIZES), processor)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def code_of(readme: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)


@pytest.mark.parametrize("name", ["predict", "own_reward"])
def test_code_is_that_of_the_examples(repository: Path, readme: str, name: str) -> None:
    blocks = code_of(readme)
    example = (repository / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert example.split() in [block.split() for block in blocks]


def test_prediction_runs_with_what_ships_without_opencv_and_the_simulator(readme: str, tmp_path: Path) -> None:
    """In a process and a folder of its own, where nothing was trained."""
    checks = (
        "import sys; from PIL import Image; print(futures.shape, float(futures.min()), float(futures.max()), "
        "Image.open('futures.png').size, [name for name in ('cv2', 'gym_pusht') if name in sys.modules], sep='; ')"
    )
    command = [sys.executable, "-c", code_of(readme)[0] + checks]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shape, lowest, highest, size, imported = done.stdout.strip().split("; ")
    assert shape == "torch.Size([4, 4, 3, 64, 64])" and 0 <= float(lowest) < float(highest) <= 1
    assert size == str((4 * 66 + 2, 4 * 66 + 2)) and imported == "[]"


def test_plan_is_carried_out_in_the_real_physics(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["plan.py"])
    done = runpy.run_path(str(repository / "examples" / "plan.py"))
    assert done["plan"].cost == pytest.approx(float(done["objective"](done["plan"].actions[None])))
    assert len(done["real"].actions) == 1 + 4 and len(done["rewards"]) == 4
    assert np.array_equal(done["real"].episode().frames[:2], done["episode"].frames[:2]), "another start"
    assert f"reached {done['errors']['reached']:.4f}" in capsys.readouterr().out


def test_own_reward_rewards(repository: Path) -> None:
    reward = runpy.run_path(str(repository / "examples" / "own_reward.py"))["EdgeReward"]()
    reference = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
    same = torch.from_numpy(reference) / 255
    rewards: list[Any] = reward([None] * 2, predicted=[same, same.flip(-1)], reference=[reference] * 2)
    assert rewards[0] == pytest.approx(0.0, abs=1e-6)
    assert rewards[1] < -0.1


def test_every_example_is_tested(repository: Path) -> None:
    """Here, and `plan_swm` with what it plans by."""
    examples = {path.stem for path in (repository / "examples").glob("*.py")}
    assert examples == {"predict", "plan", "own_reward", "plan_swm"}


def test_table_is_that_of_the_committed_results(repository: Path, readme: str) -> None:
    results = read_results(repository / "model_cards" / "pusht" / "results.json")
    table = readme_table(results)
    assert re.findall(r"(\w+) [↑↓]", table.splitlines()[0]) == COLUMNS
    assert table.strip() in readme, f"the README's table must read:\n{table}"


def test_pictures_are_there(repository: Path, readme: str) -> None:
    pictures = re.findall(r"\]\(([^)#:]+)\)", readme)
    assert "model_cards/pusht/strip.png" in " ".join(pictures) + readme
    assert not [picture for picture in pictures if not (repository / picture).exists()]
