import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf.training.parallel import average_gradients, is_first_process, process_part
from tests.training.test_tokenizer_training import ADVERSARIAL, train


def descend(patch: Callable[[Any, str, Any], None]) -> None:
    """Plain gradient descent: Adam would make whole steps of the rounding errors by which the two differ."""
    for name in ("Adam", "AdamW"):
        patch(torch.optim, name, lambda parameters, lr=0.01, **_: torch.optim.SGD(parameters, lr=lr))


CHANGES = ADVERSARIAL | {"learning_rate": 0.05}
SCRIPT = f"""
import sys, torch
from pathlib import Path
from accelerate import PartialState
state = PartialState(cpu=True)
from tests.training.test_parallel import descend
from tests.training.test_tokenizer_training import train
from rlvr_world_hf.training.parallel import process_part
assert state.num_processes == 2
try:
    process_part(3)
except ValueError as error:
    assert "2 processes can share evenly, got 3" in str(error)
else:
    raise AssertionError
descend(setattr)
codec, history = train(Path(sys.argv[1]), **{CHANGES})
if state.is_main_process:
    torch.save((codec.state_dict(), history), sys.argv[1] + ".pt")
state.destroy_process_group()
"""


def test_a_single_process_has_the_whole_batch_and_its_own_gradients() -> None:
    assert range(3)[process_part(3)] == range(3)
    assert is_first_process()
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    average_gradients([parameter])
    assert parameter.grad.tolist() == [1, 1]


def test_a_tokenizer_trained_by_two_processes_equals_one_trained_by_one(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descend(monkeypatch.setattr)
    codec, history = train(tmp_path / "one", **CHANGES)
    (tmp_path / "run.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", str(tmp_path / "run.py"), str(tmp_path / "two")]
    environment = {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment, cwd=repository
    )
    assert done.returncode == 0, done.stderr[-4000:]
    of_two, history_of_two = torch.load(tmp_path / "two.pt", weights_only=True)
    torch.testing.assert_close(dict(codec.state_dict()), of_two, atol=2e-5, rtol=1e-4)
    for one, two in zip(history, history_of_two, strict=True):
        assert one["mae"] == pytest.approx(two["mae"], abs=1e-5)
    assert history[-1]["mae"] != pytest.approx(history[0]["mae"], abs=1e-3)
    assert (tmp_path / "two" / "config.json").is_file() and not (tmp_path / "two" / "resume.pt").exists()
