"""
The evidence on planning: goals of PushT in the true simulator, by the protocol of DINO-WM and stable-worldmodel (see
`worlds/pusht/task.py`).

    headline    `success_block_moves`, over the starts whose block must move or turn farther than the goal tolerates;
                at the others, walking to the goal's agent is enough
    true state  `state_model` and `simulator_true_pose` are given no frame: they plan by what the simulator says
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from ...pipeline import WorldModelPipeline
from ...planning.cross_entropy import CrossEntropyPlanner, Returned
from ...planning.goal_cost import GoalCost
from ...planning.improved_cross_entropy import ImprovedCrossEntropyPlanner
from ...planning.path_integral import PathIntegralPlanner
from ...planning.planner import Planner
from ...rewards.base import VerifiableReward, as_frames
from ...rewards.features import FeatureDistanceReward
from ...rewards.pixel import MAEReward
from ...worlds.pusht.form import PushTForm
from ...worlds.pusht.ladder import read_frames, read_states
from ...worlds.pusht.moves import (
    copied_moves,
    goal_agent_moves,
    imagined_moves,
    random_moves,
    scripted_moves,
    simulated_moves,
    state_moves,
)
from ...worlds.pusht.pose_cost import PoseCost
from ...worlds.pusht.rewards import AgentPositionReward
from ...worlds.pusht.seeds import SEEDS
from ...worlds.pusht.task import (
    ANGLE_TOLERANCE,
    DECISIONS,
    FRAME_INTERVAL,
    GOAL_STEPS,
    POSITION_TOLERANCE,
    Decide,
    PushTTask,
    attempt,
)
from ..application import Application
from ..attempts import MODELS, Agent, Comparison, find_checkpoints, mean_seconds, measure_agents
from ..ladder import YARDSTICK_UPDATES, trained_yardstick
from ..pieces import Piece
from ..planning_video import draw_videos


REVISION = 2
"""Raised when attempts of the same settings go another way."""

RowName = Literal[
    "random",
    "scripted",
    "goal_agent",
    "copy_last",
    "state_model",
    "base",
    "control",
    "rlvr",
    "simulator",
    "simulator_true_pose",
]
"""A row of the table."""

CHECKPOINTS = ("base", "control", "rlvr")
"""Rows that plan with a checkpoint of each run."""

CEILINGS = ("simulator", "simulator_true_pose")
"""Rows that plan in the true simulator: by the models' cost of its frames, and by the cost of its states."""

CostName = Literal["pose", "features", "pixels"]
"""What is compared with the goal."""

SearchName = Literal["cem", "icem", "mppi"]
"""How plans are searched for."""

WEIGHTS: Mapping[CostName, Mapping[str, float]] = {
    "features": {"feature_distance_last": 1.0, "agent_position_mae": 0.1},
    "pixels": {"mae": 1.0, "agent_position_mae": 0.1},
}
"""
Cost -> weights of its parts: the distance of features at the last step, as in DINO-WM, or the error of pixels; and
that of the agent's position in frame widths.
"""

ELITES = 0.125
"""Share of the candidates that CEM and iCEM fit to; stable-worldmodel has a tenth of 300."""

TEMPERATURES: dict[CostName, float] = {"pose": 0.5, "features": 0.01, "pixels": 0.005}
"""Temperature of MPPI, in the unit of the cost."""


