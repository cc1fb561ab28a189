"""
Episodes of Pendulum-v1 of gymnasium: a motor of limited torque swings a rod, seen by sensors, or in frames as well.

The state is gymnasium's observation: cosine and sine of the angle, which know no wrap-around, and angular velocity.
It holds all that the future depends on, so one observed step is history enough.

A frame shows the angle alone, so of frames two are needed to see the velocity. An action is a torque: unlike a target,
it is not where something will be in the next frame, but how much faster the rod will be.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from einops import rearrange
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from ..data.episode import Episode
from ..data.recording import record_episodes


CONTROL_INTERVAL = 0.05
"""Seconds of a control step; an action is held for the control steps of one step."""

MAX_TORQUE = 2.0
"""Largest torque in either direction, in N m."""

ROD_LENGTH, ROD_RADIUS = 0.4, 0.06
"""Of the drawn rod, from joint to tip, and half its width, as fractions of the frame."""

JOINT_RADIUS = 0.03
"""Of the drawn joint, as a fraction of the frame."""

ROD_RGB, JOINT_RGB, BACKGROUND_RGB = (204, 77, 77), (0, 0, 0), (255, 255, 255)
"""Colours, those of gymnasium's own drawing."""

SMALLEST_FRAME = 16
"""Pixels of a frame's side below which the joint would not be seen."""

CARD = {
    "world": "Pendulum",
    "data": "Episodes of Pendulum-v1 of [gymnasium](https://gymnasium.farama.org) (MIT), recorded with a scripted "
    "policy.",
}
"""What a model card says of the world."""


class SwingingPolicy:
    """
    A scripted policy that now pumps energy into the pendulum, now takes it out, now does as it likes.

    A random policy hardly leaves the lower half. Each mode lasts some steps; noise is added to all.

    Args:
        rng (`numpy.random.Generator`):
            Source of all randomness.
        noise (`float`, *optional*, defaults to 0.5):
            Standard deviation of the noise on the torque, in N m.
    """

    def __init__(self, rng: np.random.Generator, *, noise: float = 0.5) -> None:
        self.rng = rng
        self.noise = noise
        self.steps_left = 0
        self.drive = 0.0
        self.push = 0.0

    def __call__(self, state: np.ndarray) -> float:
        """Next torque in N m for a `state` `(3,)`."""
        if self.steps_left == 0:
            self.steps_left = int(self.rng.integers(3, 12))
            self.drive = float(self.rng.choice([1.0, 1.0, 0.0, -1.0]))  # 1 pumps energy in, -1 takes it out
            self.push = float(self.rng.uniform(-MAX_TORQUE, MAX_TORQUE))
        self.steps_left -= 1
        wanted = self.drive * MAX_TORQUE * np.sign(state[2]) if self.drive else self.push
        return float(np.clip(wanted + self.rng.normal(0, self.noise), -MAX_TORQUE, MAX_TORQUE))


def draw_pendulum(states: np.ndarray, image_size: int) -> np.ndarray:
    """
    Draw states as frames: a rod that is held at its joint in the middle, upright where the cosine is 1.

    Edges are smooth: a pixel has the colour of the share of it that a thing covers, by the distance of its centre from
    the thing's outline. So an angle can be read more finely than by pixels.

    Args:
        states (`numpy.ndarray` of shape `(..., 3)`):
            Cosine and sine of the angle, and the angular velocity, which is not drawn. Positive angles are to the
            left, as in gymnasium's own drawing.
        image_size (`int`):
            Height and width of a frame in pixels.

    Returns:
        `numpy.ndarray` of shape `(..., 3, image_size, image_size)`, uint8 RGB.

    Raises:
        `ValueError`: If frames would be smaller than 16 pixels.

    Example:

    ```python
    >>> frames = draw_pendulum(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 32)  # upright, and to the left
    >>> frames.shape, frames[0, :, 8, 16].tolist(), frames[1, :, 8, 16].tolist(), frames[1, :, 16, 8].tolist()
    ((2, 3, 32, 32), [204, 77, 77], [255, 255, 255], [204, 77, 77])

    ```
    """
    if image_size < SMALLEST_FRAME:
        raise ValueError(f"Expected `image_size` of at least {SMALLEST_FRAME} pixels, got {image_size}.")
    line = (np.arange(image_size) + 0.5) / image_size - 0.5
    right, down = np.meshgrid(line, line)  # of each pixel's centre from the joint, (H, W)
    cosine, sine = (states[..., place, None, None].astype(np.float64) for place in (0, 1))
    along = np.clip(-sine * right - cosine * down, 0, ROD_LENGTH)  # of the rod's point that is nearest
    to_rod = np.hypot(right + sine * along, down + cosine * along)
    frames = np.broadcast_to(np.array(BACKGROUND_RGB, np.float64), (*to_rod.shape, 3))
    for distance, radius, colour in (
        (to_rod, ROD_RADIUS, ROD_RGB),
        (np.hypot(right, down), JOINT_RADIUS, JOINT_RGB),
    ):
        share = np.clip(0.5 + (radius - distance) * image_size, 0, 1)[..., None]
        frames = frames + share * (np.array(colour) - frames)
    return np.ascontiguousarray(rearrange(frames.round().astype(np.uint8), "... h w c -> ... c h w"))


