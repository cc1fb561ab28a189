"""
A policy of PushT at work, in the simulator or in a world model, which it cannot tell apart: it sees frames.

    scene     an episode's seed; the data's scripted policy plays the steps that the model's first window needs
    play      at each step agent and block are found in the frame, and the policy chooses the next target
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from einops import rearrange

from ...environments.world_model_vector_env import WorldModelVectorEnv
from .agent import locate_agent
from .block import locate_block
from .goal_policies import GOAL, Policy
from .policies import WORLD_SIZE
from .simulator import Recording, record_policy


PolicyMaker = Callable[[np.random.Generator], Policy]
"""Makes a policy of the generator of its noise."""

FIRST_SEED = 5_000_000
"""Scenes have seeds from this one on: beyond those that training, validation and test count from."""

SEEDS_APART = 100_000
"""Seeds of the simulator between the scenes of two seeds of an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTForm:
    """What a model of PushT is given, and how often it decides."""

    image_size: int
    """Height and width of a frame in pixels."""

    frame_interval: float
    """Seconds between two frames."""

    given: int
    """Frames before the first decision, the present one included."""

    @classmethod
    def of(cls, processor: Any) -> PushTForm:
        """That of a processor; raises `ValueError` where it is not one of PushT with frames alone."""
        layout = processor.layout if processor.predicts == ("frames",) else None
        height, width = processor.codec.config.image_size if layout else (0, 0)
        is_pusht = layout and layout.action_dims == 2 and processor.fps and height == width and not WORLD_SIZE % height
        if layout is None or not is_pusht:
            raise ValueError(
                f"Expected a world model of PushT: square frames alone, whose size divides {WORLD_SIZE:.0f}, a frame "
                f"rate and 2 action dimensions, got {' and '.join(processor.predicts)} of {height}x{width}, "
                f"{getattr(processor, 'fps', None)} and {layout.action_dims if layout else 'unknown'}."
            )
        return cls(
            image_size=height, frame_interval=1 / processor.fps, given=layout.context_frames + layout.observed_steps
        )

    def record(self, seed: int) -> Recording:
        """The simulator at the first decision of a scene."""
        return record_policy(
            seed, length=max(1, self.given - 1), image_size=self.image_size, frame_interval=self.frame_interval
        )


class World(Protocol):
    """Scenes that go on together."""

    def frames(self) -> torch.Tensor:
        """The present frames `(E, 3, H, W)`, float32 in `[0, 1]`."""

    def act(self, targets: np.ndarray) -> None:
        """Takes targets `(E, 2)`, in world units."""


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
        self.recordings = [form.record(scene) for scene in scenes]
        for recording in self.recordings:
            recording.records_frames = False  # each present frame is drawn once, when it is asked for

    def frames(self) -> torch.Tensor:
        """See [`World`]."""
        return torch.from_numpy(np.stack([recording.frame() for recording in self.recordings])).float() / 255

    def act(self, targets: np.ndarray) -> None:
        """See [`World`]."""
        for recording, target in zip(self.recordings, targets, strict=True):
            recording.hold(target)


class PredictedWorld:
    """
    The same scenes in a world model, all predicted together. It knows the actions of its training; targets beyond are
    taken to be the nearest of those, as its bins have it.

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
        form = PushTForm.of(pipeline.processor)
        self.low, self.high = pipeline.processor.action_low, pipeline.processor.action_high
        past = pipeline.processor.layout.prompt_actions - 1
        starts = [_start(form.record(scene), form.given, past) for scene in scenes]
        self.env = WorldModelVectorEnv(pipeline, starts, num_envs=len(starts), **settings)
        seeds = [int(np.random.SeedSequence([scene, noise]).generate_state(1)[0]) for scene in scenes]
        self.observations, _ = self.env.reset(seed=seeds, options={"start": range(len(starts))})

    def frames(self) -> torch.Tensor:
        """See [`World`]."""
        return rearrange(torch.from_numpy(self.observations), "e h w c -> e c h w").float() / 255

    def act(self, targets: np.ndarray) -> None:
        """See [`World`]."""
        self.observations, *_ = self.env.step(np.clip(targets, self.low, self.high).astype(np.float32))


def find_scenes(count: int, *, seed: int, nearest: float, farthest: float, form: PushTForm) -> list[int]:
    """
    Scenes that begin with the block away from the goal, but not out of reach, as seen in their first frame.

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


def play(world: World, make: PolicyMaker, scenes: Sequence[int], *, steps: int) -> np.ndarray:
    """
    Let a policy act in every scene.

    Args:
        world ([`World`]):
            The scenes at their first decision; moved on.
        make (`Callable`):
            Makes a policy of a generator: one a scene, whose noise is the same in every world.
        scenes (`Sequence[int]` of length `E`):
            Their seeds.
        steps (`int`):
            Decisions.

    Returns:
        `np.ndarray` of shape `(E,)`: how far the block is from the goal's centre in the last frame, in world units;
        nan where there is no block in it.
    """
    policies = [make(np.random.default_rng([scene, 2])) for scene in scenes]
    seen = np.full((2, len(policies), 2), WORLD_SIZE / 2)  # of agent and block, where they were seen last
    for _ in range(steps):
        frames = world.frames()
        found = np.stack([locate(frames).numpy() * WORLD_SIZE for locate in (locate_agent, locate_block)])
        seen = np.where(np.isnan(found), seen, found)
        world.act(np.stack([policy(agent, block) for policy, agent, block in zip(policies, *seen, strict=True)]))
    return distances_to_goal(world.frames())


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


def _start(recording: Recording, given: int, past: int) -> dict[str, np.ndarray]:
    """The row that [`WorldModelEnv`] starts from: the last frames, and the actions that led to the last of them."""
    episode = recording.episode()
    frames = np.stack([*episode.required_frames, recording.frame()])[-given:]
    return {"context": frames, "actions": episode.actions[len(episode.actions) - past :]}
