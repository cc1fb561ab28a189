"""The metric of text games gives the numbers of the rewards, and those of the official code."""

import gzip
import json
from pathlib import Path
from typing import Any

import evaluate
import pytest

from rlvr_world_hf.rewards import FactF1Reward, FactMatchReward, ObjectStateReward


STATE = '{"game_state": [{"uuid": 2, "properties": {"isOn": false}, "contains": []}, {"score": 0}]}'
LATER = STATE.replace("false", "true")
ANSWERS = ["2|+isOn", "2|-isOn", "the lamp"]


@pytest.fixture(scope="module")
def folder() -> str:
    return str(Path(__file__).resolve().parents[2] / "spaces" / "text_game_accuracy")


@pytest.fixture
def metric(folder: str) -> Any:
    return evaluate.load(folder)


def test_numbers_are_those_of_the_rewards(metric: Any) -> None:
    found = metric.compute(predictions=ANSWERS, references=[LATER] * 3, states=[STATE] * 3)
    columns = {"ground_truth": [LATER] * 3, "data_state": [STATE] * 3, "data_action": [""] * 3}
    for name, kind in {"accuracy": "binary", "task_specific": "task_specific"}.items():
        rewards = ObjectStateReward(kind=kind)(completions=ANSWERS, **columns)  # type: ignore[arg-type]
        assert found[name] == pytest.approx(sum(rewards) / 3)  # type: ignore[arg-type]
    assert found["parse_failure"] == pytest.approx(1 / 3)


def test_batches_add_up(metric: Any) -> None:
    for answer in ANSWERS:
        metric.add(predictions=answer, references=LATER, states=STATE)
    added = metric.compute()
    assert added == metric.compute(predictions=ANSWERS, references=[LATER] * 3, states=[STATE] * 3)


def test_facts_are_those_of_their_rewards(folder: str) -> None:
    answers, recorded = ["+ open(box)\n- closed(box)", "+ open(box)", "It opens."], ["- closed(box)\n+ open(box)"] * 3
    found = evaluate.load(folder, "textworld").compute(predictions=answers, references=recorded)
    for name, reward in {"accuracy": FactMatchReward(), "fact_f1": FactF1Reward()}.items():
        assert found[name] == pytest.approx(sum(reward(answers, ground_truth=recorded)) / 3)  # type: ignore[arg-type]


def test_with_parity_it_agrees_with_the_official_code(metric: Any, golden: Path) -> None:
    with gzip.open(golden / "text_game_reward.jsonl.gz", "rt", encoding="utf-8") as lines:
        cases = [case for case in map(json.loads, lines) if not case["repair_sensitive"]]
    names = {"predictions": "solution", "references": "ground_truth", "states": "data_state"}
    columns = {name: [case[key] for case in cases] for name, key in names.items()}
    found = metric.compute(**columns, parity=True)
    assert len(cases) > 400
    for name, key in {"accuracy": "binary", "task_specific": "task_specific"}.items():
        assert found[name] == pytest.approx(sum(case[key] for case in cases) / len(cases), abs=1e-9)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"references": [LATER, "lamp"]}, r"references\[1\].*game_state"),
        ({"states": ['{"lamp": 1}', STATE]}, r"states\[0\].*game_state"),
        ({"states": None}, "missing: \\['states'\\]"),
        ({"predictions": ANSWERS}, "Mismatch in the number"),
        ({"predictions": [1, 2]}, "don't match the expected format"),
        ({"predictions": [], "references": [], "states": []}, "at least one answer"),
    ],
)
def test_wrong_input_is_explained_and_forgotten(metric: Any, wrong: dict[str, Any], said: str) -> None:
    right = {"predictions": ANSWERS[:2], "references": [LATER] * 2, "states": [STATE] * 2}
    with pytest.raises(ValueError, match=said):
        metric.compute(**{name: column for name, column in (right | wrong).items() if column is not None})
    assert metric.compute(**right)["accuracy"] == 0.5


def test_unknown_games_and_parity_without_states_are_refused(folder: str) -> None:
    with pytest.raises(ValueError, match="one of bytesized32, textworld, got 'chess'"):
        evaluate.load(folder, "chess")
    with pytest.raises(ValueError, match="bytesized32"):
        evaluate.load(folder, "textworld").compute(predictions=["+ a(b)"], references=["+ a(b)"], parity=True)
