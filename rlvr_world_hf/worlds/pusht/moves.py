"""
Ways to decide in PushT: at random, as the scripted policy, towards the goal's agent, and by planning: in a world
model, in the true physics, in a network over states, or as if nothing ever moved.

Those that plan may use the same cost, which compares frames with the goal frame, so they differ only in what they know
of the world. All are given the agent's position and velocity, from which moves are counted, as DINO-WM's
planner is given proprioception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np
import torch

from ...pipeline import WorldModelPipeline
from ...planning.controller import RecedingHorizonController
from ...planning.imagination import ImaginedCost
from ...planning.planner import ActionBox, Objective, Planner
from .agent import locate_agent
from .form import PushTForm
from .ladder import read_states
from .policies import MARGIN, WORLD_SIZE, PushingPolicy
from .simulated_cost import SimulatedCost
from .simulator import Recording
from .state_model import StateModel
from .task import MOVES, RELATIVE_MOVES, Decide, actions_after


Cost = Callable[[torch.Tensor], torch.Tensor]
"""Costs `(N,)` of predicted frames `(N, S, 3, H, W)`."""


def random_moves(seed: int) -> Decide:
    """
    Decides at random, evenly among the moves a planner may choose.

    Args:
        seed (`int`):
            Of the draws.

    Returns:
        `Callable`: gives the next action.
    """
    rng = np.random.default_rng([seed, 3])

    def decide(world: Recording) -> np.ndarray:
        box = _box(world, freely=False)
        moves = torch.from_numpy(rng.uniform(box.low, box.high, (1, 1, 2)).astype(np.float32))
        return _to_actions(world, freely=False)(moves)[0, 0].numpy()

    return decide


def scripted_moves(seed: int) -> Decide:
    """
    Decides as the policy that the episodes were recorded with, which does not know the goal.

    Args:
        seed (`int`):
            Of its noise, which is not that of the episode.

    Returns:
        `Callable`: gives the next action.
    """
    policy = PushingPolicy(np.random.default_rng([seed, 4]))
    return lambda world: world.aim(policy(world.agent, world.block))


def goal_agent_moves(goal_frame: np.ndarray) -> Decide:
    """
    Walks to where the goal frame shows the agent, whatever becomes of the block: what success owes to the agent alone.

    Args:
        goal_frame (`numpy.ndarray` of shape `(3, H, W)`):
            The goal, uint8 RGB.

    Returns:
        `Callable`: gives the next action; the agent stays where the goal frame shows none.
    """
    target = locate_agent(torch.from_numpy(goal_frame).float() / 255).numpy() * WORLD_SIZE

    def decide(world: Recording) -> np.ndarray:
        towards = world.agent if np.isnan(target).any() else target
        return world.aim(np.clip(towards, MARGIN, WORLD_SIZE - MARGIN))

    return decide


def imagined_moves(
    pipeline: WorldModelPipeline,
    cost: Cost,
    planner: Planner,
    *,
    seed: int,
    window: int | None = None,
    temperature: float = 0.0,
    freely: bool = False,
    receding: int = 1,
) -> Decide:
    """
    Decides by planning in a world model.

    Args:
        pipeline ([`WorldModelPipeline`]):
            A world model of PushT, of frames, which may be told the agent's position beside them.
        cost (`Callable`):
            Costs `(N,)` of predicted frames `(N, S, 3, H, W)`.
        planner ([`Planner`]):
            Finds moves.
        seed (`int`):
            Of planner and model.
        window (`int`, *optional*):
            As of [`ImaginedCost`].
        temperature (`float`, *optional*, defaults to 0.0):
            As of [`ImaginedCost`].
        freely (`bool`, *optional*, defaults to `False`):
            Whether to plan all numbers of relative actions, as stable-worldmodel does, and not two for each decision:
            a move.
        receding (`int`, *optional*, defaults to 1):
            Decisions of a plan that are taken before the next search.

    Returns:
        `Callable`: gives the next action.
    """
    form = PushTForm.of(pipeline.processor)
    of_frames = _CostOfFrames(cost) if form.is_told_agent else cost

    def imagine(world: Recording, to_actions: Callable[[torch.Tensor], torch.Tensor], step: int) -> Objective:
        seen = form.see(world)
        return ImaginedCost(
            pipeline,
            seen["context"],
            of_frames,
            states=seen.get("context_states"),
            past_actions=world.actions,
            to_actions=to_actions,
            window=window,
            temperature=temperature,
            seed=seed + step,
        )

    return _planned(imagine, planner, seed, freely=freely, receding=receding)


def simulated_moves(
    cost: Cost,
    planner: Planner,
    *,
    seed: int,
    shows: Literal["frames", "states"] = "frames",
    freely: bool = False,
    receding: int = 1,
) -> Decide:
    """
    Decides by planning in the true physics: what a perfect model of the world would give.

    Args:
        cost (`Callable`):
            Costs `(N,)` of frames `(N, S, 3, H, W)`, or of states.
        planner ([`Planner`]):
            Finds moves.
        seed (`int`):
            Of the planner.
        shows (`str`, *optional*, defaults to `"frames"`):
            As of [`SimulatedCost`].
        freely (`bool`, *optional*, defaults to `False`):
            As of [`imagined_moves`].
        receding (`int`, *optional*, defaults to 1):
            As of [`imagined_moves`].

    Returns:
        `Callable`: gives the next action.
    """
    return _planned(
        lambda world, to_actions, step: SimulatedCost(world, cost, to_actions, shows=shows),
        planner,
        seed,
        freely=freely,
        receding=receding,
    )


def copied_moves(cost: Cost, planner: Planner, *, seed: int, freely: bool = False, receding: int = 1) -> Decide:
    """
    Decides by planning as if the present frame stayed: what a planner does that learns nothing of its candidates.

    Args:
        cost (`Callable`):
            Costs `(N,)` of frames `(N, S, 3, H, W)`.
        planner ([`Planner`]):
            Finds moves.
        seed (`int`):
            Of the planner.
        freely (`bool`, *optional*, defaults to `False`):
            As of [`imagined_moves`].
        receding (`int`, *optional*, defaults to 1):
            As of [`imagined_moves`].

    Returns:
        `Callable`: gives the next action.
    """

    def imagine(world: Recording, to_actions: Callable[[torch.Tensor], torch.Tensor], step: int) -> Objective:
        stays = torch.from_numpy(world.frame()).float()[None, None] / 255  # (1, 1, 3, H, W)
        return lambda candidates: cost(stays.expand(1, candidates.shape[1], -1, -1, -1)).expand(len(candidates))

    return _planned(imagine, planner, seed, freely=freely, receding=receding)


def state_moves(
    model: StateModel, cost: Cost, planner: Planner, *, seed: int, freely: bool = False, receding: int = 1
) -> Decide:
    """
    Decides by planning in a network that predicts states from states: it is given the true ones, and no frame.

    Args:
        model ([`~rlvr_world_hf.worlds.pusht.state_model.StateModel`]):
            The network, of the law of the world.
        cost (`Callable`):
            Costs `(N,)` of states `(N, S, 5)` in the form of [`~rlvr_world_hf.worlds.pusht.ladder.read_states`].
        planner ([`Planner`]):
            Finds moves.
        seed (`int`):
            Of the planner.
        freely (`bool`, *optional*, defaults to `False`):
            As of [`imagined_moves`].
        receding (`int`, *optional*, defaults to 1):
            As of [`imagined_moves`].

    Returns:
        `Callable`: gives the next action; the world must record the states of agent and block.
    """

    def imagine(world: Recording, to_actions: Callable[[torch.Tensor], torch.Tensor], step: int) -> Objective:
        given = read_states(torch.from_numpy(world.seen_states(2)))  # (2, 5)
        return lambda candidates: cost(model.predict(given.expand(len(candidates), 2, 5), to_actions(candidates)))

    return _planned(imagine, planner, seed, freely=freely, receding=receding)


class _CostOfFrames:
    """A cost of frames where the model predicts the agent's position beside them."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost
        self.needs_actions = getattr(cost, "needs_actions", False)

    def __call__(self, predicted: Mapping[str, torch.Tensor], **done: torch.Tensor) -> torch.Tensor:
        return self.cost(predicted["predicted"], **done)


