import pytest
import torch

from rlvr_world_hf.rewards import MAEReward
from rlvr_world_hf.rewards.base import AGGREGATIONS
from rlvr_world_hf.training.advantages import group_advantages, rewards_to_go


def test_advantages_of_unscorable_completions_are_zero() -> None:
    advantages = group_advantages(torch.tensor([1.0, torch.nan, 3.0, torch.nan, torch.nan, torch.nan]), 3)
    assert advantages.tolist() == pytest.approx([-(0.5**0.5), 0, 0.5**0.5, 0, 0, 0], abs=1e-5)


def test_advantages_of_steps_are_those_of_each_step_alone() -> None:
    rewards = torch.rand(12, 5, generator=torch.Generator().manual_seed(0))
    together = group_advantages(rewards, 4)
    alone = torch.stack([group_advantages(step, 4) for step in rewards.unbind(1)], dim=1)
    torch.testing.assert_close(together, alone)


def test_advantages_may_be_scaled_by_the_batch_or_not_at_all() -> None:
    rewards = torch.tensor([1.0, 3.0, 10.0, 30.0, torch.nan, 5.0])
    centred = torch.tensor([-1.0, 1.0, -10.0, 10.0, 0.0, 0.0])
    torch.testing.assert_close(group_advantages(rewards, 2, scale="none"), centred)
    spread = torch.tensor([1.0, 3.0, 10.0, 30.0, 5.0]).std()
    torch.testing.assert_close(group_advantages(rewards, 2, scale="batch", epsilon=0.0), centred / spread)


def test_later_rewards_count_less_by_the_discount() -> None:
    rewards = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    to_go = rewards_to_go(rewards, discount=0.5)
    torch.testing.assert_close(to_go[:, 1], rewards[:, 1] + rewards[:, 2] / 2 + rewards[:, 3] / 4)
    rewards[:, 2:] = torch.nan
    torch.testing.assert_close(rewards_to_go(rewards, discount=0.5)[:, 0], rewards[:, 0] + rewards[:, 1] / 2)


def test_the_first_step_is_credited_with_all_and_the_last_with_its_own() -> None:
    rewards = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    to_go = rewards_to_go(rewards)
    torch.testing.assert_close(to_go[:, 0], rewards.sum(1))
    torch.testing.assert_close(to_go[:, -1], rewards[:, -1])


def test_padding_leaves_nothing_to_go() -> None:
    nan = torch.nan
    to_go = rewards_to_go(torch.tensor([[nan, nan], [nan, 1.0], [1.0, nan]]))
    torch.testing.assert_close(to_go, torch.tensor([[nan, nan], [1.0, 1.0], [1.0, nan]]), equal_nan=True)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_first_step_of_any_aggregation_is_credited_with_the_whole_reward(aggregation: str) -> None:
    predicted = torch.rand(8, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    columns = {"predicted": predicted, "reference": torch.zeros_like(predicted)}
    reward = MAEReward(aggregation=aggregation)
    whole = group_advantages(torch.tensor(reward(**columns)), 4)
    by_step = group_advantages(rewards_to_go(reward.score_steps(**columns)), 4)
    torch.testing.assert_close(by_step[:, 0], whole, atol=1e-3, rtol=1e-3)
    every_step_is_credited_alike = torch.allclose(by_step, whole[:, None].expand_as(by_step), atol=1e-3)
    assert every_step_is_credited_alike == (aggregation == "last"), "all steps lead to the last one, and it is all"
