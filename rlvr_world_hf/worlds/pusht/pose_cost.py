r"""
What it costs to be away from a goal of PushT, in the tolerances of the task, by what frames show:

    cost(s_1, ..., s_H) = \min_h \frac{\| (p, b)_h - (p, b)^* \|}{20} + \frac{|a_h - a^*|}{\pi / 9}

with p the agent's place, b that of the block's origin, both in world units, and a the block's angle: success, as
`task.py` has it, is a cost below 1 and above 0. The least over the steps, as success counts after any of them.
"""

from __future__ import annotations

import math

import torch

from .ladder import PLACE, TURN, read_frames
from .policies import WORLD_SIZE
from .pose import block_of_pose


LOST = math.hypot(WORLD_SIZE, WORLD_SIZE) / PLACE + 180 / TURN
"""Cost of a step at which agent or block is not seen: a frame's diagonal and half a turn away."""


class PoseCost:
    """
    The cost of frames, or of where agent and block are, against a goal.

    What the goal does not show costs nothing, wherever it is. A prediction that shows no agent or no block costs as
    much as one that is far away: finite, so that a plan is found where all are lost.

    Args:
        goal (`torch.Tensor` of shape `(5,)`):
            Where agent and block are to be, in the form of [`~rlvr_world_hf.worlds.pusht.ladder.read_frames`] or
            [`~rlvr_world_hf.worlds.pusht.ladder.read_states`]; nan where that is not known.

    Raises:
        ValueError: If the goal is of another shape.

    Example:

    ```python
    >>> cost = PoseCost(torch.tensor([0.5, 0.5, 0.25, 0.25, 0.0]))
    >>> there, off = [0.5, 0.5, 0.25, 0.25, 0.0], [0.5, 0.5 + 20 / 512, 0.25, 0.25, 0.0]
    >>> cost.of_places(torch.tensor([[off, off], [off, there]])).round(decimals=3)
    tensor([1., 0.])

    ```
    """

    def __init__(self, goal: torch.Tensor) -> None:
        if goal.shape != (5,):
            raise ValueError(
                f"Expected a goal of 5 numbers, as `read_frames` gives them of one frame, got {tuple(goal.shape)}."
            )
        self.goal = goal

    def __call__(self, predicted: torch.Tensor) -> torch.Tensor:
        """Costs `(N,)` of frames `(N, S, 3, H, W)`, float in `[0, 1]`, RGB."""
        return self.of_places(read_frames(predicted))

    def of_places(self, places: torch.Tensor) -> torch.Tensor:
        """
        Costs of where agent and block are.

        Args:
            places (`torch.Tensor` of shape `(N, S, 5)`):
                In the form of the goal; nan where something is not seen.

        Returns:
            `torch.Tensor` of shape `(N,)`: at least 0; lower is better.
        """
        goal = self.goal.to(places)
        apart = (_positions(places) - _positions(goal)).square().nan_to_num(0.0, posinf=0.0)  # (N, S, 4)
        turned = places[..., 4] - goal[4]
        angle = torch.atan2(turned.sin(), turned.cos()).abs().nan_to_num(0.0)
        cost = apart.sum(dim=-1).sqrt() / PLACE + angle / math.radians(TURN)
        is_lost = (places.isnan() & ~goal.isnan()).any(dim=-1)
        return cost.masked_fill(is_lost, LOST).amin(dim=1)


def _positions(places: torch.Tensor) -> torch.Tensor:
    """Of agent and of the block's origin `(..., 4)`, in world units, as the states of the simulator have them."""
    return torch.cat([places[..., :2] * WORLD_SIZE, block_of_pose(places[..., 2:])[..., :2]], dim=-1)
