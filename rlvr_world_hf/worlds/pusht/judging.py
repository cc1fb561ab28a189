"""
A policy of PushT acts in the simulator or in a world model; it is shown frames alone, in the same form by both.

    scene     an episode's seed; the data's scripted policy plays the steps that the model's first window needs
    play      at each step agent and block are found in the frame, and the policy chooses the next target; it is turned
              into an action from where the agent is seen, by the model's law of actions
    success   the pose of the block in the last frame, read in the same way of both worlds
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from einops import rearrange

from ...environments.world_model_vector_env import WorldModelVectorEnv
from .agent import locate_agent
from .block import locate_block
from .form import PushTForm
from .goal_policies import GOAL, Policy
from .law import aim_at, follow_actions
from .policies import WORLD_SIZE
from .pose import read_pose
from .simulator import Recording


PolicyMaker = Callable[[np.random.Generator], Policy]
"""Makes a policy; the generator is the source of its noise."""

FIRST_SEED = 5_000_000
"""Scenes have seeds from this one on: beyond those that training, validation and test count from."""

GOAL_ANGLE = np.pi / 4
"""Angle of the block at gym-pusht's goal, in radians."""

SEEDS_APART = 100_000
"""Seeds of the simulator that are set aside for each seed of an evaluation."""


class World(Protocol):
    """Scenes that go on together."""

    form: PushTForm
    """What a model is given, and the law of its actions."""

    velocities: np.ndarray
    """Of the agents at the first decision, shape `(E, 2)`, in world units a second."""

    def frames(self) -> torch.Tensor:
        """The present frames `(E, 3, H, W)`, float32 in `[0, 1]`."""

    def act(self, actions: np.ndarray) -> None:
        """Takes actions `(E, A)`, by the law of the form."""


class SimulatedWorld:
    """
    Scenes in the simulator.

    Args:
        scenes (`Sequence[int]` of length `E`):
            Their seeds.
        form ([`PushTForm`]):
            Of the model to compare with.
    """

    def __init__(self, scenes: Sequence[int], form: PushTForm) -> None:
        self.form = form
        self.recordings = [form.record(scene) for scene in scenes]
        self.velocities = np.stack([recording.velocity for recording in self.recordings])
        for recording in self.recordings:
            recording.records_frames = False  # each present frame is drawn once, when it is asked for

    def frames(self) -> torch.Tensor:
        """See [`World`]."""
        return torch.from_numpy(np.stack([recording.frame() for recording in self.recordings])).float() / 255

    def act(self, actions: np.ndarray) -> None:
        """See [`World`]."""
        for recording, action in zip(self.recordings, actions, strict=True):
            recording.act(action)


class PredictedWorld:
    """
    The same scenes in a world model, all predicted together. Actions beyond the range that the model was trained on
    are clipped to it, as there are no tokens for them.

    Args:
        pipeline ([`WorldModelPipeline`]):
            The model.
        scenes (`Sequence[int]` of length `E`):
            Their seeds.
        noise (`int`, *optional*, defaults to 0):
            Seed of the model's noise.
        settings (`dict[str, Any]`, *optional*):
            Further arguments of [`WorldModelEnv`].
    """

    def __init__(self, pipeline: Any, scenes: Sequence[int], *, noise: int = 0, **settings: Any) -> None:
        self.form = form = PushTForm.of(pipeline.processor)
        self.low, self.high = pipeline.processor.action_low, pipeline.processor.action_high
        recordings = [form.record(scene) for scene in scenes]
        self.velocities = np.stack([recording.velocity for recording in recordings])
        starts = [_start(recording, form) for recording in recordings]
        self.env = WorldModelVectorEnv(pipeline, starts, num_envs=len(starts), **settings)
        # Mixed and not added: scene 1 with noise 0 must not have the noise of scene 0 with noise 1.
        seeds = [int(np.random.SeedSequence([scene, noise]).generate_state(1)[0]) for scene in scenes]
        self.observations, _ = self.env.reset(seed=seeds, options={"start": range(len(starts))})

    @property
    def _shown(self) -> np.ndarray:
        """Present frames `(E, H, W, 3)`; the agent's position, too, is predicted where a model is told it."""
        return self.observations["frame"] if self.form.is_told_agent else self.observations

    def frames(self) -> torch.Tensor:
        """See [`World`]."""
        return rearrange(torch.from_numpy(self._shown), "e h w c -> e c h w").float() / 255

    def act(self, actions: np.ndarray) -> None:
        """See [`World`]."""
        self.observations, *_ = self.env.step(np.clip(actions, self.low, self.high).astype(np.float32))


