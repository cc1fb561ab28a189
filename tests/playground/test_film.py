import base64
import dataclasses
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rlvr_world_hf.playground.film import SHOWN, curve_svg, data_address, film_addresses, play_html
from rlvr_world_hf.playground.play import SIMULATOR, Play
from rlvr_world_hf.worlds.pusht.playground import Playground
from tests.worlds.pusht.test_playground import FAR, PIPELINES, SEED, walk


TITLES = {SIMULATOR: ("Simulator", "what happens"), "base": ("Base", "<likelihood>"), "rlvr": ("RLVR", "")}


def read(address: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))))


def films(html: str) -> dict[str, np.ndarray]:
    return {name: read(address) for name, address in re.findall(r"--([\w-]+): url\(([^)]+)\)", html)}


def shown(play: Play, **settings: Any) -> str:
    return play_html(play, titles=TITLES, interval=0.5, **settings)


@pytest.fixture(scope="module")
def playground() -> Playground:
    return Playground(PIPELINES, horizon=2, max_steps=9, scripted_steps=3)


@pytest.fixture(scope="module")
def play(playground: Playground) -> Play:
    return walk(playground, playground.start(SEED), FAR, samples=2, temperature=1.0)


def test_a_picture_is_in_its_address() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    assert np.array_equal(read(data_address(picture)), picture)


def test_before_the_first_step_there_is_a_note(playground: Playground) -> None:
    start = playground.start(SEED)
    assert shown(start, note="Click & run") == '<div class="rw-note">Click &amp; run</div>'
    assert film_addresses(start) == {"simulator": [], "base": [], "rlvr": []}


def test_films_hold_the_frames_of_all(play: Play) -> None:
    found = films(shown(play))
    assert set(found) == {"simulator", "base-0", "base-1", "base-error", "rlvr-0", "rlvr-1", "rlvr-error"}
    assert np.array_equal(found["simulator"], np.concatenate([*play.truth], axis=1))
    assert np.array_equal(found["rlvr-1"], np.concatenate([*play.predicted["rlvr"][1]], axis=1))
    assert np.array_equal(read(film_addresses(play)["rlvr"][1]), found["rlvr-1"])


def test_film_stands_still_while_it_grows_and_plays_when_it_is_there(play: Play) -> None:
    assert "animation" not in shown(play, is_running=True)
    assert shown(play).count(f"steps({play.steps}, jump-none) infinite") == 5


def test_every_number_is_there_and_the_best_is_bold(play: Play) -> None:
    html = shown(play)
    for metrics in play.metrics.values():
        assert all(f"{error:.4f}" in html for error in metrics["mae"].ravel())
    assert html.count("<th scope='col'>") == play.steps
    assert "RLVR 2" in html and "sample 1 of 2" in html and "&lt;likelihood&gt;" in html
    assert len(re.findall(r"<b>0\.\d{4}</b>", html)) >= play.steps // 2


def test_only_the_latest_steps_are_shown(playground: Playground, play: Play) -> None:
    for _ in range(2):
        play = walk(playground, play, FAR * 3)
    assert play.steps == 27 > SHOWN
    assert films(shown(play))["simulator"].shape == (16, 16 * SHOWN, 3)
    assert f"The last {SHOWN} of 27 steps." in shown(play)


def test_repetition_is_flagged(play: Play) -> None:
    assert "No model repeats its own last frame." in shown(
        dataclasses.replace(play, repeated={name: np.zeros_like(flags) for name, flags in play.repeated.items()})
    )
    flags = np.zeros_like(play.repeated["base"])
    flags[0, -1] = True
    html = shown(dataclasses.replace(play, repeated=play.repeated | {"base": flags}))
    assert f"Base repeats its own last frame in 1 of {flags.size} predicted frames." in html
    assert '<b class="rw-flag">repeats</b>' in html and "rw-same" in html
    assert re.search(r"= (<b>)?0\.", html)


def test_curves_are_means_with_a_band() -> None:
    values = {"base": np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]), "rlvr": np.array([[0.0, 0.0, 4.0]])}
    svg = curve_svg("Error <1>", values, interval=0.5, higher_is_better=False)
    assert svg.count("<polyline") == 2 and svg.count("<polygon") == 1
    assert "lower is better" in svg and "Error &lt;1&gt;" in svg and "1.5 s" in svg
    (base,) = re.findall(r'rw-line rw-of-base" points="([^"]+)"', svg)
    heights = [point.split(",")[1] for point in base.split()]
    assert len(heights) == 3 and len(set(heights)) == 1  # the mean of the two is level


@pytest.mark.parametrize("values", [np.array([[0.5]]), np.array([[np.inf, 20.0]]), np.full((1, 3), np.nan)])
def test_curves_of_little_are_drawn_too(values: np.ndarray) -> None:
    svg = curve_svg("PSNR", {"base": values}, interval=0.5, higher_is_better=True)
    assert "higher is better" in svg and ("nan" not in svg or np.isnan(values).all())
