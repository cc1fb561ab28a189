r"""
How far predicted states are from a goal, by the measures that world models are trained and judged with:

    cost(s_1, ..., s_H) = -\sum_k w_k reward_k((s_1, ..., s_H), (g, ..., g))

By default a reward is the mean over the steps, so that a plan which is at the goal sooner costs less. With
`aggregation="last"` the last state alone counts, as in DINO-WM (https://huggingface.co/papers/2411.04983), whose
cost is the squared distance of features of the last state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..rewards.base import VerifiableReward, as_frames


class GoalCost:
    """
    The cost of predicted states: minus the weighted rewards that they get with one goal state as the reference.

    Args:
        goal (`torch.Tensor` or `numpy.ndarray` of shape `(3, H, W)` or `(P,)`, or `Mapping` of both):
            The state to reach: a frame, uint8 or float in `[0, 1]`, RGB; or sensors, in the unit of the data. Where
            there are both, a mapping of `predicted` and `predicted_states`, as the pipeline predicts them.
        rewards (`Mapping[VerifiableReward, float]`):
            Rewards and their weights.
        context (`torch.Tensor` or `numpy.ndarray` of shape `(K, 3, H, W)` or `(K, P)`, or `Mapping`, *optional*):
            The given states, oldest first, in the form of the goal: for rewards that compare with them, such as
            those of moving pixels.

    Raises:
        ValueError: If there is no reward, or the context is not in the form of the goal.

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

    def __init__(self, goal: Any, rewards: Mapping[VerifiableReward, float], *, context: Any = None) -> None:
        if not rewards:
            raise ValueError("Expected at least one reward with its weight, got none; as in `{MAEReward(): 1.0}`.")
        self.goals = {name: as_frames(state) for name, state in _columns(goal).items()}
        self.context = {} if context is None else {name: as_frames(given) for name, given in _columns(context).items()}
        self.rewards = dict(rewards)
        wanted = {name: tuple(state.shape) for name, state in self.goals.items()}
        got = {name: tuple(given.shape) for name, given in self.context.items()}
        if any(shape[1:] != wanted.get(name) for name, shape in got.items()):
            raise ValueError(
                f"Expected a context of K states in the form of the goal, each of {wanted}, got {got}; give the "
                "states that the world model is given, oldest first."
            )

    @property
    def needs_actions(self) -> bool:
        """Whether a reward asks what was done, as [`ActionRecoveryReward`] does; an objective then hands it over."""
        return any(reward.needs_actions for reward in self.rewards)

    def __call__(self, predicted: torch.Tensor, *, actions: torch.Tensor | None = None) -> torch.Tensor:
        """
        Costs of predictions.

        Args:
            predicted (`torch.Tensor` of shape `(N, S, 3, H, W)` or `(N, S, P)`, or `Mapping` of both):
                Predicted states, in the form of the goal.
            actions (`torch.Tensor` of shape `(N, S, A)`, *optional*):
                What leads to each of them, in the unit of the data; for rewards that need it.

        Returns:
            `torch.Tensor` of shape `(N,)`: lower is better.

        Raises:
            ValueError: If goal or predictions have nothing that a reward can measure, they differ in shape, or a
                reward needs a context or actions that were not given.
        """
        states = _columns(predicted)
        first = next(iter(states.values()))
        cost = torch.zeros(len(first), device=first.device)
        for reward, weight in self.rewards.items():
            # In a world of sensors alone they are what is `predicted`.
            name = "predicted_states" if reward.reads == "sensors" and "predicted_states" in states else "predicted"
            if name not in self.goals or name not in states:
                raise ValueError(
                    f"Expected a goal and predictions with `{name}`, which `{reward.name}` measures, got a goal of "
                    f"{list(self.goals)} and predictions of {list(states)}; give both as mappings that have it, or "
                    "leave the reward out."
                )
            goal, given = self.goals[name].to(first.device), self.context.get(name)
            score = reward.score(
                states[name],
                goal.expand(*first.shape[:2], *goal.shape),
                context=None if given is None else given.expand(len(first), *given.shape),
                actions=actions if reward.needs_actions else None,
            )  # (N,)
            if score.isnan().any():
                raise ValueError(
                    f"Expected a goal and a plan that `{reward.name}` can measure, got nothing to measure in plans of "
                    f"length {first.shape[1]}, as of an agent that the goal frame does not show, of pixels that do "
                    "not move, or of repetition in a single step; take another goal, longer plans, or another reward."
                )
            cost = cost - weight * score
        return cost


def _columns(states: Any) -> dict[str, Any]:
    return dict(states) if isinstance(states, Mapping) else {"predicted": states}
