"""Every module of `evaluate` among the Spaces, found by its folder: it loads by path, its examples and page run."""

import doctest
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import evaluate
import gradio as gr
import pytest
import yaml
from packaging.requirements import Requirement

from tests.running_loop import in_running_loop


SPACES = Path(__file__).resolve().parents[2] / "spaces"
MODULES = sorted(folder.name for folder in SPACES.iterdir() if (folder / f"{folder.name}.py").is_file())


@pytest.fixture
def at_the_root(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)


def front_matter(name: str) -> tuple[dict[str, Any], str]:
    _, head, text = (SPACES / name / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), text


def test_they_are_found() -> None:
    assert {"text_game_accuracy", "video_prediction", "web_page_f1"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("file", ["", "{}.py"], ids=["folder", "file"])
def test_module_loads_by_its_path(name: str, file: str) -> None:
    metric = evaluate.load(str(SPACES / name / file.format(name)))
    assert isinstance(metric, evaluate.Metric) and metric.name == name
    assert metric.description and "Examples:" in metric.inputs_description
    assert {"predictions", "references"} <= set(metric.features)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_module_run(name: str, at_the_root: None) -> None:
    module = sys.modules[type(evaluate.load(f"spaces/{name}")).__module__]
    done = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert done.attempted >= 3 and not done.failed


@pytest.mark.parametrize("name", MODULES)
def test_code_of_the_card_runs(name: str, at_the_root: None) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", front_matter(name)[1], flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["results"] and all(isinstance(value, float) for value in names["results"].values())


@pytest.mark.parametrize("name", MODULES)
def test_card_has_what_the_hub_and_its_reader_ask_for(name: str, repository: Path) -> None:
    matter, text = front_matter(name)
    locked = re.search(r"^gradio==(\S+)", (repository / "requirements.lock").read_text(), flags=re.MULTILINE)
    assert locked is not None and (matter["sdk"], matter["sdk_version"]) == ("gradio", locked[1])
    assert {"evaluate", "metric"} <= set(matter["tags"]) and matter["license"] == "apache-2.0"
    assert (SPACES / name / matter["app_file"]).is_file() and len(matter["short_description"]) <= 60
    headings = re.findall("^##+ (.*)$", text, flags=re.MULTILINE)
    assert headings == ["How to use", "Inputs", "Output", "Limits", "Citation"]
    needed = {Requirement(line).name for line in (SPACES / name / "requirements.txt").read_text().splitlines()}
    assert needed == {"rlvr-world-hf", "evaluate"}


@pytest.mark.parametrize("name", MODULES)
def test_page_measures_and_explains_what_it_cannot(name: str) -> None:
    app = runpy.run_path(str(SPACES / name / "app.py"))
    page = in_running_loop(app["build_page"])
    assert "measure" in {endpoint.api_name for endpoint in page.fns.values()}
    examples = page.examples or []
    for example in examples:
        assert app["measure"](*example)["parse_failure"] == 0
    nothing = [None if isinstance(part, gr.Image) else "" for part in page.input_components]
    with pytest.raises(gr.Error):
        app["measure"](*nothing)
