"""The playground's page, without a browser: what its handlers and endpoints answer, and what the Space's files say."""

import re
import runpy
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
import numpy as np
import pytest
import yaml

from rlvr_world_hf.playground.checkpoints import Checkpoints
from rlvr_world_hf.worlds.textworld.facts import FactState
from rlvr_world_hf.worlds.textworld.playground import Situation
from tests.running_loop import in_running_loop


HERE = ("", "")
SAMPLING = (1, 0.0, 0)
START = 7_000_000


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "spaces" / "world_model_playground"


@pytest.fixture(scope="module")
def worlds(tiny_runs: list[Path]) -> list[Checkpoints]:
    return [Checkpoints.from_pretrained(run, device="cpu") for run in tiny_runs]


@pytest.fixture(scope="module")
def app(folder: Path) -> dict[str, Any]:
    return runpy.run_path(str(folder / "app.py"))


def handlers_of(page: gr.Blocks) -> dict[str, Any]:
    """Handlers by their names, the first of each: those of the video tab."""
    found: dict[str, Any] = {}
    for endpoint in page.fns.values():
        found.setdefault(getattr(endpoint.fn, "__name__", "none"), endpoint.fn)
    return found


@pytest.fixture(scope="module")
def page(app: dict[str, Any], worlds: list[Checkpoints]) -> gr.Blocks:
    return in_running_loop(app["build_page"], *worlds)


@pytest.fixture(scope="module")
def handlers(page: gr.Blocks) -> dict[str, Any]:
    return handlers_of(page)


def clicked(x: int, y: int) -> gr.SelectData:
    return gr.SelectData(None, {"index": [x, y], "value": None})


def test_page_opens_with_the_start_and_nothing_predicted(handlers: dict[str, Any]) -> None:
    picture, targets, said, play, html = handlers["begin"](HERE, START)
    assert picture.shape == (512, 512, 3) and targets == [] and play.steps == 0
    assert "Click where" in said and "Nothing predicted yet" in html
    start, other, *_ = handlers["pick"](HERE, gr.SelectData(None, {"index": 2, "value": None}))
    assert start == START + 2 and not np.array_equal(other, picture)


def test_clicks_are_a_path_that_can_be_undone(handlers: dict[str, Any]) -> None:
    plain, _, _, play, _ = handlers["begin"](HERE, START)
    picture, targets, said = handlers["click"](HERE, play, [], clicked(100, 399))
    assert targets == [(100.5, 399.5)] and not np.array_equal(picture, plain) and "1 target, " in said
    _, more, said = handlers["add"](HERE, play, targets, 120.0, 380.0)
    assert len(more) == 2 and "2 targets, " in said
    again, undone, _ = handlers["undo"](HERE, play, more)
    assert undone == targets and np.array_equal(again, picture)


def test_run_shows_frame_after_frame_and_goes_on(handlers: dict[str, Any]) -> None:
    *_, play, _ = handlers["begin"](HERE, START)
    *shown, (_, targets, said, last, html) = handlers["run"](HERE, play, [(480.0, 480.0)], *SAMPLING)
    assert [step[3].steps for step in shown] == list(range(1, last.steps + 1)) and last.steps > 2
    assert targets == [] and "Click where" in said
    assert "infinite" in html and all("infinite" not in step[4] for step in shown)
    *_, (_, _, _, on, _) = handlers["replay"](HERE, last, [], 2, 1.0, 0)
    assert on.steps > last.steps and on.replayed == on.steps - last.steps and len(on.predicted["rlvr"]) == 2


