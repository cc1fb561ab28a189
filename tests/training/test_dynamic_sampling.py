"""Groups whose rewards are all equal make room for others; here half of the prompts have only such groups."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from rlvr_world_hf import LanguageWorldModelProcessor, WorldModelGRPOConfig, WorldModelGRPOTrainer
from rlvr_world_hf.rewards.pixel import MAEReward
from rlvr_world_hf.rewards.text import TextReward
from rlvr_world_hf.training import dynamic_sampling
from rlvr_world_hf.training.dynamic_sampling import without_spread
from rlvr_world_hf.training.objective import Scores
from tests.tiny import text_tokenizer, tiny_language_model
from tests.training.world import (
    PartlyFlat,
    parameters,
    settings,
    small_policy,
    small_processor,
    small_rows,
    small_trainer,
)


ONCE = {"max_steps": 2, "save_strategy": "no", "learning_rate": 0.0}
"""One batch of rollouts, of a policy that stays as it is."""


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def whole_batch(trainer: Any) -> dict[str, torch.Tensor]:
    """The rollouts of the last batch, in the order of its updates."""
    parts = trainer._buffered_inputs
    return {name: torch.cat([part[name] for part in parts]) for name, value in parts[0].items() if value.ndim}


def hold_against_the_policy(trainer: Any) -> None:
    """Ids, masks and log-probabilities of a batch belong together; the policy has not moved."""
    batch = whole_batch(trainer)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    length = batch["completion_ids"].shape[1]
    with torch.no_grad():
        own, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, length)
    written = (batch["completion_mask"] * batch.get("tool_mask", 1)).bool()
    for name in ("old_per_token_logps", "ref_per_token_logps"):
        torch.testing.assert_close(batch[name][written], own[written], atol=1e-4, rtol=0)


def without_advantage(trainer: Any) -> int:
    advantages = whole_batch(trainer)["advantages"]
    return int((advantages.reshape(len(advantages) // 4, -1) == 0).all(dim=1).sum())


def test_a_spread_counts_only_where_it_has_a_weight() -> None:
    nan = torch.nan
    scores = Scores(rewards=torch.tensor([[1.0, 0.0], [1.0, 5.0], [2.0, 1.0], [3.0, 1.0], [nan, nan], [4.0, 0.0]]))
    assert without_spread(scores, torch.tensor([1.0, 0.0]), 2).tolist() == [True, False, True]
    assert without_spread(scores, torch.tensor([1.0, 1.0]), 2).tolist() == [False, False, True]
    steps = torch.tensor([[[1.0], [2.0]], [[2.0], [1.0]], [[3.0], [3.0]], [[3.0], [3.0]]])
    of_steps = Scores(rewards=torch.full((4, 1), 3.0), steps=steps)
    assert without_spread(of_steps, torch.ones(1), 2).tolist() == [False, True], "equal sums may differ by step"


@pytest.mark.parametrize(
    "changes",
    [{}, {"scale_rewards": "batch"}, {"likelihood_weight": 0.1}, {"loss_type": "dapo"}],
    ids=["plain", "batch", "likelihood", "dapo"],
)
def test_groups_that_teach_nothing_are_replaced(tmp_path: Path, changes: dict[str, Any]) -> None:
    without = small_trainer(tmp_path / "without", rewards=PartlyFlat(), **ONCE, **changes)
    without.train()
    lacking = without_advantage(without)
    assert 0 < lacking < 8
    trainer = small_trainer(tmp_path / "with", rewards=PartlyFlat(), max_resampling_rounds=20, **ONCE, **changes)
    trainer.train()
    assert without_advantage(trainer) == 0
    assert logged(trainer, "resampling/replaced_groups")[0] == lacking
    assert logged(trainer, "resampling/groups_without_spread")[0] == 0
    assert logged(trainer, "resampling/rounds")[0] >= 1
    hold_against_the_policy(trainer)
    assert logged(trainer, "reward")[0] == logged(without, "reward")[0], "the log is of the prompts in their turn"
    batch, before = whole_batch(trainer), whole_batch(without)
    same = (batch["completion_ids"] == before["completion_ids"]).all(dim=1).reshape(8, 4).all(dim=1)
    assert int(same.sum()) == 8 - lacking, "the others stay"
    if "recorded_ids" in batch:
        expected = {tuple(ids) for ids in trainer.processor.encode_completion(
            **{name: torch.stack([torch.tensor(row[name]) for row in small_rows(trainer.processor)])
               for name in (*trainer.processor.prompt_columns, *trainer.processor.reference_columns)}
        ).tolist()}  # fmt: skip
        assert {tuple(ids) for ids in batch["recorded_ids"].tolist()} <= expected
    counted = trainer._buffered_inputs[0]["num_items_in_batch"]
    assert counted == (batch["completion_mask"] * batch["tool_mask"]).sum()


def test_advantages_are_those_of_the_merged_batch(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, rewards=PartlyFlat(), max_resampling_rounds=20, scale_rewards="batch", **ONCE)
    trainer.train()
    advantages = whole_batch(trainer)["advantages"].reshape(8, 4)
    torch.testing.assert_close(advantages.mean(dim=1), torch.zeros(8), atol=1e-5, rtol=0)
    rewards = trainer._scores.rewards.reshape(8, 4)
    expected = (rewards - rewards.mean(dim=1, keepdim=True)) / (rewards.std() + trainer.args.advantage_epsilon)
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])  # every second group goes to the same update
    torch.testing.assert_close(advantages, expected[order], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("value", [1.0, None])
def test_rounds_are_bounded(tmp_path: Path, value: float | None) -> None:
    def flat(predicted: Any, **columns: Any) -> list[float | None]:
        return [value] * len(predicted)

    trainer = small_trainer(
        tmp_path, rewards=flat, max_resampling_rounds=2, max_steps=2, save_strategy="no", beta=0.0, weight_decay=0.0
    )
    before = parameters(trainer.model).clone()
    trainer.train()
    assert logged(trainer, "resampling/rounds") == [2.0]
    assert logged(trainer, "resampling/groups_without_spread") == [8.0]
    assert logged(trainer, "resampling/replaced_groups") == [0.0]
    assert torch.equal(parameters(trainer.model), before)


def test_nothing_changes_where_every_group_has_a_spread(tmp_path: Path) -> None:
    policies = []
    for rounds in (0, 3):
        trainer = small_trainer(tmp_path / str(rounds), save_strategy="no", max_resampling_rounds=rounds)
        trainer.train()
        policies.append(parameters(trainer.model))
        assert not any(logged(trainer, "resampling/rounds"))
    assert torch.equal(*policies)


class Kill(Exception):
    pass


class KillAt(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 9:
            raise Kill


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_iterations": 2},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8},
        {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 2},
        {"credit": "reward_to_go", "rewards": MAEReward()},
    ],
    ids=["plain", "num_iterations", "accumulation", "half groups", "steps"],
)
def test_a_killed_run_resumes_to_the_same_parameters(tmp_path: Path, changes: dict[str, Any]) -> None:
    how = {"rewards": PartlyFlat(), "max_resampling_rounds": 2, "max_steps": 12, "save_steps": 4} | changes
    whole = small_trainer(tmp_path / "whole", **how)
    whole.train()
    killed = small_trainer(tmp_path / "killed", callbacks=[KillAt()], **how)
    with pytest.raises(Kill):
        killed.train()
    resumed = small_trainer(tmp_path / "killed", **how)
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(parameters(whole.model), parameters(resumed.model))
    for name in ("rounds", "replaced_groups", "groups_without_spread"):
        assert logged(whole, f"resampling/{name}") == logged(resumed, f"resampling/{name}")
    if "rewards" not in changes:
        assert any(logged(whole, "resampling/replaced_groups"))


class FlatDoors(TextReward):
    """Tells no answers apart where a door is asked for, and elsewhere by their length."""

    name, higher_is_better, best, floor, columns = "flat_doors", True, 1.0, 0.0, ("ground_truth",)

    def measure(self, completion: str, *, ground_truth: str) -> float:
        return 0.5 if "door" in ground_truth else len(completion) / 64


def test_text_of_another_length_takes_a_place(tmp_path: Path) -> None:
    processor = LanguageWorldModelProcessor(text_tokenizer())
    things = ("door", "lid", "a gate that is far longer")
    columns = {"prompt": [f"open {thing}\n" for thing in things] * 6}
    columns["ground_truth"] = [f"open({thing})" for thing in things] * 6
    args = settings(tmp_path, max_resampling_rounds=20, **ONCE, max_completion_length=6)
    rows = datasets.Dataset.from_dict(columns)
    model = tiny_language_model(processor.tokenizer)
    trainer = WorldModelGRPOTrainer(model, FlatDoors(), args, rows, processing_class=processor)
    trainer.train()
    assert logged(trainer, "resampling/replaced_groups")[0] > 0 and without_advantage(trainer) == 0
    hold_against_the_policy(trainer)
    batch = whole_batch(trainer)
    asked = processor.tokenizer.batch_decode(batch["prompt_ids"], skip_special_tokens=True)
    assert {*asked} <= {*columns["prompt"]} and not any("door" in text for text in asked)


class TwoProcesses:
    """What two threads give for one tensor after another, as accelerate gathers it of two processes."""

    def __init__(self) -> None:
        self.given: list[Any] = [None, None]
        self.all_are_here = threading.Barrier(2, timeout=30)
        self.own = threading.local()

    def exchange(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        self.given[self.own.process] = tensor
        self.all_are_here.wait()
        both = [*self.given]
        self.all_are_here.wait()
        return both

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        both = self.exchange(tensor)
        shapes = {part.shape for part in both}
        assert len(shapes) == 1, f"a gather of shapes {shapes} ends the processes"
        return torch.cat(both)

    def pad_across_processes(self, tensor: torch.Tensor, *, dim: int, pad_index: int, pad_first: bool) -> torch.Tensor:
        missing = max(part.shape[dim] for part in self.exchange(tensor)) - tensor.shape[dim]
        return nn.functional.pad(tensor, (missing, 0) if pad_first else (0, missing), value=pad_index)


def test_processes_whose_texts_differ_in_length_replace_groups_together() -> None:
    both = TwoProcesses()
    trainer = SimpleNamespace(accelerator=both, _tokenizer=SimpleNamespace(pad_token_id=0))

    def merge(process: int) -> dict[str, torch.Tensor]:
        both.own.process = process
        names = ("prompt_ids", "completion_ids")
        batch = {name: torch.full((2, 3 + 3 * process), 1) for name in names}
        drawn = {name: torch.full((1, 2 - process), 5 + process) for name in names}
        # The second completion of the first process, and the first of the second, make room for both that were drawn.
        return dynamic_sampling._merged(trainer, batch, drawn, torch.tensor([1, 2]) - 2 * process, torch.arange(2))

    with ThreadPoolExecutor(2) as pool:
        merged = [*pool.map(merge, range(2))]
    assert merged[0]["completion_ids"].tolist() == [[1, 1, 1], [5, 5, 0]]
    assert merged[0]["prompt_ids"].tolist() == [[1, 1, 1], [0, 5, 5]]
    assert merged[1]["completion_ids"].tolist() == [[6, 0, 0, 0, 0, 0], [1] * 6]
    assert merged[1]["prompt_ids"].tolist() == [[0, 0, 0, 0, 0, 6], [1] * 6]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    processor = small_processor()
    rows = small_rows(processor)
    stream = datasets.IterableDataset.from_generator(lambda: (rows[index] for index in range(len(rows))))
    args = settings(tmp_path, max_resampling_rounds=1)
    with pytest.raises(ValueError, match="max_resampling_rounds=1.* stream .*leave it at 0"):
        WorldModelGRPOTrainer(small_policy(processor), MAEReward(), args, stream, processing_class=processor)
    with pytest.raises(ValueError, match="of at least 0, got -1"):
        WorldModelGRPOConfig(str(tmp_path), max_resampling_rounds=-1)
    with pytest.raises(ValueError, match="normalize_then_sum"):
        WorldModelGRPOConfig(str(tmp_path), max_resampling_rounds=1, multi_objective_aggregation="normalize_then_sum")
