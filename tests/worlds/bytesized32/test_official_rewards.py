"""What the authors' code does beside what is right; its numbers are compared in tests/parity/test_text_rewards.py."""

import json

import pytest

from rlvr_world_hf.states.answer import UnreadableAnswerError
from rlvr_world_hf.worlds.bytesized32.compact import read_compact_state
from rlvr_world_hf.worlds.bytesized32.official_rewards import official_binary_reward, official_task_specific_reward


STATE = read_compact_state("1|box|Box|-isOpen\n2|cup|Cup|\nscore|score=0")
OPENED = read_compact_state("1|box|Box|+isOpen\n2|cup|Cup|\nscore|score=0")


def answer(*modified, removed=(), score=None):
    return json.dumps({"modified": list(modified), "removed": list(removed), "score": score or {}})


def test_right_and_wrong():
    assert official_binary_reward(answer(OPENED.objects[1]), STATE, OPENED) == 1
    assert official_task_specific_reward(answer(OPENED.objects[1]), STATE, OPENED) == pytest.approx(1.3)
    assert official_task_specific_reward(answer(), STATE, OPENED) == pytest.approx(0.09 * 2 / 3 + 0.01)


def test_two_words_pass_for_an_answer():
    assert official_task_specific_reward('"modified removed"', STATE, STATE) == pytest.approx(0.09)


def test_a_removed_object_need_not_be_reported():
    gone = read_compact_state("1|box|Box|-isOpen\nscore|score=0")
    assert official_binary_reward(answer(), STATE, gone) == 1


@pytest.mark.parametrize(
    "part", [{"properties": None}, {"properties": {"none": 1}}, {"properties": {}, "contains": [1, "a"]}]
)
def test_one_odd_part_spoils_all(part):
    with pytest.raises(UnreadableAnswerError):
        official_task_specific_reward(answer(OPENED.objects[1] | part), STATE, OPENED)