def planning(
    runs: Sequence[Path | str],
    *,
    folder: Path | str,
    starts: int = 300,
    seed: int = 0,
    first_start: int = SEEDS["starts"][0],
    decisions: int = DECISIONS,
    window: int = 4,
    rows: tuple[RowName, ...] = (),
    cost: CostName = "pose",
    search: SearchName = "cem",
    horizon: int = GOAL_STEPS,
    receding: int = GOAL_STEPS,
    candidates: int = 64,
    iterations: int = 3,
    returns: Returned = "best",
    freely: bool = False,
    ceiling: bool = True,
    yardstick_episodes: int = 12_000,
    yardstick_updates: int = YARDSTICK_UPDATES,
    device: str | torch.device | None = None,
) -> Path:
    """
    Plan for PushT in the true simulator.

    Rows: `random`; `scripted`, which does not know the goal; `goal_agent`, which walks to the goal's agent; planning
    as if nothing moved, `copy_last`; in a small network over true states, `state_model`; in `base`, `control` and
    `rlvr`; in the true physics, by the same cost of its frames, `simulator`, and by its true states,
    `simulator_true_pose`.

    Args:
        runs (`Sequence[Path]`):
            Output folders of runs, one a training seed, each with the checkpoints that are rows.
        folder (`Path`):
            Where to write `planning.json`, `planning_best.gif`, `planning_worst.gif` and the pieces.
        starts (`int`, *optional*, defaults to 300):
            Number of starts; the same for all rows, and none is dropped.
        seed (`int`, *optional*, defaults to 0):
            Seed of planners and policies.
        first_start (`int`, *optional*, defaults to 90000):
            Seed of the first start.
        decisions (`int`, *optional*, defaults to 10):
            Largest number of decisions of an attempt, each of 5 control steps.
        window (`int`, *optional*, defaults to 4):
            Steps that the models were trained to predict in one window; beyond them it slides.
        rows (`tuple[str, ...]`, *optional*):
            Rows to measure; all by default.
        cost (`str`, *optional*, defaults to `"pose"`):
            `"pose"`, see [`~rlvr_world_hf.worlds.pusht.pose_cost.PoseCost`]; `"features"` or `"pixels"`, see
            `WEIGHTS`. Rows that plan by true states have the cost of the pose, whatever this is.
        search (`str`, *optional*, defaults to `"cem"`):
            `"cem"`, `"icem"` or `"mppi"`.
        horizon (`int`, *optional*, defaults to 5):
            Decisions of a plan.
        receding (`int`, *optional*, defaults to 5):
            Decisions of a plan that are taken before the next search: with 5, two plans are carried out as they are.
        candidates (`int`, *optional*, defaults to 64):
            Candidates of an iteration.
        iterations (`int`, *optional*, defaults to 3):
            Iterations of a search.
        returns (`str`, *optional*, defaults to `"best"`):
            What a plan of CEM is: `"best"`, the best candidate, or `"mean"`, the last mean. iCEM takes the best, MPPI
            whichever costs less.
        freely (`bool`, *optional*, defaults to `False`):
            Whether all ten numbers of a decision are searched for, as stable-worldmodel does, and not a move of two.
        ceiling (`bool`, *optional*, defaults to `True`):
            Whether to plan in the true simulator too; those rows take longest.
        yardstick_episodes (`int`, *optional*, defaults to 12000):
            Training episodes of `state_model`, recorded and trained on once.
        yardstick_updates (`int`, *optional*, defaults to 8000):
            Updates of it.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `planning.json`, see [`~rlvr_world_hf.findings.attempts.measure_agents`].

    Raises:
        FileNotFoundError: If a checkpoint is not there.
        ValueError: If there is no run or start, or a checkpoint is no world model of PushT's frames, 0.5 s apart.
    """
    asked = [row for row in (rows or get_args(RowName)) if ceiling or row not in CEILINGS]
    load = cache(partial(WorldModelPipeline.from_pretrained, device=device))
    # All runs are of one recipe, so the first model tells the form of the frames.
    form = PushTForm.of(load(find_checkpoints(runs, starts, models=MODELS[:1])[MODELS[0]][0]).processor)
    task = cache(partial(PushTTask, **_task_settings(form)))
    planner, settings = make_planner(
        search, cost, horizon=horizon, candidates=candidates, iterations=iterations, returns=returns
    )
    how: dict[str, Any] = {"freely": freely, "receding": receding}

    @cache
    def state_model() -> Any:
        return trained_yardstick(form, episodes=yardstick_episodes, updates=yardstick_updates)[0]

    def copied(goal: PushTTask, drawn: int) -> Decide:
        return copied_moves(goal_cost(goal.goal_frame, cost), planner, seed=drawn, **how)

    def by_states(goal: PushTTask, drawn: int) -> Decide:
        return state_moves(state_model(), _goal_places(goal).of_places, planner, seed=drawn, **how)

    def imagined(checkpoint: Path) -> Agent:
        return lambda goal, drawn: imagined_moves(
            load(checkpoint), goal_cost(goal.goal_frame, cost), planner, seed=drawn, window=window, **how
        )

    def simulated(goal: PushTTask, drawn: int) -> Decide:
        return simulated_moves(goal_cost(goal.goal_frame, cost), planner, seed=drawn, **how)

    def simulated_states(goal: PushTTask, drawn: int) -> Decide:
        places = _goal_places(goal)
        return simulated_moves(
            lambda states: places.of_places(read_states(states)), planner, seed=drawn, shows="states", **how
        )

    without_model: dict[str, Agent] = {
        "random": lambda goal, drawn: random_moves(drawn),
        "scripted": lambda goal, drawn: scripted_moves(drawn),
        "goal_agent": lambda goal, drawn: goal_agent_moves(goal.goal_frame),
        "copy_last": copied,
        "state_model": by_states,
    }
    with_true_world: dict[str, Agent] = {"simulator": simulated, "simulator_true_pose": simulated_states}
    comparison = Comparison(
        finding="planning",
        begin=task,
        attempt=partial(attempt, decisions=decisions),
        without_model={name: agent for name, agent in without_model.items() if name in asked},
        with_model=imagined,
        with_true_world={name: agent for name, agent in with_true_world.items() if name in asked},
        metrics_of=_metrics_of,
        models=tuple(name for name in CHECKPOINTS if name in asked),
        protocol={
            "decisions": decisions,
            "goal_steps": GOAL_STEPS,
            "search": search,
            "planner": settings,
            **how,
            "cost": cost,
            "weights": dict(WEIGHTS.get(cost, {})),
            "window": window,
            "yardstick": {"episodes": yardstick_episodes, "updates": yardstick_updates},
            **_task_settings(form),
        },
        revision=REVISION,
    )
    path, attempts = measure_agents(comparison, runs, folder=folder, starts=starts, first_start=first_start, seed=seed)
    if MODELS[-1] in attempts:
        draw_videos(attempts, task, Path(folder))
    return path


