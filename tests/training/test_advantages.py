import pytest
import torch

from rlvr_world_hf.rewards import MAEReward
from rlvr_world_hf.rewards.base import AGGREGATIONS
from rlvr_world_hf.training.advantages import beyond_last_step, group_advantages, rewards_to_go


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


def test_an_error_that_persists_is_not_charged_again() -> None:
    generator = torch.Generator().manual_seed(0)
    changes = torch.randn(64, 8, 3, generator=generator)
    rewards = changes.cumsum(dim=2).flatten(0, 1)  # each step adds to the error of the one before
    relative = (changes - changes.mean(dim=1, keepdim=True)).flatten(0, 1)
    credited = beyond_last_step(rewards, rewards, 8)
    torch.testing.assert_close(credited[:, 0], relative[:, 0])
    for step in (1, 2):
        assert torch.corrcoef(torch.stack([credited[:, step], relative[:, step]]))[0, 1] > 0.99
        assert credited[:, step].abs().mean() < 0.8 * rewards[:, step].abs().mean()


def test_a_step_that_nothing_foretells_keeps_its_credit() -> None:
    rewards = torch.randn(4096, 2, generator=torch.Generator().manual_seed(0))
    relative = (rewards.view(-1, 16, 2) - rewards.view(-1, 16, 2).mean(dim=1, keepdim=True)).flatten(0, 1)
    assert (beyond_last_step(rewards, rewards, 16) - relative).abs().max() < 0.15


def test_what_is_taken_out_has_no_part_in_the_expected_gradient() -> None:
    """Two steps of one bit each: the gradient of the second logit, exactly, over everything that can be drawn."""
    logit = torch.tensor(0.3, dtype=torch.float64)
    chance = logit.sigmoid()
    first, second = torch.meshgrid(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]), indexing="ij")
    weights = 0.5 * torch.where(second == 1, chance, 1 - chance)  # the first bit is fair
    score = second - chance  # of log p(second)
    plain, baseline = first + 0.25 * second, 7.0 * first  # any multiple of what came before
    gradients = [(weights * score * (plain - taken)).sum() for taken in (0.0, baseline)]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_what_is_missing_has_no_part_in_the_baseline() -> None:
    """A group whose later step is missing: the others are credited as if it were not there."""
    rewards = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    rewards[:, 1] += 2 * rewards[:, 0]
    alone = beyond_last_step(rewards, rewards, 8)
    beside = torch.cat([rewards, torch.stack([100 * torch.arange(8.0), torch.full((8,), torch.nan)], dim=1)])
    torch.testing.assert_close(beyond_last_step(beside, beside, 8)[:32], alone)


def test_what_cannot_be_scored_foretells_nothing() -> None:
    nan = torch.nan
    rewards = torch.tensor([[nan, 1.0, nan], [nan, 3.0, 2.0]])
    to_go = rewards_to_go(rewards)
    credited = beyond_last_step(to_go, rewards, 2)
    assert credited.isnan().equal(to_go.isnan())
    torch.testing.assert_close(credited[:, 1], torch.tensor([-2.0, 2.0]))
