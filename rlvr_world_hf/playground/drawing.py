"""Pictures of a play as arrays: enlarged frames, the way to go, and errors as a heat map."""

import numpy as np
from einops import repeat
from PIL import Image, ImageDraw, ImageFont

from ..data.pusht import WORLD_SIZE
from .video import Plan, Play, Target


INK = (200, 30, 60)

ERROR_GAIN = 2.0
"""Errors of `1 / ERROR_GAIN` or more are drawn in the last colour of the map."""

HEAT = np.array([(255, 255, 255), (253, 205, 130), (236, 104, 60), (150, 15, 60)], dtype=np.float64)
"""Colours of the heat map, evenly from no error to the largest."""


def enlarge(frames: np.ndarray, size: int) -> np.ndarray:
    """
    Repeat pixels, as nothing is to be smoothed in what a model has drawn.

    Args:
        frames (`numpy.ndarray` of shape `(..., H, W, 3)`):
            Frames.
        size (`int`):
            Height and width to come, a multiple of `H` and `W`.

    Returns:
        `numpy.ndarray` of shape `(..., size, size, 3)`, of the same type.

    Raises:
        `ValueError`: If `size` is no multiple of height and width.
    """
    height, width = frames.shape[-3:-1]
    if size % height or size % width:
        raise ValueError(f"Expected `size` to be a multiple of {height} and {width}, got {size}.")
    return repeat(frames, "... h w c -> ... (h a) (w b) c", a=size // height, b=size // width)


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
        play ([`~rlvr_world_hf.playground.video.Play`]):
            What was done so far.
        plan ([`~rlvr_world_hf.playground.video.Plan`]):
            What is to be done.
        size (`int`):
            Height and width of the picture, a multiple of the frame's.

    Returns:
        `numpy.ndarray` of shape `(size, size, 3)`, uint8 RGB.
    """
    picture = Image.fromarray(enlarge(play.now, size))
    draw, unit = ImageDraw.Draw(picture), size / WORLD_SIZE
    way = [(x * unit, y * unit) for x, y in (play.agent, *plan.actions)]
    draw.line(way, fill=INK, width=round(3 * unit))
    for point in way[1:]:
        draw.circle(point, 5 * unit, fill=INK)
    font = ImageFont.load_default(size=18 * unit)
    for number, (x, y) in enumerate(plan.targets, start=1):
        draw.circle((x * unit, y * unit), 14 * unit, fill=INK, outline="white", width=round(2 * unit))
        draw.text((x * unit, y * unit), str(number), fill="white", font=font, anchor="mm")
    return np.array(picture)


def heat_map(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """
    Where a prediction is wrong: the mean over colours and samples of the absolute difference, from white to dark red.

    Args:
        predicted (`numpy.ndarray` of shape `(G, S, H, W, 3)`):
            Predicted frames, uint8 RGB.
        truth (`numpy.ndarray` of shape `(S, H, W, 3)`):
            The frames they stand for, uint8 RGB.

    Returns:
        `numpy.ndarray` of shape `(S, H, W, 3)`, uint8 RGB.

    Example:

    ```python
    >>> right, wrong = np.zeros((1, 1, 1, 2, 3), np.uint8), np.zeros((1, 1, 2, 3), np.uint8)
    >>> wrong[..., 1, :] = 255
    >>> heat_map(right, wrong)[0, 0].tolist()
    [[255, 255, 255], [150, 15, 60]]

    ```
    """
    error = np.abs(predicted.astype(np.float64) - truth).mean(axis=(0, -1)) / 255  # (S, H, W)
    place = np.clip(error * ERROR_GAIN, 0, 1)
    stops = np.linspace(0, 1, len(HEAT))
    colours = [np.interp(place, stops, HEAT[:, channel]) for channel in range(3)]
    return np.stack(colours, axis=-1).round().astype(np.uint8)
