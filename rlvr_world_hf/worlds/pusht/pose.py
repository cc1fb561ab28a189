r"""
The block's pose in a PushT frame: its centroid and its angle, by overlap with a drawn T.

    coverage c(x)       share of the block's colour, resampled on a grid about the centroid
    T_a(x)              what a frame shows there of a T turned by `a`, drawn once for `a` every three degrees
    seen v(x)           0 where the agent may hide the block, or walls look like it; else 1
    best a              least sum of v (c - T_a)^2
    refined             by least squares: c - T_a = dT/dx dx + dT/dy dy + dT/da da, over v; thrice, about the new place

A block that is hidden in part so has the pose of what is seen of it, where its centroid alone would be drawn aside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import torch
from einops import rearrange
from torch.nn.functional import grid_sample

from .agent import AGENT_RADIUS, densest_pixel, locate_agent
from .block import BLOCK_RGB, BORDER, NOISE_COVERAGE, SURROUNDING_RGB, locate_block
from .colours import colour_share
from .policies import WORLD_SIZE


CENTROID = 285 / 7
"""Distance of the block's centroid from the body's origin, which a state holds, in world units."""

OUTLINE = 2.0
"""By so much the drawing of the block is larger than its body, on all sides, in world units."""

ANGLES = 120
"""Angles at which a T is drawn, evenly over a turn."""

SPACING = 8.0
"""Distance of the points at which T and frame are compared, in world units."""

REACH = 88.0
"""From the centroid to the farthest of these points in x and in y, in world units: beyond the T at any angle."""

SPOT = 56.0
"""Width of the square in which most of the block's colour is looked for, in world units."""

ROUNDS = 3
"""Times that place and angle are refined."""

LARGEST_MOVE = 12.0
"""Longest way in x and in y of the T in a round, in world units."""

SAMPLES = 4
"""Points in x and in y at which a pixel of a drawn block is looked at."""


def read_pose(frames: torch.Tensor) -> torch.Tensor:
    """
    Centroid and angle of the block.

    Of frames of the simulator 64 pixels wide the angle is right within 2 degrees in 95 of 100, and the centroid within
    1 world unit; see the tests.

    Args:
        frames (`torch.Tensor` of shape `(..., 3, H, W)`):
            Square frames of PushT, at least 32 pixels wide: float in `[0, 1]`, RGB.

    Returns:
        `torch.Tensor` of shape `(..., 3)`: `(x, y)` from the upper left corner, as fractions of the frame, and the
        angle in radians in `[-pi, pi]`, as of the simulator's body; nan where no block is seen.

    Raises:
        ValueError: if the frames are not RGB, or not square.
        TypeError: if the frames are not float.

    Example:

    ```python
    >>> from rlvr_world_hf.worlds.pusht.simulator import Recording
    >>> recording = Recording(0, image_size=64, frame_interval=0.5, states="agent_and_block")
    >>> *_, cosine, sine = recording.state
    >>> pose = read_pose(torch.from_numpy(recording.frame()) / 255)
    >>> abs(pose[2].item() - math.atan2(sine, cosine)) < math.radians(2)
    True

    ```
    """
    if frames.ndim < 3 or frames.shape[-3] != 3 or frames.shape[-1] != frames.shape[-2]:
        raise ValueError(f"Expected square `frames` of shape (..., 3, H, H), RGB, got {tuple(frames.shape)}.")
    if not frames.is_floating_point():
        raise TypeError(f"Expected float `frames` in [0, 1], got {frames.dtype}; divide uint8 frames by 255.")
    batch = frames.shape[:-3]
    frames = rearrange(frames, "... c h w -> (...) c h w", c=3).float()
    is_found = ~locate_block(frames).isnan().any(dim=1)
    sheet = _Sheet(
        coverage=colour_share(frames, BLOCK_RGB, SURROUNDING_RGB),  # (N, H, W)
        agent=locate_agent(frames) * WORLD_SIZE,
        hidden=AGENT_RADIUS * WORLD_SIZE + WORLD_SIZE / frames.shape[-1],
    )
    templates, slopes = (drawn.to(frames) for drawn in _templates(frames.shape[-1]))
    centre = _spot(sheet.coverage)  # (N, 2)
    at_edge = ((centre - WORLD_SIZE / 2).abs() > WORLD_SIZE / 2 - REACH).any(dim=1)
    centre[at_edge] = _nearest_start(sheet.take(at_edge), centre[at_edge], templates)
    for _ in range(ROUNDS):
        seen, shown = sheet.look(centre)  # (N, P)
        best = _differences(seen, shown, templates).argmin(dim=1)
        slope = slopes[best]  # (N, P, 3)
        weighted = slope * seen.unsqueeze(2)
        normal = torch.einsum("npi,npj->nij", weighted, slope) + 1e-3 * torch.eye(3).to(frames)
        change = torch.einsum("npi,np->ni", weighted, shown - templates[best])
        # Beyond one unit of a slope the frame is no longer straight in it.
        step = torch.linalg.solve(normal, change).clamp(-1, 1)
        centre = centre + step[:, :2] * LARGEST_MOVE
        angle = (best + step[:, 2]) * (2 * math.pi / ANGLES)
    pose = torch.cat([centre / WORLD_SIZE, torch.atan2(angle.sin(), angle.cos()).unsqueeze(1)], dim=1)
    return pose.masked_fill(~is_found.unsqueeze(1), torch.nan).reshape(*batch, 3)


