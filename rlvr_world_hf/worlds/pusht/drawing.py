"""The way to go, drawn on a frame of PushT, and the point of the world that a pixel of a frame shows."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...playground.drawing import enlarge
from ...playground.play import Plan, Play, Target
from .policies import WORLD_SIZE


INK = (200, 30, 60)


def target_at(x: float, y: float, size: int) -> Target:
    """
    The point of the world that a pixel of a frame shows.

    Args:
        x (`float`):
            Column of the pixel, from the left, in `[0, size)`.
        y (`float`):
            Row of the pixel, from above, in `[0, size)`.
        size (`int`):
            Height and width of the frame as shown.

    Returns:
        `tuple[float, float]`: `(x, y)` in world units.

    Example:

    ```python
    >>> target_at(0, 255, 256)
    (1.0, 511.0)

    ```
    """
    return (x + 0.5) * WORLD_SIZE / size, (y + 0.5) * WORLD_SIZE / size


def draw_plan(play: Play, plan: Plan, size: int) -> np.ndarray:
    """
    The present frame with the way to go: a dot where each step aims, a number at each target.

    Args:
        play ([`~rlvr_world_hf.playground.play.Play`]):
            What was done so far.
        plan ([`~rlvr_world_hf.playground.play.Plan`]):
            What is to be done.
        size (`int`):
            Height and width of the picture, a multiple of the frame's.

    Returns:
        `numpy.ndarray` of shape `(size, size, 3)`, uint8 RGB.
    """
    picture = Image.fromarray(enlarge(play.now, size))
    draw, unit = ImageDraw.Draw(picture), size / WORLD_SIZE
    way = [(x * unit, y * unit) for x, y in (play.agent, *plan.aims)]
    draw.line(way, fill=INK, width=round(3 * unit))
    for point in way[1:]:
        draw.circle(point, 5 * unit, fill=INK)
    font = ImageFont.load_default(size=18 * unit)
    for number, (x, y) in enumerate(plan.targets, start=1):
        draw.circle((x * unit, y * unit), 14 * unit, fill=INK, outline="white", width=round(2 * unit))
        draw.text((x * unit, y * unit), str(number), fill="white", font=font, anchor="mm")
    return np.array(picture)
