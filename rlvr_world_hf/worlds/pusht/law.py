r"""
What an action of PushT means, and how the agent moves: PushT of stable-worldmodel 0.1.1, which has DINO-WM's
(https://huggingface.co/papers/2411.04983).

Ten times a second the agent is given a target; a hundred times a second it is pulled towards it:

    a = k_p (target - p) + k_v (0 - v),     v <- v + a / 100,     p <- p + v / 100,     k_p = 100, k_v = 20

An action is what is done between two frames. There are two laws:

    relative    a target for each control step, as two numbers in [-1, 1]: where the agent is at that control step,
                plus 100 world units times the number; ten numbers for frames 0.5 s apart. Nothing is clipped.
    absolute    one target in world units, held for all control steps; what models were trained on before there was
                a choice

The agent is kinematic: neither block nor wall stops it. So its way follows from its actions alone.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from einops import rearrange


ActionLaw = Literal["relative", "absolute"]
"""What an action means."""

UNNAMED_LAW: ActionLaw = "absolute"
"""The law of a processor that names none: it was saved before laws had names."""

CONTROL_HZ = 10
"""Control steps a second."""

ACTION_SCALE = 100.0
"""World units from the agent to its target where a relative action is 1."""

WAY_SCALE = 41.0
"""World units a control step of the way that a model is told as 1: a little more than an action can lead."""

PHYSICS_STEPS = 10
"""Steps of physics in a control step."""

PHYSICS_SECONDS = 0.01
"""Seconds of a step of physics."""

STIFFNESS, DAMPING = 100.0, 20.0
"""`k_p` and `k_v`: pull towards the target, and against the velocity."""


def check_law(action_law: str) -> None:
    """
    Raises unless there is such a law.

    Args:
        action_law (`str`):
            Its name.

    Raises:
        ValueError: If it is none of `ActionLaw`.
    """
    if action_law not in get_args(ActionLaw):
        raise ValueError(f"Expected `action_law` to be one of {', '.join(get_args(ActionLaw))}, got {action_law!r}.")


def count_control_steps(frame_interval: float) -> int:
    """
    Control steps between two frames.

    Args:
        frame_interval (`float`):
            Seconds between them.

    Returns:
        `int`: at least 1.

    Raises:
        ValueError: If the interval is no multiple of a control step.

    Example:

    ```python
    >>> count_control_steps(0.5)
    5

    ```
    """
    steps = round(frame_interval * CONTROL_HZ)
    if steps < 1 or abs(steps - frame_interval * CONTROL_HZ) > 1e-6:
        raise ValueError(f"Expected `frame_interval` to be a multiple of {1 / CONTROL_HZ} s, got {frame_interval}.")
    return steps


def count_action_dims(action_law: ActionLaw, frame_interval: float) -> int:
    """
    Numbers of an action.

    Args:
        action_law (`str`):
            `"relative"` or `"absolute"`.
        frame_interval (`float`):
            Seconds between two frames.

    Returns:
        `int`: 2, or 2 for each control step.

    Example:

    ```python
    >>> count_action_dims("relative", 0.5), count_action_dims("absolute", 0.5)
    (10, 2)

    ```
    """
    return 2 if action_law == "absolute" else 2 * count_control_steps(frame_interval)


def follow_actions(agent: np.ndarray, velocity: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Where relative actions lead the agent.

    Args:
        agent (`numpy.ndarray` of shape `(..., 2)`):
            Where it is, in world units.
        velocity (`numpy.ndarray` of shape `(..., 2)`):
            Its velocity, in world units a second.
        actions (`numpy.ndarray` of shape `(..., 2 * C)`):
            A relative target for each of `C` control steps.

    Returns:
        `tuple[numpy.ndarray, numpy.ndarray]`: position and velocity after them, each of shape `(..., 2)`, float64.

    Example:

    ```python
    >>> at, velocity = follow_actions(np.array([100.0, 100.0]), np.zeros(2), np.array([1.0, 0.0] * 5))
    >>> at.round().tolist()
    [292.0, 100.0]

    ```
    """
    agent, velocity = np.asarray(agent, np.float64), np.asarray(velocity, np.float64)
    for step in np.moveaxis(rearrange(np.asarray(actions, np.float64), "... (c two) -> ... c two", two=2), -2, 0):
        agent, velocity = _control_step(agent, velocity, step)
    return agent, velocity


