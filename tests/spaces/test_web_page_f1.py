"""The metric of web pages gives the numbers of the reward, and those of the official code."""

import gzip
import json
from pathlib import Path
from typing import Any

import evaluate
import pytest

from rlvr_world_hf.rewards import PageChangeReward


RECORDED = "New items:\nNone\n\nDeleted items:\n[3] button 'Save'\n\nUpdated items:\n[2] link 'Cart'"
ANSWERS = [RECORDED, "Deleted items:\n[3] button 'Save'", "Nothing."]


@pytest.fixture
def metric() -> Any:
    return evaluate.load(str(Path(__file__).resolve().parents[2] / "spaces" / "web_page_f1"))


def test_numbers_are_those_of_the_reward(metric: Any) -> None:
    found = metric.compute(predictions=ANSWERS, references=[RECORDED] * 3)
    rewards = PageChangeReward()(ANSWERS, ground_truth=[RECORDED] * 3)
    assert found == {"f1": pytest.approx(sum(rewards) / 3), "parse_failure": pytest.approx(1 / 3)}  # type: ignore[arg-type]


def test_with_parity_it_agrees_with_the_official_code(metric: Any, golden: Path) -> None:
    with gzip.open(golden / "web_agent_reward.jsonl.gz", "rt", encoding="utf-8") as lines:
        cases = [case for case in map(json.loads, lines) if not case["p"]]
    columns = {"predictions": [case["solution"] for case in cases], "references": [c["ground_truth"] for c in cases]}
    found = metric.compute(**columns, parity=True)
    assert len(cases) > 90
    assert found["f1"] == pytest.approx(sum(case["reward"] for case in cases) / len(cases), abs=1e-9)


def test_a_reference_without_sections_is_refused_and_forgotten(metric: Any) -> None:
    columns = {"predictions": [RECORDED] * 2, "references": [RECORDED, "Nothing."]}
    with pytest.raises(ValueError, match=r"references\[1\].*'New items:'.*`None` below each"):
        metric.compute(**columns)
    assert metric.compute(**columns, parity=True)["f1"] == 0.5
    assert metric.compute(predictions=[RECORDED], references=[RECORDED])["f1"] == 1.0


def test_wrong_input_is_explained(metric: Any) -> None:
    with pytest.raises(ValueError, match="Mismatch in the number"):
        metric.compute(predictions=ANSWERS, references=[RECORDED])
    with pytest.raises(ValueError, match="at least one answer"):
        metric.compute(predictions=[], references=[])