def find_scenes(count: int, *, seed: int, nearest: float, farthest: float, form: PushTForm) -> list[int]:
    """
    Scenes whose first frame shows the block away from the goal, but not too far.

    Args:
        count (`int`):
            Number of scenes.
        seed (`int`):
            Different seeds give different scenes.
        nearest (`float`):
            Least distance of the block from the goal's centre, in world units.
        farthest (`float`):
            Largest distance.
        form ([`PushTForm`]):
            Of the frames.

    Returns:
        `list[int]`: their seeds.

    Raises:
        ValueError: if there are not enough such scenes among `20 * count`, or no scene is asked for.
    """
    if count < 1:
        raise ValueError(f"Expected at least 1 episode, got {count}.")
    first, found = FIRST_SEED + seed * SEEDS_APART, []
    # Never into the scenes of the next seed.
    for scene in range(first, first + min(20 * count, SEEDS_APART)):
        distance = distances_to_goal(SimulatedWorld([scene], form).frames())[0]
        if nearest <= distance <= farthest:
            found.append(scene)
        if len(found) == count:
            return found
    raise ValueError(
        f"Found {len(found)} scenes of {count} whose block begins {nearest:g} to {farthest:g} from the goal; allow "
        "more distances."
    )


def play(world: World, make: PolicyMaker, scenes: Sequence[int], *, steps: int) -> torch.Tensor:
    """
    Let a policy act in every scene.

    Args:
        world ([`World`]):
            The scenes at their first decision; changed in place.
        make (`Callable`):
            Makes a policy of a generator: one a scene, whose noise is the same in every world.
        scenes (`Sequence[int]` of length `E`):
            Their seeds.
        steps (`int`):
            Decisions.

    Returns:
        `torch.Tensor` of shape `(E, 3, H, W)`: the last frames, float32 in `[0, 1]`.
    """
    policies = [make(np.random.default_rng([scene, 2])) for scene in scenes]
    seen = np.full((2, len(policies), 2), WORLD_SIZE / 2)  # of agent and block, where they were seen last
    velocities = world.velocities
    for _ in range(steps):
        frames = world.frames()
        found = np.stack([locate(frames).numpy() * WORLD_SIZE for locate in (locate_agent, locate_block)])
        seen = np.where(np.isnan(found), seen, found)
        actions = np.stack([policy(agent, block) for policy, agent, block in zip(policies, *seen, strict=True)])
        if world.form.action_law == "relative":
            actions = aim_at(seen[0], velocities, actions, control_steps=world.form.control_steps)
            # A frame shows no velocity, but it follows from what was done, wherever the agent is.
            _, velocities = follow_actions(seen[0], velocities, actions)
        world.act(actions)
    return world.frames()


def distances_to_goal(frames: torch.Tensor) -> np.ndarray:
    """
    How far the block is from the goal's centre.

    Args:
        frames (`torch.Tensor` of shape `(E, 3, H, W)`):
            Frames of PushT, float in `[0, 1]`, RGB.

    Returns:
        `np.ndarray` of shape `(E,)`: in world units; nan where there is no block.
    """
    return np.linalg.norm(locate_block(frames).numpy() * WORLD_SIZE - GOAL, axis=-1)


def poses_to_goal(frames: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """
    How far the block is from the goal by its pose, see [`~rlvr_world_hf.worlds.pusht.pose.read_pose`]: also where the
    agent hides a part of it.

    Args:
        frames (`torch.Tensor` of shape `(E, 3, H, W)`):
            Square frames of PushT, float in `[0, 1]`, RGB.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: distance of its centroid from the goal's centre `(E,)`, in world units, and
        of its angle from the goal's `(E,)`, in degrees up to 180; nan where there is no block.
    """
    pose = read_pose(frames).numpy().astype(np.float64)
    turned = np.degrees(pose[:, 2] - GOAL_ANGLE)
    return np.linalg.norm(pose[:, :2] * WORLD_SIZE - GOAL, axis=-1), np.abs((turned + 180) % 360 - 180)


def _start(recording: Recording, form: PushTForm) -> dict[str, np.ndarray]:
    """The row that [`WorldModelEnv`] starts from: the last frames, and the actions that led to the last of them."""
    actions = recording.episode().actions
    # `past` may be 0, and `actions[-0:]` would be all of them.
    past = form.prompt_actions - 1
    return {**form.see(recording), "actions": actions[len(actions) - past :]}
