"""
Pictures of a run: the strip of reference, predictions and errors as PNG and GIF, sensors as lines over time, and the
learning curves.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont


GAP = 4
WHITE = (255, 255, 255)
INK = (30, 30, 30)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
CURVES = {
    "eval_loss": "validation loss, nats a token",
    "reward": "reward, mean of an update",
    "kl": "KL to base, nats a token",
    "entropy": "entropy, nats a token",
}
NOISY_FROM = 20


def strip(
    context: torch.Tensor,
    reference: torch.Tensor,
    predictions: Mapping[str, torch.Tensor],
    *,
    path_png: str | os.PathLike[str],
    path_gif: str | os.PathLike[str] | None = None,
    scale: int = 4,
    seconds_per_frame: float = 0.5,
    error_gain: float = 2.0,
) -> None:
    """
    Draw examples as rows over time: reference, each prediction, and each prediction's error.

    The first column is the last given frame. An error is the mean over channels of |predicted - reference| times
    `error_gain`: white is 0, full red is `1 / error_gain` or more. Pixels are repeated `scale` times, never smoothed.

    Args:
        context (`torch.Tensor` of shape `(E, K, 3, H, W)` or `(K, 3, H, W)`):
            Given frames of E examples, uint8 or float in `[0, 1]`, RGB.
        reference (`torch.Tensor` of shape `(E, S, 3, H, W)` or `(S, 3, H, W)`):
            What happened, in the same form.
        predictions (`Mapping[str, torch.Tensor]`):
            Label -> predicted frames of the shape of `reference`, in the order of the rows, as in `base`, `RLVR`.
        path_png (`str` or `PathLike`):
            Picture to write: examples below each other, time from left to right; in two columns where one would be
            more than twice as tall as wide.
        path_gif (`str` or `PathLike`, *optional*):
            Animation to write: one panel a row of the picture, side by side, time as time.
        scale (`int`, *optional*, defaults to 4):
            Times that each pixel is repeated.
        seconds_per_frame (`float`, *optional*, defaults to 0.5):
            Pace of the animation, and the time written above the columns.
        error_gain (`float`, *optional*, defaults to 2.0):
            Factor that makes small errors visible.

    Raises:
        `ValueError`: If a prediction has another shape than the reference, or the context another number of examples.
    """
    given, truth = _examples(context), _examples(reference)
    predicted = {name: _examples(frames) for name, frames in predictions.items()}
    for name, frames in predicted.items():
        if frames.shape != truth.shape:
            raise ValueError(
                f"{name!r} has shape {tuple(frames.shape)}, the reference {tuple(truth.shape)}; give the same."
            )
    if len(given) != len(truth):
        raise ValueError(f"`context` has {len(given)} examples and `reference` {len(truth)}; give as many.")
    rows = _rows(given[:, -1:], truth, predicted, gain=error_gain)
    enlarged = {name: frames.repeat(scale, axis=2).repeat(scale, axis=3) for name, frames in rows.items()}
    _draw_sheet(enlarged, seconds_per_frame).save(parent_made(path_png))
    if path_gif is not None:
        images = [_draw_moment(enlarged, time, seconds_per_frame) for time in range(truth.shape[1] + 1)]
        pause = round(1000 * seconds_per_frame)
        images[0].save(parent_made(path_gif), save_all=True, append_images=images[1:], duration=pause, loop=0)


def sensor_lines(
    context: torch.Tensor,
    reference: torch.Tensor,
    predictions: Mapping[str, torch.Tensor],
    *,
    path_png: str | os.PathLike[str],
    seconds_per_step: float = 1.0,
) -> None:
    """
    Draw sensors over time: a row of panels an example, a panel a dimension, in it the reference and each prediction.

    The given states are part of the reference and end at time 0, from which the predictions start.

    Args:
        context (`torch.Tensor` of shape `(E, K, P)`):
            Given states of E examples, in the unit of the data.
        reference (`torch.Tensor` of shape `(E, S, P)`):
            What happened.
        predictions (`Mapping[str, torch.Tensor]`):
            Label -> predicted states of the shape of `reference`, as in `base`, `rlvr`.
        path_png (`str` or `PathLike`):
            Picture to write.
        seconds_per_step (`float`, *optional*, defaults to 1.0):
            Seconds between two states.

    Raises:
        `ValueError`: If a prediction has another shape than the reference, or context and reference do not fit.

    Example:

    ```python
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path, states = Path(folder, "sensors.png"), torch.zeros(1, 4, 2)
    ...     sensor_lines(states[:, :1], states[:, 1:], {"base": states[:, 1:]}, path_png=path)
    ...     path.is_file()
    True

    ```
    """
    for name, states in {"context": context[:, :1], **predictions}.items():
        expected = reference[:, :1] if name == "context" else reference
        if reference.ndim != 3 or states.shape != expected.shape:
            raise ValueError(
                f"{name!r} has shape {tuple(states.shape)}, the reference {tuple(reference.shape)}; give states "
                "(E, S, P) of the same examples, steps and dimensions."
            )
    truth = torch.cat([context, reference], dim=1).float().cpu()
    (examples, steps, dims), given = truth.shape, context.shape[1]
    times = (torch.arange(steps) - given + 1) * seconds_per_step
    # Without pyplot, which chooses a backend by the display and keeps every figure open.
    figure = Figure(figsize=(2.6 * dims, 2.0 * examples + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(examples, dims, squeeze=False, sharex=True)
    for example in range(examples):
        for dim in range(dims):
            axes = panels[example][dim]
            axes.plot(times, truth[example, :, dim], label="reference", color="black", marker=".")
            for number, (name, states) in enumerate(predictions.items()):
                line = torch.cat([truth[example, given - 1 : given, dim], states[example, :, dim].float().cpu()])
                axes.plot(times[given - 1 :], line, label=name, color=f"C{number}", marker=".", alpha=0.8)
            axes.axvline(0, color="grey", linewidth=0.5)
            axes.grid(alpha=0.3)
            if example == 0:
                axes.set_title(f"sensor {dim}", fontsize=9)
            if example == examples - 1:
                axes.set_xlabel("seconds", fontsize=8)
            axes.tick_params(labelsize=7)
    panels[0][0].legend(fontsize=7)
    figure.savefig(parent_made(path_png), dpi=110)


def contact_sheet(
    episodes: Mapping[str, np.ndarray], *, path_png: str | os.PathLike[str], columns: int = 4, smallest: int = 96
) -> None:
    """
    Draw the first, middle and last frame of some episodes beside each other, under their names.

    Args:
        episodes (`Mapping[str, numpy.ndarray]`):
            Name -> frames `(T, 3, H, W)`, uint8 RGB; sizes may differ.
        path_png (`str` or `PathLike`):
            Picture to write.
        columns (`int`, *optional*, defaults to 4):
            Episodes beside each other.
        smallest (`int`, *optional*, defaults to 96):
            Width in pixels at which frames are drawn; narrower ones have each pixel repeated.

    Raises:
        `ValueError`: If there is no episode.

    Example:

    ```python
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     contact_sheet({"push": np.zeros((5, 3, 32, 32), np.uint8)}, path_png=f"{folder}/sheet.png")
    ...     with Image.open(f"{folder}/sheet.png") as picture:
    ...         picture.size
    (304, 123)

    ```
    """
    if not episodes:
        raise ValueError("Expected episodes to draw, got none; give at least one.")
    shown = {name: _enlarged(frames[[0, len(frames) // 2, -1]], smallest) for name, frames in episodes.items()}
    font, letter_height = _font(0)
    height, width = (max(frames.shape[axis] for frames in shown.values()) for axis in (1, 2))
    wide, high = 3 * (width + GAP) + GAP, height + letter_height + 4 * GAP
    columns = min(columns, len(shown))
    sheet = Image.new("RGB", (columns * wide, -(-len(shown) // columns) * high), WHITE)
    draw = ImageDraw.Draw(sheet)
    for index, (name, frames) in enumerate(shown.items()):
        x, y = GAP + index % columns * wide, GAP + index // columns * high
        draw.text((x, y), _shortened(name, wide - 2 * GAP, font), fill=INK, font=font)
        for place, frame in enumerate(frames):
            _paste(sheet, frame, (x + place * (width + GAP), y + letter_height + GAP))
    sheet.save(parent_made(path_png))


def learning_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    path: str | os.PathLike[str],
    *,
    titles: Mapping[str, str] | None = None,
) -> None:
    """
    Plot what trainers logged: one panel a metric, one line a training that logged it, over minutes of training.

    A line of 20 points or more is the mean of points nearby, an eighth of them all; the points themselves are drawn
    faintly behind it. In RL each update has other prompts, which move the reward more than learning does.

    Args:
        histories (`Mapping[str, Sequence[Mapping[str, float]]]`):
            Name of a training -> `trainer.state.log_history`: mappings with `step` and logged numbers. With `minutes`
            in each of them that is the axis, else the optimizer step.
        path (`str` or `PathLike`):
            PNG to write.
        titles (`Mapping[str, str]`, *optional*):
            Logged names of metrics that come first -> how to call them. After them come validation loss, reward, KL
            and entropy, and every single reward's mean if there are several, all as far as they were logged more than
            once and were not 0 throughout.

    Raises:
        `ValueError`: If no training logged any of the metrics.
    """
    axis = "minutes" if all("minutes" in entry for log in histories.values() for entry in log) else "step"
    points = {training: _points(history, axis) for training, history in histories.items()}
    logged = {metric for found in points.values() for metric, (places, _) in found.items() if len(places) > 1}
    rewards = sorted(name for name in logged if name.startswith("rewards/") and name.endswith("/mean"))
    metrics = dict.fromkeys([*(titles or {}), *CURVES, *(rewards if len(rewards) > 1 else [])])
    known = [metric for metric in metrics if metric in logged]
    # Some are 0 throughout, as the share of answers that cannot be read often is.
    telling = {metric for found in points.values() for metric, (_, values) in found.items() if any(values)}
    panels = [metric for metric in known if metric in telling] or known
    if not panels:
        raise ValueError(f"Nothing to plot: of {list(metrics)}, no stage of {list(histories)} logged one twice.")
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.2 * lines + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    drawn: dict[str, Any] = {}
    for index, metric in enumerate(panels):
        # Minutes are those of the run, in every panel; steps are each training's own.
        shared: dict[str, Any] = {"sharex": figure.axes[0]} if axis == "minutes" and figure.axes else {}
        axes = figure.add_subplot(lines, columns, index + 1, **shared)
        for number, (training, found) in reversed([*enumerate(points.items())]):  # the first on top
            if metric in found:
                places, values = found[metric]
                is_noisy = len(places) >= NOISY_FROM
                if is_noisy:
                    axes.plot(places, values, color=f"C{number}", alpha=0.3)
                shown = _smoothed(values, len(values) // 8) if is_noisy else values
                (drawn[training],) = axes.plot(places, shown, color=f"C{number}", marker=None if is_noisy else ".")
        axes.set(title=(titles or {}).get(metric) or _title(metric))
        axes.set_xlabel("minutes of training" if axis == "minutes" else "optimizer step")
        axes.grid(alpha=0.3)
    names = [training for training in points if training in drawn]
    figure.legend([drawn[name] for name in names], names, loc="outside upper center", ncols=len(names))
    figure.savefig(parent_made(path), dpi=110)


def _smoothed(values: Sequence[float], width: int) -> np.ndarray:
    """Mean over the points nearby, at the ends over fewer."""
    # At the ends the window is cut off, so the second convolution counts the points that are left.
    window = np.ones(2 * (width // 2) + 1)  # odd, so that a mean stands where its middle is
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _title(metric: str) -> str:
    if metric.startswith("rewards/") and metric.endswith("/mean"):
        return f"reward {metric.removeprefix('rewards/').removesuffix('/mean')}, mean of an update"
    return CURVES.get(metric, metric)


def _points(history: Sequence[Mapping[str, float]], axis: str) -> dict[str, tuple[list[float], list[float]]]:
    """Metric -> where on the axis it was logged, and its values there."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for entry in history:
        for metric, value in entry.items():
            if metric != axis and axis in entry and isinstance(value, int | float):
                places, values = found.setdefault(metric, ([], []))
                places.append(entry[axis])
                values.append(value)
    return found


