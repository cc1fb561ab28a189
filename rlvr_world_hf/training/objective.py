"""What the policy is moved by: advantages of completions or of their steps, and likelihood of what was recorded."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..rewards.base import VerifiableReward
from ..rollouts.head import RangeHead
from .advantages import beyond_last_step, group_advantages, rewards_to_go
from .group_credit import whole_groups
from .grouped_rows import GroupedRows, Rows
from .grpo_config import WorldModelGRPOConfig
from .modality import Modality


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Rewards of a batch of rollouts, of all processes."""

    rewards: torch.Tensor
    """`(N, R)`: of each completion by each reward; nan where there is none."""
    steps: torch.Tensor | None = None
    """`(N, S, R)`: of each of its steps, where `credit="reward_to_go"` asks for them."""


STATES = ("predicted", "reference", "context")
SCORED_COLUMNS = (*STATES, *(f"{name}_states" for name in STATES), "reference_mask", "actions")
"""What a reward that is called in a way of its own is measured from, step by step."""


class MeasuredOnce:
    """
    A reward of frames or sensors in the form that TRL calls: it measures groups, and keeps what each step is worth.

    `groups` are those of the batch. One that looks at its group gets all of it, where several processes share one.
    """

    def __init__(self, reward: VerifiableReward, groups: GroupedRows) -> None:
        self.reward = reward
        self.groups = groups
        self.steps: torch.Tensor | None = None

    def __call__(self, *, log_metric: Callable[[str, float], None], **columns: Any) -> list[float | None]:
        """Rewards of this process's completions, and its metrics to `log_metric`."""
        given, size, own = self.reward.choose_columns(columns), self.groups.samples, [*range(len(self.groups))]
        if self.reward.needs_group and size < self.groups.group_size:
            (given, own), size = whole_groups(given, self.groups), self.groups.group_size
        predicted = given.pop("predicted")
        once_a_group = {name: column[::size] for name, column in given.items()}
        groups = [predicted[start : start + size] for start in range(0, len(predicted), size)]
        scores = self.reward.score_groups(groups, **once_a_group)
        for name, value in scores.metrics.items():
            log_metric(name, value)
        self.steps = scores.steps.flatten(0, 1)[own]
        return [None if math.isnan(reward) else reward for reward in scores.rewards.flatten()[own].tolist()]


def measured_once(rewards: Sequence[Any], groups: GroupedRows) -> list[Any]:
    """Rewards as [`MeasuredOnce`]; those of text, and any that is called in a way of its own, stay as they are."""

    def is_measured(reward: Any) -> bool:
        return isinstance(reward, VerifiableReward) and type(reward).__call__ is VerifiableReward.__call__

    return [MeasuredOnce(reward, groups) if is_measured(reward) else reward for reward in rewards]


def step_rewards(measured: Sequence[Any], rows: Rows) -> torch.Tensor:
    """Rewards `(N, S, R)` of the steps of completions, once [`measured_once`] has given rewards that were called."""
    columns = {name: [row[name] for row in rows] for name in SCORED_COLUMNS if name in rows[0]}
    steps: list[Any] = [one.steps if isinstance(one, MeasuredOnce) else one.score_steps(**columns) for one in measured]
    return torch.stack(steps, dim=2)


def advantages(
    scores: Scores, weights: torch.Tensor, *, group_size: int, args: WorldModelGRPOConfig
) -> torch.Tensor | None:
    """
    Advantages `(N,)`, or of steps `(N, S)`, by `credit`, `scale_rewards` and what goes with them in the settings.

    Rewards of a group of `group_size` stand together, and have `weights` `(R,)`. `None` where rewards are normalized
    before they are added: those are TRL's.

    Example:

    ```python
    >>> scores = Scores(rewards=torch.tensor([[1.0], [3.0]]))
    >>> args = WorldModelGRPOConfig("rlvr", scale_rewards="none")
    >>> advantages(scores, torch.ones(1), group_size=2, args=args)
    tensor([-1.,  1.])

    ```
    """
    scale = {"epsilon": args.advantage_epsilon, "scale": args.scale_rewards}
    if scores.steps is not None:
        rewards = weighted_sum(scores.steps, weights)
        to_go = rewards_to_go(rewards, discount=args.credit_discount)
        if args.credit_baseline == "last_step":
            to_go = beyond_last_step(to_go, rewards, group_size)
        return group_advantages(to_go, group_size, **scale)
    if args.multi_objective_aggregation != "sum_then_normalize":
        return None
    return group_advantages(weighted_sum(scores.rewards, weights), group_size, **scale)


def own_part(advantages: torch.Tensor, first: int, count: int, modality: Modality) -> torch.Tensor:
    """Of all processes' advantages, those of `count` completions from `first` on, of steps as of their tokens."""
    own = advantages[first : first + count]
    return modality.per_token(own) if own.ndim == 2 else own


def weighted_sum(rewards: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum over the last dimension; nan where no reward could be given."""
    weighted = rewards * weights.to(rewards.device)
    return weighted.nansum(dim=-1).masked_fill(rewards.isnan().all(dim=-1), torch.nan)


def recorded_likelihood(
    model: torch.nn.Module,
    inputs: dict[str, torch.Tensor],
    head: RangeHead | None,
    *,
    group_size: int,
    autocast: Callable[[], Any],
) -> torch.Tensor:
    """
    Negative log-likelihood, in nats a token that the model would write, of what was recorded after each prompt of a
    micro-batch, each counted once.

    `inputs` hold `prompt_ids`, `recorded_ids` and `recorded_mask`, once a completion; `head` is at temperature 1.
    """
    assert head is not None, "text, which has none, is refused with a `likelihood_weight`"
    once = slice(None, None, math.gcd(len(inputs["recorded_ids"]), group_size))
    ids, mask, prompts = (inputs[name][once] for name in ("recorded_ids", "recorded_mask", "prompt_ids"))
    with autocast():
        given = {"range_head": head, "completion_ids": ids, "with_entropies": False}
        log_probs, _ = model(input_ids=torch.cat([prompts, ids], dim=1), **given)
    return -(log_probs * mask).sum() / mask.sum().clamp(min=1)


def correct_logs(
    metrics: dict[str, list[float]], logged: deque[float], advantages: torch.Tensor | None, *, fixed_length: bool
) -> None:
    """
    Put right what TRL has just logged of a batch of rollouts.

    Completions of a fixed length end as they should: none is clipped. `logged` gets the `advantages` that count, those
    of steps by their mean.
    """
    if fixed_length:
        metrics["completions/clipped_ratio"][-1] = 0.0
        for name in ("mean", "min", "max"):
            metrics[f"completions/{name}_terminated_length"][-1] = metrics[f"completions/{name}_length"][-1]
    if advantages is not None:
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages.reshape(len(advantages), -1).mean(dim=1).tolist())
