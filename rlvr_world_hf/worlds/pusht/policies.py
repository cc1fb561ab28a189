"""Policies that episodes of PushT are recorded with: one that pushes the block about, one that explores at times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


WORLD_SIZE = 512.0
"""Width and height of the world in its own units; agent positions and actions are given in them."""

MARGIN = 32.0
"""Targets keep this distance to the walls, in world units."""

REACH = 72.0
"""Largest distance of a target from the agent in recorded episodes, before noise is added, in world units."""

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
            # The block may stand at its goal, which is no direction.
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
        # A cycle explores `mean` steps and waits (1 - chance) / chance: share = mean / (mean + (1 - chance) / chance).
        self.chance = share / (share + mean * (1 - share))  # of a streak to begin at a step that is in none
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
