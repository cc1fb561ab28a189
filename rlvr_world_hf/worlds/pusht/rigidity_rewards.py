r"""
Whether a predicted frame of PushT shows one whole T: what cannot happen in the world, whatever was done.

    violation = min(1, \frac{\sum v |c - T|}{\sum v T}),    error = max(0, violation - tolerance) / (1 - tolerance)

with c the share of a pixel that has the block's colour, T what a whole block at the pose read from the frame covers of
it, and v 0 where the agent may hide the block and where walls stand, which look like it: in the outermost pixel of 64.
In the pixel beside it, over which a codec spreads the walls, only what differs by more than half counts. A block that
shrinks, grows, tears or fades differs from T; of a second one all of it does; a frame without a block has 1.
"""

from __future__ import annotations

import torch

from ...rewards.base import DISCOUNT, VerifiableReward
from .agent import AGENT_RADIUS, locate_agent
from .block import BLOCK_AREA, BLOCK_RGB, BORDER, NOISE_COVERAGE, SURROUNDING_RGB
from .colours import colour_share
from .pose import draw_block, read_pose


TOLERANCE = 0.25
"""
Violations up to this one are what drawing and reading a frame leave open: those of recorded frames of 64 pixels are
about 0.15 and at most 0.22. The codec that ships leaves 0.18 in the median, and 0.45 at most in 99 of 100 frames.
"""

VIOLATED = 0.5
"""Violations beyond this one are a frame's, and not the codec's."""

BESIDE_WALLS = 0.5
"""Differences up to this one count nothing in the pixel beside the walls: a codec spreads walls over it."""

LEAST_AREA = 0.25
"""Share of the block's area by which a violation is divided at least, where the rest is hidden."""


def block_violation(frames: torch.Tensor) -> torch.Tensor:
    """
    How far what has the block's colour is from one whole block.

    Args:
        frames (`torch.Tensor` of shape `(..., 3, H, H)`):
            Square frames of PushT, float in `[0, 1]`, RGB.

    Returns:
        `torch.Tensor` of shape `(...)`: in [0, 1]; 0 is one whole block, 1 none, or one and another.

    Raises:
        ValueError: if the frames are not RGB, or not square.
        TypeError: if the frames are not float.

    Example:

    ```python
    >>> block_violation(torch.ones(3, 64, 64))
    tensor(1.)

    ```
    """
    pose = read_pose(frames)
    size = frames.shape[-1]
    shown, whole = (
        ((share.float() - NOISE_COVERAGE) / (1 - NOISE_COVERAGE)).clamp(min=0)
        for share in (colour_share(frames.float(), BLOCK_RGB, SURROUNDING_RGB), draw_block(pose, size))
    )
    line = (torch.arange(size).to(shown) + 0.5) / size
    within = 0.5 - (line - 0.5).abs() - BORDER  # how far from the walls
    is_inside, is_clear = (torch.outer(within > gap, within > gap) for gap in (0, 1 / size))
    at = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)  # (H, W, 2)
    away = (at - locate_agent(frames).float()[..., None, None, :]).norm(dim=-1)
    # Where there is no agent the distance is nan, and hides nothing.
    seen = ~(away < AGENT_RADIUS + 1 / size) & is_inside
    area = (whole * (seen & is_clear)).sum(dim=(-2, -1)).clamp(min=LEAST_AREA * BLOCK_AREA * size**2)
    differs = (shown - whole).abs()
    differs = torch.where(is_clear, differs, (differs - BESIDE_WALLS).clamp(min=0) / (1 - BESIDE_WALLS))
    violation = (differs * seen).sum(dim=(-2, -1)) / area
    return violation.clamp(max=1).masked_fill(pose[..., 0].isnan(), 1.0)


class RigidityReward(VerifiableReward):
    """
    Minus how far a predicted block is from one whole T: in [-1, 0]; 0 is a block that can be.

    The metric, `rigidity_error`, is that of [`block_violation`] beyond a tolerance, so that recorded frames have 0.
    `rigidity_violation` is the share of frames in which half of a block or more is not as it should be.

    It judges the prediction alone and does not read the reference: any whole block, wherever it is, earns the most.
    Use it beside a reward that compares, such as `BlockPoseReward`.

    Args:
        tolerance (`float`, *optional*, defaults to 0.25):
            Violation up to which a block is whole, in [0, 1). Another one than the default becomes part of the name.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Raises:
        ValueError: if the tolerance is not in [0, 1); when called, if frames are not square.

    Example:

    ```python
    >>> from rlvr_world_hf.worlds.pusht.simulator import Recording
    >>> frame = torch.from_numpy(Recording(0, image_size=64, frame_interval=0.5).frame()) / 255
    >>> twice = torch.minimum(frame, frame.roll(20, dims=-1))
    >>> RigidityReward()(predicted=[frame[None], twice[None]], reference=[frame[None]] * 2)
    [0.0, -1.0]

    ```
    """

    name, higher_is_better, best, floor = "rigidity_error", False, 0.0, 1.0
    diagnoses = ("rigidity_violation",)
    alone = "any whole block earns the most, wherever it is; add a reward that compares, such as `BlockPoseReward`"

    def __init__(self, *, tolerance: float = TOLERANCE, aggregation: str = "mean", discount: float = DISCOUNT) -> None:
        if not 0 <= tolerance < 1:
            raise ValueError(f"Expected `tolerance` in [0, 1), got {tolerance!r}.")
        if tolerance != TOLERANCE:
            self.name = f"{self.name}_{tolerance:.3g}"
        self.tolerance = tolerance
        super().__init__(aggregation=aggregation, discount=discount)

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]; square frames."""
        return self._errors(block_violation(predicted))

    def diagnose(self, predicted: torch.Tensor, reference: torch.Tensor) -> dict[str, torch.Tensor]:
        """`rigidity_violation` `(B, S)`: 1 where the predicted frame does not show one whole block, 0 elsewhere."""
        return _violated(block_violation(predicted))

    def measure_and_diagnose(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        **further: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """See [`VerifiableReward.measure_and_diagnose`]; a prediction is read once for both."""
        violation = block_violation(predicted)
        return self._errors(violation), _violated(violation)

    def _errors(self, violation: torch.Tensor) -> torch.Tensor:
        return ((violation - self.tolerance) / (1 - self.tolerance)).clamp(min=0)


def _violated(violation: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"rigidity_violation": (violation > VIOLATED).float()}
