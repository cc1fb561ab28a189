"""Advantages: rewards of completions, or of what follows each of their steps, relative to their group."""

import torch
from einops import rearrange
from trl.trainer.utils import nanstd


def group_advantages(
    rewards: torch.Tensor, group_size: int, *, epsilon: float = 1e-6, scale: str = "group"
) -> torch.Tensor:
    r"""
    Rewards relative to their group, [GRPO](https://huggingface.co/papers/2402.03300) equation 3:

    $$ A_i = \frac{r_i - mean(r)}{std(r) + \epsilon} $$

    The standard deviation is the unbiased one, and epsilon 1e-6, as in the authors' code.

    Args:
        rewards (`torch.Tensor` of shape `(B * G,)` or `(B * G, S)`):
            Rewards, of completions or of their steps, those of a group together; NaN for what cannot be scored.
        group_size (`int`):
            Completions of a prompt, `G`.
        epsilon (`float`, *optional*, defaults to `1e-6`):
            Added to the standard deviation.
        scale (`str`, *optional*, defaults to `"group"`):
            What they are divided by, as TRL's `scale_rewards`: the standard deviation of their `"group"`; of the whole
            `"batch"`, so that prompts whose futures differ more count more, as they do in the mean of the rewards; or
            `"none"`, nothing.

    Returns:
        `torch.Tensor` of the same shape: 0 for what cannot be scored.

    Example:

    ```python
    >>> group_advantages(torch.tensor([1.0, 3.0, 2.0, 2.0]), group_size=2)
    tensor([-0.7071,  0.7071,  0.0000,  0.0000])

    ```
    """
    groups = rearrange(rewards, "(B G) ... -> B G ...", G=group_size)
    advantages = groups - groups.nanmean(dim=1, keepdim=True)
    if scale == "group":
        advantages = advantages / (nanstd(groups, dim=1, keepdim=True) + epsilon)
    elif scale == "batch":
        advantages = advantages / (nanstd(rewards, dim=0) + epsilon)
    # What cannot be scored has no advantage, and so no gradient, but is not left out of the batch.
    return advantages.nan_to_num(nan=0.0).flatten(0, 1)


def rewards_to_go(step_rewards: torch.Tensor, *, discount: float = 1.0) -> torch.Tensor:
    r"""
    What a step can still change: its own reward and those after it,
    $R_s = \sum_{s' \ge s} \gamma^{s' - s} r_{s'}$.

    A token written at one step has no influence on the frames before it, so their rewards are only noise to it. Not in
    the [paper](https://huggingface.co/papers/2505.13934), where each token gets the reward of its whole completion.

    Args:
        step_rewards (`torch.Tensor` of shape `(N, S)`):
            Reward of each step; NaN for one that cannot be scored.
        discount (`float`, *optional*, defaults to `1.0`):
            Factor $\gamma$ of a reward for each step that it comes later. Later errors are larger and depend less on
            what is written here: below 1 there is less noise, and some bias.

    Returns:
        `torch.Tensor` of shape `(N, S)`: NaN where no later step can be scored either.

    Example:

    ```python
    >>> rewards_to_go(torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, torch.nan]]))
    tensor([[6., 5., 3.],
            [3., 2., nan]])
    >>> rewards_to_go(torch.tensor([[1.0, 2.0, 4.0]]), discount=0.5)
    tensor([[3., 4., 4.]])

    ```
    """
    to_go: list[torch.Tensor] = []
    for reward in step_rewards.flip(1).unbind(1):
        # Both missing is nan, one missing counts 0: nan here must tell "no later step either" from a reward of 0.
        following = discount * to_go[-1] if to_go else torch.full_like(reward, torch.nan)
        is_scored = ~(reward.isnan() & following.isnan())
        to_go.append((reward.nan_to_num(nan=0.0) + following.nan_to_num(nan=0.0)).where(is_scored, torch.nan))
    return torch.stack(to_go, dim=1).flip(1)


def beyond_last_step(to_go: torch.Tensor, step_rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    r"""
    What follows a step beyond what the step before it foretells, relative to the group:

    $$ D_s = R_s - \beta_s r_{s-1}, \quad \beta_s = \frac{\sum_i R_{i,s} r_{i,s-1}}{\sum_i r_{i,s-1}^2} $$

    with $R$ and $r$ less their group's mean, and sums over the batch. Errors persist: a prediction that has gone wrong
    stays wrong, whatever is written next. The reward of the step before is known before a step is written, so taking
    a fixed multiple of it out leaves the expected gradient as it is and its noise smaller: a baseline that depends on
    the state, as in [generalized advantage estimation](https://huggingface.co/papers/1506.02438), without a network to
    learn it. That the multiple is fitted to the same batch is a small bias, as that of a group's own mean is.

    Args:
        to_go (`torch.Tensor` of shape `(B * G, S)`):
            What [`rewards_to_go`] gives, those of a group together; NaN for what cannot be scored.
        step_rewards (`torch.Tensor` of shape `(B * G, S)`):
            The rewards of the steps that it was made of.
        group_size (`int`):
            Completions of a prompt, `G`.

    Returns:
        `torch.Tensor` of shape `(B * G, S)`: NaN where `to_go` is.

    Example:

    ```python
    >>> rewards = torch.tensor([[1.0, 2.0], [3.0, 6.0]])  # the second is as much better as the first step foretells
    >>> beyond_last_step(rewards, rewards, group_size=2)
    tensor([[-1.,  0.],
            [ 1.,  0.]])

    ```
    """
    own, before = (_relative(rewards, group_size) for rewards in (to_go, step_rewards[:, :-1]))
    later = own[:, 1:]
    before = before.where(~later.isnan(), 0.0).nan_to_num(nan=0.0)  # what one of both lacks says nothing of the other
    # Where all rewards of a step are equal they foretell nothing: 0 / 1e-12 is 0, without the clamp it would be nan.
    slope = (before * later.nan_to_num(nan=0.0)).sum(dim=0) / before.square().sum(dim=0).clamp(min=1e-12)
    return torch.cat([own[:, :1], later - slope * before], dim=1)


def _relative(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    groups = rearrange(rewards, "(B G) ... -> B G ...", G=group_size)
    return (groups - groups.nanmean(dim=1, keepdim=True)).flatten(0, 1)
