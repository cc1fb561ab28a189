"""Two processes of `accelerate launch` come to what one process comes to: one launch for all tests, as it is dear."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from rlvr_world_hf.hub.training_checkpoints import checkpoint_state, last_checkpoint
from rlvr_world_hf.runs.status import run_status
from tests.launched import (
    DESCENT,
    PROCESSES,
    RESAMPLED,
    TOKENIZER_DESCENT,
    UNEVEN,
    descend,
    nats_per_answer,
    resampled,
)
from tests.small_runs import SMALL
from tests.training.test_tokenizer_training import train
from tests.training.world import PartlyFlat, parameters, small_trainer


PATIENCE = 600
"""Seconds after which processes that wait for each other are ended."""


LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(PROCESSES)]
LAUNCH += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the processes left."""

    folder: Path
    """Where they left it."""

    status: int | None
    """How the launch ended; `None` if it had to be ended."""

    errors: str
    """The end of what they wrote to stderr."""

    def expect(self, work: str) -> None:
        """Fail unless all processes have done a part of the work, with what they raised instead."""
        for rank in range(PROCESSES):
            file = self.folder / f"{work}-{rank}.txt"
            assert file.exists(), f"process {rank} did not come to the end of `{work}`:\n{self.errors}"
            assert not file.read_text(), f"process {rank}:\n{file.read_text()}"


@pytest.fixture(scope="module")
def launch(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Launch:
    folder = tmp_path_factory.mktemp("launched")
    command = [*LAUNCH, str(repository / "tests" / "launched.py"), str(folder)]
    settings = {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with (folder / "stderr").open("w") as log, (folder / "stdout").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=log, env=os.environ | settings, cwd=folder)
        try:
            status = process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
            status = None
    return Launch(folder=folder, status=status, errors=(folder / "stderr").read_text()[-4000:])


def test_sharded_parameters_change_nothing(launch: Launch) -> None:
    launch.expect("shard")


def test_processes_that_share_weights_sample_in_lockstep(launch: Launch) -> None:
    launch.expect("sample_unevenly")


def test_a_process_waits_longer_than_the_process_group_has_patience(launch: Launch) -> None:
    launch.expect("outlive_the_time_out")


def test_what_two_processes_measure_equals_what_one_measures(launch: Launch) -> None:
    launch.expect("measure_together")


def test_a_policy_trained_by_two_processes_equals_one_trained_by_one(launch: Launch, tmp_path: Path) -> None:
    launch.expect("train_by_grpo")
    one = small_trainer(tmp_path / "one", per_device_train_batch_size=16, **DESCENT)
    one.train()
    two, rewards_of_two, processes = torch.load(launch.folder / "grpo.pt")
    assert processes == PROCESSES
    rewards_of_one = [entry["reward"] for entry in one.state.log_history if "reward" in entry]
    assert rewards_of_one == pytest.approx(rewards_of_two, abs=1e-6)
    torch.testing.assert_close(parameters(one.model), two, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", RESAMPLED)
def test_two_processes_resample_what_one_does(launch: Launch, tmp_path: Path, name: str) -> None:
    launch.expect("resample")
    one = small_trainer(tmp_path / "one", rewards=PartlyFlat(), **DESCENT | RESAMPLED[name])
    one.train()
    two, of_two = torch.load(launch.folder / f"{name}.pt")
    assert resampled(one) == of_two and any(entry["resampling/replaced_groups"] for entry in of_two)
    torch.testing.assert_close(parameters(one.model), two, atol=1e-6, rtol=1e-5)


def test_two_processes_have_as_many_nats_an_answer_as_one(launch: Launch, tmp_path: Path) -> None:
    launch.expect("evaluate_answers")
    expected = {count: nats_per_answer(tmp_path / str(count), count) for count in UNEVEN}
    assert torch.load(launch.folder / "nats.pt") == pytest.approx(expected, rel=1e-5)
    assert expected[3] < expected[5] < expected[6], "longer answers have more"


def test_a_tokenizer_trained_by_two_processes_equals_one_trained_by_one(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch.expect("train_a_tokenizer")
    descend(monkeypatch.setattr)
    codec, history = train(tmp_path / "one", **TOKENIZER_DESCENT)
    of_two, history_of_two = torch.load(launch.folder / "tokenizer.pt", weights_only=True)
    torch.testing.assert_close(dict(codec.state_dict()), of_two, atol=2e-5, rtol=1e-4)
    for alone, together in zip(history, history_of_two, strict=True):
        assert alone["mae"] == pytest.approx(together["mae"], abs=1e-5)
    assert history[-1]["mae"] != pytest.approx(history[0]["mae"], abs=1e-3)
    saved = launch.folder / "tokenizer"
    assert (saved / "config.json").is_file() and not (saved / "resume.pt").exists()


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_after_the_same_update(repository: Path, tmp_path: Path) -> None:
    words = ["pusht/debug", "--output_dir", str(tmp_path / "run"), "--max_steps", "100000", "--eval_steps", "3"]
    keys = [word for name, value in SMALL.items() for word in (f"--{name}", str(value)) if "pretrain." not in name]
    command = [*LAUNCH, str(repository / "trainers" / "pretrain.py"), *words, *keys]
    settings = {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    environment = os.environ | settings | {"RLVR_WORLD_CACHE": str(tmp_path / "cache")}
    with (tmp_path / "stderr").open("w") as log, (tmp_path / "stdout").open("w") as out:
        # In a group of its own, to all of which a terminal would send the signal.
        how = {"start_new_session": True, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        process = subprocess.Popen(command, stdout=out, stderr=log, env=environment, **how)
        try:
            deadline = time.monotonic() + PATIENCE
            while not [*tmp_path.glob("run/stages/pretrain/*/checkpoint-3/manifest.json")]:
                assert time.monotonic() < deadline and process.poll() is None, (tmp_path / "stderr").read_text()[
                    -3000:
                ]
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = (tmp_path / "stderr").read_text()
    assert "KeyboardInterrupt" not in said, said[-3000:]
    assert said.count("Go on with the same launch.") == said.count("Ending after this update") == 1
    (status,) = [status for status in run_status(tmp_path / "run") if status.stage == "pretrain"]
    assert (status.state, status.reason) == ("stopped", "interrupted")
    last = last_checkpoint(status.folder)
    assert f"pretrain goes on from update {checkpoint_state(last).global_step}, saved in {last}." in said


def test_launched_processes_part_before_they_exit(launch: Launch) -> None:
    launch.expect("part")
    assert {path.name for path in launch.folder.glob("parted*")} == {"parted0", "parted1"}
    assert launch.status == 0, launch.errors
