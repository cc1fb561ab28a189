from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.planning.goal_cost import GoalCost
from rlvr_world_hf.rewards import AgentPositionReward, MAEReward, SensorMAEReward, SSIMReward


def frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_it_is_minus_the_weighted_rewards() -> None:
    predicted, goal = frames(4, 3), frames(seed=1)
    rewards = {MAEReward(): 2.0, SSIMReward(aggregation="last"): 0.5}
    expected = torch.zeros(4)
    for reward, weight in rewards.items():
        expected -= weight * reward.score(predicted, goal.expand(4, 3, -1, -1, -1))
    torch.testing.assert_close(GoalCost(goal, rewards)(predicted), expected)


def test_being_there_costs_least_and_sooner_less() -> None:
    goal = (frames() * 255).to(torch.uint8)
    there, away = goal.float() / 255, frames(seed=1)
    predicted = torch.stack([torch.stack(steps) for steps in ([there, there], [away, there], [away, away])])
    costs = GoalCost(goal.numpy(), {MAEReward(): 1.0})(predicted)
    assert costs[0] == 0 and costs.tolist() == sorted(costs.tolist())
    ends = GoalCost(goal.numpy(), {MAEReward(aggregation="last"): 1.0})(predicted)
    assert ends[0] == ends[1] == 0 < ends[2]


def test_sensors_alone_and_beside_frames() -> None:
    states, goal = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]]), np.zeros(2, np.float32)
    assert GoalCost(goal, {SensorMAEReward(): 1.0})(states).tolist() == [1.5, 0.0]
    both = {"predicted": frames(2, 1), "predicted_states": states}
    goals: Any = {"predicted": both["predicted"][0, 0], "predicted_states": goal}
    cost = GoalCost(goals, {SensorMAEReward(): 1.0, MAEReward(): 1.0})(both)
    assert cost[0] == 1.5 and 0 < cost[1] < 1


def test_a_goal_must_show_what_is_measured() -> None:
    with pytest.raises(ValueError, match="at least one reward"):
        GoalCost(frames(), {})
    with pytest.raises(ValueError, match="a goal that `agent_position_mae` can measure"):
        GoalCost(torch.ones(3, 32, 32), {AgentPositionReward(): 1.0})(torch.ones(2, 1, 3, 32, 32))
