"""Ladder: how often a world model has the block where it is, some decisions ahead; what bases are judged by."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...evaluation.json_files import write_json
from ...findings.ladder import STEPS, YARDSTICK_UPDATES, ladder_table, measure_ladder
from ...findings.ladder_history import add_to_history, draw_history, trained_so_far
from ...pipeline import WorldModelPipeline
from ...runs.echo import echo
from ...runs.keys import fill, key, keys_of
from ...runs.recipe import parse_overrides
from ..help import describe


USAGE = """usage: rlvr-world ladder CHECKPOINT [--key value ...]

Predicts held-out windows with a world model (a folder, the name of a bundled one, or a Hub id), reads agent and block
from the predicted frames, and prints a table: the share of windows whose block is within 20 units and 20 degrees of
the truth, and errors. The moves of each policy stand apart. Beside the model are rows of its last given frame
(copy_last) and of the true frames as its codes hold them (tokenizer_floor).

keys:
{keys}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderSettings:
    """What is measured, and how it is predicted."""

    windows: int = key(100, "Held-out windows of each policy.")
    steps: list[int] = key(list(STEPS), "Decisions, of one predicted frame each, after which it is measured.")
    policies: list[str] = key([], "Policies, among those of the model's law of actions; all if none is given.")
    horizon: int = key(4, "Frames that the model was trained to predict at once; then its window slides.")
    temperature: float = key(0.0, "Divides the logits; 0 takes the likeliest token.")
    seed: int = key(0, "Seed of the noise, at a temperature above 0.")
    yardstick_episodes: int = key(
        0, "Episodes to train a network on that predicts states from states, for a row of its own; 0 for none."
    )
    yardstick_updates: int = key(YARDSTICK_UPDATES, "Updates of that network.")
    device: str = key("", "Where the model computes; a CUDA device if there is one.")
    output: str = key("", "JSON file to write.")
    history: str = key(
        "", "JSON file to add to, for a training's checkpoint; a PNG beside it shows shares over hours."
    )


def ladder(words: Sequence[str]) -> int:
    """
    Measure a checkpoint and print its table.

    Args:
        words (`Sequence[str]`):
            The checkpoint and `--key value` pairs, as after `rlvr-world ladder`.

    Returns:
        `int`: 0, or 2 without a checkpoint.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If a key is unknown, or it is no world model that can be measured.
    """
    asks = bool({"-h", "--help"} & set(words))
    if asks or not words or words[0].startswith("-"):
        echo(USAGE.format(keys="\n".join(describe(keys_of(LadderSettings)))))
        return 0 if asks else 2
    settings = fill(LadderSettings, parse_overrides(words[1:]), where="ladder")
    trained = trained_so_far(words[0]) if settings.history else {}
    device = torch.device(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = torch.float32 if device.type == "cpu" else None
    pipeline = WorldModelPipeline.from_pretrained(words[0], device=device, dtype=dtype)
    began = time.perf_counter()
    record = measure_ladder(
        pipeline,
        checkpoint=words[0],
        windows=settings.windows,
        steps=settings.steps,
        horizon=settings.horizon,
        temperature=settings.temperature,
        seed=settings.seed,
        policies=settings.policies,
        yardstick_episodes=settings.yardstick_episodes,
        yardstick_updates=settings.yardstick_updates,
    )
    echo(f"{ladder_table(record)}\n{time.perf_counter() - began:.0f} s on {record['machine']}")
    if settings.output:
        echo(f"{write_json(record, Path(settings.output))}")
    if settings.history:
        file = Path(settings.history)
        draw_history(add_to_history(record, file, trained=trained), file.with_suffix(".png"))
        echo(f"{file}")
    return 0
