from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf.rewards.base import VerifiableReward
from rlvr_world_hf.rewards.pixel import MAEReward
from rlvr_world_hf.training import group_credit
from rlvr_world_hf.training.grouped_rows import GroupedRows
from rlvr_world_hf.training.grpo_config import WorldModelGRPOConfig
from rlvr_world_hf.training.objective import (
    MeasuredOnce,
    Scores,
    advantages,
    correct_logs,
    measured_once,
    step_rewards,
)


def settings(folder: Path, **changes: Any) -> WorldModelGRPOConfig:
    return WorldModelGRPOConfig(str(folder), **changes)


REWARDS = torch.tensor([[0.001, 1.0], [0.002, 1.0], [0.0, torch.nan], [0.004, 1.0]])


@pytest.mark.parametrize("scale", ["group", "batch"])
def test_the_epsilon_counts_in_every_scale(tmp_path: Path, scale: str) -> None:
    weights = torch.tensor([1.0, 0.0])
    for epsilon in (1e-6, 1.0):
        args = settings(tmp_path, scale_rewards=scale, advantage_epsilon=epsilon)
        found = advantages(Scores(rewards=REWARDS), weights, group_size=2, args=args)
        rewards = REWARDS[:, 0].unflatten(0, (2, 2))
        deviation = rewards.std(dim=1, keepdim=True) if scale == "group" else rewards.std()
        expected = (rewards - rewards.mean(dim=1, keepdim=True)) / (deviation + epsilon)
        torch.testing.assert_close(found, expected.flatten())


def test_rewards_normalized_before_they_are_added_are_left_to_the_host(tmp_path: Path) -> None:
    args = settings(tmp_path, multi_objective_aggregation="normalize_then_sum")
    assert advantages(Scores(rewards=REWARDS), torch.ones(2), group_size=2, args=args) is None


def test_steps_are_credited_with_what_follows_them(tmp_path: Path) -> None:
    steps = torch.tensor([[[1.0], [2.0]], [[0.0], [5.0]]])  # two completions of two steps
    args = settings(tmp_path, credit="reward_to_go", scale_rewards="none")
    found = advantages(Scores(rewards=steps.mean(1), steps=steps), torch.ones(1), group_size=2, args=args)
    assert found is not None and found.tolist() == [[-1.0, -1.5], [1.0, 1.5]]


@pytest.mark.parametrize("fixed_length", [True, False])
def test_logs_tell_our_advantages_and_that_fixed_lengths_are_not_clipped(fixed_length: bool) -> None:
    metrics = {"completions/clipped_ratio": [0.5, 1.0]}
    for name in ("mean", "min", "max"):
        metrics |= {f"completions/{name}_length": [3.0, 8.0], f"completions/{name}_terminated_length": [3.0, 0.0]}
    logged = deque([9.0, 9.0, 0.1, 0.2], maxlen=4)
    correct_logs(metrics, logged, torch.tensor([[1.0, 3.0], [4.0, 4.0]]), fixed_length=fixed_length)
    assert list(logged) == [9.0, 9.0, 2.0, 4.0]
    assert metrics["completions/clipped_ratio"] == ([0.5, 0.0] if fixed_length else [0.5, 1.0])
    assert metrics["completions/max_terminated_length"] == ([3.0, 8.0] if fixed_length else [3.0, 0.0])
    correct_logs(metrics, logged, None, fixed_length=False)
    assert list(logged) == [9.0, 9.0, 2.0, 4.0]


class Spread(VerifiableReward):
    """How far a completion lies from the mean of its group: it cannot be told of one alone."""

    name, higher_is_better, best, floor = "spread", True, 1.0, 0.0
    needs_group = True

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def measure(self, predicted: Any, reference: Any, *, context: Any = None) -> torch.Tensor:
        raise AssertionError("it looks at groups")

    def measure_groups(self, predicted: Any, reference: Any, *, context: Any = None) -> torch.Tensor:
        self.sizes.append(predicted.shape[1])
        return (predicted - predicted.mean(dim=1, keepdim=True)).abs().mean(dim=(3, 4, 5))


def columns_of(predicted: torch.Tensor, group_size: int) -> dict[str, Any]:
    reference = [torch.zeros(2, 3, 4, 4) for _ in range(len(predicted) // group_size) for _ in range(group_size)]
    return {"predicted": list(predicted), "reference": reference, "trainer_state": None, "prompts": [""]}


@pytest.mark.parametrize("process", [0, 1])
def test_a_reward_that_looks_at_its_group_gets_it_whole_where_processes_share_it(
    monkeypatch: pytest.MonkeyPatch, process: int
) -> None:
    predicted = torch.rand(12, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    alone, both = Spread(), Spread()
    whole = GroupedRows.of([{}] * 12, group_size=4, process=0)
    expected = MeasuredOnce(alone, whole)(log_metric=lambda *_: None, **columns_of(predicted, 4))
    # Two processes with six completions each: the second group is cut in halves.
    every = columns_of(predicted, 4)
    part = slice(6 * process, 6 * process + 6)
    mine = {name: every[name][part] for name in ("predicted", "reference")}
    groups = GroupedRows.of([{}] * 6, group_size=4, process=process)
    other = GroupedRows.of([{}] * 6, group_size=4, process=1 - process)

    def gather(own: list[dict[str, Any]]) -> list[dict[str, Any]]:
        theirs = [
            {"id": completion, **{name: every[name][other.first + row] for name in ("predicted", "reference")}}
            for row, completion in enumerate(other.ids)
        ]
        return theirs + own  # in whatever order: the ids tell where each belongs

    monkeypatch.setattr(group_credit, "gather_object", gather)
    assert groups.samples == 2
    assert MeasuredOnce(both, groups)(log_metric=lambda *_: None, **mine) == expected[part]
    assert set(alone.sizes) == set(both.sizes) == {4}


def test_plain_callables_and_rewards_called_in_a_way_of_their_own_stay_as_they_are() -> None:
    class Own(MAEReward):
        def __call__(self, *args: Any, **columns: Any) -> list[float | None]:
            return [1.0]

    groups = GroupedRows.of([{}] * 4, group_size=4, process=0)
    plain, own, ours = len, Own(), MAEReward()
    first, second, third = measured_once([plain, own, ours], groups)
    assert first is plain and second is own and isinstance(third, MeasuredOnce) and third.reward is ours

    columns = columns_of(torch.rand(4, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), 4)
    third(log_metric=lambda *_: None, **columns)
    rows = [{name: columns[name][row] for name in ("predicted", "reference")} for row in range(4)]
    steps = step_rewards([second, third], rows)
    assert steps.shape == (4, 2, 2) and torch.equal(steps[..., 0], steps[..., 1]) and steps.all()
