"""
Policies that episodes of the relative law are recorded with; an episode has one of them, and its name says which.

World models are asked about the moves of policies, of planners and of people, so they have to see more than pushes.
Two of them record no training data unless a recipe says so: they are for what models do where they never were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .law import ACTION_SCALE, keep_within
from .policies import MARGIN, WORLD_SIZE, ExploringPolicy, PushingPolicy


if TYPE_CHECKING:
    from .simulator import Recording

Behaviour = Callable[["Recording"], np.ndarray]
"""Looks at the world and gives the next action."""

REACHES = (40.0, 160.0)
"""Range of the longest way of a frame that a scripted episode aims at, in world units; each draws its own."""

SCALES = (0.1, 1.0)
"""Range of the scale of random actions; each episode draws its own."""

NEAR = 100.0
"""Distance from the block, in x and in y, that targets of `near_block` keep, in world units."""

SEQUENCE_STEPS = 5
"""Actions of one smooth sequence: those that a planner draws together."""

SMOOTHNESS = (0.0, 0.5, 0.8, 0.95)
"""Correlations of a control step with the one before that a smooth sequence may have."""

TURNS = (0.3, 1.0)
"""Range of the angle by which a circling agent walks round the block, in radians a frame; drawn for each episode."""

DISTANCES = (80.0, 150.0)
"""Range of its distance from the block, in world units."""

LARGEST_PULL = 0.6
"""Largest mean of a smooth sequence, where it has one: towards the block."""


def scripted(rng: np.random.Generator, *, reach: float | None = None) -> Behaviour:
    """
    Pushes the block about, see [`PushingPolicy`].

    Args:
        rng (`numpy.random.Generator`):
            Source of all randomness.
        reach (`float`, *optional*):
            Longest way of a frame that it aims at, in world units; drawn from `REACHES` by default.

    Returns:
        `Callable`: gives the next action.
    """
    policy = PushingPolicy(rng, reach=rng.uniform(*REACHES) if reach is None else reach)
    return lambda world: world.aim(policy(world.agent, world.block))


def exploring(rng: np.random.Generator, *, reach: float | None = None) -> Behaviour:
    """
    Does something else than pushing in half of the steps, see [`ExploringPolicy`].

    Args:
        rng (`numpy.random.Generator`):
            Source of all randomness.
        reach (`float`, *optional*):
            Longest way of a frame that it aims at, in world units; drawn from `REACHES` by default.

    Returns:
        `Callable`: gives the next action.
    """
    reach = rng.uniform(*REACHES) if reach is None else reach
    policy = ExploringPolicy(PushingPolicy(rng, reach=reach), rng, share=0.5, reach=reach)
    return lambda world: world.aim(policy(world.agent, world.block))


def still(rng: np.random.Generator) -> Behaviour:
    """
    Stands still.

    Args:
        rng (`numpy.random.Generator`):
            Nothing is drawn from it.

    Returns:
        `Callable`: gives the next action.
    """
    return lambda world: np.zeros(world.action_dims, np.float32)


def random(rng: np.random.Generator) -> Behaviour:
    """
    Takes a new random target at each control step, anywhere on the table.

    Args:
        rng (`numpy.random.Generator`):
            Source of all randomness.

    Returns:
        `Callable`: gives the next action.
    """
    scale = rng.uniform(*SCALES)

    def act(world: Recording) -> np.ndarray:
        return _kept(world, rng.uniform(-scale, scale, world.action_dims), MARGIN, WORLD_SIZE - MARGIN)

    return act


def near_block(rng: np.random.Generator) -> Behaviour:
    """
    Takes a new random target at each control step, near the block and on the table.

    It is stable-worldmodel's policy for collecting, whose targets are kept near the block alone.

    Args:
        rng (`numpy.random.Generator`):
            Source of all randomness.

    Returns:
        `Callable`: gives the next action.
    """

    def act(world: Recording) -> np.ndarray:
        low, high = (np.clip(world.block + side, MARGIN, WORLD_SIZE - MARGIN) for side in (-NEAR, NEAR))
        return _kept(world, rng.uniform(-1, 1, world.action_dims), low, high)

    return act


def smooth(rng: np.random.Generator) -> Behaviour:
    """
    Follows sequences of Gaussian noise, as planners such as CEM draw them, one after the other.

    A sequence has a scale, a correlation in time, and in half of the cases a mean towards the block. Nothing keeps the
    agent on the table; where a frame finds it beyond, it walks back, and another sequence begins.

    Args:
        rng (`numpy.random.Generator`):
            Source of all randomness.

    Returns:
        `Callable`: gives the next action.
    """
    sequence = np.zeros((0, 2))

    def act(world: Recording) -> np.ndarray:
        nonlocal sequence
        if (world.agent < 0).any() or (world.agent > WORLD_SIZE).any():
            sequence = sequence[:0]
            return world.aim(np.clip(world.block, MARGIN, WORLD_SIZE - MARGIN))
        if not len(sequence):
            sequence = _draw_sequence(rng, world)
        action, sequence = sequence[: world.control_steps], sequence[world.control_steps :]
        return action.reshape(-1).astype(np.float32)

    return act


def circling(rng: np.random.Generator) -> Behaviour:
    """
    Walks round the block, at a distance of its own.

    Args:
        rng (`numpy.random.Generator`):
            Source of all randomness.

    Returns:
        `Callable`: gives the next action.
    """
    turn, distance = rng.choice([-1, 1]) * rng.uniform(*TURNS), rng.uniform(*DISTANCES)

    def act(world: Recording) -> np.ndarray:
        way = world.agent - world.block
        angle = np.arctan2(way[1], way[0]) + turn
        target = world.block + distance * np.array([np.cos(angle), np.sin(angle)])
        return world.aim(np.clip(target, MARGIN, WORLD_SIZE - MARGIN))

    return act


def borrowed(rng: np.random.Generator) -> Behaviour:
    """
    Does what the policy of the episode of the next seed does there, kept on the table: actions that belong to other
    states, or shuffled ones.

    Args:
        rng (`numpy.random.Generator`):
            Nothing is drawn from it.

    Returns:
        `Callable`: gives the next action.
    """
    lender: Recording | None = None
    policy: Behaviour = still(rng)

    def act(world: Recording) -> np.ndarray:
        nonlocal lender, policy
        if lender is None:
            lender = world.elsewhere(world.seed + 1)
            policy = BEHAVIOURS[draw_policy(lender.seed, SHARES)](np.random.default_rng([lender.seed, 1]))
        action = policy(lender)
        lender.act(action)
        return _kept(world, action, MARGIN, WORLD_SIZE - MARGIN)

    return act


BEHAVIOURS: Mapping[str, Callable[..., Behaviour]] = {
    "scripted": scripted,
    "exploring": exploring,
    "still": still,
    "random": random,
    "near_block": near_block,
    "smooth": smooth,
    "circling": circling,
    "borrowed": borrowed,
}
"""Policies by name, each made from a generator; those of `AIMING` also from a reach."""

AIMING = ("scripted", "exploring")
"""Policies that aim at a place, at most their reach away."""

SHARES: Mapping[str, float] = {
    "scripted": 0.35,
    "exploring": 0.2,
    "still": 0.02,
    "random": 0.08,
    "near_block": 0.15,
    "smooth": 0.2,
}
"""Share of the episodes that each policy records, where a recipe does not say it."""


def check_shares(shares: Mapping[str, float]) -> None:
    """
    Raises unless shares of policies can be drawn from.

    Args:
        shares (`Mapping[str, float]`):
            Policy -> its share; they need not add up to 1.

    Raises:
        ValueError: If there is no such policy, a share is negative or not finite, or all are 0.
    """
    if unknown := sorted(set(shares) - set(BEHAVIOURS)):
        raise ValueError(f"Expected `policies` among {', '.join(BEHAVIOURS)}, got {', '.join(map(repr, unknown))}.")
    if not all(0 <= share < np.inf for share in shares.values()) or not sum(shares.values()) > 0:
        raise ValueError(f"Expected shares of `policies` of at least 0, not all 0, got {dict(shares)}.")


def draw_policy(seed: int, shares: Mapping[str, float]) -> str:
    """
    The name of the policy of an episode.

    Args:
        seed (`int`):
            Seed of the episode.
        shares (`Mapping[str, float]`):
            Policy -> its share; they need not add up to 1.

    Returns:
        `str`: the same for the same seed, whatever other episodes there are.

    Example:

    ```python
    >>> [draw_policy(seed, {"scripted": 1, "still": 1}) for seed in range(3)]
    ['scripted', 'scripted', 'still']

    ```
    """
    # In one order, however the shares were written down.
    weights = np.array([shares.get(name, 0.0) for name in BEHAVIOURS])
    return str(np.random.default_rng([seed, 6]).choice(list(BEHAVIOURS), p=weights / weights.sum()))


def _kept(world: Recording, action: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    return keep_within(
        world.agent, world.velocity, action, low=np.broadcast_to(low, (2,)), high=np.broadcast_to(high, (2,))
    )


def _draw_sequence(rng: np.random.Generator, world: Recording) -> np.ndarray:
    """Targets of the control steps of one sequence `(SEQUENCE_STEPS * C, 2)`, in `[-1, 1]`."""
    scale, correlation = rng.uniform(*SCALES), rng.choice(SMOOTHNESS)
    pull = rng.uniform(0, LARGEST_PULL) * (rng.random() < 0.5)
    noise = rng.normal(size=(SEQUENCE_STEPS * world.control_steps, 2))
    # Each step keeps the variance 1: x_t = r x_{t-1} + sqrt(1 - r^2) e_t, from x_0 = e_0.
    for step in range(1, len(noise)):
        noise[step] = correlation * noise[step - 1] + np.sqrt(1 - correlation**2) * noise[step]
    mean = pull * np.clip((world.block - world.agent) / ACTION_SCALE, -1, 1)
    return np.clip(mean + scale * noise, -1, 1)