def test_beyond_the_last_step_a_click_is_refused_with_a_word(
    handlers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(gr, "Info", said.append)
    *_, play, _ = handlers["begin"](HERE, START)
    _, targets, _ = handlers["add"](HERE, play, [(32.0, 32.0), (480.0, 480.0)] * 2, 32.0, 32.0)
    assert len(targets) < 5 and "12 steps at a time" in said[-1]
    assert list(handlers["run"](HERE, play, [], *SAMPLING))[-1][3].steps == 0
    assert "Click on the frame first" in said[-1]


def test_refusals_come_in_words(handlers: dict[str, Any]) -> None:
    with pytest.raises(gr.Error, match="Expected the id of a Hub repository"):
        handlers["load"](START, "../../etc", "")
    with pytest.raises(gr.Error, match="start to be a whole number"):
        handlers["predict_frames"](-1, [], 0.0, 1, 0)
    with pytest.raises(gr.Error, match="Expected a target"):
        handlers["predict_frames"](START, [{"x": 1}], 0.0, 1, 0)
    with pytest.raises(gr.Error, match="There is no game yet"):
        list(handlers["predict"](HERE, None, "look", *SAMPLING))
    with pytest.raises(gr.Error, match="There is no game yet"):
        handlers["take"](None, "../../etc")


def test_text_is_predicted_and_compared(handlers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    state = FactState.parse("closed(box)")
    situation = Situation(seed=0, commands=(), state=state, changing_actions=(), no_op_actions=("look",))
    *_, html = handlers["predict"](HERE, situation, "look", *SAMPLING)
    assert html.count("<section>") == 3 and html.count("Reward:") == 2 and "nothing changes" in html
    *_, html = handlers["predict_own"](HERE, '["closed(box)"]', "open box", *SAMPLING)
    assert "Not known here" in html and "Reward:" not in html
    (html,) = handlers["predict_own"](HERE, '["closed(box)"', "open box", *SAMPLING)
    assert 'role="alert"' in html and "Line 1, column 15" in html


def test_without_models_a_tab_says_how_to_get_them(app: dict[str, Any], worlds: list[Checkpoints]) -> None:
    page = in_running_loop(app["build_page"], worlds[0], None)
    said = [block.value for block in page.blocks.values() if isinstance(block, gr.HTML)]
    assert any("rlvr-world run textworld/quickstart" in str(text) for text in said)
    assert "predict_frames" in handlers_of(page) and "predict_change" not in handlers_of(page)


def test_only_named_endpoints_are_public_and_none_takes_a_file(page: gr.Blocks) -> None:
    public = {endpoint.api_name for endpoint in page.fns.values() if endpoint.api_visibility == "public"}
    assert public == {"predict_frames", "predict_change"}
    takers = {type(block).__name__ for endpoint in page.fns.values() for block in endpoint.inputs}
    assert not takers & {"Image", "Gallery", "File", "UploadButton", "ImageEditor", "Video", "FileExplorer"}


def test_everything_waits_in_a_queue(page: gr.Blocks) -> None:
    assert page.max_size == 32 if hasattr(page, "max_size") else page._queue.max_size == 32
    for endpoint in page.fns.values():
        if endpoint.fn is not None:
            assert endpoint.queue is not False and endpoint.concurrency_limit in (1, "default")


def test_runs_are_looked_for_here_and_then_with_the_library(
    app: dict[str, Any], tiny_runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RLVR_WORLD_PLACES", raising=False)
    monkeypatch.setitem(app["places"].__globals__, "shipped_folder", lambda name: tmp_path / name)
    assert app["places"]() == ["outputs/quickstart"]
    (tmp_path / "model_cards").mkdir()
    (tmp_path / "model_cards" / "pusht").symlink_to(tiny_runs[0])
    assert app["places"]() == [str(tmp_path / "model_cards" / "pusht")]
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "quickstart").symlink_to(tiny_runs[0])
    assert app["places"]() == ["outputs/quickstart"]
    monkeypatch.setenv("RLVR_WORLD_PLACES", "one hf://owner/name")
    assert app["places"]() == ["one", "hf://owner/name"]


def test_gpu_of_a_space_is_asked_for(
    folder: Path, worlds: list[Checkpoints], monkeypatch: pytest.MonkeyPatch, app: dict[str, Any]
) -> None:
    def plain() -> None: ...

    assert app["on_gpu"](plain) is plain  # `import spaces` finds the folder of this repository, or nothing
    on_a_space = ModuleType("spaces")
    decorated: list[str] = []
    on_a_space.GPU = lambda function: decorated.append(function.__name__) or function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", on_a_space)
    in_running_loop(runpy.run_path(str(folder / "app.py"))["build_page"], *worlds)
    assert decorated == ["run", "replay", "predict_frames", "ask", "predict_change"]


def test_front_matter_is_what_the_hub_asks_for(folder: Path, repository: Path) -> None:
    _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    matter = yaml.safe_load(head)
    locked = re.search(r"^gradio==(\S+)", (repository / "requirements.lock").read_text(), flags=re.MULTILINE)
    assert locked is not None and (matter["sdk"], matter["sdk_version"]) == ("gradio", locked[1])
    assert (folder / matter["app_file"]).is_file()
    assert matter["license"] == "apache-2.0" and matter["tags"]
    assert matter["python_version"] == "3.12.12"  # one of those of ZeroGPU
    assert len(matter["short_description"]) <= 60


def test_requirements_are_bounded_as_the_librarys(folder: Path, repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    known = {*project["dependencies"], *project["optional-dependencies"]["textworld"]}
    assert set((folder / "requirements.txt").read_text().split()) <= known


def test_nothing_is_fetched_from_elsewhere(folder: Path) -> None:
    for name in ("app.py", "style.css"):
        text = (folder / name).read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s)\"']+", text)) <= {"https://huggingface.co/papers/2505.13934"}
        assert "@import" not in text and "<script" not in text


def test_snippet_of_the_readme_runs(folder: Path, served: str) -> None:
    (snippet,) = re.findall(
        r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert '"owner/name"' in snippet
    found: dict[str, Any] = {}
    exec(snippet.replace('"owner/name"', repr(served)), found)
    errors = found["play"]["metrics"]["rlvr"]["mae"]
    assert len(errors) == 2 and len(errors[0]) == len(found["play"]["actions"]) > 2
    assert found["play"]["films"]["simulator"][0].startswith("data:image/png;base64,")
    assert set(found["said"]) == {"base", "rlvr"}
