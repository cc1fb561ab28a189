"""What is measured while a policy trains is logged, and chooses the checkpoint that is kept."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf.hub.training_checkpoints import trained_seconds
from rlvr_world_hf.training.callbacks import Clock
from rlvr_world_hf.training.measuring import measure_at_evaluations
from rlvr_world_hf.training.pretraining import LikelihoodConfig, pretrain, tokenize_rows
from tests.training.world import parameters, small_policy, small_processor, small_rows, small_trainer


def trained(folder: Path, *, measure: Any, **choice: Any) -> Any:
    processor = small_processor()
    model, tokens = small_policy(processor), tokenize_rows(small_rows(processor), processor)
    args = LikelihoodConfig(
        max_steps=6, eval_steps=2, warmup_steps=0, batch_size=4, learning_rate=1e-2,
        training_arguments={"save_total_limit": None}, **choice,
    )  # fmt: skip
    watch = None if measure is None else partial(measure_at_evaluations, measure=measure)
    return model, pretrain(model, tokens, tokens, output_dir=folder, args=args, watch=watch)


@pytest.mark.parametrize(("higher", "best"), [(True, 4), (False, 6)])
def test_likelihood_keeps_what_is_best_at_a_measure(tmp_path: Path, higher: bool, best: int) -> None:
    values = iter([2.0, 3.0, 1.0])
    model, result = trained(
        tmp_path, measure=lambda policy: {"skill": next(values)}, choose_by="skill", higher_is_better=higher
    )
    measured = {entry["step"]: entry["eval_skill"] for entry in result.history if "eval_skill" in entry}
    assert measured == {2: 2.0, 4: 3.0, 6: 1.0}
    assert any("eval_loss" in entry for entry in result.history)
    assert result.best_checkpoint.endswith(f"checkpoint-{best}")
    wanted = type(model).from_pretrained(result.best_checkpoint)
    assert torch.equal(parameters(model), parameters(wanted))


def test_measuring_changes_nothing_but_the_choice(tmp_path: Path) -> None:
    def measure(policy: Any) -> dict[str, float]:
        torch.rand(3)  # noise of its own
        return {"skill": float(parameters(policy).norm())}

    with torch.random.fork_rng():
        _, watched = trained(tmp_path / "watched", measure=measure)
    _, alone = trained(tmp_path / "alone", measure=None)
    last = [type(small_policy(small_processor())).from_pretrained(x.last_checkpoint) for x in (watched, alone)]
    assert torch.equal(*map(parameters, last))
    losses = [[entry["eval_loss"] for entry in x.history if "eval_loss" in entry] for x in (watched, alone)]
    assert losses[0] == losses[1]


def test_rl_is_measured_without_rollouts_of_its_own(tmp_path: Path) -> None:
    trainer = small_trainer(
        tmp_path, max_steps=4, save_steps=2, eval_strategy="steps", eval_steps=2,
        eval_dataset=small_rows(small_processor()), load_best_model_at_end=True, metric_for_best_model="skill",
        greater_is_better=True,
    )  # fmt: skip
    values = iter([2.0, 1.0])
    measure_at_evaluations(trainer, lambda policy: {"skill": next(values)}, with_loss=False)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if any(name.startswith("eval_") for name in entry)]
    assert [(entry["step"], entry["eval_skill"]) for entry in logged] == [(2, 2.0), (4, 1.0)]
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    wanted = type(trainer.model).from_pretrained(trainer.state.best_model_checkpoint)
    assert torch.equal(parameters(trainer.model), parameters(wanted))


def test_what_rl_begins_with_is_measured_once_and_takes_no_part_in_the_choice(tmp_path: Path) -> None:
    def train(values: list[float], *, max_steps: int, **resume: Any) -> Any:
        trainer = small_trainer(
            tmp_path, max_steps=max_steps, save_steps=2, eval_strategy="steps", eval_steps=2,
            eval_dataset=small_rows(small_processor()), load_best_model_at_end=True, metric_for_best_model="skill",
            greater_is_better=True, callbacks=[Clock()],
        )  # fmt: skip
        remaining = iter(values)

        def measure(policy: Any) -> dict[str, float]:
            time.sleep(1)
            return {"skill": next(remaining)}

        measure_at_evaluations(trainer, measure, with_loss=False, at_start=True)
        trainer.train(**resume)
        assert next(remaining, None) is None
        return trainer.state

    begin = time.perf_counter()
    state = train([9.0, 2.0], max_steps=2)
    whole = time.perf_counter() - begin
    assert 0 < trained_seconds(tmp_path, 2) < whole - 2, "the seconds of measuring are no training"
    assert state.best_model_checkpoint.endswith("checkpoint-2")
    state = train([3.0], max_steps=4, resume_from_checkpoint=True)
    logged = [(entry["step"], entry["eval_skill"]) for entry in state.log_history if "eval_skill" in entry]
    assert logged == [(0, 9.0), (2, 2.0), (4, 3.0)]


def test_a_checkpoint_without_a_number_is_the_worst(tmp_path: Path) -> None:
    values = iter([float("nan"), 3.0, 1.0])
    _, result = trained(tmp_path, measure=lambda policy: {"skill": next(values)}, choose_by="skill")
    assert result.best_checkpoint.endswith("checkpoint-6")


def test_measures_are_logged_apart_from_what_updates_have_gathered(tmp_path: Path) -> None:
    """Two updates are one line of the log, also where a measure comes between them."""
    logs, rows = [], small_rows(small_processor())
    for name in ("alone", "measured"):
        measured = {} if name == "alone" else {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset": rows}
        trainer = small_trainer(tmp_path / name, max_steps=4, logging_steps=2, save_strategy="no", **measured)
        measure_at_evaluations(trainer, lambda policy: {"skill": 1.0}, with_loss=False)
        trainer.train()
        logs.append([entry for entry in trainer.state.log_history if "reward" in entry])
    times = ("step_time", "runtime", "per_second")
    alone, measured = (
        [{name: value for name, value in entry.items() if not any(time in name for time in times)} for entry in log]
        for log in logs
    )
    assert alone == measured and [entry["step"] for entry in alone] == [2, 4]
