"""
Videos of attempts at PushT: the goal, and beside it what each way to decide came to, at the best and the worst start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont

from ..worlds.pusht.task import POSITION_TOLERANCE, PushTTask
from .attempts import MODELS, Piece


SIDE, LABEL = 256, 24
"""Height and width of a panel of a video, and height of its title, in pixels."""


def draw_videos(of_rows: Mapping[str, list[list[Piece]]], task: Callable[[int], PushTTask], folder: Path) -> None:
    """
    The starts at which the last model did best and worst: the goal, and what each way to decide came to there.

    Starts at which the block is at its goal already are taken only if there are no others.
    """
    attempts = of_rows[MODELS[-1]][0]
    told = [number for number, piece in enumerate(attempts) if piece["block_path"] > POSITION_TOLERANCE]
    order = sorted(
        told or range(len(attempts)),
        key=lambda number: (
            not attempts[number]["is_success"],
            len(attempts[number]["targets"]),
            attempts[number]["position_distance"],
        ),
    )
    for name, number in (("best", order[0]), ("worst", order[-1])):
        goal = task(attempts[number]["start"])
        films = {"goal": goal.goal_frame[None]}
        for row in (*MODELS, "simulator"):
            if row in of_rows:
                piece = of_rows[row][0][number]
                films[f"{row}: {'reached' if piece['is_success'] else 'missed'}"] = _film(goal, piece["targets"])
        images = list(_panels(films))
        images[0].save(
            folder / f"planning_{name}.gif",
            save_all=True,
            append_images=images[1:],
            duration=[400] * (len(images) - 1) + [1600],
            loop=0,
        )


def _film(task: PushTTask, targets: Sequence[Sequence[float]]) -> np.ndarray:
    """The frames `(1 + T, 3, H, W)` of an attempt, from its start on."""
    world = task.start()
    for target in targets:
        world.hold(np.asarray(target))
    return world.seen(len(targets) + 1)


def _panels(films: Mapping[str, np.ndarray]) -> Iterator[Image.Image]:
    """All films side by side, moment by moment; one that has ended stays."""
    font = ImageFont.load_default(size=LABEL * 0.6)
    for moment in range(max(map(len, films.values()))):
        picture = Image.new("RGB", (SIDE * len(films), SIDE + LABEL), "white")
        draw = ImageDraw.Draw(picture)
        for place, (title, frames) in enumerate(films.items()):
            frame = rearrange(frames[min(moment, len(frames) - 1)], "c h w -> h w c")
            panel = Image.fromarray(frame).resize((SIDE - 2, SIDE - 2), Image.Resampling.NEAREST)
            picture.paste(panel, (SIDE * place + 1, LABEL + 1))
            draw.text((SIDE * place + 6, 4), title, fill="black", font=font)
        yield picture
