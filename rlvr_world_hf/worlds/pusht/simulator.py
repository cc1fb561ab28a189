"""
Episodes of PushT: a round agent pushes a T-shaped block (gym-pusht: pymunk physics, pygame rendering).

The world is the one of Diffusion Policy (https://huggingface.co/papers/2303.04137) and of the second version of
RLVR-World (https://huggingface.co/papers/2505.13934). It runs headless and needs no download.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ...data.episode import Episode
from ...data.opencv import load_opencv
from ...data.recording import record_episodes
from .policies import REACH, WORLD_SIZE, ExploringPolicy, PushingPolicy


if TYPE_CHECKING:
    from gym_pusht.envs.pusht import PushTEnv

CARD = {
    "world": "PushT",
    "data": "Episodes of [gym-pusht](https://github.com/huggingface/gym-pusht) (Apache 2.0), recorded with a scripted "
    "policy; `exploration` in the recipe is the share of steps in which it does something else.",
}
"""What a model card says of the world."""

CONTROL_HZ = 10
"""Control steps a second of gym-pusht; an action is held for the control steps of one frame interval."""

States = Literal["agent", "agent_and_block"]
"""What a state holds: the agent's position (x, y); or that and the block's pose (x, y, cosine, sine of its angle)."""


def render_frame(world: PushTEnv, image_size: int) -> np.ndarray:
    """
    Draw the present state of a `gym_pusht` world.

    gym-pusht's own small observations are sampled without filtering, which loses thin parts; here the full drawing is
    averaged over the area of each pixel.

    Args:
        world (`gym_pusht.envs.pusht.PushTEnv`):
            The world, see [`make_world`].
        image_size (`int`):
            Height and width of the frame in pixels; divides 512.

    Returns:
        `numpy.ndarray` of shape `(3, image_size, image_size)`, uint8 RGB.
    """
    screen = world._draw()  # what gym-pusht's observations are made of, before they are sampled
    words = np.asarray(screen.get_view("2")).T  # (height, width), a pixel's bytes in each
    drawing = words.view(np.uint8).reshape(*words.shape, words.itemsize)
    cv2 = load_opencv()
    frame = cv2.resize(drawing, (image_size, image_size), interpolation=cv2.INTER_AREA)
    # SDL decides which byte of a pixel holds which colour.
    colors = [shift // 8 for shift in screen.get_shifts()[:3]]
    return np.ascontiguousarray(frame[..., colors].transpose(2, 0, 1))


def make_world() -> PushTEnv:
    """A headless `gym_pusht` world. To save time, its steps draw nothing, and the score of the task is always 0."""
    # Before gym-pusht imports pygame, which greets when it is imported.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    load_opencv()  # gym-pusht imports it, too; where that fails, this names the remedy
    from gym_pusht.envs.pusht import PushTEnv

    class UnscoredPushT(PushTEnv):
        # gym-pusht intersects polygons for the score, at each control step.
        def _get_coverage(self) -> float:
            return 0.0

        def _handle_collision(self, *args: Any) -> None:
            """Contacts are not counted."""

    return UnscoredPushT(obs_type="state")


class Recording:
    """
    An episode in the making: a world, and what was recorded of it since its start.

    gym-pusht cannot return to an earlier state exactly, as it does not restore velocities. To branch off from a state,
    record its actions again from the seed.

    Args:
        seed (`int`):
            Decides the start.
        image_size (`int`):
            Height and width of a frame in pixels; divides 512.
        frame_interval (`float`):
            Seconds between two frames, a multiple of 0.1.
        states (`str`, *optional*, defaults to `"agent"`):
            `"agent"` or `"agent_and_block"`; see `States`.
        frames (`bool`, *optional*, defaults to `True`):
            Whether frames are recorded. Without them, recording costs physics alone.

    Raises:
        ValueError: If the interval is no multiple of the control step, the size does not divide the drawing, or there
            are no such states.

    Example:

    ```python
    >>> recording = Recording(0, image_size=32, frame_interval=0.5)
    >>> recording.hold(recording.agent + 20)
    >>> recording.episode().frames.shape, recording.frame().shape
    ((1, 3, 32, 32), (3, 32, 32))

    ```
    """

    def __init__(
        self, seed: int, *, image_size: int, frame_interval: float, states: States = "agent", frames: bool = True
    ) -> None:
        if states not in get_args(States):
            raise ValueError(f"Expected `states` to be one of {', '.join(get_args(States))}, got {states!r}.")
        self.control_steps = round(frame_interval * CONTROL_HZ)
        if self.control_steps < 1 or abs(self.control_steps - frame_interval * CONTROL_HZ) > 1e-6:
            raise ValueError(
                f"Expected `frame_interval` to be a multiple of {1 / CONTROL_HZ} s, got {frame_interval}."
            )
        if image_size < 1 or WORLD_SIZE % image_size:
            raise ValueError(f"Expected `image_size` to divide {WORLD_SIZE:.0f}, got {image_size}.")
        self.seed = seed
        self.image_size = image_size
        self.frame_interval = frame_interval
        self.recorded_states = states
        self.records_frames = frames
        self.world = make_world()
        self._observation, _ = self.world.reset(seed=seed)
        self._frames: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._states: list[np.ndarray] = []

    @property
    def agent(self) -> np.ndarray:
        """Present position of the agent `(2,)`, in world units."""
        # No copy, as gym-pusht makes a new observation at each step.
        return self._observation[:2]

    @property
    def block(self) -> np.ndarray:
        """Present position of the block `(2,)`, in world units."""
        return self._observation[2:4]

    @property
    def state(self) -> np.ndarray:
        """Present state `(2,)` or `(6,)`: what `states` asked for, positions in world units."""
        if self.recorded_states == "agent":
            return self.agent
        # Cosine and sine do not jump at a full turn, as the angle does.
        angle = self._observation[4]
        return np.concatenate([self.agent, self.block, [np.cos(angle), np.sin(angle)]])

    @property
    def targets(self) -> np.ndarray:
        """What was held since the start `(T, 2)`, in world units, in double precision."""
        # Not rounded to float32 as in `episode`: replayed, they must lead to the same state.
        return np.array(self._actions, dtype=np.float64).reshape(-1, 2)

    def seen(self, count: int) -> np.ndarray:
        """
        The last frames, the present one included.

        Args:
            count (`int`): how many.

        Returns:
            `numpy.ndarray` of shape `(count, 3, image_size, image_size)`: uint8 RGB, oldest first.

        Raises:
            ValueError: if fewer were recorded.
        """
        if not 1 <= count <= len(self._frames) + 1:
            raise ValueError(
                f"Expected to see at most {len(self._frames) + 1} frames, the recorded ones and the present one, got "
                f"{count}; record more of them first."
            )
        return np.stack([*self._frames[len(self._frames) + 1 - count :], self.frame()])

    def frame(self) -> np.ndarray:
        """The present state as a frame `(3, image_size, image_size)`, uint8 RGB, which is not recorded."""
        return render_frame(self.world, self.image_size)

    def hold(self, target: np.ndarray) -> None:
        """Record the present frame and the action `target` `(2,)` in world units, and hold it for one interval."""
        if self.records_frames:
            self._frames.append(self.frame())
        self._actions.append(target)
        self._states.append(self.state)
        for _ in range(self.control_steps):
            self._observation, *_ = self.world.step(target)

    def episode(self) -> Episode:
        """What was recorded: frames, actions (target position) and states in world units."""
        return Episode(
            episode_id=f"pusht-{self.seed}",
            frames=np.stack(self._frames) if self.records_frames else None,
            actions=np.stack(self._actions).astype(np.float32),
            fps=1 / self.frame_interval,
            states=np.stack(self._states).astype(np.float32),
        )


def record_policy(
    seed: int,
    *,
    length: int,
    image_size: int,
    frame_interval: float,
    states: States = "agent",
    frames: bool = True,
    reach: float = REACH,
    exploration: float = 0.0,
) -> Recording:
    """
    Record `length` frames of the scripted policy and leave the world where the last action led.

    Args:
        seed (`int`):
            Decides the start and the policy's noise.
        length (`int`):
            Number of frames.
        image_size (`int`):
            Height and width of a frame in pixels.
        frame_interval (`float`):
            Seconds between two frames.
        states (`str`, *optional*, defaults to `"agent"`):
            See [`Recording`].
        frames (`bool`, *optional*, defaults to `True`):
            See [`Recording`].
        reach (`float`, *optional*, defaults to 72):
            See [`PushingPolicy`].
        exploration (`float`, *optional*, defaults to 0.0):
            Expected share of steps that explore, see [`ExploringPolicy`].

    Returns:
        `Recording`: of these frames; more actions can be recorded with it.
    """
    recording = Recording(seed, image_size=image_size, frame_interval=frame_interval, states=states, frames=frames)
    # A second number tells the streams of one seed apart; judging has 2, planning 3 and 4. So the pushing policy
    # draws the same numbers with exploration and without.
    pushing = PushingPolicy(np.random.default_rng([seed, 1]), reach=reach)
    policy = ExploringPolicy(pushing, np.random.default_rng([seed, 5]), share=exploration, reach=reach)
    for _ in range(length):
        recording.hold(policy(recording.agent, recording.block))
    return recording


def collect_episode(
    seed: int,
    *,
    length: int,
    image_size: int,
    frame_interval: float,
    states: States = "agent",
    frames: bool = True,
    reach: float = REACH,
    exploration: float = 0.0,
) -> Episode:
    """
    Record one episode of the scripted policy.

    Args:
        seed (`int`):
            Decides the start and the policy's noise; the same seed gives the same episode.
        length (`int`):
            Number of frames.
        image_size (`int`):
            Height and width of a frame in pixels.
        frame_interval (`float`):
            Seconds between two frames; the target position is held for so long. A multiple of 0.1 s.
        states (`str`, *optional*, defaults to `"agent"`):
            See [`Recording`].
        frames (`bool`, *optional*, defaults to `True`):
            See [`Recording`].
        reach (`float`, *optional*, defaults to 72):
            See [`PushingPolicy`].
        exploration (`float`, *optional*, defaults to 0.0):
            Expected share of steps that explore, see [`ExploringPolicy`].

    Returns:
        `Episode`: With actions (target position) `(length, 2)` and states `(length, 2)` or `(length, 6)`, positions in
        world units.

    Raises:
        `ValueError`: As [`Recording`] and [`ExploringPolicy`].

    Example:

    ```python
    >>> episode = collect_episode(0, length=2, image_size=32, frame_interval=0.5)
    >>> episode.episode_id, episode.frames.shape, episode.actions.shape
    ('pusht-0', (2, 3, 32, 32), (2, 2))

    ```
    """
    return record_policy(
        seed,
        length=length,
        image_size=image_size,
        frame_interval=frame_interval,
        states=states,
        frames=frames,
        reach=reach,
        exploration=exploration,
    ).episode()


def collect_episodes(
    seeds: list[int],
    *,
    length: int,
    image_size: int = 64,
    frame_interval: float = 0.5,
    states: States = "agent",
    frames: bool = True,
    reach: float = REACH,
    exploration: float = 0.0,
    processes: int = 1,
) -> Iterator[Episode]:
    """
    Record one episode for each seed, in order; see [`collect_episode`].

    Args:
        seeds (`list[int]`):
            One an episode.
        length (`int`):
            Number of frames of an episode.
        image_size (`int`, *optional*, defaults to 64):
            Height and width of a frame in pixels; divides 512.
        frame_interval (`float`, *optional*, defaults to 0.5):
            Seconds between two frames, a multiple of 0.1.
        states (`str`, *optional*, defaults to `"agent"`):
            `"agent"`, its position; or `"agent_and_block"`, that and the block's x, y, cosine and sine of its angle.
        frames (`bool`, *optional*, defaults to `True`):
            Whether to record frames; without them the world is one of sensors.
        reach (`float`, *optional*, defaults to 72):
            Largest distance of a target from the agent before noise is added, in world units. With a smaller one the
            agent moves more slowly.
        exploration (`float`, *optional*, defaults to 0.0):
            Expected share of steps in which the agent does something else than pushing: stands still, or walks
            anywhere. See [`ExploringPolicy`].
        processes (`int`, *optional*, defaults to 1):
            Processes that share the work. The episodes do not depend on it.

    Returns:
        `Iterator[Episode]`: The episodes.

    Raises:
        `ValueError`: See [`collect_episode`].

    Example:

    ```python
    >>> episode = next(collect_episodes([0], length=2, image_size=32))
    >>> episode.frames.shape, episode.actions.shape, episode.states.shape
    ((2, 3, 32, 32), (2, 2), (2, 2))

    ```
    """
    record = partial(
        collect_episode,
        length=length,
        image_size=image_size,
        frame_interval=frame_interval,
        states=states,
        frames=frames,
        reach=reach,
        exploration=exploration,
    )
    return record_episodes(record, seeds, processes=processes)
