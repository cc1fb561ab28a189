import gzip
import json

import pytest

from rlvr_world_hf.states.answer import UnreadableAnswerError
from rlvr_world_hf.worlds.bytesized32.compact import (
    apply_compact_answer,
    is_compact,
    read_compact_state,
    write_compact_difference,
    write_compact_state,
)
from rlvr_world_hf.worlds.bytesized32.state import ObjectState, differing, state_entries


STATE = """\
1|box|Box|-isOpen;size=3;>2;>4
2|cup|Cup|temperature=20.5
4|=water|Liquid|in=@2
score|score=0;-gameOver"""


def test_a_state_is_written_and_read_back():
    state = read_compact_state(STATE)
    assert write_compact_state(state) == STATE
    assert state.objects[4] == {
        "name": "water",
        "uuid": 4,
        "type": "Liquid",
        "properties": {"in": "cup (ID: 2)"},
        "contains": [],
    }


@pytest.mark.parametrize(
    ("difference", "after"),
    [
        (".", STATE),
        ("1|+isOpen;~size", STATE.replace("-isOpen;size=3", "+isOpen")),
        ("1|<2\n2|>4", STATE.replace(";>2", "").replace("20.5", "20.5;>4")),
        ("1|<4\n-4", STATE.replace(";>4", "").replace("4|=water|Liquid|in=@2\n", "")),
        ("1|>5\n5|ball|Ball|+isNew", STATE.replace(">4\n", ">4;>5\n").replace("score|", "5|ball|Ball|+isNew\nscore|")),
        ("1|>4;<4\n4|=ice|Solid|in=@2", STATE.replace("=water|Liquid", "=ice|Solid")),
        ("score|score=1;+gameOver", STATE.replace("0;-gameOver", "1;+gameOver")),
    ],
    ids=["nothing", "values", "moved", "gone", "added", "renamed", "score"],
)
def test_a_difference_leads_from_state_to_state(difference, after):
    before, after = read_compact_state(STATE), read_compact_state(after)
    assert write_compact_difference(before, after) == difference
    assert apply_compact_answer(before, difference) == after
    assert is_compact(difference)


def test_a_whole_state_is_an_answer():
    assert apply_compact_answer(read_compact_state("1|x|X|"), f"state\n{STATE}\n") == read_compact_state(STATE)


@pytest.mark.parametrize("answer", ["1|+isOpen\nand so on", "9|+isOpen", "1|isOpen", "-x", "1|+isOpen;", "1|a|b"])
def test_other_lines_are_unreadable(answer):
    with pytest.raises(UnreadableAnswerError, match="Expected"):
        apply_compact_answer(read_compact_state(STATE), answer)


@pytest.mark.parametrize("answer", ["-9", "1|<2;<2", "1|~none", "score|>2"])
def test_what_is_not_there_cannot_be_taken_away(answer):
    apply_compact_answer(read_compact_state(STATE), answer)


@pytest.mark.parametrize("change", [{"name": "a|b"}, {"type": "a\nb"}, {"contains": ["stranger"]}])
def test_what_cannot_be_written_is_refused(change):
    state = read_compact_state(STATE)
    with pytest.raises(ValueError, match="Expected"):
        write_compact_state(ObjectState(objects={2: state.objects[2] | change}, score={}))


def test_json_is_not_compact():
    assert not any(map(is_compact, ["", '{"modified": []}', "The box opens.", "[1|2]", "12"]))


@pytest.mark.parametrize("name", [pytest.param("train", marks=pytest.mark.slow), "test_dev"])
def test_every_recorded_step_is_written_and_read_back(shared, name):
    with gzip.open(shared / "data" / "bytesized32" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    for record in records:
        states = [
            ObjectState(objects={item["uuid"]: item for item in record[stage]["objects"]}, score=record[score])
            for stage, score in (("current_state", "current_score_state"), ("tick_state", "next_score_state"))
        ]
        before, after = states
        for state in states:
            read = read_compact_state(write_compact_state(state))
            assert json.dumps([*read.objects.items(), read.score]) == json.dumps([*state.objects.items(), state.score])
        reached = apply_compact_answer(before, write_compact_difference(before, after))
        assert not differing(state_entries(reached), state_entries(after)) and reached.score == after.score
        assert {u: item["name"] for u, item in reached.objects.items()} == {
            u: item["name"] for u, item in after.objects.items()
        }
