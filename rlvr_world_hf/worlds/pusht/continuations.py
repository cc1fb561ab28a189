"""
What may follow in PushT with noise on what is done (`simulator.py`): the same actions again, with other noise.

An episode is played again up to a step with its own noise, to the last bit; what comes after it is drawn anew, many
times. So the law of what follows can be sampled, which no model is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .simulator import Recording, policy_of, record_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """`N` ways on from one situation, under the same `S` actions."""

    states: np.ndarray
    """`(N, S, P)`, float32: the state after each action, as the recording has it, positions in world units."""

    frames: np.ndarray | None
    """`(N, S, 3, H, W)`, uint8 RGB: the frames of these; `None` if they were not asked for."""


def continue_recording(
    recording: Recording, actions: np.ndarray, *, samples: int, first: int = 0, frames: bool = True
) -> Continuations:
    """
    What may follow the present state of a recording.

    Args:
        recording ([`~rlvr_world_hf.worlds.pusht.simulator.Recording`]):
            The situation; it is left as it is.
        actions (`numpy.ndarray` of shape `(S, A)`):
            What is done from there on, by the law of the recording.
        samples (`int`):
            Number of continuations, `N`.
        first (`int`, *optional*, defaults to 0):
            Number of the first one's noise, see [`Recording.redraw_noise`]: others are independent of them.
        frames (`bool`, *optional*, defaults to `True`):
            Whether to draw frames, which takes about half of the time.

    Returns:
        [`Continuations`]: all alike without noise.

    Raises:
        ValueError: If there is no action or no continuation to draw.

    Example:

    ```python
    >>> recording = Recording(0, image_size=32, frame_interval=0.5, action_noise=20.0)
    >>> found = continue_recording(recording, np.zeros((2, 10)), samples=3)
    >>> found.states.shape, found.frames.shape
    ((3, 2, 2), (3, 2, 3, 32, 32))

    ```
    """
    if samples < 1 or not len(actions):
        raise ValueError(f"Expected at least 1 sample and 1 action, got {samples} and {len(actions)}.")
    states, drawn = [], []
    for number in range(first, first + samples):
        world = recording.replay()
        world.redraw_noise(number)
        for action in actions:
            world.act(action)
            states.append(world.state.astype(np.float32))
            if frames:
                drawn.append(world.frame())
    shape = (samples, len(actions))
    return Continuations(
        states=np.stack(states).reshape(*shape, -1),
        frames=np.stack(drawn).reshape(*shape, *drawn[0].shape) if frames else None,
    )


def return_to_step(episode_id: str, step: int, **settings: Any) -> Recording:
    """
    The world as it was when an episode of relative actions had its frame number `step`.

    Args:
        episode_id (`str`):
            Name of the episode, which holds its policy and seed.
        step (`int`):
            Index of the frame, from 0.
        settings (`dict[str, Any]`):
            `image_size`, `frame_interval`, `action_noise` and `states`, as the episode was recorded with; see
            [`~rlvr_world_hf.worlds.pusht.simulator.record_policy`].

    Returns:
        [`~rlvr_world_hf.worlds.pusht.simulator.Recording`]: without frames of its own; its `frame()` is that frame.

    Raises:
        ValueError: If the name is not that of an episode that a policy recorded with relative actions.

    Example:

    ```python
    >>> return_to_step("pusht-near_block-7", 3, image_size=32, frame_interval=0.5).actions.shape
    (3, 10)

    ```
    """
    seed = episode_id.rpartition("-")[2]
    if not episode_id.startswith("pusht-") or episode_id.count("-") != 2 or not seed.isdecimal():
        raise ValueError(
            f"Expected the name of an episode of PushT with relative actions, as in 'pusht-near_block-7', got "
            f"{episode_id!r}; what follows in others cannot be played again from their names."
        )
    return record_policy(int(seed), length=step, policy=policy_of(episode_id), frames=False, **settings)


def continue_episode(
    episode_id: str,
    step: int,
    actions: np.ndarray,
    *,
    samples: int,
    first: int = 0,
    frames: bool = True,
    **settings: Any,
) -> Continuations:
    """
    What may follow frame number `step` of an episode of relative actions; see [`continue_recording`].

    Args:
        episode_id (`str`):
            As of [`return_to_step`].
        step (`int`):
            As of [`return_to_step`].
        actions (`numpy.ndarray` of shape `(S, A)`):
            What is done from that frame on: what the episode holds, or anything else.
        samples (`int`):
            As of [`continue_recording`].
        first (`int`, *optional*, defaults to 0):
            As of [`continue_recording`].
        frames (`bool`, *optional*, defaults to `True`):
            As of [`continue_recording`].
        settings (`dict[str, Any]`):
            As of [`return_to_step`].

    Returns:
        [`Continuations`]: of the actions.

    Raises:
        ValueError: As the two.

    Example:

    ```python
    >>> settings = {"image_size": 32, "frame_interval": 0.5, "action_noise": 20.0}
    >>> found = continue_episode("pusht-scripted-0", 2, np.zeros((1, 10)), samples=8, frames=False, **settings)
    >>> found.states.shape, bool(found.states.std(axis=0).min() > 1)
    ((8, 1, 2), True)

    ```
    """
    recording = return_to_step(episode_id, step, **settings)
    return continue_recording(recording, actions, samples=samples, first=first, frames=frames)
