"""
A play as a fragment of a page: films side by side with their errors, curves of the metrics, and every frame.

The fragment is HTML with pictures inside; its classes begin with `rw-`, and a page gives them their look.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from einops import rearrange
from PIL import Image

from .drawing import ERROR_GAIN, heat_map
from .play import METRICS, SIMULATOR, Play


SHOWN = 16
"""Latest steps whose frames are shown; the curves go back to the start."""

METRIC_TITLES = {"mae": "Mean absolute error", "psnr": "PSNR, dB", "ssim": "SSIM"}
WIDTH, HEIGHT, LEFT, BELOW = 300, 130, 46, 20

Titles = Mapping[str, tuple[str, str]]


def data_address(picture: np.ndarray) -> str:
    """
    A picture as the address of a PNG that holds it.

    Args:
        picture (`numpy.ndarray` of shape `(H, W, 3)`):
            uint8 RGB.

    Returns:
        `str`: a `data:` address.
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def film_addresses(play: Play) -> dict[str, list[str]]:
    """
    The films of a play as pictures: the frames since the start side by side.

    Args:
        play ([`~rlvr_world_hf.playground.play.Play`]):
            The play so far.

    Returns:
        `dict[str, list[str]]`: for the simulator one address, for each model one a sample; none before the first step.
    """
    films = {SIMULATOR: play.truth[None], **play.predicted}
    return {
        name: [data_address(_side_by_side(frames)) for frames in of_name] if play.steps else []
        for name, of_name in films.items()
    }


def play_html(play: Play, *, titles: Titles, interval: float, is_running: bool = False, note: str = "") -> str:
    """
    What simulator and models have made of a play.

    Args:
        play ([`~rlvr_world_hf.playground.play.Play`]):
            The play so far.
        titles (`Mapping[str, tuple[str, str]]`):
            Title and subtitle of the simulator and of each model.
        interval (`float`):
            Seconds between two frames.
        is_running (`bool`, *optional*, defaults to `False`):
            Whether more steps follow. While they do, the latest frame is shown; afterwards the film is repeated.
        note (`str`, *optional*):
            What to say where nothing has happened yet.

    Returns:
        `str`: HTML.
    """
    if not play.steps:
        return f'<div class="rw-note">{escape(note)}</div>'
    first = max(0, play.steps - SHOWN)
    films = {SIMULATOR: play.truth[first:]}
    for name, predicted in play.predicted.items():
        films |= {f"{name}-{at}": frames[first:] for at, frames in enumerate(predicted)}
        films[f"{name}-error"] = heat_map(predicted[:, first:], play.truth[first:])
    # As CSS variables, since film and strip show the same picture, which is sent once.
    addresses = "".join(f"--{name}: url({data_address(_side_by_side(frames))});" for name, frames in films.items())
    count = play.steps - first
    motion = "" if is_running or count == 1 else _animation(count, interval)  # CSS knows no `jump-none` in one step
    parts = [
        _panels(play, titles, motion),
        _curves(play, titles, interval),
        _repetition(play, titles),
        _strip(play, titles, first=first, interval=interval),
    ]
    return f'<div class="rw-play" style="{addresses}">{"".join(parts)}</div>'


