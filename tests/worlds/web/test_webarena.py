from pathlib import Path

import datasets
import pytest

from rlvr_world_hf.data.transition import save_transitions
from rlvr_world_hf.rewards import PageChangeReward
from rlvr_world_hf.worlds.web.change import PageChange
from rlvr_world_hf.worlds.web.webarena import RecordedTransitions, nothing_changes, read_transitions, row_transition


CHANGES = (PageChange(new=("[3] link 'Undo'",)), PageChange())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {
            "data_source": "web_agent",
            "prompt": [{"role": "user", "content": f"[1] RootWebArea 'Shop {number}'\nclick [1]"}],
            "question": f"Shop {number}",
            "answer": f"<think>Hm.</think>{change.text}",
            "reward_model": {"style": "rule", "ground_truth": change.text},
            "extra_info": {"index": number, "split": "test"},
        }
        for number, change in enumerate(CHANGES)
    ]
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "test.parquet"))
    return tmp_path


def test_rows_become_transitions(folder: Path, tmp_path: Path) -> None:
    first, second = transitions = list(read_transitions("test", folder=folder))
    assert first.transition_id == "test/0" and first.group == "web_agent"
    assert first.prompt == [{"role": "user", "content": "[1] RootWebArea 'Shop 0'\nclick [1]"}]
    assert first.answer == f"<think>Hm.</think>{CHANGES[0].text}"
    assert [item.next_state for item in transitions] == [change.text for change in CHANGES]
    assert (first.is_changed, second.is_changed) == (True, False)
    assert len(save_transitions(transitions, tmp_path / "rows")) == 2


def test_without_reasoning_the_change_is_the_answer() -> None:
    row = {"question": "A page.", "reward_model": {"ground_truth": CHANGES[0].text}}
    transition = row_transition(row, transition_id="0")
    assert transition.answer == CHANGES[0].text and transition.group == "webarena"
    assert transition.prompt == [{"role": "user", "content": "A page."}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": [], "reward_model": {"ground_truth": CHANGES[0].text}}, "expected `prompt` or `question`"),
        ({"question": "A page.", "reward_model": {"ground_truth": "Nothing."}}, "New items:.*Nothing"),
        ({"question": "A page.", "answer": "x"}, "New items:"),
    ],
)
def test_a_row_that_lacks_something_says_so(row: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row_transition(row, transition_id="0")


def test_splits_and_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train, test, got 'dev'"):
        read_transitions("dev")
    with pytest.raises(FileNotFoundError, match=r"train\.parquet; download thuml/webarena-world-model-cot"):
        next(read_transitions("train", folder=tmp_path))


def test_the_last_training_rows_are_for_validation(folder: Path, tmp_path: Path) -> None:
    (folder / "train.parquet").write_bytes((folder / "test.parquet").read_bytes())
    recorded = RecordedTransitions(folder=folder)
    assert [item.transition_id for item in recorded.read()["validation"]] == ["train/1"]
    assert {name: len(items) for name, items in recorded.read().items()} == {"train": 1, "validation": 1, "test": 2}
    with pytest.raises(ValueError, match="Expected enough rows"):
        RecordedTransitions(folder=folder, validation_share=0.9).read()
    before = recorded.contents()
    (folder / "test.parquet").unlink()
    assert before != recorded.contents()


def test_the_answer_that_nothing_changes_says_so() -> None:
    assert PageChangeReward()(completions=[nothing_changes("")], ground_truth=[CHANGES[1].text]) == [1.0]
