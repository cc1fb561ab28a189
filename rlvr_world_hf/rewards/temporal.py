r"""
Errors of the change from one step to the next: flicker, ghosts, and what moves that should not.

    e_s = mean |(x_s - x_{s-1}) - (y_s - y_{s-1})|

with x predicted, y the reference, and both the last given state at s = 0. An error that stays as it is costs once,
when it comes; one that comes and goes costs at every step. VBench (https://huggingface.co/papers/2311.17982)
measures flicker by the change of still frames alone; against the reference, what does move costs nothing.
"""

from __future__ import annotations

import torch

from .base import VerifiableReward


class TemporalConsistencyReward(VerifiableReward):
    """
    Minus the error of the change from step to step: in [-2, 0] for frames, (-inf, 0] for sensors; 0 is perfect.

    The first step's change is that from the last given state; without a `context` the first step has none and is left
    out, so that a single step without context has no reward.

    It sees how a prediction changes, not what it shows: where an object is wrong from the first step on, and moves as
    it should, later steps cost nothing. Use it beside a reward that compares states, such as `MAEReward`.

    Args:
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Example:

    ```python
    >>> import torch
    >>> still = torch.full((4, 3, 8, 8), 0.5)
    >>> darker, flicker = still - 0.25, still - torch.tensor([0.25, 0.0, 0.25, 0.0]).view(4, 1, 1, 1)
    >>> TemporalConsistencyReward()(predicted=[darker, flicker], reference=[still] * 2, context=[still[:1]] * 2)
    [-0.0625, -0.25]

    ```
    """

    name, higher_is_better, best, floor = "temporal_error", False, 0.0, 2.0
    reads = "states"
    differentiable = True
    alone = (
        "what is wrong from the first step on costs nothing later; add a reward that compares states, such as "
        "`MAEReward`"
    )

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]; states of any kind."""
        error = predicted - reference
        # Both begin at the last given state, from which neither differs.
        before = torch.zeros_like(error[:, :1]) if context is not None else torch.full_like(error[:, :1], torch.nan)
        return torch.cat([before, error], dim=1).diff(dim=1).abs_().flatten(2).mean(dim=2)
