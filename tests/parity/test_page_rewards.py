"""The web-page reward of the official code: recorded cases of golden/README.md, section 2 (tolerance 1e-9)."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_world_hf.rewards import PageChangeReward


@pytest.fixture(scope="module")
def cases(golden: Path) -> list[dict[str, Any]]:
    with gzip.open(golden / "web_agent_reward.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_every_case_gets_the_official_reward(cases: list[dict[str, Any]]) -> None:
    assert len(cases) == 126
    for case in cases:
        reward = PageChangeReward(parity=True, matching_cost=case["p"])
        (value,) = reward(completions=[case["solution"]], ground_truth=[case["ground_truth"]])
        assert value == pytest.approx(case["reward"], abs=1e-9), case["id"]


def test_without_parity_the_recorded_change_is_perfect(cases: list[dict[str, Any]]) -> None:
    said = [case for case in cases if case["kind"].endswith(("/exact", "/eos_glued", "/eos_after_newline"))]
    columns = {"completions": [case["solution"] for case in said], "ground_truth": [c["ground_truth"] for c in said]}
    assert len(said) == 21 and PageChangeReward()(**columns) == [1.0] * 21
    assert min(PageChangeReward(parity=True)(**columns)) < 1
