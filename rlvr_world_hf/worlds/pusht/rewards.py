"""The error of the agent's position in PushT, which is read from the predicted and the reference frame."""

from __future__ import annotations

import torch

from ...rewards.base import VerifiableReward
from .agent import locate_agent


class AgentPositionReward(VerifiableReward):
    """
    Minus the error of the agent's position: in [-1, 0] as a fraction of the frame; 0 is perfect.

    The metric, `agent_position_mae`, is the mean of |dx| and |dy| between the positions that
    [`~rlvr_world_hf.worlds.pusht.agent.locate_agent`] finds in the predicted and the reference frame, so that its own
    error (0.001) cancels in part. A predicted frame without an agent has error 1 and counts in the metric
    `agent_not_found`; a reference frame without an agent is left out.

    Example:

    ```python
    >>> import torch
    >>> reference = torch.ones(1, 3, 64, 64)
    >>> reference[..., 30:34, 14:18] = torch.tensor([65, 105, 225])[:, None, None] / 255
    >>> AgentPositionReward()(predicted=[reference.roll(4, dims=-1)], reference=[reference])
    [-0.0312...]

    ```
    """

    name, higher_is_better, best, floor = "agent_position_mae", False, 0.0, 1.0
    diagnoses = ("agent_not_found",)

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]."""
        found, recorded = locate_agent(predicted), locate_agent(reference)  # (B, S, 2)
        error = (found - recorded).abs().mean(dim=-1)
        error = error.masked_fill(found[..., 0].isnan(), self.floor)
        # Last: without an agent in the reference nothing is measured, whatever was predicted.
        return error.masked_fill(recorded[..., 0].isnan(), torch.nan)

    def diagnose(self, predicted: torch.Tensor, reference: torch.Tensor) -> dict[str, torch.Tensor]:
        """`agent_not_found` `(B, S)`: 1 where the predicted frame shows no agent, 0 elsewhere."""
        return {"agent_not_found": locate_agent(predicted)[..., 0].isnan().float()}
