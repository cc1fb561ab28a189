"""
The evidence on planning with text: quests of TextWorld, reactive against guided by a world model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from ...pipeline import WorldModelPipeline
from ...planning.enumeration import EnumerationPlanner
from ...planning.text_agent import Predict, reactive_actions
from ...worlds.textworld.games import make_game
from ...worlds.textworld.quests import attempt_game, guided_commands, predicted_changes, quest_goal, true_changes
from ..application import Application
from ..attempts import FIRST_START, Agent, Comparison, measure_agents, text_metrics


def planning_text(
    runs: Sequence[Path | str],
    *,
    folder: Path | str,
    starts: int = 50,
    seed: int = 0,
    first_start: int = FIRST_START,
    commands: int = 10,
    horizon: int = 2,
    rooms: int = 2,
    objects: int = 5,
    quest_length: int = 3,
    device: str | torch.device | None = None,
) -> Path:
    """
    Play quests of TextWorld: reactive, guided by base or rlvr, and by the game itself.

    Args:
        runs (`Sequence[Path]`):
            Output folders of runs, one a training seed, each with the checkpoints `base` and `rlvr`.
        folder (`Path`):
            Where to write `planning_text.json` and the pieces.
        starts (`int`, *optional*, defaults to 50):
            Number of games; the same for all rows.
        seed (`int`, *optional*, defaults to 0):
            Seed of what agents draw.
        first_start (`int`, *optional*, defaults to 5000000):
            Seed of the first game.
        commands (`int`, *optional*, defaults to 10):
            Largest number of commands of an attempt.
        horizon (`int`, *optional*, defaults to 2):
            Number of commands that a plan looks ahead.
        rooms (`int`, *optional*, defaults to 2):
            Number of rooms of a game.
        objects (`int`, *optional*, defaults to 5):
            Number of objects of a game.
        quest_length (`int`, *optional*, defaults to 3):
            Number of commands that solve a game.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `planning_text.json`, see [`~rlvr_world_hf.findings.attempts.measure_agents`].

    Raises:
        FileNotFoundError: If a checkpoint is not there.
        ValueError: If there is no run or start.
    """
    load = cache(partial(WorldModelPipeline.from_pretrained, device=device))
    sizes = {"rooms": rooms, "objects": objects, "quest_length": quest_length}

    def guided(changes_in: Callable[[Any], Predict]) -> Agent:
        return lambda game, seed_of_start: guided_commands(
            changes_in(game), quest_goal(game), EnumerationPlanner(horizon=horizon), seed=seed_of_start
        )

    comparison = Comparison(
        finding="planning_text",
        begin=cache(partial(make_game, **sizes)),
        attempt=partial(attempt_game, commands=commands),
        without_model={"reactive": lambda game, seed_of_start: reactive_actions(seed_of_start)},
        with_model=lambda checkpoint: guided(lambda game: predicted_changes(load(checkpoint))),
        with_true_world={"game": guided(true_changes)},
        metrics_of=partial(text_metrics, actions="commands"),
        protocol={"commands": commands, "horizon": horizon, **sizes},
    )
    return measure_agents(comparison, runs, folder=folder, starts=starts, first_start=first_start, seed=seed)[0]


APPLICATION = Application(
    recipe="textworld/quickstart",
    measure=planning_text,
    options=("starts", "commands", "horizon"),
    metrics=("success", "value", "commands", "seconds_per_decision"),
)