def pose_of_states(states: torch.Tensor) -> torch.Tensor:
    """
    Centroid and angle of the block in recorded states, in the form of [`read_pose`].

    Args:
        states (`torch.Tensor` of shape `(..., 6)`):
            Position of the agent; position of the block's origin, cosine and sine of its angle; in world units.

    Returns:
        `torch.Tensor` of shape `(..., 3)`: `(x, y)` as fractions of the frame, and the angle in radians.

    Raises:
        ValueError: if states do not hold the block.

    Example:

    ```python
    >>> pose_of_states(torch.tensor([0.0, 0.0, 256.0, 256.0, 1.0, 0.0]))
    tensor([0.5000, 0.5795, 0.0000])

    ```
    """
    if states.shape[-1] != 6:
        raise ValueError(f"Expected states of agent and block, 6 numbers, got shape {tuple(states.shape)}.")
    origin, cosine, sine = states[..., 2:4], states[..., 4], states[..., 5]
    centre = origin + CENTROID * torch.stack([-sine, cosine], dim=-1)
    return torch.cat([centre / WORLD_SIZE, torch.atan2(sine, cosine).unsqueeze(-1)], dim=-1)


def block_of_pose(pose: torch.Tensor) -> torch.Tensor:
    """
    Where the simulator has a block of some pose: the other way round than [`pose_of_states`].

    Args:
        pose (`torch.Tensor` of shape `(..., 3)`):
            As [`read_pose`] gives it.

    Returns:
        `torch.Tensor` of shape `(..., 3)`: position of the body's origin in world units, and the angle in radians.

    Example:

    ```python
    >>> pose = pose_of_states(torch.tensor([0.0, 0.0, 256.0, 256.0, 1.0, 0.0]))
    >>> block_of_pose(pose).round()
    tensor([256., 256.,   0.])

    ```
    """
    angle = pose[..., 2]
    origin = pose[..., :2] * WORLD_SIZE - CENTROID * torch.stack([-angle.sin(), angle.cos()], dim=-1)
    return torch.cat([origin, angle.unsqueeze(-1)], dim=-1)


