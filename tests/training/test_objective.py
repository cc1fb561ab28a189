from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf.training.grpo_config import WorldModelGRPOConfig
from rlvr_world_hf.training.objective import Scores, advantages, correct_logs


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
