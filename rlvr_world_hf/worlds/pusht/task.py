"""
PushT as a task of planning, by the protocol of DINO-WM (https://huggingface.co/papers/2411.04983) and of
stable-worldmodel.

The world starts somewhere in an episode of the scripted policy, and the goal is the frame that this policy reached 25
control steps later; so it can be reached. A decision is an action of 5 control steps, and it takes at most 10.
The goal is reached where, after any control step, the positions of agent and block together are less than 20 world
units from those of the goal and the block's angle less than 20 degrees, as in the code of both. The planner sees
frames; success is read from the state of the true world.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...planning.planner import ActionBox
from .law import ACTION_SCALE, ActionLaw, aim_at, follow_actions
from .policies import MARGIN, REACH, WORLD_SIZE
from .simulator import Recording, record_policy


GOAL_STEPS = 5
"""Decisions of the scripted policy from start to goal: 25 control steps at 0.5 s a decision."""

FRAME_INTERVAL = 0.5
"""Seconds of a decision in the protocol."""

DECISIONS = 10
"""Most decisions of an attempt."""

POSITION_TOLERANCE = 20.0
"""Distance below which agent and block are at the goal, in world units, over all four coordinates."""

ANGLE_TOLERANCE = math.pi / 9
"""Difference of the block's angle below which it is at the goal, in radians."""

MOVE = REACH / math.sqrt(2)
"""Longest move in x and in y, in world units: no farther than the targets that models were trained on."""

MOVES = ActionBox(low=(-MOVE, -MOVE), high=(MOVE, MOVE))
"""What is planned: how far from one target to the next."""

RELATIVE_MOVES = ActionBox(low=(-ACTION_SCALE, -ACTION_SCALE), high=(ACTION_SCALE, ACTION_SCALE))
"""The same for relative actions, with which models see the agent go farther."""

Decide = Callable[[Recording], np.ndarray]
"""Looks at the world and gives the next action `(A,)`, by the law of the world."""


