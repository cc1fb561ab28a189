import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_world_hf.findings.applications import planning_web as planning_web_module
from rlvr_world_hf.findings.applications.planning_web import planning_web
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.planning import text_agent
from rlvr_world_hf.processors.text import LanguageWorldModelProcessor
from rlvr_world_hf.worlds.web.change import PageChange
from rlvr_world_hf.worlds.web.webpages import PROMPT_TEMPLATE
from tests.tiny import text_tokenizer, tiny_language_model


FIRST = 5_000_001  # find the page Tasks; then write a task and add it


@pytest.fixture
def run(tmp_path: Path) -> Path:
    processor: Any = LanguageWorldModelProcessor(text_tokenizer(), prompt_template=PROMPT_TEMPLATE)
    for seed, name in enumerate(("base", "rlvr")):
        model = tiny_language_model(processor.tokenizer, seed=seed)
        WorldModelPipeline(model, processor).save_pretrained(tmp_path / "run" / name)
    return tmp_path / "run"


def test_checkpoints_must_be_there_before_a_browser_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning_web_module, "open_browser", None)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        planning_web([tmp_path], folder=tmp_path)


@pytest.mark.browser
def test_reactive_guided_and_the_site_itself(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

    def answers(model: Any, processor: Any, prompts: list[str], **settings: Any) -> list[list[str]]:
        """Knows where the link of a page leads, and nothing else."""
        names = [prompt.rpartition("\n\nChanges")[0].rpartition(" is link ")[2] for prompt in prompts]
        return [[PageChange(new=(f"[99] heading {name}",) if name else ()).text] for name in names]

    monkeypatch.setattr(text_agent, "sample_answers", answers)
    settings: dict[str, int] = {"starts": 2, "first_start": FIRST, "actions": 3}
    path = planning_web([run], folder=tmp_path / "out", **settings)
    record = json.loads(path.read_text())
    assert list(record["rows"]) == ["reactive", "matching", "base", "rlvr", "site"]
    assert record["rows"]["site"]["success"]["values"] == [1.0, 1.0]
    assert record["rows"]["site"]["actions"]["values"] == [1.0, 3.0]
    assert record["rows"]["base"]["success_find"]["values"] == [1.0]
    assert record["rows"]["base"]["actions"]["values"] == [1.0, 3.0]
    assert record["finding"] == "planning_web" and record["protocol"] == {"actions": 3, "site_seed": 0}
    monkeypatch.setattr(planning_web_module, "open_browser", None)  # what was made is not made again
    assert json.loads(planning_web([run], folder=tmp_path / "out", **settings).read_text()) == record
