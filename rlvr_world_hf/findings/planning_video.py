"""Videos of attempts at PushT: the goal, and beside it the attempt of each agent, at the best and the worst start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont

from ..worlds.pusht.task import ANGLE_TOLERANCE, POSITION_TOLERANCE, PushTTask
from .attempts import MODELS
from .pieces import Piece


SIDE, LABEL = 256, 24
"""Height and width of a panel of a video, and height of its title, in pixels."""


def draw_videos(attempts: Mapping[str, list[list[Piece]]], task: Callable[[int], PushTTask], folder: Path) -> None:
    """
    Draw `planning_best.gif` and `planning_worst.gif`, of the starts at which rlvr's first training seed did so.

    Best is a success of few decisions, worst a failure that ended far from the goal. Starts at which the block is at
    its goal already are taken only if there are no others.

    Args:
        attempts (`Mapping[str, list]`):
            Row -> training seed -> start -> attempt, as of [`~rlvr_world_hf.findings.attempts.make_attempts`].
        task (`Callable`):
            The task at the start of that number.
        folder (`Path`):
            Where to write the videos.
    """
    judged = attempts[MODELS[-1]][0]
    to_move = [
        number
        for number, piece in enumerate(judged)
        if piece["block_path"] > POSITION_TOLERANCE or piece["block_turn"] > ANGLE_TOLERANCE
    ]
    order = sorted(
        to_move or range(len(judged)),
        key=lambda number: (
            not judged[number]["is_success"],
            len(judged[number]["actions"]),
            judged[number]["position_distance"],
        ),
    )
    for name, number in (("best", order[0]), ("worst", order[-1])):
        goal = task(judged[number]["start"])
        films = {"goal": goal.goal_frame[None]}
        for row in (*MODELS, "simulator"):
            if row in attempts:
                piece = attempts[row][0][number]
                films[f"{row}: {'reached' if piece['is_success'] else 'missed'}"] = _film(goal, piece["actions"])
        images = list(_panels(films))
        images[0].save(
            folder / f"planning_{name}.gif",
            save_all=True,
            append_images=images[1:],
            # The last frame stays for a while before the film begins again.
            duration=[400] * (len(images) - 1) + [1600],
            loop=0,
        )


def _film(task: PushTTask, actions: Sequence[Sequence[float]]) -> np.ndarray:
    """The frames `(1 + T, 3, H, W)` of an attempt, from its start on."""
    world = task.start()
    for action in actions:
        world.act(np.asarray(action))
    return world.seen(len(actions) + 1)


def _panels(films: Mapping[str, np.ndarray]) -> Iterator[Image.Image]:
    """All films side by side, frame by frame; one that has ended keeps its last frame."""
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