def _examples(frames: torch.Tensor) -> np.ndarray:
    array = torch.as_tensor(frames).detach().cpu()
    if array.ndim not in (4, 5) or array.shape[-3] != 3:
        raise ValueError(f"Expected frames of shape (E, T, 3, H, W) or (T, 3, H, W), got {tuple(array.shape)}.")
    array = array.float() / 255 if array.dtype == torch.uint8 else array.float()
    return rearrange(array if array.ndim == 5 else array[None], "e t c h w -> e t h w c").numpy()


def _rows(
    given: np.ndarray, truth: np.ndarray, predicted: Mapping[str, np.ndarray], *, gain: float
) -> dict[str, np.ndarray]:
    rows = {"reference": np.concatenate([given, truth], axis=1)}
    rows |= {name: np.concatenate([given, frames], axis=1) for name, frames in predicted.items()}
    for name, frames in predicted.items():
        error = np.clip(np.abs(frames - truth).mean(axis=-1, keepdims=True) * gain, 0, 1)
        red = 1 - error * np.array([0.1, 1.0, 1.0], dtype=np.float32)  # white to red
        rows[f"error {name}"] = np.concatenate([np.ones_like(given), red], axis=1)
    return {name: np.round(np.clip(frames, 0, 1) * 255).astype(np.uint8) for name, frames in rows.items()}


