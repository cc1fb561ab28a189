"""
The evidence on planning with text: quests of TextWorld, reactive against guided by a world model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.textworld import make_game
from ..pipeline import WorldModelPipeline
from ..planning.enumeration import EnumerationPlanner
from ..planning.text_game import (
    attempt_game,
    guided_commands,
    predicted_changes,
    quest_goal,
    reactive_commands,
    true_changes,
)
from .attempts import (
    FIRST_START,
    MODELS,
    Piece,
    Row,
    digest_weights,
    evidence_record,
    find_checkpoints,
    make_attempts,
    mean_by_start,
    seed_of_start,
)
from .progress import write_json


def text_planning(
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
            Where to write `planning_text.json` and the finished attempts.
        starts (`int`, *optional*, defaults to 50):
            Number of games; the same for all rows.
        seed (`int`, *optional*, defaults to 0):
            Of what is drawn.
        first_start (`int`, *optional*, defaults to 5000000):
            Seed of the first game.
        commands (`int`, *optional*, defaults to 10):
            Most commands of an attempt.
        horizon (`int`, *optional*, defaults to 2):
            Commands looked ahead.
        rooms (`int`, *optional*, defaults to 2):
            Rooms of a game.
        objects (`int`, *optional*, defaults to 5):
            Things of a game.
        quest_length (`int`, *optional*, defaults to 3):
            Commands that solve a game.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `planning_text.json`, in the form of [`planning`].

    Raises:
        FileNotFoundError: If a checkpoint is not there.
        ValueError: If there is no run or start.
    """
    places = find_checkpoints(runs, starts)
    load = cache(partial(WorldModelPipeline.from_pretrained, device=device))
    game = cache(partial(make_game, rooms=rooms, objects=objects, quest_length=quest_length))
    sizes = {"rooms": rooms, "objects": objects, "quest_length": quest_length}
    protocol = {"commands": commands, "horizon": horizon, **sizes}

    def row(name: str, decide: Callable[[Any, int], Any], **settings: Any) -> Row:
        def try_start(start: int) -> Any:
            played = game(start)
            return attempt_game(played, decide(played, seed_of_start(seed, start)), commands=commands)

        return Row(name=name, settings={**protocol, "seed": seed, **settings}, try_start=try_start)

    def guided(predict: Callable[[Any], Any], played: Any, of_start: int) -> Any:
        planner = EnumerationPlanner(horizon=horizon)
        return guided_commands(predict(played), quest_goal(played), planner, seed=of_start)

    def imagined(place: Path, played: Any) -> Any:
        return predicted_changes(load(place))

    rows = [row("reactive", lambda played, of_start: reactive_commands(of_start))]
    for name in MODELS:
        for place in places[name]:
            rows.append(row(name, partial(guided, partial(imagined, place)), weights=digest_weights(place)))
    rows.append(row("game", partial(guided, true_changes)))
    of_rows = make_attempts(rows, [first_start + number for number in range(starts)], Path(folder))
    measured = {name: mean_by_start(pieces, _measure_game) for name, pieces in of_rows.items()}
    record = evidence_record("planning_text", runs, of_rows, measured, seed=seed, starts=starts, protocol=protocol)
    path = Path(folder, "planning_text.json")
    write_json(path, record)
    return path


def _measure_game(piece: Piece) -> dict[str, float]:
    return {
        "success": float(piece["is_success"]),
        "value": piece["value"],
        "commands": float(len(piece["commands"])),
        "seconds_per_decision": float(np.mean(piece["seconds"] or [0.0])),
    }