def collect_episode(
    seed: int, *, length: int, frame_interval: float, frames: bool = False, image_size: int = 64
) -> Episode:
    """
    Record one episode of the scripted policy.

    Args:
        seed (`int`):
            Decides the start and the policy's noise; the same seed gives the same episode.
        length (`int`):
            Number of steps.
        frame_interval (`float`):
            Seconds between two steps; the torque is held for so long. A multiple of 0.05 s.
        frames (`bool`, *optional*, defaults to `False`):
            Whether to draw frames, see [`draw_pendulum`]; nothing else of the episode depends on it.
        image_size (`int`, *optional*, defaults to 64):
            Height and width of a frame in pixels.

    Returns:
        `Episode`: Actions (torque in N m) `(length, 1)`, states (cosine and sine of the angle, angular velocity in
        rad/s) `(length, 3)`, and frames `(length, 3, image_size, image_size)` if they are drawn.

    Raises:
        `ValueError`: If the interval is no multiple of the control step, or frames would be too small.
    """
    control_steps = round(frame_interval / CONTROL_INTERVAL)
    if control_steps < 1 or abs(control_steps * CONTROL_INTERVAL - frame_interval) > 1e-6:
        raise ValueError(f"Expected `frame_interval` to be a multiple of {CONTROL_INTERVAL} s, got {frame_interval}.")
    world = PendulumEnv()
    state, _ = world.reset(seed=seed)
    # gymnasium draws the start from `default_rng(seed)`, whose numbers must not come again as noise.
    policy = SwingingPolicy(np.random.default_rng([seed, 1]))
    states, actions = [], []
    for _ in range(length):
        torque = np.array([policy(state)], dtype=np.float32)
        states.append(state)
        actions.append(torque)
        for _ in range(control_steps):
            state, *_ = world.step(torque)
    return Episode(
        episode_id=f"pendulum-{seed}",
        frames=draw_pendulum(np.stack(states), image_size) if frames else None,
        actions=np.stack(actions),
        fps=1 / frame_interval,
        states=np.stack(states).astype(np.float32),
    )


def collect_episodes(
    seeds: list[int],
    *,
    length: int,
    frame_interval: float = 0.2,
    frames: bool = False,
    image_size: int = 64,
    processes: int = 1,
) -> Iterator[Episode]:
    """
    Record one episode for each seed, in order; see [`collect_episode`].

    Args:
        seeds (`list[int]`):
            One an episode.
        length (`int`):
            Number of steps of an episode.
        frame_interval (`float`, *optional*, defaults to 0.2):
            Seconds between two steps, a multiple of 0.05.
        frames (`bool`, *optional*, defaults to `False`):
            Whether to draw frames; without them the world is one of sensors.
        image_size (`int`, *optional*, defaults to 64):
            Height and width of a frame in pixels, at least 16.
        processes (`int`, *optional*, defaults to 1):
            Processes that share the work. The episodes do not depend on it.

    Returns:
        `Iterator[Episode]`: The episodes.

    Raises:
        `ValueError`: See [`collect_episode`].

    Example:

    ```python
    >>> episode = next(collect_episodes([0], length=4))
    >>> episode.frames, episode.actions.shape, episode.states.shape
    (None, (4, 1), (4, 3))

    ```
    """
    record = partial(
        collect_episode, length=length, frame_interval=frame_interval, frames=frames, image_size=image_size
    )
    # An episode takes little work: more of them a message than by default.
    return record_episodes(record, seeds, processes=processes, chunk=16)
