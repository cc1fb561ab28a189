"""The learning rate of a training that goes on from another follows a course of its own, of a number of updates."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from rlvr_world_hf.hub.training_checkpoints import last_checkpoint
from rlvr_world_hf.training import schedule as schedule_module
from rlvr_world_hf.training.pretraining import LikelihoodConfig, pretrain, tokenize_rows
from rlvr_world_hf.training.schedule import UPDATES_FILE, Schedule
from tests.training.world import parameters, small_policy, small_processor, small_rows


PEAK = 1e-2


@pytest.fixture(scope="module")
def tokens() -> Any:
    processor = small_processor()
    return tokenize_rows(small_rows(processor, count=24), processor)


class Rates(TrainerCallback):
    """The learning rate of each update."""

    def __init__(self) -> None:
        self.of_updates: dict[int, float] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        self.of_updates[state.global_step] = optimizer.param_groups[0]["lr"]


class Kill(Exception):
    pass


class KillAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise Kill


def train(tokens: Any, folder: Path, *callbacks: TrainerCallback, seed: int = 0, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "max_steps": 8, "eval_steps": 4, "batch_size": 8, "learning_rate": PEAK, "warmup_steps": 0,
    }  # fmt: skip
    further = {"disable_tqdm": True} | changes.pop("training_arguments", {})
    args = LikelihoodConfig(**fields | changes, training_arguments=further)
    model = small_policy(small_processor(), seed=seed)
    return model, pretrain(model, tokens, tokens, output_dir=folder, args=args, callbacks=callbacks)


@pytest.fixture(scope="module")
def base(tokens: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of 8 updates whose rate has fallen to 0."""
    how = {"training_arguments": {"lr_scheduler_type": "linear"}}
    return train(tokens, tmp_path_factory.mktemp("base"), **how)[1].last_checkpoint


def test_a_course_begins_where_the_training_does(tokens: Any, base: str, tmp_path: Path) -> None:
    rates = Rates()
    course = Schedule(kind="linear", warmup_steps=2, first_step=8)
    _, result = train(tokens, tmp_path, rates, continue_from=base, max_steps=16, schedule=course)
    expected = [0.0, 0.5, *(1 - made / 6 for made in range(6))]
    assert list(rates.of_updates) == list(range(8, 16))
    assert list(rates.of_updates.values()) == pytest.approx([PEAK * factor for factor in expected])
    assert result.last_checkpoint.endswith("checkpoint-16") and not (tmp_path / UPDATES_FILE).exists()


def test_the_peak_is_that_of_the_training_and_not_of_the_checkpoint(tokens: Any, base: str, tmp_path: Path) -> None:
    rates = Rates()
    how = {"learning_rate": PEAK / 4, "schedule": Schedule(kind="linear", first_step=8)}
    train(tokens, tmp_path, rates, continue_from=base, max_steps=12, **how)
    assert list(rates.of_updates.values()) == pytest.approx([PEAK / 4 * (1 - made / 4) for made in range(4)])


def test_without_a_checkpoint_to_go_on_from_it_is_the_course_of_all(tokens: Any, tmp_path: Path) -> None:
    rates = Rates()
    train(tokens, tmp_path, rates, max_steps=4, schedule=Schedule(kind="cosine"))
    assert list(rates.of_updates.values()) == pytest.approx([PEAK * f for f in (1.0, 0.8535534, 0.5, 0.1464466)])


@pytest.fixture
def measured_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The updates are measured on two, after the first, and take exactly half a second each."""
    monkeypatch.setattr(schedule_module, "UNMEASURED", 1)
    monkeypatch.setattr(schedule_module, "MEASURED", 2)

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds += 0.5

    monkeypatch.setattr(schedule_module.Clock, "on_step_end", on_step_end)


MEASURED = {"max_steps": 9, "minimum_seconds": 5.0, "schedule": Schedule(kind="linear", first_step=8)}
"""Ten updates of half a second, the first three at the peak."""


def test_updates_that_fit_into_a_time_are_measured_on_the_first(
    tokens: Any, base: str, tmp_path: Path, measured_soon: None
) -> None:
    rates = Rates()
    _, result = train(tokens, tmp_path, rates, continue_from=base, **MEASURED)
    known = json.loads((tmp_path / UPDATES_FILE).read_text())
    assert (known["updates"], known["known_after"], known["seconds_an_update"]) == (10, 3, pytest.approx(0.5))
    expected = [1.0] * 4 + [1 - made / 10 for made in range(4, 10)]
    assert list(rates.of_updates.values()) == pytest.approx([PEAK * factor for factor in expected], rel=1e-6)
    assert result.last_checkpoint.endswith("checkpoint-18")
    assert "eval_loss" in next(
        entry for entry in reversed(result.history) if entry["step"] == 18 and "loss" not in entry
    )


@pytest.mark.parametrize("step", [10, 13, 17])
def test_a_killed_training_makes_the_updates_that_were_measured_first(
    tokens: Any, base: str, tmp_path: Path, measured_soon: None, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Whatever they take afterwards; killed before they are known, after that, and near the end."""
    whole, expected = train(tokens, tmp_path / "whole", continue_from=base, **MEASURED)
    folder = tmp_path / "killed"
    with pytest.raises(Kill):
        train(tokens, folder, KillAt(step), continue_from=base, **MEASURED)
    assert (folder / UPDATES_FILE).exists() is (step > 10)
    if step > 10:
        half_a_second = schedule_module.Clock.on_step_end

        def slower(*given: Any, **further: Any) -> None:
            half_a_second(*given, **further)
            half_a_second(*given, **further)

        monkeypatch.setattr(schedule_module.Clock, "on_step_end", slower)
    resumed, result = train(tokens, folder, seed=5, continue_from=base, **MEASURED)
    assert torch.equal(parameters(whole), parameters(resumed))
    again, result_again = train(tokens, folder, seed=6, continue_from=base, **MEASURED)
    assert result_again.history == result.history, "a finished training makes no further update"
    assert last_checkpoint(folder) == result.last_checkpoint and result.last_checkpoint.endswith("checkpoint-18")
    assert torch.equal(parameters(again), parameters(whole))
    assert [entry for entry in result.history if "eval_loss" in entry][-1]["eval_loss"] == pytest.approx(
        [entry for entry in expected.history if "eval_loss" in entry][-1]["eval_loss"], abs=0
    )


def test_a_number_that_was_damaged_is_measured_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for content in ("[]", "{", '{"updates": 3}'):
        (tmp_path / UPDATES_FILE).write_text(content)
        caplog.clear()
        clock = schedule_module.ScheduledClock(Schedule(kind="linear"), output_dir=tmp_path, minimum_seconds=1.0)
        assert clock.updates is None and "measured again" in caplog.text


@pytest.mark.parametrize("kind", ["lineal", "reduce_lr_on_plateau", "warmup_stable_decay"])
def test_a_schedule_that_does_not_depend_on_the_update_alone_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"such as 'linear', got {kind!r}"):
        Schedule(kind=kind)
