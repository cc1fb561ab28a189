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
        following = discount * to_go[-1] if to_go else torch.full_like(reward, torch.nan)
        is_scored = ~(reward.isnan() & following.isnan())
        to_go.append((reward.nan_to_num(nan=0.0) + following.nan_to_num(nan=0.0)).where(is_scored, torch.nan))
    return torch.stack(to_go, dim=1).flip(1)