def _planned(
    imagine: Callable[[Recording, Callable[[torch.Tensor], torch.Tensor], int], Objective],
    planner: Planner,
    seed: int,
    *,
    freely: bool,
    receding: int,
) -> Decide:
    controller = RecedingHorizonController(planner, steps=receding)
    first: int | None = None
    planned: list[np.ndarray] = []

    def decide(world: Recording) -> np.ndarray:
        nonlocal first
        if planned:
            return planned.pop(0)
        # Steps count from the first decision: the scripted policy's actions before it are no decisions.
        done = len(world.actions)
        first = done if first is None else first
        step = done - first
        to_actions = _to_actions(world, freely=freely)
        plan = controller.decide(imagine(world, to_actions, step), _box(world, freely=freely), seed=seed + step)
        planned.extend(to_actions(plan.actions[None])[0, :receding].numpy())
        return planned.pop(0)

    return decide


def _box(world: Recording, *, freely: bool) -> ActionBox:
    """What may be planned in a world: its moves, or all numbers of its actions."""
    if not freely:
        return MOVES if world.action_law == "absolute" else RELATIVE_MOVES
    if world.action_law == "absolute":
        raise ValueError("Expected relative actions to plan freely, got a world of absolute ones; plan moves there.")
    return ActionBox(low=(-1.0,) * world.action_dims, high=(1.0,) * world.action_dims)


def _to_actions(world: Recording, *, freely: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Turns what is planned `(N, H, D)`, from where the agent now is, into actions `(N, H, A)`."""
    if freely:
        return lambda actions: actions
    now = (world.agent.copy(), world.velocity)
    return partial(actions_after, *now, action_law=world.action_law, control_steps=world.control_steps)
