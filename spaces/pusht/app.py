"""The page of the PushT playground, without its logic: `python spaces/pusht/app.py [FOLDER or hf://owner/name]`."""

import base64
import io
import os
import sys
from typing import Any

import gradio as gr
import numpy as np
from einops import rearrange
from PIL import Image


try:
    import spaces  # ZeroGPU's package; in the root of a checkout this is our own folder, which has no `GPU`
except ImportError:
    spaces = None

from rlvr_world_hf.playground import REACH, SIMULATOR, WORLD_SIZE, Play, Playground, draw_start, target_at


PLACE_VARIABLE = "RLVR_WORLD_PLACE"
DEFAULT_PLACE = "outputs/quickstart"
FIRST_START = 7_000_000  # starts count from here: seeds of episodes that no recipe records
START_SIZE = 512
ROWS = {
    SIMULATOR: ("Simulator", "what happens"),
    "base": ("Base", "trained by likelihood"),
    "rlvr": ("RLVR", "then by its own error"),
}

INTRODUCTION = """
# Push the T: world models beside the true physics

**RLVR** takes a world model trained by likelihood (**Base**) and trains it on by reinforcement learning, where the
reward is verifiable: how close the frames it predicts come to those that were recorded
([RLVR-World, arXiv 2505.13934](https://huggingface.co/papers/2505.13934)).
"""

NOTE = """
A click is walked to in steps of at most {reach:g} units (the table is {world:g} wide), one every {interval:g} s, as in
the training data; {limit} steps are the limit. Simulator and models get the same steps. The models see the frames up
to the start, and from then on their own predictions, in windows of {horizon} steps as in training.
"""

CSS = """
.start img { image-rendering: pixelated; cursor: crosshair; }
.panels { display: flex; gap: 12px; }
.panels figure { flex: 1; min-width: 0; margin: 0; }
.panels figcaption { font-weight: 600; margin-bottom: 4px; }
.panels small { font-weight: 400; margin-left: 6px; }
.film { aspect-ratio: 1; background-size: auto 100%; image-rendering: pixelated; border: 1px solid #aaa; }
@keyframes play { from { background-position: 0 0; } 80%, to { background-position: 100% 0; } }
.steps { margin-top: 16px; overflow-x: auto; }
.steps table { font-size: 12px; font-variant-numeric: tabular-nums; }
.steps table, .steps tr, .steps th, .steps td { border: 0 !important; border-collapse: collapse; }
.steps th, .steps td { padding: 3px; text-align: center; white-space: nowrap; vertical-align: bottom; }
.steps .film { width: 58px; }
.steps .window { border-left: 2px solid #888 !important; }
"""


def on_gpu(function: Any) -> Any:
    """ZeroGPU's decorator where there is one."""
    decorate = getattr(spaces, "GPU", None)
    return decorate(function) if decorate else function


