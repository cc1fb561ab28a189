import datasets
import pytest

from rlvr_world_hf.data.transition import Transition, save_transitions, transition_row


def transition(**changes):
    fields = {"transition_id": "0", "group": "cellar", "prompt": "shut\n> open", "answer": "open", "state": "shut"}
    return Transition(**fields | {"action": "open", "next_state": "open", "is_changed": True} | changes)


def test_rows_are_stored_as_they_are(tmp_path):
    transitions = [transition(transition_id=str(number)) for number in range(3)]
    save_transitions(iter(transitions), tmp_path / "train")
    stored = datasets.load_from_disk(str(tmp_path / "train"))
    assert list(stored) == [transition_row(item) for item in transitions]


def test_nothing_to_store_is_said(tmp_path):
    with pytest.raises(ValueError, match="at least one transition"):
        save_transitions([], tmp_path / "train")
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize("field", ["prompt", "answer"])
def test_prompt_and_answer_are_needed(field):
    with pytest.raises(ValueError, match="prompt and an answer"):
        transition(**{field: ""})
