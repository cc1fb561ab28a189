"""
Episodes of PushT: a round agent pushes a T-shaped block (gym-pusht: pymunk physics, pygame rendering).

The world is the one of Diffusion Policy (https://huggingface.co/papers/2303.04137) and of the second version of
RLVR-World (https://huggingface.co/papers/2505.13934). It runs headless and needs no download.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from .episode import Episode
from .opencv import load_opencv
from .recording import record_episodes


if TYPE_CHECKING:
    from gym_pusht.envs.pusht import PushTEnv

CARD = {
    "world": "PushT",
    "data": "Episodes of [gym-pusht](https://github.com/huggingface/gym-pusht) (Apache 2.0), recorded with a scripted "
    "policy; `exploration` in the recipe is the share of steps in which it does something else.",
}
"""What a model card says of the world."""

WORLD_SIZE = 512.0
"""Width and height of the world in its own units; agent positions and actions are given in them."""

CONTROL_HZ = 10
"""Control steps a second of gym-pusht; an action is held for the control steps of one frame interval."""

MARGIN = 32.0
"""Targets keep this distance to the walls, in world units."""

States = Literal["agent", "agent_and_block"]
"""What a state holds: the agent's position (x, y); or that and the block's pose (x, y, cosine, sine of its angle)."""

REACH = 72.0
"""Targets of recorded episodes are, but for noise, at most so far from the agent, in world units."""

EXPLORATION_STEPS = 4
"""Most steps of one streak of exploration."""


class PushingPolicy:
    """
    A scripted policy that walks around the block and pushes it, with exploration noise.

    It alternates between two goals: a point behind the block, seen from a random place in the middle of the table, and
    a push through the block towards that place. One target is at most `reach` away from the agent, so that the motion
    of a frame interval stays predictable.

    Args:
        rng (`numpy.random.Generator`):
            Source of all randomness.
        reach (`float`, *optional*, defaults to 72):
            Largest distance of a target from the agent, in world units.
        noise (`float`, *optional*, defaults to 10):
            Standard deviation of the noise on each coordinate of a target, in world units.
    """

    def __init__(self, rng: np.random.Generator, *, reach: float = REACH, noise: float = 10.0) -> None:
        self.rng = rng
        self.reach = reach
        self.noise = noise
        self.pushes_left = 0
        self.direction = np.zeros(2)

    def __call__(self, agent: np.ndarray, block: np.ndarray) -> np.ndarray:
        """Next target position `(2,)` for an agent at `agent` `(2,)` and a block at `block` `(2,)`, in world units."""
        if self.pushes_left == 0:
            goal = self.rng.uniform(0.25 * WORLD_SIZE, 0.75 * WORLD_SIZE, 2)
            self.direction = (goal - block) / max(float(np.linalg.norm(goal - block)), 1e-6)
            behind = block - self.direction * self.rng.uniform(50, 80)
            waypoint = behind
            if np.linalg.norm(behind - agent) < 45 or self.rng.random() < 0.25:
                self.pushes_left = int(self.rng.integers(1, 4))
        if self.pushes_left > 0:
            self.pushes_left -= 1
            aside = np.array([-self.direction[1], self.direction[0]]) * self.rng.normal(0, 25)
            waypoint = block + aside + self.direction * self.rng.uniform(0, 40)
        target = within_reach(agent, waypoint, self.reach) + self.rng.normal(0, self.noise, 2)
        return np.clip(target, MARGIN, WORLD_SIZE - MARGIN)


class ExploringPolicy:
    """
    Another policy that at times does something else for some steps: stands still, or walks somewhere else.

    So episodes show what follows from actions that the other policy would never take. Exploration comes in streaks of
    1 to `EXPLORATION_STEPS` steps: the agent stands still; or it takes another move at each step, evenly among those
    of at most `reach` in x and in y; or it walks towards one point of the table, wherever the block is.

    Args:
        policy (`Callable`):
            Does the other steps; from the positions of agent and block `(2,)` to the next target `(2,)`.
        rng (`numpy.random.Generator`):
            Source of the exploration's randomness, apart from that of `policy`.
        share (`float`):
            Expected share of steps that explore, in `[0, 1]`.
        reach (`float`, *optional*, defaults to 72):
            Longest way of a step, in world units; of a move on a whim, in x and in y.

    Raises:
        ValueError: If the share is not within `[0, 1]`.

    Example:

    ```python
    >>> policy = ExploringPolicy(lambda agent, block: block, np.random.default_rng(0), share=0.5)
    >>> agent, block = np.array([100.0, 100.0]), np.array([300.0, 300.0])
    >>> round(float(np.mean([np.array_equal(policy(agent, block), block) for _ in range(1000)])), 1)
    0.5

    ```
    """

    def __init__(
        self,
        policy: Callable[[np.ndarray, np.ndarray], np.ndarray],
        rng: np.random.Generator,
        *,
        share: float,
        reach: float = REACH,
    ) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"Expected the share of exploration to be within [0, 1], got {share}.")
        self.policy = policy
        self.rng = rng
        self.reach = reach
        mean = (1 + EXPLORATION_STEPS) / 2
        self.chance = share / (share + mean * (1 - share))  # that a streak begins where none goes on
        self.steps_left = 0
        self.kind = "still"
        self.point = np.zeros(2)

    def __call__(self, agent: np.ndarray, block: np.ndarray) -> np.ndarray:
        """Next target position `(2,)` for an agent at `agent` `(2,)` and a block at `block` `(2,)`, in world units."""
        if self.steps_left == 0 and self.rng.random() < self.chance:
            self.steps_left = int(self.rng.integers(1, EXPLORATION_STEPS + 1))
            self.kind = str(self.rng.choice(["still", "moves", "walk"]))
            self.point = self.rng.uniform(MARGIN, WORLD_SIZE - MARGIN, 2)
        if self.steps_left == 0:
            return self.policy(agent, block)
        self.steps_left -= 1
        if self.kind == "still":
            target = agent
        elif self.kind == "moves":
            target = agent + self.rng.uniform(-self.reach, self.reach, 2)
        else:
            target = within_reach(agent, self.point, self.reach)
        return np.clip(target, MARGIN, WORLD_SIZE - MARGIN)


def within_reach(agent: np.ndarray, waypoint: np.ndarray, reach: float) -> np.ndarray:
    """
    The point on the way from the agent to a waypoint that is at most `reach` away.

    Args:
        agent (`numpy.ndarray` of shape `(2,)`):
            Position of the agent, in world units.
        waypoint (`numpy.ndarray` of shape `(2,)`):
            Where it is to go.
        reach (`float`):
            Largest distance, in world units.

    Returns:
        `numpy.ndarray` of shape `(2,)`: The waypoint itself if it is that near.

    Example:

    ```python
    >>> within_reach(np.zeros(2), np.array([300.0, 400.0]), 50.0).tolist()
    [30.0, 40.0]

    ```
    """
    move = waypoint - agent
    move *= min(1.0, reach / max(float(np.linalg.norm(move)), 1e-6))
    return agent + move


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
    colors = [shift // 8 for shift in screen.get_shifts()[:3]]
    return np.ascontiguousarray(frame[..., colors].transpose(2, 0, 1))


def make_world() -> PushTEnv:
    """A headless `gym_pusht` world whose steps cost no rendering and no score of the task, which is 0 throughout."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    load_opencv()  # gym-pusht imports it, too; where that fails, this names the remedy
    from gym_pusht.envs.pusht import PushTEnv

    class UnscoredPushT(PushTEnv):
        def _get_coverage(self) -> float:
            return 0.0

        def _handle_collision(self, *args: Any) -> None:
            """Contacts are not counted."""

    return UnscoredPushT(obs_type="state")


class Recording:
    """
    An episode in the making: a world, and what was recorded of it since its start.

    gym-pusht returns to no earlier state exactly, as it restores no velocities: to branch off from a state, record its
    actions again from the seed.

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
        angle = self._observation[4]
        return np.concatenate([self.agent, self.block, [np.cos(angle), np.sin(angle)]])

    @property
    def targets(self) -> np.ndarray:
        """What was held since the start `(T, 2)`, in world units, in double precision."""
        return np.array(self._actions, dtype=np.float64).reshape(-1, 2)

    def seen(self, count: int) -> np.ndarray:
        """
        The last frames, the present one included.

        Args:
            count (`int`): how many.

        Returns:
            `numpy.ndarray` of shape `(count, 3, image_size, image_size)`: uint8 RGB, oldest first.

        Raises:
            ValueError: if so many were not recorded.
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
        `Recording`: To be gone on with.
    """
    recording = Recording(seed, image_size=image_size, frame_interval=frame_interval, states=states, frames=frames)
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
            Largest distance of a target from the agent, in world units, but for noise; with less it moves slowly.
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