def distance_to_block(points: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """
    How far points are from the block.

    Args:
        points (`torch.Tensor` of shape `(..., 2)`):
            `(x, y)` as fractions of the frame.
        pose (`torch.Tensor` of shape `(..., 3)`):
            As [`read_pose`] gives it; its shape and that of the points are broadcast.

    Returns:
        `torch.Tensor` of shape `(...)`: in world units; 0 inside of the block, nan where a point or a pose is nan.

    Example:

    ```python
    >>> pose = pose_of_states(torch.tensor([0.0, 0.0, 256.0, 256.0, 1.0, 0.0]))
    >>> distance_to_block(torch.tensor([[256.0, 226.0], [256.0, 300.0], [300.0, 386.0]]) / 512, pose).round()
    tensor([30.,  0., 31.])

    ```
    """
    x, y = ((points - pose[..., :2]) * WORLD_SIZE).unbind(-1)
    cosine, sine = pose[..., 2].cos(), pose[..., 2].sin()
    across, down = (cosine * x + sine * y).abs(), cosine * y - sine * x + CENTROID  # in the body's own axes
    above = (-down).clamp(min=0)
    bar = torch.hypot((across - 60).clamp(min=0), torch.maximum(above, down - 30))
    stem = torch.hypot((across - 15).clamp(min=0), torch.maximum(above, down - 120))
    return torch.minimum(bar, stem)


def draw_block(pose: torch.Tensor, image_size: int) -> torch.Tensor:
    """
    The share of each pixel that the block covers, as a frame would show it.

    Args:
        pose (`torch.Tensor` of shape `(..., 3)`):
            As [`read_pose`] gives it.
        image_size (`int`):
            Height and width in pixels.

    Returns:
        `torch.Tensor` of shape `(..., image_size, image_size)`: in `[0, 1]`; 0 where a pose is nan.

    Example:

    ```python
    >>> pose = pose_of_states(torch.tensor([0.0, 0.0, 256.0, 256.0, 1.0, 0.0]))
    >>> round(draw_block(pose, 64).sum().item() * 64)  # pixels of 64 square units; the body without outline has 6300
    7448

    ```
    """
    line = (torch.arange(image_size * SAMPLES).to(pose) + 0.5) / (image_size * SAMPLES)
    drawn = torch.zeros(*pose.shape[:-1], image_size, image_size).to(pose)
    for row in range(SAMPLES):
        for column in range(SAMPLES):
            y, x = torch.meshgrid(line[row::SAMPLES], line[column::SAMPLES], indexing="ij")
            drawn += distance_to_block(torch.stack([x, y], dim=-1), pose[..., None, None, :]) <= OUTLINE
    return drawn / SAMPLES**2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """Frames as they are compared with a T."""

    coverage: torch.Tensor
    """Share of the block's colour, shape `(N, H, W)`, float in `[0, 1]`."""

    agent: torch.Tensor
    """Where the agent is, shape `(N, 2)`, in world units; nan where it is not, and hides nothing."""

    hidden: float
    """Distance from the agent up to which it may hide the block, in world units."""

    def take(self, rows: torch.Tensor) -> _Sheet:
        """Some of the frames, by a mask `(N,)`."""
        return replace(self, coverage=self.coverage[rows], agent=self.agent[rows])

    def look(self, centre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """At the points about `centre` `(N, 2)`: where there is neither agent nor wall, 1 or 0, and the coverage."""
        points = centre[:, None] + _grid().to(centre)  # (N, P, 2)
        border = BORDER * WORLD_SIZE
        x, y = points.unbind(2)  # each on its own: reductions over two numbers are slow
        is_clear = ~(torch.hypot(x - self.agent[:, :1], y - self.agent[:, 1:]) < self.hidden)
        is_inside = (x > border) & (x < WORLD_SIZE - border) & (y > border) & (y < WORLD_SIZE - border)
        # `grid_sample` counts from -1 to 1, from edge to edge of the frame.
        places = rearrange(points / WORLD_SIZE * 2 - 1, "n p two -> n p 1 two")
        shown = grid_sample(self.coverage[:, None], places, padding_mode="border", align_corners=False)[:, 0, :, 0]
        return (is_clear & is_inside).to(shown), shown


def _differences(seen: torch.Tensor, shown: torch.Tensor, templates: torch.Tensor) -> torch.Tensor:
    """The sum of squares at each angle `(N, angles)`, without what is the same for all angles and places."""
    return seen @ (templates**2).T - 2 * (seen * shown) @ templates.T


def _spot(coverage: torch.Tensor) -> torch.Tensor:
    """
    Centroid `(N, 2)` of the coverage `(N, H, W)` about where there is most of it, in world units: noise and a faint
    second block elsewhere do not pull it.
    """
    size = coverage.shape[-1]
    line = (torch.arange(size).to(coverage) + 0.5) * (WORLD_SIZE / size)
    is_inside = (line - WORLD_SIZE / 2).abs() < WORLD_SIZE / 2 - BORDER * WORLD_SIZE
    weights = (coverage - NOISE_COVERAGE).clamp(min=0) * torch.outer(is_inside, is_inside)
    most = densest_pixel(weights, reach=round(SPOT / WORLD_SIZE * size / 2))  # (N,)
    near_rows, near_columns = ((line - line[at, None]).abs() < REACH for at in (most // size, most % size))  # (N, H)
    weights = weights * near_rows.unsqueeze(2) * near_columns.unsqueeze(1)
    x, y = torch.einsum("nhw,w->n", weights, line), torch.einsum("nhw,h->n", weights, line)
    return torch.stack([x, y], dim=1) / weights.sum(dim=(1, 2)).clamp(min=1e-6).unsqueeze(1)


def _nearest_start(sheet: _Sheet, centre: torch.Tensor, templates: torch.Tensor) -> torch.Tensor:
    """Of places about `centre` `(N, 2)` where a T fits best: at the edge of a frame, parts of it are beyond."""
    line = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]).to(centre) * SPOT / 2
    starts = [centre + torch.stack([x, y]) for x in line for y in line]
    fits = torch.stack([_differences(*sheet.look(start), templates).amin(dim=1) for start in starts])  # (starts, N)
    return torch.stack(starts)[fits.argmin(dim=0), torch.arange(len(centre))]


@cache
def _grid() -> torch.Tensor:
    """The points about the centroid `(P, 2)`, in world units."""
    line = torch.arange(-REACH, REACH + 1, SPACING)
    return rearrange(torch.stack(torch.meshgrid(line, line, indexing="xy")), "two h w -> (h w) two")


@cache
def _templates(image_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    What frames show of the T at each angle `(angles, P)`, and how that changes `(angles, P, 3)` as the T moves by
    `LARGEST_MOVE` in x and in y, and turns by one angle.
    """
    pixel, small = WORLD_SIZE / image_size, LARGEST_MOVE / 6
    drawn = _draw(pixel, move=(0.0, 0.0))
    moved = [
        (_draw(pixel, move=(small * x, small * y)) - _draw(pixel, move=(-small * x, -small * y)))
        * (LARGEST_MOVE / (2 * small))
        for x, y in ((1, 0), (0, 1))
    ]
    turned = (drawn.roll(-1, 0) - drawn.roll(1, 0)) / 2
    return drawn, torch.stack([*moved, turned], dim=2)


def _draw(pixel: float, *, move: tuple[float, float]) -> torch.Tensor:
    """The T about its centroid, moved by so much, as seen at the points `(angles, P)` through pixels of that width."""
    # A pixel is a mean over its area, and between pixels the frame is interpolated: a box and a triangle.
    fine = torch.linspace(-1.5, 1.5, 13)
    weights = torch.stack([(1 - (fine - at).abs()).clamp(min=0) for at in torch.linspace(-0.5, 0.5, 21)]).mean(0)
    weights = weights / weights.sum()
    angles = torch.arange(ANGLES) * (2 * math.pi / ANGLES)
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    drawn = torch.zeros(ANGLES, len(_grid()))
    for along_x, weight_x in zip(fine.tolist(), weights.tolist(), strict=True):
        for along_y, weight_y in zip(fine.tolist(), weights.tolist(), strict=True):
            x, y = (_grid() + pixel * torch.tensor([along_x, along_y]) - torch.tensor(move)).unbind(1)
            across, down = cosine * x + sine * y, cosine * y - sine * x + CENTROID  # in the body's own axes
            is_bar = (across.abs() < 60 + OUTLINE) & (down > -OUTLINE) & (down < 30 + OUTLINE)
            is_stem = (across.abs() < 15 + OUTLINE) & (down > 0) & (down < 120 + OUTLINE)
            drawn += weight_x * weight_y * (is_bar | is_stem)
    return drawn
