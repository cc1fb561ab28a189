import json
from pathlib import Path

import datasets
import pytest

from rlvr_world_hf.data.transition import save_transitions
from rlvr_world_hf.worlds.bytesized32.hub import (
    CHANGED,
    REASONED,
    TEST,
    UNCHANGED,
    RecordedTransitions,
    nothing_changes,
)


def state(is_on: bool) -> str:
    lamp = {"name": "lamp", "uuid": 1, "type": "Lamp", "properties": {"isOn": is_on}, "contains": []}
    return json.dumps({"game_state": [lamp, {"score": 0}]})


def steps(name: str, count: int, *, is_changed: bool) -> list[dict]:
    return [
        {
            "data_source": "llm_simulator",
            "prompt": [{"role": "user", "content": f"{name} {number}"}],
            "reward_model": {"style": "rule", "ground_truth": state(is_changed)},
            "extra_info": {"split": name, "index": number, "data_state": state(False), "data_action": "push"},
        }
        for number in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    reasoned = [
        {"prompt": {"role": "user", "content": f"Step {number}"}, "reward_model": {"ground_truth": f"Hm. {number}"}}
        for number in range(4)
    ]
    files = {
        CHANGED: steps("changed", 6, is_changed=True),
        UNCHANGED: steps("unchanged", 5, is_changed=False),
        TEST: steps("test", 2, is_changed=True),
        REASONED: reasoned,
    }
    for name, rows in files.items():
        datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / f"{name}.parquet"))
    return tmp_path


def test_changed_steps_and_some_unchanged_ones_train(folder: Path) -> None:
    splits = RecordedTransitions(folder=folder, unchanged=2, validation_share=0.25).read()
    assert {name: len(items) for name, items in splits.items()} == {"train": 6, "validation": 2, "test": 2}
    known = splits["train"] + splits["validation"]
    assert sum(item.is_changed for item in known) == 6
    assert len({str(item.prompt) for item in known}) == 8, "no row is in both"
    assert len({item.transition_id for item in known}) == 8
    assert splits == RecordedTransitions(folder=folder, unchanged=2, validation_share=0.25).read()
    others = RecordedTransitions(folder=folder, unchanged=2, validation_share=0.25, seed=1).read()
    assert others["train"] != splits["train"] and others["test"] == splits["test"]


def test_reasoned_answers_are_trained_on_whole(folder: Path, tmp_path: Path) -> None:
    splits = RecordedTransitions(folder=folder, reasoned=True).read()
    answers = {item.prompt[0]["content"]: item.answer for item in splits["train"] + splits["validation"]}
    assert answers == {f"Step {number}": f"Hm. {number}" for number in range(4)}
    assert splits["test"][0].state == state(False), "the table needs states"
    assert len(save_transitions(splits["train"], tmp_path / "rows")) == 3


def test_bad_settings_and_missing_files_say_so(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"at most the 5 steps of the file as `unchanged`, got 7278"):
        RecordedTransitions(folder=folder).read()
    with pytest.raises(ValueError, match=r"`validation_share` in \(0, 1\), got 0"):
        RecordedTransitions(folder=folder, validation_share=0)
    with pytest.raises(ValueError, match="0 or more, got -1"):
        RecordedTransitions(folder=folder, unchanged=-1)
    (folder / f"{TEST}.parquet").unlink()
    recorded = RecordedTransitions(folder=folder, unchanged=0)
    before = recorded.contents()
    with pytest.raises(FileNotFoundError, match=r"test_state_difference\.parquet; download thuml/"):
        recorded.read()
    (folder / f"{UNCHANGED}.parquet").unlink()
    assert recorded.contents() != before


def test_nothing_changes_is_an_answer_of_the_dataset(folder: Path) -> None:
    unchanged = RecordedTransitions(folder=folder, unchanged=5).read()
    same = next(item for item in unchanged["train"] if not item.is_changed)
    assert nothing_changes(same.state) == same.answer