def curve_svg(title: str, curves: Mapping[str, np.ndarray], *, interval: float, higher_is_better: bool) -> str:
    """
    The curves of one metric over time: means over samples, and their range as a band.

    Args:
        title (`str`):
            The metric's name.
        curves (`Mapping[str, numpy.ndarray]`):
            For each model, shape `(G, S)`.
        interval (`float`):
            Seconds a step.
        higher_is_better (`bool`):
            The metric's direction.

    Returns:
        `str`: a figure with an SVG.
    """
    finite = np.concatenate([values[np.isfinite(values)] for values in curves.values()])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    # A constant curve would leave no height to divide by.
    margin = max(0.08 * (high - low), 1e-3 * max(abs(high), 1e-3))
    low, high = low - margin, high + margin
    steps = next(iter(curves.values())).shape[1]

    def place(step: np.ndarray | int, value: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        x = LEFT + (WIDTH - LEFT - 8) * np.asarray(step) / max(steps - 1, 1)
        y = 8 + (HEIGHT - BELOW - 8) * (high - np.clip(value, low, high)) / (high - low)
        return x, y

    lines = [
        f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" class="rw-grid"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        for value in (low + margin, high - margin)
        for y in (place(0, value)[1],)
    ]
    for at in sorted({0, steps - 1}):
        x, anchor = place(at, low)[0], "start" if at == 0 else "end"
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{(at + 1) * interval:g} s</text>')
    at = np.arange(steps)
    for name, values in curves.items():
        if len(values) > 1:
            band = [*zip(*place(at, values.max(axis=0)), strict=True)]
            band += [*zip(*place(at, values.min(axis=0)), strict=True)][::-1]
            lines.append(f'<polygon class="rw-band rw-of-{name}" points="{_points(band)}"/>')
        mean = [*zip(*place(at, values.mean(axis=0)), strict=True)]
        lines.append(f'<polyline class="rw-line rw-of-{name}" points="{_points(mean)}"/>')
        x, y = mean[-1]
        lines.append(f'<circle class="rw-dot rw-of-{name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    better = "higher is better" if higher_is_better else "lower is better"
    return (
        f'<figure class="rw-curve"><figcaption>{escape(title)} <small>{better}</small></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} of each frame over time">'
        f"{''.join(lines)}</svg></figure>"
    )


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _side_by_side(frames: np.ndarray) -> np.ndarray:
    return rearrange(frames, "t h w c -> h (t w) c")


def _animation(count: int, interval: float) -> str:
    """The film, whose last frame is held for a while."""
    return f" animation: rw-play {count * interval / 0.8:g}s steps({count}, jump-none) infinite;"


def _panels(play: Play, titles: Titles, motion: str) -> str:
    """The films side by side, below each model's where it is wrong."""
    figures = [_figure(SIMULATOR, *titles[SIMULATOR], motion, "The simulator's latest frame")]
    heats = [
        '<div class="rw-scale"><span>Error of each pixel</span><i></i>'
        f"<span><span>0</span><span>{1 / ERROR_GAIN:g} or more</span></span></div>"
    ]
    for name, predicted in play.predicted.items():
        title, subtitle = titles[name]
        error = play.metrics[name]["mae"][:, -1].mean()
        samples = "" if len(predicted) == 1 else f"; sample 1 of {len(predicted)}"
        said = f"{title}: predicted frame {play.steps}, mean absolute error {error:.4f}"
        flag = '<b class="rw-flag">repeats</b>' if play.repeated[name][:, -1].any() else ""
        figures.append(_figure(f"{name}-0", title, subtitle + samples, motion, said, flag))
        error_film = _film(f"{name}-error", motion)
        heats.append(f'<div class="rw-film" role="img" aria-label="{escape(title)}: errors" {error_film}></div>')
    return f'<div class="rw-panels">{"".join(figures)}{"".join(heats)}</div>'


def _figure(film: str, title: str, subtitle: str, motion: str, said: str, flag: str = "") -> str:
    return (
        f"<figure><figcaption><b>{escape(title)}</b>{flag}<small>{escape(subtitle)}</small></figcaption>"
        f'<div class="rw-film" role="img" aria-label="{escape(said)}" {_film(film, motion)}></div></figure>'
    )


def _film(name: str, motion: str) -> str:
    return f'style="background-image: var(--{name}); background-position: 100% 0;{motion}"'


def _curves(play: Play, titles: Titles, interval: float) -> str:
    legend = "".join(f'<span class="rw-of-{name}">{escape(titles[name][0])}</span>' for name in play.predicted)
    band = " <small>line: mean of the samples; band: their range</small>" if _samples(play) > 1 else ""
    figures = "".join(
        curve_svg(
            METRIC_TITLES[metric.name],
            {name: metrics[metric.name] for name, metrics in play.metrics.items()},
            interval=interval,
            higher_is_better=metric.higher_is_better,
        )
        for metric in METRICS
    )
    return f'<div class="rw-legend">{legend}{band}</div><div class="rw-curves">{figures}</div>'


def _samples(play: Play) -> int:
    return len(next(iter(play.predicted.values())))


def _repetition(play: Play, titles: Titles) -> str:
    repeating = [
        f"{titles[name][0]} repeats its own last frame in {flags.sum()} of {flags.size} predicted frames."
        for name, flags in play.repeated.items()
        if flags.any()
    ]
    said = " ".join(repeating) or "No model repeats its own last frame."
    return f'<p class="rw-repeats{" rw-yes" if repeating else ""}">{escape(said)}</p>'


def _strip(play: Play, titles: Titles, *, first: int, interval: float) -> str:
    """A column a step: the frames, and below each the error against the simulator's."""
    count = play.steps - first
    seconds = "".join(f"<th scope='col'>{(first + step + 1) * interval:g} s</th>" for step in range(count))
    rows = [f"<tr><td></td>{seconds}</tr>", _row(SIMULATOR, titles[SIMULATOR][0], [""] * count, [False] * count)]
    errors = {name: metrics["mae"][:, first:] for name, metrics in play.metrics.items()}
    best = np.min([error.mean(axis=0) for error in errors.values()], axis=0)
    for name, error in errors.items():
        for at, of_sample in enumerate(error):
            numbers = [
                f"<b>{value:.4f}</b>" if len(errors) > 1 and value <= least else f"{value:.4f}"
                for value, least in zip(of_sample, best, strict=True)
            ]
            title = titles[name][0] + (f" {at + 1}" if len(error) > 1 else "")
            rows.append(_row(f"{name}-{at}", title, numbers, play.repeated[name][at, first:].tolist()))
    earlier = f"The last {count} of {play.steps} steps. " if first else ""
    return (
        f'<div class="rw-strip" tabindex="0" aria-label="Every frame"><table>{"".join(rows)}</table></div>'
        f'<p class="rw-small">{earlier}Below a frame: its mean absolute error against the simulator\'s, in [0, 1]; '
        "the best model's is bold. = marks a frame that repeats the one before.</p>"
    )


def _row(film: str, title: str, numbers: Sequence[str], repeats: Sequence[bool]) -> str:
    count = len(numbers)
    # CSS counts percentages from the first frame, 0, to the last, 100.
    cells = "".join(
        f'<td><div class="rw-film{" rw-same" if same else ""}" style="background-image: var(--{film}); '
        f'background-position: {100 * at / max(count - 1, 1):g}% 0"></div>{"= " if same else ""}{number}</td>'
        for at, (number, same) in enumerate(zip(numbers, repeats, strict=True))
    )
    return f'<tr><th scope="row">{escape(title)}</th>{cells}</tr>'