class PushTTask:
    """
    A start and a goal of PushT.

    Args:
        seed (`int`):
            Of the scripted episode.
        image_size (`int`, *optional*, defaults to 64):
            Height and width of frames in pixels; divides 512.
        frame_interval (`float`, *optional*, defaults to 0.5):
            Seconds of a decision, a multiple of 0.1.
        lead (`int`, *optional*, defaults to 8):
            Frames of the episode before the start.
        goal_steps (`int`, *optional*, defaults to 5):
            Decisions of the scripted policy from start to goal.
        action_law (`str`, *optional*, defaults to `"relative"`):
            What an action means, see `law.py`.

    Attributes:
        goal_frame (`numpy.ndarray` of shape `(3, H, W)`): uint8 RGB.
        goal_state (`numpy.ndarray` of shape `(6,)`): agent x, y, block x, y, cosine and sine of the block's angle.
        solution (`numpy.ndarray` of shape `(goal_steps, A)`): the actions that lead from start to goal.

    Example:

    ```python
    >>> task = PushTTask(0, image_size=32, lead=2, goal_steps=1)
    >>> world = task.start()
    >>> world.act(task.solution[0])
    >>> distances(world.state, task.goal_state)
    (0.0, 0.0)

    ```
    """

    def __init__(
        self,
        seed: int,
        *,
        image_size: int = 64,
        frame_interval: float = FRAME_INTERVAL,
        lead: int = 8,
        goal_steps: int = GOAL_STEPS,
        action_law: ActionLaw = "relative",
    ) -> None:
        self.seed = seed
        self._episode: dict[str, Any] = {
            "image_size": image_size,
            "frame_interval": frame_interval,
            "states": "agent_and_block",
            "action_law": action_law,
        }
        self.lead = lead
        # Only the last of its frames is looked at.
        goal = record_policy(seed, length=lead + goal_steps, **self._episode, frames=False)
        self.goal_frame, self.goal_state = goal.frame(), goal.state
        self.solution = goal.actions[lead:]

    def start(self) -> Recording:
        """The world at the start, with the frames that led there."""
        return record_policy(self.seed, length=self.lead, **self._episode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How an attempt went."""

    seed: int
    """Seed of the task."""

    is_success: bool
    """Whether the goal was reached, after any control step."""

    control_steps: int
    """Control steps until then, or until the last decision was over."""

    position_distance: float
    """Of agent and block from the goal at the end, in world units, over all four coordinates."""

    angle_distance: float
    """Of the block's angle from the goal's at the end, in radians, in [0, pi]."""

    block_path: float
    """How far the block is from its place in the goal at the start, in world units: 0 where it need not be moved."""

    block_turn: float
    """How far it is turned from its angle in the goal at the start, in radians, in [0, pi]."""

    actions: tuple[tuple[float, ...], ...]
    """The decisions, by the law of the world."""

    seconds: tuple[float, ...]
    """Seconds that each decision took."""


def distances(state: np.ndarray, goal: np.ndarray) -> tuple[float, float]:
    """
    How far a state is from the goal's.

    Args:
        state (`numpy.ndarray` of shape `(6,)`):
            Agent x, y, block x, y, in world units, cosine and sine of the block's angle.
        goal (`numpy.ndarray` of shape `(6,)`):
            The goal's, in the same form.

    Returns:
        `tuple[float, float]`: of the positions of agent and block together, in world units; and of the block's angle,
        in radians in [0, pi].

    Example:

    ```python
    >>> distances(np.array([3.0, 0, 0, 4, 1, 0]), np.array([0.0, 0, 0, 0, 0, 1]))
    (5.0, 1.57...)

    ```
    """
    # To the nearest full turn below, so that an angle has one distance, however often it is wound.
    turn = math.atan2(state[5], state[4]) - math.atan2(goal[5], goal[4])
    return float(np.linalg.norm(state[:4] - goal[:4])), abs(math.remainder(turn, math.tau))


def attempt(task: PushTTask, decide: Decide, *, decisions: int = DECISIONS) -> Attempt:
    """
    Try to reach a goal in the true world.

    Args:
        task ([`PushTTask`]):
            Start and goal.
        decide (`Callable`):
            Gives the next action.
        decisions (`int`, *optional*, defaults to 10):
            Most decisions.

    Returns:
        [`Attempt`]: it ends with the control step after which the goal is reached.

    Example:

    ```python
    >>> task = PushTTask(0, image_size=32, lead=2, goal_steps=2)
    >>> actions = iter(task.solution)
    >>> attempt(task, lambda world: next(actions), decisions=2).is_success
    True

    ```
    """
    world = task.start()
    block_path = float(np.linalg.norm(world.state[2:4] - task.goal_state[2:4]))
    actions: list[tuple[float, ...]] = []
    seconds: list[float] = []
    position, angle = distances(world.state, task.goal_state)
    block_turn, control_steps, is_success = angle, 0, False
    while len(actions) < decisions and not is_success:
        begin = time.perf_counter()
        action = np.asarray(decide(world), dtype=np.float64)
        seconds.append(time.perf_counter() - begin)
        actions.append(tuple(action.tolist()))
        for _ in world.walk(action):
            control_steps += 1
            position, angle = distances(world.state, task.goal_state)
            is_success = position < POSITION_TOLERANCE and angle < ANGLE_TOLERANCE
            if is_success:
                break
    return Attempt(
        seed=task.seed,
        is_success=is_success,
        control_steps=control_steps,
        position_distance=position,
        angle_distance=angle,
        block_path=block_path,
        block_turn=block_turn,
        actions=tuple(actions),
        seconds=tuple(seconds),
    )


def targets_after(agent: np.ndarray, moves: torch.Tensor) -> torch.Tensor:
    """
    Targets of moves, one from the other, the first from the agent; those beyond the walls' margin are put onto it.

    Args:
        agent (`numpy.ndarray` of shape `(2,)`):
            Where the agent is, in world units.
        moves (`torch.Tensor` of shape `(N, H, 2)`):
            Moves, in world units.

    Returns:
        `torch.Tensor` of shape `(N, H, 2)`: float32, within the walls.

    Example:

    ```python
    >>> targets_after(np.array([470.0, 100.0]), torch.tensor([[[20.0, 5.0], [-10.0, 5.0]]]))
    tensor([[[480., 105.],
             [470., 110.]]])

    ```
    """
    place = torch.as_tensor(np.asarray(agent, dtype=np.float32)).expand(len(moves), 2)
    targets = []
    for move in moves.unbind(dim=1):
        place = (place + move).clamp(MARGIN, WORLD_SIZE - MARGIN)
        targets.append(place)
    return torch.stack(targets, dim=1)


def actions_after(
    agent: np.ndarray, velocity: np.ndarray, moves: torch.Tensor, *, action_law: ActionLaw, control_steps: int
) -> torch.Tensor:
    """
    Actions that walk to the targets of moves, see [`targets_after`].

    Args:
        agent (`numpy.ndarray` of shape `(2,)`):
            Where the agent is, in world units.
        velocity (`numpy.ndarray` of shape `(2,)`):
            Its velocity, in world units a second.
        moves (`torch.Tensor` of shape `(N, H, 2)`):
            Moves, in world units.
        action_law (`str`):
            `"relative"` or `"absolute"`.
        control_steps (`int`):
            Control steps of an action.

    Returns:
        `torch.Tensor` of shape `(N, H, A)`: float32; with absolute actions, the targets themselves.

    Example:

    ```python
    >>> rest, move = np.zeros(2), torch.tensor([[[50.0, 0.0]]])
    >>> actions_after(np.array([100.0, 100.0]), rest, move, action_law="relative", control_steps=2)
    tensor([[[0.5000, 0.0000, 0.3522, 0.0000]]])

    ```
    """
    targets = targets_after(agent, moves)
    if action_law == "absolute":
        return targets
    places, velocities = (np.broadcast_to(start, (len(moves), 2)) for start in (agent, velocity))
    actions = []
    for target in targets.double().unbind(dim=1):
        actions.append(aim_at(places, velocities, target.numpy(), control_steps=control_steps))
        places, velocities = follow_actions(places, velocities, actions[-1])
    return torch.from_numpy(np.stack(actions, axis=1))
