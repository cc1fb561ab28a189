"""The page of the playground, without its logic: `python app.py [FOLDER or hf://owner/name ...]`, see README.md."""

import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any


try:
    import spaces  # ZeroGPU's package, before torch; in the root of a checkout our own folder, which has no `GPU`
except ImportError:
    spaces = None

import gradio as gr

from rlvr_world_hf.playground.answering import AnsweringPage, as_error
from rlvr_world_hf.playground.checkpoints import Checkpoints, has_checkpoints, replace_from_hub
from rlvr_world_hf.playground.drawing import enlarge
from rlvr_world_hf.playground.film import film_addresses, play_html
from rlvr_world_hf.playground.measured import results_html
from rlvr_world_hf.playground.play import MAX_SAMPLES, MAX_SEED, SIMULATOR, Play
from rlvr_world_hf.playground.values import read_whole
from rlvr_world_hf.runs.locations import shipped_folder
from rlvr_world_hf.worlds.pusht.drawing import draw_plan, target_at
from rlvr_world_hf.worlds.pusht.playground import REACH, WORLD_SIZE, Playground
from rlvr_world_hf.worlds.textworld.differences import answers_html, malformed_html, message_html, state_html
from rlvr_world_hf.worlds.textworld.playground import (
    MAX_ACTION,
    MAX_JSON,
    MalformedStateError,
    Situation,
    TextGames,
    TextPlayground,
    read_state,
)


PLACES_VARIABLE = "RLVR_WORLD_PLACES"  # folders or hf://owner/name, with spaces between
BUNDLED = {"quickstart": "pusht", "textworld": "textworld"}  # a run's folder in outputs/, and its name in model_cards/
FIRST_PLACE = "outputs/quickstart"
FIRST_START = 7_000_000  # starts count from here: seeds of episodes and games that no recipe records
STARTS = 8
START_SIZE = 512
TITLES = {
    SIMULATOR: ("Simulator", "what happens"),
    "base": ("Base", "trained by likelihood"),
    "rlvr": ("RLVR", "then by verifiable rewards"),
}
KEPT = 3  # pairs of models that a tab keeps in memory; see playground/limits.py for the largest
OF_THIS_PAGE = ("", "")  # Hub ids in place of base and rlvr; empty for the models of this page
OWN_STATE = """[
  "at(player, kitchen)",
  "at(fridge, kitchen)",
  "closed(fridge)",
  "in(apple, fridge)"
]"""

INTRODUCTION = """
# World models with verifiable rewards

A world model predicts what an action leads to. **Base** was trained by likelihood; **RLVR** was then trained on by
reinforcement learning whose reward can be verified: how close its prediction comes to what truly happened
([RLVR-World](https://huggingface.co/papers/2505.13934)). Play with both, beside the true world.
"""
CLICK = "Click where the blue disc should go, once or several times, then press **Run**."
NOTHING_YET = "Nothing predicted yet. Click on the frame and press Run, or replay what was recorded."

TEXT_NOTE = '<div class="rw-note">Nothing predicted yet. Choose an action and press Predict.</div>'
VIDEO, TEXT = "Video: PushT", "Text games: TextWorld"
MISSING = (
    "No checkpoints of this world here. Run `rlvr-world run {recipe}`, which makes outputs/{run}, or name the place "
    "of others: `rlvr-world demo FOLDER`."
)

CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


class Page(AnsweringPage, gr.Blocks):
    """A page that answers in words, and only through its queue."""


def on_gpu(function: Any) -> Any:
    """ZeroGPU's decorator where there is one."""
    decorate = getattr(spaces, "GPU", None)
    return decorate(function) if decorate else function


