"""
Episodes of Pendulum-v1 of gymnasium: a motor of limited torque swings a rod, seen by sensors alone.

The state is gymnasium's observation: cosine and sine of the angle, which know no wrap-around, and angular velocity.
It holds all that the future depends on, so one observed step is history enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from ..data.episode import Episode
from ..data.recording import record_episodes


CONTROL_INTERVAL = 0.05
"""Seconds of a control step; an action is held for the control steps of one step."""

MAX_TORQUE = 2.0
"""Largest torque in either direction, in N m."""

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


def collect_episode(seed: int, *, length: int, frame_interval: float) -> Episode:
    """
    Record one episode of the scripted policy.

    Args:
        seed (`int`):
            Decides the start and the policy's noise; the same seed gives the same episode.
        length (`int`):
            Number of steps.
        frame_interval (`float`):
            Seconds between two steps; the torque is held for so long. A multiple of 0.05 s.

    Returns:
        `Episode`: Without frames; actions (torque in N m) `(length, 1)` and states (cosine and sine of the angle,
        angular velocity in rad/s) `(length, 3)`.

    Raises:
        `ValueError`: If the interval is no multiple of the control step.
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
        frames=None,
        actions=np.stack(actions),
        fps=1 / frame_interval,
        states=np.stack(states).astype(np.float32),
    )


def collect_episodes(
    seeds: list[int], *, length: int, frame_interval: float = 0.2, processes: int = 1
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
    record = partial(collect_episode, length=length, frame_interval=frame_interval)
    # An episode takes little work: more of them a message than by default.
    return record_episodes(record, seeds, processes=processes, chunk=16)
