"""Pictures of a play as arrays: enlarged frames, and errors as a heat map."""

import numpy as np
from einops import repeat


ERROR_GAIN = 2.0
"""Errors of `1 / ERROR_GAIN` or more are drawn in the last colour of the map."""

HEAT = np.array([(255, 255, 255), (253, 205, 130), (236, 104, 60), (150, 15, 60)], dtype=np.float64)
"""Colours of the heat map, evenly from no error to the largest."""


def enlarge(frames: np.ndarray, size: int) -> np.ndarray:
    """
    Enlarge frames by repeating pixels. Nothing is smoothed, so that one sees what a model has drawn.

    Args:
        frames (`numpy.ndarray` of shape `(..., H, W, 3)`):
            Frames.
        size (`int`):
            Height and width of the result, a multiple of `H` and `W`.

    Returns:
        `numpy.ndarray` of shape `(..., size, size, 3)`, of the same type.

    Raises:
        `ValueError`: If `size` is no multiple of height and width.
    """
    height, width = frames.shape[-3:-1]
    if size % height or size % width:
        raise ValueError(f"Expected `size` to be a multiple of {height} and {width}, got {size}.")
    return repeat(frames, "... h w c -> ... (h a) (w b) c", a=size // height, b=size // width)


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
    # Not in uint8, whose differences wrap around.
    error = np.abs(predicted.astype(np.float64) - truth).mean(axis=(0, -1)) / 255  # (S, H, W)
    place = np.clip(error * ERROR_GAIN, 0, 1)
    stops = np.linspace(0, 1, len(HEAT))
    colours = [np.interp(place, stops, HEAT[:, channel]) for channel in range(3)]
    return np.stack(colours, axis=-1).round().astype(np.uint8)
