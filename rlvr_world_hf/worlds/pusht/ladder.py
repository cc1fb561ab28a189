"""
What bases of PushT are judged by: held-out episodes of each policy apart, and how far agent and block are from truth.

    within    the block's centroid is at most 20 world units, and its angle at most 20 degrees, from the simulator's

The cost of planning asks for the pose, and its success allows so much (`stable-worldmodel`: pi / 9 is 20 degrees).
Physics is deterministic, so a share of 1 is possible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from ...data.episode import Episode
from .agent import locate_agent
from .form import PushTForm
from .policies import WORLD_SIZE
from .pose import pose_of_states, read_pose
from .seeds import SEEDS
from .simulator import collect_episodes, record_policy


PLACE, TURN = 20.0, 20.0
"""Largest distance of the block's centroid in world units, and of its angle in degrees, that counts as within."""

POLICIES: Mapping[str, Mapping[str, Mapping[str, float | str]]] = {
    "relative": {name: {"policy": name} for name in ("scripted", "exploring", "random", "near_block", "smooth")},
    "absolute": {"scripted": {"exploration": 0.0}, "exploring": {"exploration": 0.5}},
}
"""Law of actions -> policy -> how an episode of it is recorded; `smooth` moves are those of CEM."""


YARDSTICK: Mapping[str, Mapping[str, float]] = {"relative": {}, "absolute": {"exploration": 0.5}}
"""Law of actions -> how the episodes of the yardstick are recorded: as those that bases learn from."""

YARDSTICK_LENGTH = 40
"""Frames of an episode of the yardstick."""


def held_out_episodes(form: PushTForm, policy: str, *, count: int, length: int) -> Iterator[Episode]:
    """
    Episodes of one policy, by seeds of the part `test`, with the pose of the block in their states.

    Args:
        form ([`PushTForm`]):
            Of the model: law of actions, size of a frame, time between two.
        policy (`str`):
            One of `POLICIES` of its law.
        count (`int`):
            Episodes.
        length (`int`):
            Frames of each.

    Yields:
        `Episode`: no two of them, of whatever policy, begin alike; states are those of agent and block.

    Raises:
        ValueError: If there is no such policy, or there are not so many seeds.

    Example:

    ```python
    >>> form = PushTForm(image_size=32, frame_interval=0.5, given_frames=2, prompt_actions=1)
    >>> next(held_out_episodes(form, "smooth", count=1, length=2)).states.shape
    (2, 6)

    ```
    """
    known = POLICIES[form.action_law]
    if policy not in known:
        raise ValueError(
            f"Expected `policies` among {', '.join(known)} for the {form.action_law} law, got {policy!r}."
        )
    seeds = SEEDS["test"][list(known).index(policy) :: len(known)]
    if count > len(seeds):
        raise ValueError(f"Expected at most {len(seeds)} held-out episodes a policy, got {count}.")
    for seed in seeds[:count]:
        yield record_policy(
            seed,
            length=length,
            image_size=form.image_size,
            frame_interval=form.frame_interval,
            states="agent_and_block",
            action_law=form.action_law,
            **known[policy],  # type: ignore[arg-type]
        ).episode()


def training_episodes(form: PushTForm, *, count: int) -> Iterator[Episode]:
    """
    Episodes that bases learn from, without their frames.

    Args:
        form ([`PushTForm`]):
            Of the model.
        count (`int`):
            Episodes, by the first seeds of the part `base`.

    Yields:
        `Episode`: with states of agent and block.
    """
    return collect_episodes(
        [*SEEDS["base"][:count]],
        length=YARDSTICK_LENGTH,
        image_size=form.image_size,
        frame_interval=form.frame_interval,
        states="agent_and_block",
        frames=False,
        action_law=form.action_law,
        **YARDSTICK[form.action_law],  # type: ignore[arg-type]
    )


def read_frames(frames: torch.Tensor) -> torch.Tensor:
    """
    Where agent and block are, in the form of [`ladder_errors`].

    Args:
        frames (`torch.Tensor` of shape `(..., 3, H, W)`):
            Frames of PushT, float in `[0, 1]`, RGB.

    Returns:
        `torch.Tensor` of shape `(..., 5)`: position of the agent, centroid and angle of the block, see
        [`~rlvr_world_hf.worlds.pusht.pose.read_pose`]; nan where it is not seen.
    """
    return torch.cat([locate_agent(frames), read_pose(frames)], dim=-1)


def read_states(states: torch.Tensor) -> torch.Tensor:
    """
    The same of recorded states.

    Args:
        states (`torch.Tensor` of shape `(..., 6)`):
            Of agent and block.

    Returns:
        `torch.Tensor` of shape `(..., 5)`: as [`read_frames`].
    """
    return torch.cat([states[..., :2] / WORLD_SIZE, pose_of_states(states)], dim=-1)


def ladder_errors(predicted: torch.Tensor, reference: torch.Tensor) -> dict[str, torch.Tensor]:
    """
    How far agent and block are from the truth.

    Args:
        predicted (`torch.Tensor` of shape `(..., 5)`):
            What [`read_frames`] finds in predicted frames.
        reference (`torch.Tensor` of shape `(..., 5)`):
            Of the truth.

    Returns:
        `dict[str, torch.Tensor]`: each of shape `(...)`: `within`, and `place_within` of the centroid alone, 1 or 0,
        which is 0 where there is no block; `agent_found` and `block_found`, 1 or 0; `agent_error` and `block_error`,
        distances in world units, and `angle_error` in degrees up to 180, nan where it is not found; 0 is perfect.

    Example:

    ```python
    >>> truth = torch.tensor([[0.5, 0.5, 0.25, 0.25, 3.1]])
    >>> errors = ladder_errors(torch.tensor([[0.5, 0.5, 0.25, 0.27, -3.1]]), truth)
    >>> [round(errors[name].item(), 1) for name in ("within", "block_error", "angle_error")]
    [1.0, 10.2, 4.8]

    ```
    """
    agent = (predicted[..., :2] - reference[..., :2]).norm(dim=-1) * WORLD_SIZE
    block = (predicted[..., 2:4] - reference[..., 2:4]).norm(dim=-1) * WORLD_SIZE
    turned = predicted[..., 4] - reference[..., 4]
    angle = torch.atan2(turned.sin(), turned.cos()).abs() * (180 / math.pi)
    is_placed = block <= PLACE  # nan is not
    return {
        "within": (is_placed & (angle <= TURN)).to(block),
        "place_within": is_placed.to(block),
        "agent_error": agent,
        "block_error": block,
        "angle_error": angle,
        "agent_found": (~agent.isnan()).to(block),
        "block_found": (~block.isnan()).to(block),
    }