def goal_cost(goal_frame: np.ndarray, cost: CostName = "pose") -> Callable[[torch.Tensor], torch.Tensor]:
    """The cost of PushT's frames against a goal frame `(3, H, W)`, uint8, by its name."""
    goal = as_frames(goal_frame)
    if cost == "pose":
        return PoseCost(read_frames(goal))
    weights = WEIGHTS[cost]
    parts: list[VerifiableReward] = [MAEReward(), FeatureDistanceReward(aggregation="last"), AgentPositionReward()]
    # Where no agent is found in the goal frame, there is no position to compare with.
    shown = [
        reward
        for reward in parts
        if reward.name in weights and not reward.score(goal[None, None], goal[None, None]).isnan().any()
    ]
    return GoalCost(goal_frame, {reward: weights[reward.name] for reward in shown})


def make_planner(
    search: SearchName, cost: CostName, *, horizon: int, candidates: int, iterations: int, returns: Returned
) -> tuple[Planner, dict[str, Any]]:
    """A planner by its name, and its settings as the record has them."""
    settings: dict[str, Any] = {"horizon": horizon, "candidates": candidates, "iterations": iterations}
    elites = {"elites": max(2, round(ELITES * candidates))}
    if search == "mppi":
        settings |= {"temperature": TEMPERATURES[cost], "spread": 0.25}
        return PathIntegralPlanner(**settings), settings
    settings |= {**elites, "spread": 0.5}
    if search == "icem":
        return ImprovedCrossEntropyPlanner(**settings), settings
    return CrossEntropyPlanner(**settings, returns=returns), {**settings, "returns": returns}


def _goal_places(goal: PushTTask) -> PoseCost:
    """The cost of places against a goal's true state."""
    return PoseCost(read_states(torch.from_numpy(goal.goal_state).float()))


def _task_settings(form: PushTForm) -> dict[str, Any]:
    """Size and interval of the frames that a model of PushT was trained on, and its law of actions."""
    if form.frame_interval != FRAME_INTERVAL:
        raise ValueError(
            f"Expected frames {FRAME_INTERVAL} s apart, as goals lie {GOAL_STEPS} decisions of that length ahead, got "
            f"a model of frames {form.frame_interval:g} s apart; give the run of a recipe such as pusht/quickstart."
        )
    return {
        "image_size": form.image_size,
        "frame_interval": form.frame_interval,
        "action_law": form.action_law,
    }


def _metrics_of(piece: Piece) -> dict[str, float]:
    success = float(piece["is_success"])
    # Where the block is at its goal from the start, success says nothing about moving it.
    is_to_move = piece["block_path"] > POSITION_TOLERANCE or piece["block_turn"] > ANGLE_TOLERANCE
    return {
        **({"success_block_moves": success} if is_to_move else {}),
        "success": success,
        "position_distance": piece["position_distance"],
        "angle_distance": piece["angle_distance"],
        "decisions": float(len(piece["actions"])),
        "seconds_per_decision": mean_seconds(piece),
    }


APPLICATION = Application(
    recipe="pusht/quickstart",
    measure=planning,
    window="window",
    options=(
        "starts",
        "decisions",
        "rows",
        "cost",
        "search",
        "horizon",
        "receding",
        "candidates",
        "iterations",
        "returns",
        "freely",
        "ceiling",
        "yardstick_episodes",
        "yardstick_updates",
    ),
    metrics=("success_block_moves", "success", "position_distance", "decisions", "seconds_per_decision"),
)