def in_words(function: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, whose errors reach the user in words."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise as_error(error) from error

    @wraps(function)
    def stream(*arguments: Any) -> Any:
        try:
            yield from function(*arguments)
        except Exception as error:
            raise as_error(error) from error

    return stream if inspect.isgeneratorfunction(function) else call


def titles_of(hub_ids: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Titles and subtitles, with the ids of models from the Hub."""
    return TITLES | {name: (hub_id, "from the Hub") for name, hub_id in named(hub_ids).items() if hub_id}


def named(hub_ids: tuple[str, ...]) -> dict[str, str]:
    """Hub ids by the model that they stand in for."""
    return dict(zip(("base", "rlvr"), hub_ids, strict=True))


def sampling_fields(what: str) -> list[Any]:
    """Samples, temperature and seed."""
    with gr.Accordion("Sampling", open=False):
        return [
            gr.Slider(1, MAX_SAMPLES, 1, step=1, label=f"{what} of each model"),
            gr.Slider(0, 1.5, 0, step=0.1, label="Temperature (0: the likeliest token, so all are the same)"),
            gr.Number(0, label="Seed of the sampling", precision=0, minimum=0, maximum=MAX_SEED),
        ]


def hub_fields() -> tuple[gr.Button, list[gr.Textbox]]:
    """Where models from the Hub are named."""
    with gr.Accordion("Models from the Hub", open=False):
        gr.Markdown("`owner/name` or `owner/name@revision`, with safetensors. Empty: the model of this page.")
        fields = [gr.Textbox(label=f"In place of {TITLES[name][0]}", max_length=200) for name in ("base", "rlvr")]
        return gr.Button("Load", size="sm"), fields


def build_video(page: gr.Blocks, checkpoints: Checkpoints, measured: gr.HTML) -> None:
    """The tab of the simulated table."""

    @lru_cache(maxsize=KEPT)
    def loaded(hub_ids: tuple[str, ...]) -> tuple[Playground, Path]:
        replaced = replace_from_hub(checkpoints, named(hub_ids))
        return Playground(replaced.pipelines), replaced.folder

    def playground_of(hub_ids: tuple[str, ...]) -> Playground:
        return loaded(hub_ids)[0]

    playground = playground_of(OF_THIS_PAGE)

    def html(hub_ids: tuple[str, ...], play: Play, is_running: bool = False) -> str:
        interval = playground_of(hub_ids).form.frame_interval
        return play_html(play, titles=titles_of(hub_ids), interval=interval, is_running=is_running, note=NOTHING_YET)

    def show_plan(hub_ids: tuple[str, ...], play: Play, targets: list[Any]) -> tuple[Any, ...]:
        of = playground_of(hub_ids)
        plan, left = of.plan(play, targets), of.max_total - play.steps
        if len(plan.targets) < len(targets):
            gr.Info(
                f"{of.max_steps} steps at a time and {of.max_total} in all are the limit: run these, or start anew."
            )
        count = f"{len(plan.targets)} target{'s' * (len(plan.targets) != 1)}"
        said = f"{count}, {len(plan.actions)} of at most {min(of.max_steps, left)} steps. Press **Run**."
        return draw_plan(play, plan, START_SIZE), list(plan.targets), said if targets else CLICK

    def begin(hub_ids: tuple[str, ...], start: float) -> tuple[Any, ...]:
        play = playground_of(hub_ids).start(start)
        return *show_plan(hub_ids, play, []), play, html(hub_ids, play)

    def pick(hub_ids: tuple[str, ...], event: gr.SelectData) -> tuple[Any, ...]:
        start = FIRST_START + read_whole("start", event.index, least=0, most=STARTS - 1)
        return start, *begin(hub_ids, start)

    def click(hub_ids: tuple[str, ...], play: Play, targets: list[Any], event: gr.SelectData) -> tuple[Any, ...]:
        return show_plan(hub_ids, play, [*targets, target_at(*event.index, START_SIZE)])

    def add(hub_ids: tuple[str, ...], play: Play, targets: list[Any], x: float, y: float) -> tuple[Any, ...]:
        return show_plan(hub_ids, play, [*targets, (x, y)])

    def undo(hub_ids: tuple[str, ...], play: Play, targets: list[Any]) -> tuple[Any, ...]:
        return show_plan(hub_ids, play, targets[:-1])

    def advance(hub_ids: tuple[str, ...], play: Play, actions: Any, *sampling: float, **how: bool) -> Iterator[Any]:
        samples, temperature, seed = sampling
        settings: Any = {"samples": samples, "temperature": temperature, "sampling_seed": seed}
        for play in playground_of(hub_ids).advance(play, actions, **settings, **how):  # noqa: B020
            yield *show_plan(hub_ids, play, []), play, html(hub_ids, play, is_running=True)
        yield *show_plan(hub_ids, play, []), play, html(hub_ids, play)

    @on_gpu
    def run(hub_ids: tuple[str, ...], play: Play, targets: list[Any], *sampling: float) -> Iterator[Any]:
        if not targets:
            gr.Info("Click on the frame first: where should the blue disc go?")
        yield from advance(hub_ids, play, playground_of(hub_ids).plan(play, targets).actions, *sampling)

    @on_gpu
    def replay(hub_ids: tuple[str, ...], play: Play, targets: list[Any], *sampling: float) -> Iterator[Any]:
        actions = playground_of(hub_ids).recorded_actions(play)
        if not len(actions):
            gr.Info("The recording ends here: click targets, or pick another start.")
        yield from advance(hub_ids, play, actions, *sampling, replayed=True)

    def load(start: float, *fields: str) -> tuple[Any, ...]:
        hub_ids = tuple((field or "").strip() for field in fields)  # an empty field may be None
        begun = begin(hub_ids, start)
        return hub_ids, *begun, results_html(loaded(hub_ids)[1], title=VIDEO)

    @on_gpu
    def predict_frames(
        start: int, targets: list[list[float]], temperature: float = 0.0, samples: int = 1, seed: int = 0
    ) -> dict[str, Any]:
        """
        Walk from a start to targets, at most 12 steps, in the simulator and in each model. Returns the actions (x, y)
        in world units; metrics and repetition of each model, by sample and step; and films, PNGs of the frames side by
        side.
        """
        play = playground.start(start)
        actions = playground.plan(play, targets).actions
        for play in playground.advance(play, actions, samples=samples, temperature=temperature, sampling_seed=seed):  # noqa: B007, B020
            pass
        metrics = {name: {key: x.tolist() for key, x in of.items()} for name, of in play.metrics.items()}
        repeated = {name: flags.tolist() for name, flags in play.repeated.items()}
        films = film_addresses(play)
        return {"actions": play.actions.tolist(), "metrics": metrics, "repeated": repeated, "films": films}

    pictures = [enlarge(playground.start(FIRST_START + number).now, 128) for number in range(STARTS)]
    captioned = [(picture, f"Start {number}") for number, picture in enumerate(pictures, start=1)]
    play, targets, hub_ids = gr.State(None), gr.State([]), gr.State(OF_THIS_PAGE)
    with gr.Row(elem_classes="rw-layout"):
        with gr.Column(elem_classes="rw-do"):
            said = gr.Markdown(CLICK, elem_id="said")
            picture = gr.Image(
                label="The present frame",
                show_label=False,
                format="png",
                interactive=False,
                buttons=[],
                elem_id="frame",
            )
            with gr.Row():
                run_button = gr.Button("Run", variant="primary", size="md", min_width=80, elem_id="run")
                undo_button, stop_button = (gr.Button(label, size="md", min_width=70) for label in ("Undo", "Stop"))
            replay_button = gr.Button("Replay the recorded actions", size="md", elem_id="replay")
        with gr.Column(elem_classes="rw-more"):
            gr.Markdown("Starts, each of a held-out episode:")
            gallery = gr.Gallery(
                captioned,
                label="Starts",
                show_label=False,
                columns=4,
                height="auto",
                allow_preview=False,
                interactive=False,
                buttons=[],
                format="png",
                elem_id="starts",
            )
            with gr.Accordion("Targets without a mouse", open=False):
                with gr.Row():
                    x, y = (
                        gr.Number(256, label=label, precision=0, minimum=0, maximum=512, min_width=110)
                        for label in ("From the left, 0 to 512", "From above, 0 to 512")
                    )
                add_button = gr.Button("Add target", size="sm")
            sampling = sampling_fields("Predictions")
            with gr.Accordion("Another start", open=False):
                start = gr.Number(FIRST_START, label="Seed of an episode", precision=0, minimum=0, maximum=MAX_SEED)
            load_button, fields = hub_fields()
        with gr.Column(elem_classes="rw-see"):
            results = gr.HTML(elem_id="film", min_height=200)
            gr.Markdown(
                f"A step takes {playground.form.frame_interval:g} s, and the disc goes at most {REACH:g} of the "
                f"table's {WORLD_SIZE:g} units in it; all get the same steps. The models see the frames up to the "
                f"start, and from then on their own: windows of {playground.horizon} steps, each after their last "
                "frames.",
            )
    private: dict[str, Any] = {"api_visibility": "private"}
    light = private | {"concurrency_id": "simulator", "show_progress": "hidden"}
    heavy = private | {"concurrency_id": "models", "show_progress_on": [results], "show_progress": "minimal"}
    planned, now, given = [picture, targets, said], [hub_ids, play, targets], [hub_ids, play, targets, *sampling]
    shown = [*planned, play, results]
    page.load(in_words(begin), [hub_ids, start], shown, **light)
    start.submit(in_words(begin), [hub_ids, start], shown, **light)
    gallery.select(in_words(pick), [hub_ids], [start, *shown], **light)
    picture.select(in_words(click), now, planned, **light)
    add_button.click(in_words(add), [*now, x, y], planned, **light)
    undo_button.click(in_words(undo), now, planned, **light)
    runs = [
        run_button.click(in_words(run), given, shown, **heavy),
        replay_button.click(in_words(replay), given, shown, **heavy),
    ]
    stop_button.click(None, cancels=runs, **private)
    load_button.click(in_words(load), [start, *fields], [hub_ids, *shown, measured], **heavy)
    gr.api(in_words(predict_frames), api_name="predict_frames", concurrency_id="models")


def build_text(tab: gr.Tab, checkpoints: Checkpoints, measured: gr.HTML) -> None:
    """The tab of the text games."""
    games = TextGames()

    @lru_cache(maxsize=KEPT)
    def loaded(hub_ids: tuple[str, ...]) -> tuple[TextPlayground, Path]:
        replaced = replace_from_hub(checkpoints, named(hub_ids))
        return TextPlayground(replaced.pipelines), replaced.folder

    def playground_of(hub_ids: tuple[str, ...]) -> TextPlayground:
        return loaded(hub_ids)[0]

    playground_of(OF_THIS_PAGE)

    def start(seed: int) -> tuple[Any, ...]:
        try:
            return look(games.situation(seed))
        except ImportError as error:
            return None, message_html(f"{error} Until then, give a state of your own below."), gr.skip()

    def look(situation: Situation) -> tuple[Any, ...]:
        choices = [*situation.changing_actions, *situation.no_op_actions]
        return situation, state_html(situation.state), gr.Dropdown(choices, value=choices[0])

    def open_game(situation: Situation | None) -> tuple[Any, ...]:
        return (gr.skip(), gr.skip(), gr.skip()) if situation else start(FIRST_START)

    def new_game(situation: Situation | None) -> tuple[Any, ...]:
        return *start(situation.seed + 1 if situation else FIRST_START), ""

    def predict(hub_ids: tuple[str, ...], situation: Situation | None, action: str, *sampling: float) -> Iterator[str]:
        if situation is None:
            raise ValueError("There is no game yet: press `New game`, or give a state of your own.")
        yield from ask(hub_ids, situation.state, action, games.outcome(situation, action or ""), *sampling)

    @on_gpu
    def ask(hub_ids: tuple[str, ...], state: Any, action: str, truth: Any, *sampling: float) -> Iterator[str]:
        samples, temperature, seed = sampling
        said: list[Any] = []
        how: dict[str, Any] = {"titles": titles_of(hub_ids), "names": ("base", "rlvr"), "truth": truth}
        settings: Any = {"samples": samples, "temperature": temperature, "sampling_seed": seed}
        for answer in playground_of(hub_ids).predict(state, action or "", truth=truth, **settings):
            said.append(answer)
            yield answers_html(said, asked=action, **how)

    def take(situation: Situation | None, action: str) -> tuple[Any, ...]:
        if situation is None:
            raise ValueError("There is no game yet: press `New game`.")
        following, is_over = games.follow(situation, action or "")
        if is_over:
            gr.Info("This game is won, and starts anew.")
        return look(following)

    def predict_own(hub_ids: tuple[str, ...], text: str, action: str, *sampling: float) -> Iterator[str]:
        try:
            state = read_state(text)
        except MalformedStateError as error:
            yield malformed_html(error)
            return
        yield from ask(hub_ids, state, action, None, *sampling)

    def load(*fields: str) -> tuple[Any, ...]:
        hub_ids = tuple((field or "").strip() for field in fields)  # an empty field may be None
        return hub_ids, results_html(loaded(hub_ids)[1], title=TEXT)

    @on_gpu
    def predict_change(facts: list[str], action: str, temperature: float = 0.0, seed: int = 0) -> dict[str, Any]:
        """Ask each model what an action changes in a state of facts; returns its words, by model."""
        if not isinstance(facts, list):
            raise ValueError(f"Expected a list of facts such as 'in(apple, fridge)', got {facts!r:.80}; give one.")
        state = read_state(json.dumps(facts))
        answers = playground_of(OF_THIS_PAGE).predict(state, action, temperature=temperature, sampling_seed=seed)
        return {answer.model: answer.text for answer in answers}

    situation, hub_ids = gr.State(None), gr.State(OF_THIS_PAGE)
    with gr.Row(elem_classes="rw-layout"):
        with gr.Column(elem_classes="rw-do"):
            gr.Markdown("What holds in the game, and what to do:")
            table = gr.HTML(elem_id="state", min_height=120)
            action = gr.Dropdown(
                [], label="Action: choose, or type one", allow_custom_value=True, max_choices=None, elem_id="action"
            )
            with gr.Row():
                predict_button = gr.Button("Predict", variant="primary", size="md", min_width=80, elem_id="predict")
                take_button = gr.Button("Do it", size="md", min_width=60)
                new_button = gr.Button("New game", size="md", min_width=110)
        with gr.Column(elem_classes="rw-more"):
            with gr.Accordion("A state of your own", open=False, elem_id="own"):
                own = gr.Textbox(
                    OWN_STATE, label="Facts, as JSON", lines=7, max_lines=16, max_length=MAX_JSON, elem_id="json"
                )
                own_action = gr.Textbox("open fridge", label="Action", max_length=MAX_ACTION)
                own_button = gr.Button("Predict from this state", size="sm", elem_id="predict-own")
            sampling = sampling_fields("Answers")
            load_button, fields = hub_fields()
        with gr.Column(elem_classes="rw-see"):
            answers = gr.HTML(TEXT_NOTE, elem_id="answers", min_height=120)
            gr.Markdown(
                "An answer lists the facts that end (−) and that begin (+). The reward is computed as in training: "
                "exact match is 1 if all of them are right and none is missing, F1 weighs both kinds of errors."
            )
    light: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "games"}
    heavy = {"api_visibility": "private", "concurrency_id": "models", "show_progress": "minimal"}
    asked = [situation, table, action]
    tab.select(in_words(open_game), [situation], asked, **light)
    new_button.click(in_words(new_game), [situation], [*asked, answers], **light)
    take_button.click(in_words(take), [situation, action], asked, **light)
    predict_button.click(in_words(predict), [hub_ids, situation, action, *sampling], answers, **heavy)
    own_button.click(in_words(predict_own), [hub_ids, own, own_action, *sampling], answers, **heavy)
    load_button.click(in_words(load), fields, [hub_ids, measured], **heavy)
    gr.api(in_words(predict_change), api_name="predict_change", concurrency_id="models")


def build_page(video: Checkpoints | None, text: Checkpoints | None) -> gr.Blocks:
    """The page, ready to be launched; where a world has no models, its tab says how to get them."""
    with Page(title="World model playground", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        # Rendered in the last tab, filled by the others when a model from the Hub is loaded.
        measured_video, measured_text = (
            gr.HTML(results_html(world.folder, title=title) if world else "", render=False)
            for world, title in ((video, VIDEO), (text, TEXT))
        )
        with gr.Tabs():
            with gr.Tab("Video", id="video"):
                if video:
                    build_video(page, video, measured_video)
                else:
                    gr.HTML(message_html(MISSING.format(recipe="pusht/quickstart", run="quickstart")))
            with gr.Tab("Text game", id="text") as text_tab:
                if text:
                    build_text(text_tab, text, measured_text)
                else:
                    gr.HTML(message_html(MISSING.format(recipe="textworld/quickstart", run="textworld")))
            with gr.Tab("Results", id="results"):
                gr.Markdown("Measured on held-out episodes and games, for the models of the other two tabs.")
                measured_video.render()
                measured_text.render()
    return page.queue(default_concurrency_limit=1)


def places() -> list[str]:
    """Where to look without being told: the runs of this folder, else what ships with the library."""
    asked = os.environ.get(PLACES_VARIABLE, "").split()
    found = [Path("outputs", run) for run in BUNDLED if has_checkpoints(Path("outputs", run))]
    missing = [name for run, name in BUNDLED.items() if not has_checkpoints(Path("outputs", run))]
    shipped = [shipped_folder("model_cards") / name for name in missing]
    return asked or [str(place) for place in (*found, *filter(has_checkpoints, shipped))] or [FIRST_PLACE]


def main(*asked: str) -> None:
    """Serve the page for the checkpoints at some places, each the run of a world; by default see `places`."""
    loaded = [Checkpoints.from_pretrained(place) for place in asked or places()]
    worlds = {world.predicts: world for world in loaded}
    page = build_page(worlds.get(("frames",)), worlds.get(("text",)))
    page.launch(
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=CSS,
        max_file_size=1024,  # nothing is to be uploaded
        ssr_mode=False,
        footer_links=["api"],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
