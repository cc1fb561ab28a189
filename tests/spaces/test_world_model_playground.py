"""The PushT page, without a browser: what its handlers answer, and what the Space's files say."""

import base64
import io
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
import numpy as np
import pytest
import yaml
from PIL import Image

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.playground import Playground
from tests.running_loop import in_running_loop
from tests.tiny import tiny_model, tiny_processor


SAMPLING = (0.0, 0)


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "spaces" / "pusht"


@pytest.fixture(scope="module")
def playground() -> Playground:
    processor = tiny_processor(observed_steps=1)
    pipelines = {
        name: WorldModelPipeline(tiny_model(processor, seed=seed), processor)
        for seed, name in enumerate(("base", "rlvr"))
    }
    return Playground(pipelines, horizon=2, max_steps=3, scripted_steps=2)


@pytest.fixture(scope="module")
def app(folder: Path) -> dict[str, Any]:
    return runpy.run_path(str(folder / "app.py"))


@pytest.fixture(scope="module")
def handlers(app: dict[str, Any], playground: Playground) -> dict[str, Any]:
    page = in_running_loop(app["build_page"], playground)
    return {str(endpoint.api_name): endpoint.fn for endpoint in page.fns.values()}


def clicked(x: int, y: int) -> gr.SelectData:
    return gr.SelectData(None, {"index": [x, y], "value": None})


def films(html: str) -> dict[str, np.ndarray]:
    found = re.findall(r"--(\w+): url\(data:image/png;base64,([^)]+)\)", html)
    return {name: np.array(Image.open(io.BytesIO(base64.b64decode(data)))) for name, data in found}


def test_page_opens_with_the_start_and_nothing_played(handlers: dict[str, Any]) -> None:
    picture, targets, html = handlers["show"](0, [], *SAMPLING)
    assert picture.shape == (512, 512, 3) and targets == []
    assert "click on the picture" in html and "animation" not in html
    assert {name: film.shape for name, film in films(html).items()} == dict.fromkeys(
        ("simulator", "base", "rlvr"), (16, 16, 3)
    )


def test_a_click_plays_towards_the_point_under_it(handlers: dict[str, Any], playground: Playground) -> None:
    _, targets, html = handlers["click"](clicked(100, 399), 0, [], *SAMPLING)
    assert targets == [(100.5, 399.5)]
    play = playground.play(seed=0, targets=targets)
    steps = len(play.actions)
    for name, film in films(html).items():
        assert np.array_equal(film, np.concatenate([*play.frames[name]], axis=1)), name
    assert html.count(f"steps({steps + 1}, jump-none) infinite") == 3
    assert html.count("background-position") == 3 * steps
    for errors in play.errors.values():
        assert all(f"{error:.4f}" in html for error in (*errors, errors.mean()))
    assert html.count("<b>") == steps + 1  # of two models, the better one a step and in the mean


def test_clicks_add_up_and_can_be_undone(handlers: dict[str, Any]) -> None:
    first = handlers["click"](clicked(256, 256), 0, [], *SAMPLING)
    second = handlers["click"](clicked(300, 256), 0, first[1], *SAMPLING)
    undone = handlers["undo"](0, second[1], *SAMPLING)
    assert len(second[1]) == 2 and undone[1] == first[1] and undone[2] == first[2]
    assert np.array_equal(undone[0], first[0]) and not np.array_equal(second[0], first[0])
    assert handlers["clear"](0, second[1], *SAMPLING)[1] == []


def test_beyond_the_last_step_a_click_is_refused_with_a_word(
    handlers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(gr, "Info", said.append)
    _, targets, _ = handlers["click"](clicked(20, 20), 0, [], *SAMPLING)
    _, again, _ = handlers["click"](clicked(500, 500), 0, [*targets, (480.0, 480.0)] * 2, *SAMPLING)
    assert said and "3 steps are the limit" in said[-1]
    assert len(again) < 5


def test_new_start_is_the_next_one_without_targets(handlers: dict[str, Any]) -> None:
    start, picture, targets, _ = handlers["new_start"](4, [(1.0, 1.0)], *SAMPLING)
    assert (start, targets) == (5, [])
    assert np.array_equal(picture, handlers["show"](5, [], *SAMPLING)[0])


def test_gpu_of_a_space_is_asked_for(
    folder: Path, playground: Playground, monkeypatch: pytest.MonkeyPatch, app: dict[str, Any]
) -> None:
    def plain() -> None: ...

    assert app["on_gpu"](plain) is plain  # `import spaces` finds the folder of this repository, or nothing
    on_a_space = ModuleType("spaces")
    decorated: list[str] = []
    on_a_space.GPU = lambda function: decorated.append(function.__name__) or function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", on_a_space)
    in_running_loop(runpy.run_path(str(folder / "app.py"))["build_page"], playground)
    assert decorated == ["show"]


def test_front_matter_is_what_the_hub_asks_for(folder: Path, repository: Path) -> None:
    _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    matter = yaml.safe_load(head)
    locked = re.search(r"^gradio==(\S+)", (repository / "requirements.lock").read_text(), flags=re.MULTILINE)
    assert locked is not None and (matter["sdk"], matter["sdk_version"]) == ("gradio", locked[1])
    assert (folder / matter["app_file"]).is_file()
    assert matter["license"] == "apache-2.0" and matter["tags"]
    assert matter["python_version"] == "3.12.12"  # one of those of ZeroGPU
    assert len(matter["short_description"]) <= 60
    assert "rlvr-world-hf" in (folder / "requirements.txt").read_text()