def film(frames: np.ndarray) -> str:
    """Frames `(T, H, W, 3)` side by side, as the address of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(rearrange(frames, "t h w c -> h (t w) c")).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def results_html(play: Play, *, interval: float, horizon: int) -> str:
    """Three films in step, and below them every frame with its error."""
    films = "".join(f"--{name}: url({film(frames)});" for name, frames in play.frames.items())
    return f'<div style="{films}">{panels_html(play, interval)}{steps_html(play, interval, horizon)}</div>'


def panels_html(play: Play, interval: float) -> str:
    """The films side by side; each holds its last frame for a while."""
    moments = len(play.actions) + 1
    pace = f"animation: play {moments * interval / 0.8:g}s steps({moments}, jump-none) infinite" if moments > 1 else ""
    figures = (
        f"<figure><figcaption>{title}<small>{subtitle}</small></figcaption>"
        f'<div class="film" style="background-image: var(--{name}); {pace}"></div></figure>'
        for name, (title, subtitle) in ROWS.items()
    )
    return f'<div class="panels">{"".join(figures)}</div>'


def steps_html(play: Play, interval: float, horizon: int) -> str:
    """A table with a column a step and one for the mean; a line stands where a window of `horizon` steps begins."""
    count = len(play.actions)
    if not count:
        return '<div class="steps">Nothing has happened yet: click on the picture.</div>'
    errors = {name: [*error, error.mean()] for name, error in play.errors.items()}
    rows = [("", [*(f"{(step + 1) * interval:g} s" for step in range(count)), "mean"])]
    for name, (title, _) in ROWS.items():
        numbers = _numbers(errors, name) if name in errors else [""] * (count + 1)
        rows.append((title, [f"{still}{number}" for still, number in zip(_stills(name, count), numbers, strict=True)]))
    opens = ['<td class="window">' if 0 < at < count and at % horizon == 0 else "<td>" for at in range(count + 1)]
    table = (
        f"<tr><th>{title}</th>{''.join(map(''.join, zip(opens, cells, strict=True)))}</tr>" for title, cells in rows
    )
    return (
        f'<div class="steps"><table>{"".join(table)}</table>Below a frame: mean absolute error of its pixels against '
        "the simulator's, in [0, 1]. The lower one is bold.</div>"
    )


def _stills(name: str, count: int) -> list[str]:
    """The frames after the start, each cut out of the film; nothing in the column of the mean."""
    film_of = f'<div class="film" style="background-image: var(--{name}); background-position: '
    return [*(f'{film_of}{100 * (at + 1) / count:g}% 0"></div>' for at in range(count)), ""]


def _numbers(errors: dict[str, list[float]], name: str) -> list[str]:
    others = [min(column) for column in zip(*(of for other, of in errors.items() if other != name), strict=True)]
    pairs = zip(errors[name], others, strict=True)
    return [f"<b>{error:.4f}</b>" if error < other else f"{error:.4f}" for error, other in pairs]


def build_page(playground: Playground) -> gr.Blocks:
    """The page, ready to be launched."""

    @on_gpu
    def show(start: float, targets: list[Any], temperature: float, sampling_seed: float) -> tuple[Any, ...]:
        play = playground.play(
            seed=int(start), targets=targets, temperature=temperature, sampling_seed=int(sampling_seed)
        )
        html = results_html(play, interval=playground.frame_interval, horizon=playground.horizon)
        return draw_start(play, START_SIZE), list(play.targets), html

    def click(event: gr.SelectData, start: float, targets: list[Any], *sampling: float) -> tuple[Any, ...]:
        picture, walked, html = show(start, [*targets, target_at(*event.index, START_SIZE)], *sampling)
        if len(walked) <= len(targets):
            gr.Info(f"{playground.max_steps} steps are the limit: undo or clear.")
        return picture, walked, html

    def undo(start: float, targets: list[Any], *sampling: float) -> tuple[Any, ...]:
        return show(start, targets[:-1], *sampling)

    def clear(start: float, targets: list[Any], *sampling: float) -> tuple[Any, ...]:
        return show(start, [], *sampling)

    def new_start(start: float, targets: list[Any], *sampling: float) -> tuple[Any, ...]:
        return start + 1, *show(start + 1, [], *sampling)

    note = NOTE.format(
        reach=REACH,
        world=WORLD_SIZE,
        interval=playground.frame_interval,
        limit=playground.max_steps,
        horizon=playground.horizon,
    )
    with gr.Blocks(title="Push the T", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        targets = gr.State([])
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                gr.Markdown("**Start:** click where the blue disc should go", padding=True)
                picture = gr.Image(
                    show_label=False,
                    format="png",
                    interactive=False,
                    buttons=[],
                    elem_classes="start",
                )
                with gr.Row():
                    new_start_button, undo_button, clear_button = (
                        gr.Button(label, size="sm", min_width=80) for label in ("New start", "Undo", "Clear")
                    )
                with gr.Accordion("Start and sampling", open=False):
                    start = gr.Number(FIRST_START, label="Start (seed of an episode)", precision=0, minimum=0)
                    temperature = gr.Slider(0, 1.5, 0, step=0.1, label="Temperature (0: the likeliest token)")
                    sampling_seed = gr.Number(0, label="Seed of the sampling", precision=0, minimum=0)
            with gr.Column(scale=5, min_width=480):
                results = gr.HTML()
                gr.Markdown(note)
        given, shown = [start, targets, temperature, sampling_seed], [picture, targets, results]
        alike: dict[str, Any] = {"concurrency_id": "play", "show_progress_on": [results]}
        page.load(show, given, shown, api_name="show", **alike)
        picture.select(click, given, shown, api_name="click", **alike)
        new_start_button.click(new_start, given, [start, *shown], api_name="new_start", **alike)
        undo_button.click(undo, given, shown, api_name="undo", **alike)
        clear_button.click(clear, given, shown, api_name="clear", **alike)
        start.submit(clear, given, shown, api_name=False, **alike)
        temperature.release(show, given, shown, api_name=False, **alike)
        sampling_seed.submit(show, given, shown, api_name=False, **alike)
    return page


def main(place: str | None = None) -> None:
    """Serve the page for the checkpoints at `place`, by default those of the variable or of the quickstart."""
    place = place or os.environ.get(PLACE_VARIABLE, DEFAULT_PLACE)
    page = build_page(Playground.from_pretrained(place))
    page.launch(theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]), css=CSS)


if __name__ == "__main__":
    main(*sys.argv[1:2])
