from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.planning.goal_cost import GoalCost
from rlvr_world_hf.rewards import AgentPositionReward, MAEReward, RepetitionReward, SensorMAEReward, SSIMReward


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
    with pytest.raises(
        ValueError, match="a plan that `agent_position_mae` can measure.* that the goal frame does not"
    ):
        GoalCost(torch.ones(3, 32, 32), {AgentPositionReward(): 1.0})(torch.ones(2, 1, 3, 32, 32))


def test_repetition_needs_a_plan_of_more_than_one_step() -> None:
    cost = GoalCost(frames(), {RepetitionReward(): 1.0})
    assert cost(frames(4, 2)).tolist() == [0.0] * 4
    with pytest.raises(ValueError, match=r"in plans of length 1.* repetition in a single step.* longer plans"):
        cost(frames(4, 1))


def test_moving_pixels_are_those_between_the_context_and_the_goal() -> None:
    reward, context = MAEReward(pixels="moving"), torch.zeros(2, 3, 32, 32)
    goal = context[-1].clone()
    goal[:, :8] = 1
    predicted = torch.stack([context[-1], goal])[:, None]  # (2, 1, 3, 32, 32): still, and there
    cost = GoalCost(goal, {reward: 1.0}, context=(context * 255).to(torch.uint8).numpy())
    assert cost(predicted).tolist() == [1.0, 0.0]
    states = torch.zeros(2, 1, 2)
    both: Any = {"predicted": goal, "predicted_states": states[0, 0]}
    given: Any = {"predicted": context, "predicted_states": torch.zeros(2, 2)}
    cost = GoalCost(both, {reward: 1.0, SensorMAEReward(): 1.0}, context=given)
    assert cost({"predicted": predicted, "predicted_states": states}).tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="`mae_moving`: expected `context`, got `None`"):
        GoalCost(goal, {reward: 1.0})(predicted)
    for wrong in (context[0], {"context": context}):
        with pytest.raises(ValueError, match=r"K states in the form of the goal, each of .*, got .*\(\d"):
            GoalCost(goal, {reward: 1.0}, context=wrong)


def test_goal_and_predictions_hold_what_a_reward_reads() -> None:
    both = {"predicted": frames(2, 1), "predicted_states": torch.zeros(2, 1, 2)}
    message = r"with `predicted_states`, which `sensor_mae` measures, got a goal of \['predicted'\]"
    with pytest.raises(ValueError, match=message):
        GoalCost(frames(), {SensorMAEReward(): 1.0})(both)
    with pytest.raises(ValueError, match=r"with `predicted`, which `mae` measures.* predictions of \['predicted_st"):
        GoalCost(frames(), {MAEReward(): 1.0})({"predicted_states": both["predicted_states"]})
