r"""
The error of the block's pose in PushT, which is read from the predicted and the reference frame.

    error = min(1, |p - p'| + w |a - a'| / \pi)

with p the block's centroid as fractions of the frame, a its angle, and w such that 20 degrees count as much as 20
world units do: the tolerances of planning (stable-worldmodel; see `task.py`). Pixels hardly see the block's angle:
what they see is how much of the block is somewhere else.
"""

from __future__ import annotations

import math

import torch

from ...rewards.base import DISCOUNT, VerifiableReward
from .agent import AGENT_RADIUS, locate_agent
from .block import locate_block
from .policies import WORLD_SIZE
from .pose import distance_to_block, read_pose


ANGLE_WEIGHT = (20 / WORLD_SIZE) / (20 / 180)
"""Weight of half a turn, in widths of the frame, at which 20 degrees weigh as much as 20 world units."""

TOUCH_MARGIN = 6.0
"""Largest gap between agent and block that counts as touching, in world units: what reading a frame leaves open."""


class BlockPoseReward(VerifiableReward):
    """
    Minus the error of the block's place and angle: in [-1, 0]; 0 is perfect.

    The metric, `block_pose_error`, is the distance of the centroids that
    [`~rlvr_world_hf.worlds.pusht.pose.read_pose`] finds, in widths of the frame, plus a weight times the difference of
    the angles in half turns. Reading a recorded frame of 64 pixels errs by less than 0.005.

    A predicted frame without a block has error 1, and so has one without an agent where the reference shows one: no
    prediction earns more by leaving out what is hard. What is not found counts in `block_not_found`. A reference frame
    without a block is left out.

    It sees neither where the agent is nor whether the block has its shape; see `AgentPositionReward` and
    `RigidityReward`.

    Args:
        angle_weight (`float`, *optional*, defaults to 0.3515625):
            Error of half a turn, in widths of the frame; 0 measures the place alone. Another one than the default
            becomes part of the name.
        touch_weight (`float`, *optional*, defaults to 0.0):
            Additional weight of steps at which agent and block touch in the reference: there an error of the block
            counts in full, elsewhere divided by 1 + `touch_weight`. It becomes part of the name.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Raises:
        ValueError: if a weight is below 0 or not finite; when called, if frames are not square.

    Example:

    ```python
    >>> from rlvr_world_hf.worlds.pusht.simulator import Recording
    >>> frame = torch.from_numpy(Recording(0, image_size=64, frame_interval=0.5).frame()) / 255
    >>> moved = frame.roll(4, dims=-1)  # by a 16th of its width
    >>> rewards = BlockPoseReward()(predicted=[frame[None], moved[None], frame[None] * 0], reference=[frame[None]] * 3)
    >>> [round(reward, 2) for reward in rewards]
    [0.0, -0.06, -1.0]

    ```
    """

    name, higher_is_better, best, floor = "block_pose_error", False, 0.0, 1.0
    diagnoses = ("block_not_found",)

    def __init__(
        self,
        *,
        angle_weight: float = ANGLE_WEIGHT,
        touch_weight: float = 0.0,
        aggregation: str = "mean",
        discount: float = DISCOUNT,
    ) -> None:
        for name, weight in (("angle_weight", angle_weight), ("touch_weight", touch_weight)):
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"Expected `{name}` to be finite and at least 0, got {weight!r}.")
        if angle_weight != ANGLE_WEIGHT:
            self.name = f"{self.name}_angle_{angle_weight:.3g}"
        if touch_weight:
            self.name = f"{self.name}_touch_{touch_weight:.3g}"
        self.angle_weight = angle_weight
        self.touch_weight = touch_weight
        super().__init__(aggregation=aggregation, discount=discount)

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]; square frames."""
        return self._errors(_read(predicted), _read(reference))

    def measure_groups(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        **further: torch.Tensor,
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure_groups`]; a reference is read once for its group."""
        return self._errors(_read(predicted), _read(reference)[:, None])

    def diagnose(self, predicted: torch.Tensor, reference: torch.Tensor) -> dict[str, torch.Tensor]:
        """`block_not_found` `(B, S)`: 1 where the predicted frame shows no block, 0 elsewhere."""
        # `read_pose` finds a block where this one does, and takes much longer.
        return {"block_not_found": locate_block(predicted)[..., 0].isnan().float()}

    def _errors(self, predicted: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Of what [`_read`] found, shapes broadcast."""
        (pose, agent), (true, was) = (found.split([3, 2], dim=-1) for found in (predicted, reference))
        turned = pose[..., 2] - true[..., 2]
        angle = torch.atan2(turned.sin(), turned.cos()).abs() / math.pi
        error = (pose[..., :2] - true[..., :2]).norm(dim=-1) + self.angle_weight * angle
        error = error.clamp(max=self.floor)
        if self.touch_weight:
            touches = distance_to_block(was, true) <= AGENT_RADIUS * WORLD_SIZE + TOUCH_MARGIN  # not where it is nan
            error = torch.where(touches, error, error / (1 + self.touch_weight))
        is_lost = pose[..., 0].isnan() | (agent[..., 0].isnan() & ~was[..., 0].isnan())
        # Last: without a block in the reference nothing is measured, whatever was predicted.
        return error.masked_fill(is_lost, self.floor).masked_fill(true[..., 0].isnan(), torch.nan)


def _read(frames: torch.Tensor) -> torch.Tensor:
    """Pose of the block, and place of the agent, `(..., 5)`; nan where they are not seen."""
    return torch.cat([read_pose(frames), locate_agent(frames).float()], dim=-1)
