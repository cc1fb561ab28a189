import re
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from rlvr_world_hf.training import progress_line
from rlvr_world_hf.training.callbacks import ENDLESS, Clock
from rlvr_world_hf.training.pretraining import LikelihoodConfig, pretrain, tokenize_rows
from rlvr_world_hf.training.progress_line import ProgressLine
from rlvr_world_hf.training.standing import read_standing
from tests.training.world import small_policy, small_processor, small_rows, small_trainer


@pytest.fixture
def args(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)


def state_at(step: int, *, max_steps: int = 10, history: list[dict[str, Any]] | None = None) -> TrainerState:
    return TrainerState(global_step=step, max_steps=max_steps, log_history=history or [], is_world_process_zero=True)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_it_shows_the_number_that_matters_and_its_best(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    trainer = small_trainer(tmp_path, max_steps=4, save_strategy="no", disable_tqdm=False)
    assert sum(isinstance(item, ProgressLine) for item in trainer.callback_handler.callbacks) == 1
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
    trainer.train()
    printed = capsys.readouterr()
    best = max(entry["reward"] for entry in trainer.state.log_history if "reward" in entry)
    assert f"{best:.4g} at " in printed.err and "clip_ratio" not in printed.err + printed.out
    if is_terminal:
        assert "reward=-" in printed.err and "kl=" in printed.err and "\r" in printed.err
    else:
        (line,) = printed.err.splitlines()  # it took less than a minute
        assert re.fullmatch(r"update 4 of 4, reward -[\d.]+, best -[\d.]+ at \d, 0:00 left, kl [\d.e-]+", line)
    assert read_standing(tmp_path).best == pytest.approx(best)


def test_without_a_terminal_there_is_a_line_a_minute(
    args: TrainingArguments, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    line, control = ProgressLine(chosen="reward", higher_is_better=True), TrainerControl()
    line.on_train_begin(args, state_at(0, max_steps=300), control)
    for step in range(1, 301):
        now[0] += 1.0
        line.on_log(args, state_at(step, max_steps=300), control, logs={"reward": 1 - abs(step - 100.0)})
        line.on_step_end(args, state_at(step, max_steps=300), control)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "update 60 of 300, reward -39, best -39 at 60, 4:00 left"
    assert lines[1] == "update 120 of 300, reward -19, best 1 at 100, 3:00 left"
    assert len(lines) == 5 and lines[-1].startswith("update 300 of 300")


def test_an_interrupted_training_keeps_its_best(args: TrainingArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    history = [{"step": 2, "eval_mae": 0.1}, {"step": 4, "eval_mae": 0.3}, {"step": 4, "loss": 2.0}]
    line = ProgressLine("loss", chosen="eval_mae")
    line.on_train_begin(args, state_at(4, history=history), TrainerControl())
    line.on_log(args, state_at(6), TrainerControl(), logs={"eval_mae": float("nan")})
    standing = line.standing(state_at(6))
    assert (standing.metric, standing.value, standing.best, standing.best_step) == ("eval_mae", None, 0.1, 2)


def test_where_time_decides_the_time_left_is_that_of_the_clock(args: TrainingArguments) -> None:
    clock = Clock(minimum_steps=1, minimum_seconds=100.0)
    line = ProgressLine(chosen="eval_loss", clock=clock)
    line.on_train_begin(args, state_at(0, max_steps=ENDLESS), TrainerControl())
    clock.seconds = 30.0
    standing = line.standing(state_at(5, max_steps=ENDLESS))
    assert str(standing) == "update 5, 1:10 left"
    assert line._values(state_at(5, max_steps=ENDLESS)) == "left=1:10"


def test_the_folder_says_where_a_training_stands_while_it_goes_on(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(progress_line, "NOTE_EVERY", 0.0)
    seen = []

    class Reading(ProgressLine):
        def on_step_end(self, *given: Any, **further: Any) -> None:
            super().on_step_end(*given, **further)
            seen.append(read_standing(tmp_path))

    monkeypatch.setattr("rlvr_world_hf.training.pretraining.ProgressLine", Reading)
    processor = small_processor()
    tokens = tokenize_rows(small_rows(processor), processor)
    config = LikelihoodConfig(max_steps=4, eval_steps=2, warmup_steps=0, batch_size=4)
    result = pretrain(small_policy(processor), tokens, tokens, output_dir=tmp_path, args=config)
    losses = {entry["step"]: entry["eval_loss"] for entry in result.history if "eval_loss" in entry}
    assert [standing.step for standing in seen] == [1, 2, 3, 4] and seen[0].value is None
    assert (seen[2].metric, seen[2].value, seen[2].best_step) == ("eval_loss", pytest.approx(losses[2]), 2)
    at_the_end = read_standing(tmp_path)
    assert at_the_end.best == pytest.approx(min(losses.values())) and at_the_end.step == 4


@pytest.mark.parametrize(("name", "chosen"), [("mae", "eval_mae"), ("eval_reward", "eval_reward"), (None, "reward")])
def test_rl_shows_what_its_checkpoint_is_chosen_by(tmp_path: Path, name: str | None, chosen: str) -> None:
    best: dict[str, Any] = {"load_best_model_at_end": True, "metric_for_best_model": name, "greater_is_better": False}
    steps = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    args = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True, **steps, **(best if name else {}))
    line = ProgressLine.of_rewards(args)
    assert line.chosen == chosen and line.higher_is_better is (name is None)
