"""
Episodes of PushT: a round agent pushes a T-shaped block (gym-pusht: pymunk physics, pygame rendering).

The world is the one of Diffusion Policy (https://huggingface.co/papers/2303.04137) and of the second version of
RLVR-World (https://huggingface.co/papers/2505.13934). What an action means is said in `law.py`; with relative actions
the states are those of PushT in stable-worldmodel, to the last bit. It runs headless and needs no download.

With `action_noise` what is done is not quite what was asked for, and no frame tells the difference beforehand:

    executed target = target of the action + N(0, action_noise^2), in x and in y, anew at each control step

An episode holds the action that was given. Its noise follows from its seed and the control step, so that it repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from ...data.episode import Episode
from ...data.recording import record_episodes
from .behaviours import AIMING, BEHAVIOURS, SHARES, check_shares, draw_policy
from .law import (
    ACTION_SCALE,
    ActionLaw,
    aim_at,
    check_law,
    count_action_dims,
    count_control_steps,
    way_matrix,
)
from .law import UNNAMED_LAW as UNNAMED_LAW
from .physics import (
    Colours,
    draw_corner,
    make_world,
    place,
    pull_agent,
    recolour,
    render_frame,
    set_state,
)
from .policies import REACH, WORLD_SIZE, ExploringPolicy, PushingPolicy


CARD = {
    "world": "PushT",
    "data": "Episodes of [gym-pusht](https://github.com/huggingface/gym-pusht) (Apache 2.0), recorded with a scripted "
    "policy; `exploration` in the recipe is the share of steps in which it does something else. Without `action_law: "
    "absolute` several policies record them, in the shares that `policies` in the recipe gives.",
}
"""What a model card says of the world."""

States = Literal["agent", "agent_and_block"]
"""What a state holds: the agent's position (x, y); or that and the block's pose (x, y, cosine, sine of its angle)."""

Start = Literal["anywhere", "corner"]
"""Where an episode begins: as gym-pusht draws it; or the block in a corner of the table, the agent in its middle."""


class Recording:
    """
    An episode in the making: a world, and what was recorded of it since its start.

    gym-pusht cannot return to an earlier state exactly, as it does not restore velocities. To branch off from a state,
    record its actions again from the seed; to begin in a state that is known, [`put`] agent and block there.

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
        action_law (`str`, *optional*, defaults to `"relative"`):
            What an action means, see `law.py`.
        action_noise (`float`, *optional*, defaults to 0.0):
            Standard deviation of the noise on the executed target of a control step, in world units.
        start (`str`, *optional*, defaults to `"anywhere"`):
            `"anywhere"` or `"corner"`; see `Start`.
        colours (`str`, *optional*, defaults to `"usual"`):
            `"usual"`, `"exchanged"` or `"dim"`; see `Colours`.

    Raises:
        ValueError: If the interval is no multiple of the control step, the size does not divide the drawing, there
            are no such states, start, colours, or no such law, or the noise is below 0 or not finite.

    Example:

    ```python
    >>> recording = Recording(0, image_size=32, frame_interval=0.5)
    >>> recording.hold(recording.agent + 20)
    >>> recording.act(np.zeros(10))
    >>> episode = recording.episode()
    >>> episode.frames.shape, episode.actions.shape, recording.frame().shape
    ((2, 3, 32, 32), (2, 10), (3, 32, 32))

    ```
    """

    def __init__(
        self,
        seed: int,
        *,
        image_size: int,
        frame_interval: float,
        states: States = "agent",
        frames: bool = True,
        action_law: ActionLaw = "relative",
        action_noise: float = 0.0,
        start: Start = "anywhere",
        colours: Colours = "usual",
    ) -> None:
        chosen = {"states": (states, States), "start": (start, Start), "colours": (colours, Colours)}
        for name, (value, choices) in chosen.items():
            if value not in get_args(choices):
                raise ValueError(f"Expected `{name}` to be one of {', '.join(get_args(choices))}, got {value!r}.")
        check_law(action_law)
        self.control_steps = count_control_steps(frame_interval)
        if image_size < 1 or WORLD_SIZE % image_size:
            raise ValueError(f"Expected `image_size` to divide {WORLD_SIZE:.0f}, got {image_size}.")
        if not 0 <= action_noise < np.inf:
            raise ValueError(f"Expected `action_noise` of at least 0 world units, finite, got {action_noise}.")
        self.seed = seed
        self.policy: str | None = None
        self.action_law = action_law
        self.action_dims = count_action_dims(action_law, frame_interval)
        self.image_size = image_size
        self.frame_interval = frame_interval
        self.recorded_states = states
        self.records_frames = frames
        self.action_noise = action_noise
        # See `record_policy` for the second numbers that tell the streams of one seed apart.
        self._noise = np.random.default_rng([seed, 7])
        self.world = make_world()
        self.start = start
        self.colours = colours
        self._observation, _ = self.world.reset(seed=seed)
        if start == "corner":
            set_state(self.world, draw_corner(np.random.default_rng([seed, 10])))
            self._observation = self.world.get_obs()
        self._begin: np.ndarray | None = None
        self._frames: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._states: list[np.ndarray] = []

    @property
    def agent(self) -> np.ndarray:
        """Present position of the agent `(2,)`, in world units."""
        # No copy, as gym-pusht makes a new observation at each step.
        return self._observation[:2]

    @property
    def velocity(self) -> np.ndarray:
        """Present velocity of the agent `(2,)`, in world units a second."""
        return np.array(self.world.agent.velocity)

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
    def actions(self) -> np.ndarray:
        """What was done since the start `(T, A)`, in double precision."""
        # Targets are not rounded to float32 as in `episode`: replayed, they must lead to the same state.
        return np.array(self._actions, dtype=np.float64).reshape(-1, self.action_dims)

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

    def seen_states(self, count: int) -> np.ndarray:
        """
        The states of the last frames, the present one included.

        Args:
            count (`int`): how many, as in [`seen`].

        Returns:
            `numpy.ndarray` of shape `(count, P)`: float32, in world units, oldest first.
        """
        return np.stack([*self._states, self.state])[-count:].astype(np.float32)

    def frame(self) -> np.ndarray:
        """The present state as a frame `(3, image_size, image_size)`, uint8 RGB, which is not recorded."""
        return recolour(render_frame(self.world, self.image_size), self.colours)

    def aim(self, target: np.ndarray) -> np.ndarray:
        """
        The action that leads the agent to a target, or towards it, by the law of the recording.

        Args:
            target (`numpy.ndarray` of shape `(2,)`): in world units.

        Returns:
            `numpy.ndarray` of shape `(A,)`: what [`act`] takes.
        """
        if self.action_law == "absolute":
            return target
        return aim_at(self.agent, self.velocity, target, control_steps=self.control_steps)

    def put(self, state: np.ndarray) -> None:
        """
        Begin elsewhere than the seed says, with the block at rest; no time passes.

        Args:
            state (`numpy.ndarray` of shape `(7,)`): position of the agent, position and angle of the block, velocity
                of the agent; in world units, radians, and world units a second.

        Raises:
            ValueError: for another shape, a number that is not finite, or after an action.
        """
        state = np.asarray(state, np.float64)
        if state.shape != (7,) or not np.isfinite(state).all() or self._actions:
            raise ValueError(
                f"Expected a finite state of 7 numbers before the first action, got shape {state.shape}, "
                f"{np.isfinite(state).sum()} of them finite, after {len(self._actions)} actions; make a new recording."
            )
        self._begin = state
        place(self.world, state)
        self.world.block.velocity, self.world.block.angular_velocity = (0.0, 0.0), 0.0
        # Else contacts and drawing would know the bodies where they were.
        for body in (self.world.agent, self.world.block):
            self.world.space.reindex_shapes_for_body(body)
        self._observation = self.world.get_obs()

    def hold(self, target: np.ndarray) -> None:
        """Record the present frame and walk towards `target` `(2,)`, in world units, for one interval."""
        self.act(self.aim(target))

    def act(self, action: np.ndarray) -> None:
        """
        Record the present frame and an action, and do it.

        Args:
            action (`numpy.ndarray` of shape `(A,)`): by the law of the recording; a relative one is rounded to
                float32, as an episode holds it.

        Raises:
            ValueError: for another shape, or relative targets beyond `[-1, 1]`.
        """
        for _ in self.walk(action):
            pass

    def walk(self, action: np.ndarray) -> Iterator[int]:
        """
        The same as [`act`], a control step at a time: the state may be looked at after each.

        Args:
            action (`numpy.ndarray` of shape `(A,)`): as of [`act`].

        Yields:
            `int`: control steps of the action that are done, from 1 on. Where one stops before the last, the rest of
            the action is not done, and what was recorded of it can no longer be replayed.

        Raises:
            ValueError: as [`act`].
        """
        action = np.asarray(action)
        if action.shape != (self.action_dims,):
            raise ValueError(
                f"Expected an action of shape ({self.action_dims},) by the {self.action_law} law, got {action.shape}; "
                "`aim` makes one of a target."
            )
        if self.action_law == "relative":
            action = action.astype(np.float32)
            if not (np.abs(action) <= 1).all():
                raise ValueError(f"Expected relative targets within [-1, 1], got {action.tolist()}; clip them.")
        if self.records_frames:
            self._frames.append(self.frame())
        self._actions.append(action)
        self._states.append(self.state)
        targets = np.resize(action.astype(np.float64), (self.control_steps, 2)).tolist()
        for done, (x, y) in enumerate(targets, start=1):
            if self.action_law == "relative":
                at = self.world.agent.position
                x, y = at[0] + x * ACTION_SCALE, at[1] + y * ACTION_SCALE
            if self.action_noise:
                off_x, off_y = self._noise.normal(0, self.action_noise, 2).tolist()
                x, y = x + off_x, y + off_y
            pull_agent(self.world, (x, y))
            self._observation = self.world.get_obs()
            yield done

    def replay(self) -> Recording:
        """Another world in the present state, by doing the same from the seed on; it records no frames."""
        again = self.elsewhere(self.seed)
        again.policy = self.policy
        if self._begin is not None:
            again.put(self._begin)
        for action in self.actions:
            again.act(action)
        return again

    def elsewhere(self, seed: int) -> Recording:
        """
        A world of the same settings at the start of another episode; it records no frames.

        Args:
            seed (`int`): of that episode.

        Returns:
            `Recording`: without actions so far.
        """
        return Recording(
            seed,
            image_size=self.image_size,
            frame_interval=self.frame_interval,
            states=self.recorded_states,
            frames=False,
            action_law=self.action_law,
            action_noise=self.action_noise,
            start=self.start,
            colours=self.colours,
        )

    def redraw_noise(self, number: int) -> None:
        """
        From now on, the noise is another one; what was done stays as it was.

        Args:
            number (`int`): of the noise, at least 0; the same number gives the same noise after as many actions.
        """
        self._noise = np.random.default_rng([self.seed, 8, len(self._actions), number])

    def episode(self) -> Episode:
        """What was recorded: frames, actions, and states in world units; its name has that of the policy, if known."""
        return Episode(
            episode_id="-".join(filter(None, ("pusht", self.policy, str(self.seed)))),
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
    action_law: ActionLaw = "relative",
    action_noise: float = 0.0,
    start: Start = "anywhere",
    colours: Colours = "usual",
    policy: str = "scripted",
    reach: float | None = None,
    exploration: float | None = None,
) -> Recording:
    """
    Record `length` frames of a policy and leave the world where the last action led.

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
        action_law (`str`, *optional*, defaults to `"relative"`):
            What an action means, see `law.py`.
        action_noise (`float`, *optional*, defaults to 0.0):
            See [`Recording`].
        start (`str`, *optional*, defaults to `"anywhere"`):
            See [`Recording`].
        colours (`str`, *optional*, defaults to `"usual"`):
            See [`Recording`].
        policy (`str`, *optional*, defaults to `"scripted"`):
            One of [`~rlvr_world_hf.worlds.pusht.behaviours.BEHAVIOURS`]; with absolute actions there is the scripted
            one alone.
        reach (`float`, *optional*):
            Of the policies that aim, [`~rlvr_world_hf.worlds.pusht.behaviours.AIMING`]; see [`PushingPolicy`]. By
            default 72 with absolute actions, and drawn for each episode with relative ones.
        exploration (`float`, *optional*):
            With absolute actions only: expected share of steps that explore, see [`ExploringPolicy`], 0 by default.

    Returns:
        `Recording`: of these frames; more actions can be recorded with it.

    Raises:
        ValueError: As [`Recording`] and [`ExploringPolicy`], or for settings of the other law.
    """
    recording = Recording(
        seed,
        image_size=image_size,
        frame_interval=frame_interval,
        states=states,
        frames=frames,
        action_law=action_law,
        action_noise=action_noise,
        start=start,
        colours=colours,
    )
    # A second number tells the streams of one seed apart; judging has 2, planning 3 and 4, the choice of a policy 6,
    # noise on actions 7 and 8, own states 9, another start 10.
    rng = np.random.default_rng([seed, 1])
    if action_law == "absolute":
        if policy != "scripted":
            raise ValueError(f"Expected the policy 'scripted' with absolute actions, got {policy!r}.")
        # So the pushing policy draws the same numbers with exploration and without.
        pushing, reach = PushingPolicy(rng, reach=REACH if reach is None else reach), REACH if reach is None else reach
        targets = ExploringPolicy(pushing, np.random.default_rng([seed, 5]), share=exploration or 0.0, reach=reach)
        for _ in range(length):
            recording.hold(targets(recording.agent, recording.block))
        return recording
    if exploration is not None:
        raise ValueError(
            f"Expected no `exploration` with relative actions, got {exploration}; choose `policies`, or "
            "`action_law: absolute`."
        )
    check_shares({policy: 1.0})
    if reach is not None and policy not in AIMING:
        raise ValueError(
            f"Expected no `reach` with the policy {policy!r}, got {reach}; with it, choose `policies` among "
            f"{', '.join(AIMING)}."
        )
    recording.policy = policy
    behaviour = BEHAVIOURS[policy](rng) if reach is None else BEHAVIOURS[policy](rng, reach=reach)
    for _ in range(length):
        recording.act(behaviour(recording))
    return recording


def collect_episode(
    seed: int,
    *,
    length: int,
    image_size: int,
    frame_interval: float,
    states: States = "agent",
    frames: bool = True,
    action_law: ActionLaw = "relative",
    action_noise: float = 0.0,
    start: Start = "anywhere",
    colours: Colours = "usual",
    policies: Mapping[str, float] | None = None,
    reach: float | None = None,
    exploration: float | None = None,
) -> Episode:
    """
    Record one episode of the policy that its seed draws.

    Args:
        seed (`int`):
            Decides the policy, the start, and the policy's noise; the same seed gives the same episode.
        length (`int`):
            Number of frames.
        image_size (`int`):
            Height and width of a frame in pixels.
        frame_interval (`float`):
            Seconds between two frames, a multiple of 0.1 s.
        states (`str`, *optional*, defaults to `"agent"`):
            See [`Recording`].
        frames (`bool`, *optional*, defaults to `True`):
            See [`Recording`].
        action_law (`str`, *optional*, defaults to `"relative"`):
            What an action means, see `law.py`.
        action_noise (`float`, *optional*, defaults to 0.0):
            See [`Recording`].
        start (`str`, *optional*, defaults to `"anywhere"`):
            See [`Recording`].
        colours (`str`, *optional*, defaults to `"usual"`):
            See [`Recording`].
        policies (`Mapping[str, float]`, *optional*):
            With relative actions only: policy -> its share of the episodes, see
            [`~rlvr_world_hf.worlds.pusht.behaviours.SHARES`], which is the default.
        reach (`float`, *optional*):
            Of the policies that aim, [`~rlvr_world_hf.worlds.pusht.behaviours.AIMING`]; see [`PushingPolicy`]. By
            default 72 with absolute actions, and drawn for each episode with relative ones.
        exploration (`float`, *optional*):
            With absolute actions only: expected share of steps that explore, see [`ExploringPolicy`], 0 by default.

    Returns:
        `Episode`: With actions `(length, A)` and states `(length, 2)` or `(length, 6)`, positions in world units. Its
        name holds the policy's, if actions are relative; see [`policy_of`].

    Raises:
        `ValueError`: As [`record_policy`].

    Example:

    ```python
    >>> episode = collect_episode(0, length=2, image_size=32, frame_interval=0.5)
    >>> episode.episode_id, episode.frames.shape, episode.actions.shape
    ('pusht-...-0', (2, 3, 32, 32), (2, 10))

    ```
    """
    if policies is not None and action_law == "absolute":
        raise ValueError(
            f"Expected no `policies` with absolute actions, got {dict(policies)}; choose `exploration` instead."
        )
    shares = SHARES if policies is None else policies
    check_shares(shares)
    return record_policy(
        seed,
        length=length,
        image_size=image_size,
        frame_interval=frame_interval,
        states=states,
        frames=frames,
        action_law=action_law,
        action_noise=action_noise,
        start=start,
        colours=colours,
        policy="scripted" if action_law == "absolute" else draw_policy(seed, shares),
        reach=reach,
        exploration=exploration,
    ).episode()


def policy_of(episode_id: str) -> str:
    """
    The policy that recorded an episode.

    Args:
        episode_id (`str`):
            Name of the episode, which is the column `episode` of a row.

    Returns:
        `str`: one of [`~rlvr_world_hf.worlds.pusht.behaviours.BEHAVIOURS`]. Names without a policy are those of
        absolute actions, which the scripted one chose, with or without exploration.

    Example:

    ```python
    >>> policy_of("pusht-smooth-12"), policy_of("pusht-12")
    ('smooth', 'scripted')

    ```
    """
    _, *policy, _ = episode_id.split("-")
    return policy[0] if policy else "scripted"


def collect_episodes(
    seeds: list[int],
    *,
    length: int,
    image_size: int = 64,
    frame_interval: float = 0.5,
    states: States = "agent",
    frames: bool = True,
    action_law: ActionLaw = "relative",
    action_noise: float = 0.0,
    start: Start = "anywhere",
    colours: Colours = "usual",
    policies: dict[str, float] | None = None,
    reach: float | None = None,
    exploration: float | None = None,
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
        action_law (`str`, *optional*, defaults to `"relative"`):
            What an action means: `"relative"`, a target for each control step, in hundreds of world units from the
            agent, as in stable-worldmodel; or `"absolute"`, one target held for the whole interval.
        action_noise (`float`, *optional*, defaults to 0.0):
            Standard deviation, in world units, of noise on the target of each control step, which no action holds and
            no frame shows beforehand. With 20, what follows an action is uncertain by about 20 world units.
        start (`str`, *optional*, defaults to `"anywhere"`):
            Where episodes begin: `"anywhere"`, as gym-pusht draws it; or `"corner"`, with the block in a corner of the
            table and the agent in its middle, for what models do where they never were.
        colours (`str`, *optional*, defaults to `"usual"`):
            Of frames: `"usual"`; `"exchanged"`, with red and blue exchanged; or `"dim"`, three quarters as bright.
        policies (`dict[str, float]`, *optional*):
            Shares of the policies that record episodes, each an episode of its own: scripted, exploring, still,
            random, near_block, smooth, and, not by default, circling and borrowed. For relative actions; they need not
            add up to 1.
        reach (`float`, *optional*):
            Largest distance of a frame's target from the agent before noise is added, in world units. With a smaller
            one the agent moves more slowly. Relative actions: each episode draws its own between 40 and 160 by
            default, and a reach needs `policies` among scripted and exploring. Absolute ones: 72 by default.
        exploration (`float`, *optional*):
            Expected share of steps in which the agent does something else than pushing: stands still, or walks
            anywhere. For absolute actions, 0 by default; see [`ExploringPolicy`].
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
    ((2, 3, 32, 32), (2, 10), (2, 2))

    ```
    """
    record = partial(
        collect_episode,
        length=length,
        image_size=image_size,
        frame_interval=frame_interval,
        states=states,
        frames=frames,
        action_law=action_law,
        action_noise=action_noise,
        start=start,
        colours=colours,
        policies=policies,
        reach=reach,
        exploration=exploration,
    )
    return record_episodes(record, seeds, processes=processes)


