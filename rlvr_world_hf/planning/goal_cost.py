r"""
How far predicted states are from a goal, by the measures that world models are trained and judged with:

    cost(s_1, ..., s_H) = -\sum_k w_k reward_k((s_1, ..., s_H), (g, ..., g))

A reward takes the mean over the steps unless told otherwise: being at the goal soon is better than late. With
`aggregation="last"` the end of the plan alone counts, as in DINO-WM (https://huggingface.co/papers/2411.04983), whose
cost is the squared distance of features of the last state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..rewards.base import VerifiableReward, as_frames


class GoalCost:
    """
    The cost of predicted states by any of our rewards against one goal state.

    Args:
        goal (`torch.Tensor` or `numpy.ndarray` of shape `(3, H, W)` or `(P,)`, or `Mapping` of both):
            The state to reach: a frame, uint8 or float in `[0, 1]`, RGB; or sensors, in the unit of the data. In a
            world of both a mapping of `predicted` and `predicted_states`, as the pipeline predicts them.
        rewards (`Mapping[VerifiableReward, float]`):
            Rewards and their weights.

    Raises:
        ValueError: If there is no reward.

    Example:

    ```python
    >>> from rlvr_world_hf import MAEReward
    >>> goal = torch.zeros(3, 8, 8)
    >>> cost = GoalCost(goal, {MAEReward(): 1.0, MAEReward(aggregation="last"): 2.0})
    >>> predicted = torch.stack([goal + 0.5, goal])[None]  # (1, 2, 3, 8, 8): half white, then there
    >>> cost(predicted)
    tensor([0.2500])

    ```
    """

    def __init__(self, goal: Any, rewards: Mapping[VerifiableReward, float]) -> None:
        if not rewards:
            raise ValueError("Expected at least one reward with its weight, got none; as in `{MAEReward(): 1.0}`.")
        self.goals = {name: as_frames(state) for name, state in _columns(goal).items()}
        self.rewards = dict(rewards)

    def __call__(self, predicted: torch.Tensor) -> torch.Tensor:
        """
        Costs of predictions.

        Args:
            predicted (`torch.Tensor` of shape `(N, S, 3, H, W)` or `(N, S, P)`, or `Mapping` of both):
                Predicted states, in the form of the goal.

        Returns:
            `torch.Tensor` of shape `(N,)`: lower is better.

        Raises:
            ValueError: If the goal has nothing that a reward can measure, or is of another shape than the states.
        """
        states = _columns(predicted)
        first = next(iter(states.values()))
        cost = torch.zeros(len(first), device=first.device)
        for reward, weight in self.rewards.items():
            name = "predicted_states" if reward.reads == "sensors" and "predicted_states" in states else "predicted"
            goal = self.goals[name].to(first.device)
            score = reward.score(states[name], goal.expand(*first.shape[:2], *goal.shape))  # (N,)
            if score.isnan().any():
                raise ValueError(
                    f"Expected a goal that `{reward.name}` can measure, got nothing to measure, as of an agent that "
                    "the goal frame does not show; take another goal, or a reward of what it shows."
                )
            cost = cost - weight * score
        return cost


def _columns(states: Any) -> dict[str, Any]:
    return dict(states) if isinstance(states, Mapping) else {"predicted": states}
