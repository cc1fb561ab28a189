"""
The evidence on planning: goals of PushT in the true simulator, by DINO-WM's protocol (see `worlds/pusht/task.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...pipeline import WorldModelPipeline
from ...planning.cross_entropy import CrossEntropyPlanner
from ...planning.goal_cost import GoalCost
from ...rewards.base import VerifiableReward, as_frames
from ...rewards.pixel import MAEReward
from ...worlds.pusht.form import PushTForm
from ...worlds.pusht.moves import imagined_moves, random_moves, scripted_moves, simulated_moves
from ...worlds.pusht.rewards import AgentPositionReward
from ...worlds.pusht.task import DECISIONS, FRAME_INTERVAL, GOAL_STEPS, POSITION_TOLERANCE, Decide, PushTTask, attempt
from ..application import Application
from ..attempts import FIRST_START, MODELS, Agent, Comparison, find_checkpoints, mean_seconds, measure_agents
from ..pieces import Piece
from ..planning_video import draw_videos


PLANNER: dict[str, Any] = {"horizon": 3, "candidates": 32, "iterations": 2, "elites": 6, "spread": 0.5}
"""Settings of CEM, small enough for two CPU cores; DINO-WM's planner draws more candidates in more iterations."""

COST = {"mae": 1.0, "agent_position_mae": 0.1}
"""Weights of the cost against the goal frame: error of pixels, and of the agent's position in frame widths."""


def planning(
    runs: Sequence[Path | str],
    *,
    folder: Path | str,
    starts: int = 50,
    seed: int = 0,
    first_start: int = FIRST_START,
    decisions: int = DECISIONS,
    window: int = 4,
    device: str | torch.device | None = None,
    ceiling: bool = True,
) -> Path:
    """
    Plan for PushT in the true simulator: random, scripted, base, rlvr, and the simulator itself as the model.

    Args:
        runs (`Sequence[Path]`):
            Output folders of runs, one a training seed, each with the checkpoints `base` and `rlvr`.
        folder (`Path`):
            Where to write `planning.json`, `planning_best.gif`, `planning_worst.gif` and the pieces.
        starts (`int`, *optional*, defaults to 50):
            Number of starts; the same for all rows.
        seed (`int`, *optional*, defaults to 0):
            Seed of planners and policies.
        first_start (`int`, *optional*, defaults to 5000000):
            Seed of the first start.
        decisions (`int`, *optional*, defaults to 10):
            Largest number of decisions of an attempt.
        window (`int`, *optional*, defaults to 4):
            Steps that the models were trained to predict in one window; beyond them it slides.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.
        ceiling (`bool`, *optional*, defaults to `True`):
            Whether to plan in the true simulator too; that row takes longest.

    Returns:
        `Path`: `planning.json`, see [`~rlvr_world_hf.findings.attempts.measure_agents`].

    Raises:
        FileNotFoundError: If a checkpoint is not there.
        ValueError: If there is no run or start, or a checkpoint is no world model of PushT's frames, 0.5 s apart.
    """
    load = cache(partial(WorldModelPipeline.from_pretrained, device=device))
    # All runs are of one recipe, so the first model tells the form of the frames.
    form = _form(load(find_checkpoints(runs, starts)[MODELS[0]][0]))
    task = cache(partial(PushTTask, **form))
    planner = partial(CrossEntropyPlanner, **PLANNER)

    def imagined(checkpoint: Path) -> Agent:
        return lambda goal, seed_of_start: imagined_moves(
            load(checkpoint), goal_cost(goal.goal_frame), planner(), seed=seed_of_start, window=window
        )

    def simulated(goal: PushTTask, seed_of_start: int) -> Decide:
        return simulated_moves(goal_cost(goal.goal_frame), planner(), seed=seed_of_start)

    comparison = Comparison(
        finding="planning",
        begin=task,
        attempt=partial(attempt, decisions=decisions),
        without_model={
            "random": lambda goal, seed_of_start: random_moves(seed_of_start),
            "scripted": lambda goal, seed_of_start: scripted_moves(seed_of_start),
        },
        with_model=imagined,
        with_true_world={"simulator": simulated} if ceiling else {},
        metrics_of=_metrics_of,
        protocol={
            "decisions": decisions,
            "goal_steps": GOAL_STEPS,
            "planner": PLANNER,
            "cost": COST,
            "window": window,
            **form,
        },
    )
    path, attempts = measure_agents(comparison, runs, folder=folder, starts=starts, first_start=first_start, seed=seed)
    draw_videos(attempts, task, Path(folder))
    return path


def goal_cost(goal_frame: np.ndarray) -> GoalCost:
    """The cost of PushT's frames against a goal frame `(3, H, W)`, uint8; see `COST`."""
    goal = as_frames(goal_frame)[None, None]  # (1, 1, 3, H, W)
    rewards: list[VerifiableReward] = [MAEReward(), AgentPositionReward()]
    # Where no agent is found in the goal frame, there is no position to compare with.
    shown = [reward for reward in rewards if not reward.score(goal, goal).isnan().any()]
    return GoalCost(goal_frame, {reward: COST[reward.name] for reward in shown})


def _form(pipeline: WorldModelPipeline) -> dict[str, Any]:
    """Size and interval of the frames that a model of PushT was trained on, and its law of actions."""
    form = PushTForm.of(pipeline.processor)
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
    moves = {"success_block_moves": success} if piece["block_path"] > POSITION_TOLERANCE else {}
    return {
        "success": success,
        **moves,
        "position_distance": piece["position_distance"],
        "angle_distance": piece["angle_distance"],
        "decisions": float(len(piece["actions"])),
        "seconds_per_decision": mean_seconds(piece),
    }


APPLICATION = Application(
    recipe="pusht/quickstart",
    measure=planning,
    window="window",
    options=("starts", "decisions", "ceiling"),
    metrics=("success", "success_block_moves", "position_distance", "decisions", "seconds_per_decision"),
)