def processor_settings(
    *, action_law: ActionLaw = "relative", frame_interval: float = 0.5, **others: Any
) -> dict[str, Any]:
    """
    What a processor of this world is told beside what its episodes show.

    Args:
        action_law (`str`, *optional*, defaults to `"relative"`):
            As of [`collect_episodes`].
        frame_interval (`float`, *optional*, defaults to 0.5):
            As of [`collect_episodes`].
        others (`dict[str, Any]`):
            Other settings of it, which say nothing more.

    Returns:
        `dict[str, Any]`: the law; of relative actions also the range, whose ends episodes hardly reach, and the matrix
        by which they are written as the way that they lead, see [`~rlvr_world_hf.worlds.pusht.law.way_matrix`].

    Example:

    ```python
    >>> processor_settings(action_law="absolute"), list(processor_settings(frame_interval=0.1))
    ({'action_law': 'absolute'}, ['action_law', 'action_low', 'action_high', 'action_matrix'])

    ```
    """
    if action_law == "absolute":
        return {"action_law": action_law}
    dims = count_action_dims(action_law, frame_interval)
    written = way_matrix(count_control_steps(frame_interval))
    ranges = {"action_low": [-1.0] * dims, "action_high": [1.0] * dims}
    return {"action_law": action_law, **ranges, "action_matrix": written}