def way_matrix(control_steps: int) -> list[list[float]]:
    """
    What relative actions are written as for a model: where they would lead the agent from rest.

    Args:
        control_steps (`int`):
            Control steps of an action, `C`.

    Returns:
        `list[list[float]]` of shape `(2 * C, 2 * C)`: times an action, how far from where it is the agent will be
        after each control step if it rests now, x and y in turn, in units of `WAY_SCALE * C` world units.

    Example:

    ```python
    >>> written = np.array(way_matrix(5)) @ np.array([1.0, 0.0] * 5)
    >>> (WAY_SCALE * 5 * written).round().tolist()
    [30.0, 0.0, 70.0, 0.0, 111.0, 0.0, 152.0, 0.0, 192.0, 0.0]

    ```
    """
    agent, velocity = np.zeros((2, 2 * control_steps, 2))
    places = []
    # A batch of actions that are 1 in one number each.
    for step in rearrange(np.eye(2 * control_steps), "n (c two) -> c n two", two=2):
        agent, velocity = _control_step(agent, velocity, step)
        places.append(agent)
    return (rearrange(np.array(places), "c n two -> (c two) n") / (WAY_SCALE * control_steps)).tolist()


def aim_at(agent: np.ndarray, velocity: np.ndarray, target: np.ndarray, *, control_steps: int) -> np.ndarray:
    """
    The relative actions that lead the agent towards a target, straight and as fast as the law allows.

    If the target is at most 100 world units away in x and in y, the agent moves as if the target was held.

    Args:
        agent (`numpy.ndarray` of shape `(..., 2)`):
            Where it is, in world units.
        velocity (`numpy.ndarray` of shape `(..., 2)`):
            Its velocity, in world units a second.
        target (`numpy.ndarray` of shape `(..., 2)`):
            Where it is to go, in world units.
        control_steps (`int`):
            Control steps of an action, `C`.

    Returns:
        `numpy.ndarray` of shape `(..., 2 * C)`: float32 in `[-1, 1]`.

    Example:

    ```python
    >>> aim_at(np.array([100.0, 100.0]), np.zeros(2), np.array([400.0, 250.0]), control_steps=2).tolist()
    [1.0, 0.5, 1.0, 0.5]

    ```
    """
    agent, velocity = np.asarray(agent, np.float64), np.asarray(velocity, np.float64)
    actions = []
    for _ in range(control_steps):
        move = (np.asarray(target) - agent) / ACTION_SCALE
        # Shortened and not clipped, as that would turn it.
        action = move / np.maximum(1.0, np.abs(move).max(axis=-1, keepdims=True))
        actions.append(action.astype(np.float32))
        agent, velocity = _control_step(agent, velocity, actions[-1])
    return np.concatenate(actions, axis=-1)


def keep_within(
    agent: np.ndarray, velocity: np.ndarray, actions: np.ndarray, *, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """
    Relative actions whose targets stay within a box, by moving those that do not onto its border.

    Args:
        agent (`numpy.ndarray` of shape `(2,)`):
            Where it is, in world units.
        velocity (`numpy.ndarray` of shape `(2,)`):
            Its velocity, in world units a second.
        actions (`numpy.ndarray` of shape `(2 * C,)`):
            A relative target for each of `C` control steps.
        low (`numpy.ndarray` of shape `(2,)`):
            Upper left corner of the box, in world units.
        high (`numpy.ndarray` of shape `(2,)`):
            Lower right corner of it.

    Returns:
        `numpy.ndarray` of shape `(2 * C,)`: float32 in `[-1, 1]`.

    Example:

    ```python
    >>> low, high = np.full(2, 32.0), np.full(2, 480.0)
    >>> keep_within(np.array([450.0, 100.0]), np.zeros(2), np.array([0.5, 0.5]), low=low, high=high).round(1).tolist()
    [0.3..., 0.5]

    ```
    """
    kept = []
    for step in rearrange(np.asarray(actions, np.float64), "(c two) -> c two", two=2):
        target = np.clip(agent + ACTION_SCALE * step, low, high)
        kept.append(np.clip((target - agent) / ACTION_SCALE, -1, 1).astype(np.float32))
        agent, velocity = _control_step(agent, velocity, kept[-1])
    return np.concatenate(kept)


def _respond(offset: float, velocity: float) -> tuple[float, float]:
    """How far the agent is moved in a control step by a target so far away, and its velocity then."""
    place = 0.0
    for _ in range(PHYSICS_STEPS):
        velocity += (STIFFNESS * (offset - place) - DAMPING * velocity) * PHYSICS_SECONDS
        place += velocity * PHYSICS_SECONDS
    return place, velocity


# The motion is linear in the target's distance and the velocity.
_BY_OFFSET, _BY_VELOCITY = np.array(_respond(ACTION_SCALE, 0.0)), np.array(_respond(0.0, 1.0))


def _control_step(agent: np.ndarray, velocity: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity `(..., 2)` after one control step of the action `(..., 2)`."""
    moved, gained = (
        of_offset * action + of_velocity * velocity
        for of_offset, of_velocity in zip(_BY_OFFSET, _BY_VELOCITY, strict=True)
    )
    return agent + moved, gained
