"""
Scripted policies of PushT from poor to good, which see where agent and block are and nothing else.

The task is a part of PushT's: the block's centroid is to come to rest at the goal's centre, however it is turned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from .block import GOAL_CENTRE
from .policies import MARGIN, REACH, WORLD_SIZE, PushingPolicy, within_reach


Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the agent's position `(2,)` and the block's centroid `(2,)` to the next target `(2,)`, in world units."""

GOAL = np.array(GOAL_CENTRE) * WORLD_SIZE
"""Centre of the goal `(2,)`, in world units."""

REST = 12.0
"""Distance from the goal's centre, in world units, below which the block is left alone."""

CIRCLE = 105.0
"""Distance from the block's centroid, in world units, at which the agent walks around it without touching it."""

TURN = np.radians(40)
"""Largest part of the circle that is walked in one step."""

BEHIND = np.radians(15)
"""Angle at the block, from the line through goal and block, up to which the agent is behind it and may push."""


class GoalPushingPolicy:
    """
    Walks around the block until it stands between agent and goal, pushes it there, and leaves it alone.

    Args:
        rng (`numpy.random.Generator`):
            Source of the noise.
        noise (`float`, *optional*, defaults to 0):
            Standard deviation of the noise on each coordinate of a target, in world units.
        reach (`float`, *optional*, defaults to 72):
            Largest distance of a target from the agent, in world units.

    Example:

    ```python
    >>> policy = GoalPushingPolicy(np.random.default_rng(0))
    >>> block = GOAL + [100, 0]
    >>> pushes = policy(block + [80, 0], block) - block  # from behind, straight through
    >>> pushes.round(1).tolist()
    [8.0, 0.0]

    ```
    """

    def __init__(self, rng: np.random.Generator, *, noise: float = 0.0, reach: float = REACH) -> None:
        self.rng = rng
        self.noise = noise
        self.reach = reach

    def __call__(self, agent: np.ndarray, block: np.ndarray) -> np.ndarray:
        """Next target `(2,)` for an agent at `agent` `(2,)` and a block at `block` `(2,)`, in world units."""
        target = within_reach(agent, self._waypoint(agent, block), self.reach)
        return np.clip(target + self.rng.normal(0, self.noise, 2), MARGIN, WORLD_SIZE - MARGIN)

    def _waypoint(self, agent: np.ndarray, block: np.ndarray) -> np.ndarray:
        way, offset = GOAL - block, agent - block
        left = float(np.linalg.norm(way))
        if left < REST:
            return agent
        angle = np.arctan2(offset[1], offset[0])
        # In [-pi, pi): the shorter way around the block.
        turn = (np.arctan2(-way[1], -way[0]) - angle + np.pi) % (2 * np.pi) - np.pi
        if abs(turn) > BEHIND:
            angle += np.clip(turn, -TURN, TURN)
            return block + CIRCLE * np.array([np.cos(angle), np.sin(angle)])
        # Along the line through block and goal: as far as the block has to go, and the gap to the circle before that.
        behind = float(np.linalg.norm(offset))
        return block - way / left * (behind - min(self.reach, left + max(0.0, behind - CIRCLE)))


class StillPolicy:
    """Stays where it is. Takes a generator as all do, and draws nothing from it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, agent: np.ndarray, block: np.ndarray) -> np.ndarray:
        """The agent's own position `(2,)`."""
        return np.clip(agent, MARGIN, WORLD_SIZE - MARGIN)


class RandomPolicy:
    """
    Walks towards a random point of the table, another one at each step.

    Args:
        rng (`numpy.random.Generator`):
            Source of the points.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, agent: np.ndarray, block: np.ndarray) -> np.ndarray:
        """Next target `(2,)`, in world units."""
        point = self.rng.uniform(MARGIN, WORLD_SIZE - MARGIN, 2)
        return np.clip(within_reach(agent, point, REACH), MARGIN, WORLD_SIZE - MARGIN)


POLICIES: Mapping[str, Callable[[np.random.Generator], Policy]] = {
    "still": StillPolicy,
    "random": RandomPolicy,
    "aimless": PushingPolicy,
    "sluggish": partial(GoalPushingPolicy, reach=REACH / 6),
    "slow": partial(GoalPushingPolicy, reach=REACH / 3),
    "wild": partial(GoalPushingPolicy, noise=100.0),
    "clumsy": partial(GoalPushingPolicy, noise=60.0),
    "unsteady": partial(GoalPushingPolicy, noise=35.0),
    "shaky": partial(GoalPushingPolicy, noise=25.0),
    "patient": partial(GoalPushingPolicy, reach=REACH / 2),
    "steady": partial(GoalPushingPolicy, noise=15.0),
    "careful": GoalPushingPolicy,
}
"""
Policies by name, each made from a generator, from poor to good; `aimless` is the one that the training data is
recorded with. They were chosen before any model was asked about them, and stay.
"""
