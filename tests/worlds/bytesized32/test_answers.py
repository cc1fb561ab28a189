import json

import pytest

from rlvr_world_hf.states.answer import UnreadableAnswerError
from rlvr_world_hf.worlds.bytesized32.answers import read_following_state
from rlvr_world_hf.worlds.bytesized32.compact import read_compact_state


STATE = read_compact_state("1|box|Box|-isOpen\n2|cup|Cup|\nscore|score=0")
AFTER = read_compact_state("1|box|Box|+isOpen\nscore|score=1")
DIFFERENCE = {"modified": [AFTER.objects[1]], "removed": [2], "score": {"score": 1}}
WHOLE = {"game_state": [AFTER.objects[1], {"score": 1}]}


@pytest.mark.parametrize(
    "completion",
    [
        json.dumps(DIFFERENCE),
        f"It opens. The final answer is: {DIFFERENCE}",
        f"<think>{{it}} opens</think>\n{json.dumps(DIFFERENCE)}<|im_end|>",
        f"The final answer is:\n```json\n{json.dumps(DIFFERENCE, indent=2)}\n```<｜end▁of▁sentence｜>",
        f"```json\n1|-isOpen\n``` No: ```JSON {json.dumps(DIFFERENCE)}``` as ```json\n2|",
        f"````\n``` So:\n```{json.dumps(DIFFERENCE)}```\n```",
        f"The final answer is: [{json.dumps(DIFFERENCE)}]",
        json.dumps(WHOLE),
        "1|+isOpen\n-2\nscore|score=1<|endoftext|>",
        "<think>it opens</think>1|+isOpen\n-2\nscore|score=1",
        "state\n1|box|Box|+isOpen\nscore|score=1",
    ],
)
def test_every_form_is_read(completion):
    assert read_following_state(completion, STATE) == AFTER


@pytest.mark.parametrize(
    "completion",
    ["", "The final answer is:", "It opens.", '"modified removed"', '["modified", "removed"]', "3", "null",
     '{"modified": null, "removed": []}', '{"modified": []}', '{"modified": {}, "removed": 2}', "1|+isOpen\nand so"],
)  # fmt: skip
def test_anything_else_is_unreadable(completion):
    with pytest.raises(UnreadableAnswerError):
        read_following_state(completion, STATE)


def test_odd_parts_of_a_whole_state_are_passed_over():
    told = json.dumps({"game_state": [1, {"uuid": [1]}, {"uuid": "1"}, AFTER.objects[1], {"score": 1}]})
    assert read_following_state(told, STATE) == AFTER


@pytest.mark.parametrize(
    "completion",
    [
        "2|+isOn\n2|-isOn",
        "2|-isOn\n2|+isOn",
        "2|+isOn;-isOn",
        "2|~isOn;+isOn",
        "-2\n2|+isOn",
        "score|score=1;score=0",
        '{"modified": [{"uuid": 2, "a": 1}, {"uuid": 2, "a": 2}], "removed": [], "score": {}}',
        '{"modified": [{"uuid": 2}], "removed": [2], "score": {}}',
        '{"modified": [{"uuid": 2, "properties": {"isOn": false, "isOn": true}}], "removed": [], "score": {}}',
        "{'modified': [{'uuid': 2, 'properties': {'isOn': False, 'isOn': True}}], 'removed': [], 'score': {}}",
        '{"game_state": [{"uuid": 2, "a": 1}, {"uuid": 2, "a": 2}, {"score": 0}]}',
    ],
)
def test_an_answer_that_says_two_things_is_unreadable(completion):
    before = read_compact_state("2|lamp|Lamp|-isOn;>5\n5|cup|Cup|\nscore|score=0")
    with pytest.raises(UnreadableAnswerError, match="got two"):
        read_following_state(completion, before)


def test_an_answer_that_says_one_thing_twice_is_read():
    before = read_compact_state("2|lamp|Lamp|-isOn\nscore|score=0")
    lamp = '{"uuid": 2, "properties": {"isOn": true, "isOn": true}, "contains": []}'
    answer = f'{{"modified": [{lamp}, {lamp}], "removed": [], "score": {{}}}}'
    assert read_following_state(answer, before).objects[2]["properties"] == {"isOn": True}
