"""Advantages: rewards of completions, or of what follows each of their steps, relative to their group."""

import torch
from einops import rearrange
from trl.trainer.utils import nanstd


def group_advantages(rewards: torch.Tensor, group_size: int, *, epsilon: float = 1e-6) -> torch.Tensor:
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

    Returns:
        `torch.Tensor` of the same shape: 0 for what cannot be scored.

    Example:

    ```python
    >>> group_advantages(torch.tensor([1.0, 3.0, 2.0, 2.0]), group_size=2)
    tensor([-0.7071,  0.7071,  0.0000,  0.0000])

    ```
    """
    groups = rearrange(rewards, "(B G) ... -> B G ...", G=group_size)
    centred = groups - groups.nanmean(dim=1, keepdim=True)
    return (centred / (nanstd(groups, dim=1, keepdim=True) + epsilon)).nan_to_num(nan=0.0).flatten(0, 1)


def rewards_to_go(step_rewards: torch.Tensor) -> torch.Tensor:
    r"""
    What a step can still change: the sum of its own reward and of those after it, $R_s = \sum_{s' \ge s} r_{s'}$.

    A token written at one step has no influence on the frames before it, so their rewards are only noise to it. Not in
    the [paper](https://huggingface.co/papers/2505.13934), where each token gets the reward of its whole completion.

    Args:
        step_rewards (`torch.Tensor` of shape `(N, S)`):
            Reward of each step; NaN for one that cannot be scored.

    Returns:
        `torch.Tensor` of shape `(N, S)`: NaN where no later step can be scored either.

    Example:

    ```python
    >>> rewards_to_go(torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, torch.nan]]))
    tensor([[6., 5., 3.],
            [3., 2., nan]])

    ```
    """
    backwards = step_rewards.flip(1)
    is_scored = (~backwards.isnan()).cumsum(1) > 0
    return backwards.nan_to_num(nan=0.0).cumsum(1).masked_fill(~is_scored, torch.nan).flip(1)
