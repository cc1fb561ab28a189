"""Ctrl-C ends a training after its update, with a checkpoint from which it goes on to the same weights."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import TrainerCallback

from rlvr_world_hf.hub.training_checkpoints import last_checkpoint
from rlvr_world_hf.training import stopping
from rlvr_world_hf.training.pretraining import LikelihoodConfig, pretrain, tokenize_rows
from rlvr_world_hf.training.stopping import StopWhenAsked, held_back
from tests.training.test_tokenizer_training import assert_equal
from tests.training.test_tokenizer_training import train as train_codec
from tests.training.world import parameters, small_policy, small_processor, small_rows, small_trainer


class CtrlC(TrainerCallback):
    """Presses it in the midst of an update."""

    def __init__(self, step: int, *, times: int = 1) -> None:
        self.step = step
        self.times = times

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step + 1 == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def handler() -> Any:
    """That of Ctrl-C is the same before and after. Where tests run in the background, theirs is off."""
    of_tests = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, of_tests) is signal.default_int_handler


def likelihood(folder: Path, *callbacks: TrainerCallback, seed: int = 0) -> torch.nn.Module:
    processor = small_processor()
    tokens = tokenize_rows(small_rows(processor, count=24), processor)
    model = small_policy(processor, seed=seed)
    args = LikelihoodConfig(
        max_steps=12, eval_steps=4, batch_size=8, learning_rate=1e-2, warmup_steps=2,
        training_arguments={"disable_tqdm": True},
    )  # fmt: skip
    pretrain(model, tokens, tokens, output_dir=folder, args=args, callbacks=callbacks)
    return model


def test_likelihood_is_saved_after_its_update_and_goes_on_exactly(tmp_path: Path, capfd: Any) -> None:
    whole = likelihood(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        likelihood(tmp_path / "stopped", CtrlC(7))
    assert "Ending after this update" in capfd.readouterr().err
    assert last_checkpoint(tmp_path / "stopped").endswith("checkpoint-7")
    resumed = likelihood(tmp_path / "stopped", seed=5)
    assert torch.equal(parameters(whole), parameters(resumed))


@pytest.mark.parametrize(("step", "saved"), [(5, 4), (6, 6)])
def test_rl_is_saved_where_it_can_go_on_exactly(tmp_path: Path, step: int, saved: int) -> None:
    how = {"max_steps": 8, "save_steps": 4}
    whole = small_trainer(tmp_path / "whole", **how)
    whole.train()
    stopped = small_trainer(tmp_path / "stopped", callbacks=[CtrlC(step)], **how)
    with pytest.raises(KeyboardInterrupt), held_back() as asked:
        stopped.add_callback(StopWhenAsked(asked, save_every=stopped.args.checkpoint_interval))
        stopped.train()
    assert stopped.state.global_step == step
    assert last_checkpoint(tmp_path / "stopped").endswith(f"checkpoint-{saved}")
    resumed = small_trainer(tmp_path / "stopped", **how)
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(parameters(whole.model), parameters(resumed.model))


@pytest.mark.parametrize("update", [3, 4, 8], ids=["validated", "between", "last"])
def test_a_tokenizer_is_saved_and_goes_on_exactly(tmp_path: Path, update: int) -> None:
    whole, history = train_codec(tmp_path / "whole")
    count = 0

    def press(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == update:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)

    handle = register_optimizer_step_post_hook(press)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_codec(tmp_path / "stopped")
    finally:
        handle.remove()
    assert count == update
    seconds = torch.load(tmp_path / "stopped" / "resume.pt")["seconds"]
    resumed, of_resumed = train_codec(tmp_path / "stopped")
    assert_equal(whole, resumed)
    for entry, expected in zip(of_resumed, history, strict=True):
        assert {**entry, "seconds": 0.0} == {**expected, "seconds": 0.0}
    assert of_resumed[-1]["seconds"] >= seconds > 0.5, "the time since the last validation counts, too"


def test_once_more_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "ONCE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        likelihood(tmp_path, CtrlC(7, times=2))
    assert last_checkpoint(tmp_path).endswith("checkpoint-4")


def test_what_a_launcher_hands_on_is_no_second_time(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        likelihood(tmp_path, CtrlC(7, times=3))
    assert last_checkpoint(tmp_path).endswith("checkpoint-7")


def test_what_breaks_by_it_is_no_error_of_its_own() -> None:
    with pytest.raises(KeyboardInterrupt) as ended, held_back():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        raise RuntimeError("a worker exited unexpectedly")
    assert isinstance(ended.value.__cause__, RuntimeError)
    with pytest.raises(RuntimeError, match="of another kind"), held_back():
        raise RuntimeError("of another kind")


def test_who_has_turned_it_off_wants_it_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert not asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_train_without_it(tmp_path: Path) -> None:
    done = []
    thread = threading.Thread(target=lambda: done.append(likelihood(tmp_path)))
    thread.start()
    thread.join()
    assert len(done) == 1