def _draw_sheet(rows: Mapping[str, np.ndarray], seconds: float) -> Image.Image:
    """All examples in one column, or in two if it would be too tall."""
    column = _draw_grid(rows, seconds)
    examples = len(next(iter(rows.values())))
    if examples == 1 or column.height <= 2 * column.width:
        return column
    half = -(-examples // 2)
    left, right = (
        _draw_grid({name: frames[part] for name, frames in rows.items()}, seconds)
        for part in (slice(half), slice(half, None))
    )
    sheet = Image.new("RGB", (left.width + 4 * GAP + right.width, left.height), WHITE)
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + 4 * GAP, 0))
    return sheet


def _draw_grid(rows: Mapping[str, np.ndarray], seconds: float) -> Image.Image:
    examples, times, height, width, _ = next(iter(rows.values())).shape
    font, letter_height = _font(height)
    left, top = _label_width(rows, font) + 4 * GAP, letter_height + 3 * GAP
    block = len(rows) * (height + GAP) + 3 * GAP
    sheet = Image.new("RGB", (left + times * (width + GAP), top + examples * block), WHITE)
    draw = ImageDraw.Draw(sheet)
    for time in range(times):
        middle = left + time * (width + GAP) + width // 2
        draw.text((middle, GAP), _moment(time, seconds), fill=INK, font=font, anchor="ma")
    for example in range(examples):
        for line, (name, frames) in enumerate(rows.items()):
            y = top + example * block + line * (height + GAP)
            draw.text((left - 2 * GAP, y + height // 2), name, fill=INK, font=font, anchor="rm")
            for time in range(times):
                # A frame that was given has no error.
                if time or not name.startswith("error "):
                    _paste(sheet, frames[example, time], (left + time * (width + GAP), y))
    return sheet


def _draw_moment(rows: Mapping[str, np.ndarray], time: int, seconds: float) -> Image.Image:
    examples, _, height, width, _ = next(iter(rows.values())).shape
    font, letter_height = _font(height)
    panel = max(width, _label_width(rows, font)) + GAP
    top = 2 * letter_height + 4 * GAP
    sheet = Image.new("RGB", (len(rows) * panel + GAP, top + examples * (height + GAP)), WHITE)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), f"time: {_moment(time, seconds)}", fill=INK, font=font)
    for column, (name, frames) in enumerate(rows.items()):
        x = GAP + column * panel
        draw.text((x + panel // 2, letter_height + 2 * GAP), name, fill=INK, font=font, anchor="ma")
        for example in range(examples):
            _paste(sheet, frames[example, time], (x + (panel - width) // 2, top + example * (height + GAP)))
    return sheet


def _enlarged(frames: np.ndarray, smallest: int) -> np.ndarray:
    """`(T, 3, H, W)` frames as `(T, H, W, 3)`, each pixel repeated as often as it takes to be so wide."""
    scale = -(-smallest // frames.shape[-1])
    return rearrange(frames.repeat(scale, axis=2).repeat(scale, axis=3), "t c h w -> t h w c")


def _shortened(text: str, width: int, font: Font) -> str:
    """The end of a text that fits."""
    while font.getlength(text) > width:
        # The mark of the cut goes with the next letter and is set anew.
        text = f"…{text[2:]}"
    return text


def _paste(sheet: Image.Image, frame: np.ndarray, corner: tuple[int, int]) -> None:
    height, width, _ = frame.shape
    x, y = corner
    ImageDraw.Draw(sheet).rectangle((x - 1, y - 1, x + width, y + height), outline=(190, 190, 190))
    sheet.paste(Image.fromarray(frame), corner)


def _moment(time: int, seconds: float) -> str:
    return "given" if time == 0 else f"+{time * seconds:g} s"


def _font(height: int) -> tuple[Font, int]:
    size = max(11, min(20, height // 10))
    return ImageFont.load_default(size=size), size


def _label_width(rows: Mapping[str, np.ndarray], font: Font) -> int:
    return max(int(font.getlength(name)) for name in rows)


def parent_made(path: str | os.PathLike[str]) -> Path:
    """
    The path of a picture to write, whose folder is made if it is missing.

    Args:
        path (`str` or `PathLike`):
            Where the picture is to be written.

    Returns:
        `Path`: the same path.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target
