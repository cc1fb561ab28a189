import gzip
import json
from itertools import islice

import pytest

from rlvr_world_hf.worlds.bytesized32.answers import read_following_state
from rlvr_world_hf.worlds.bytesized32.records import RecordedTransitions, nothing_changes
from rlvr_world_hf.worlds.bytesized32.state import parse_object_state, state_entries
from rlvr_world_hf.worlds.bytesized32.transfer import state_parts, transfer_change


def thing(uuid, *contains, **properties):
    kind = f"thing (ID: {uuid})"
    return {"name": kind, "uuid": uuid, "type": "Thing", "properties": properties, "contains": [*contains]}


def state(*objects, score=0):
    return json.dumps({"game_state": [*objects, {"score": score, "gameOver": False}]})


CUP = "thing (ID: 2)"
FORMS = [{"answer": answer, "compact": compact} for answer in ("difference", "state") for compact in (False, True)]


def outcome(before, after, now, **form):
    """What the carried over change makes of a state, by what reads a model's answers."""
    answer = transfer_change({"data_state": before, "ground_truth": after}, now, **form)
    return read_following_state(answer, parse_object_state(now))


@pytest.mark.parametrize("form", FORMS)
def test_a_change_of_the_state_itself_leads_to_what_followed(form):
    before = state(thing(1, CUP, isOpen=True, size=3), thing(2, heat=20), thing(3))
    after = state(thing(1, isOpen=False, size=3), thing(2, heat=21), thing(4, isNew=True), score=1)
    following = outcome(before, after, before, **form)
    assert following.objects == {item["uuid"]: item for item in json.loads(after)["game_state"] if "uuid" in item}
    assert following.score == {"score": 1, "gameOver": False}


@pytest.mark.parametrize("form", FORMS)
def test_what_the_change_does_not_touch_stays_and_what_cannot_be_is_left_out(form):
    before = state(thing(1, CUP, isOpen=True), thing(2, heat=20), thing(9, isHere=True))
    after = state(thing(1, isOpen=False), thing(2, heat=21), thing(3, CUP), score=2)
    # Without the cup, with another thing inside, and with properties of its own.
    now = state(thing(1, "thing (ID: 7)", isOpen=True, isRed=True), thing(7), thing(9, isHere=True), score=1)
    following = outcome(before, after, now, **form)
    assert {*following.objects} == {1, 7, 3}
    assert following.objects[1]["properties"] == {"isOpen": False, "isRed": True}
    assert following.objects[1]["contains"] == ["thing (ID: 7)"]
    assert following.objects[3]["contains"] == [], "the cup is not there"
    assert following.score["score"] == 3, "two more than before"


@pytest.mark.parametrize(
    ("old", "new", "now", "expected"),
    [
        (20, 25, 30, 35),
        (0.1, 0.3, 0.7, 0.9),
        (1, 0, 1, 0),
        (False, True, 3, True),
        (3, "hot", 5, "hot"),
        (3, 4, True, 4),
    ],
)
def test_numbers_change_by_an_amount_and_all_else_to_a_value(old, new, now, expected):
    before, after, here = (state(thing(1, heat=heat)) for heat in (old, new, now))
    heat = outcome(before, after, here, compact=True).objects[1]["properties"]["heat"]
    assert (type(heat), heat) == (type(expected), expected)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_changes_where_nothing_did(form):
    one, other = state(thing(1, isOpen=True)), state(thing(1, isOpen=False), thing(2))
    answer = transfer_change({"data_state": one, "ground_truth": one}, other, **form)
    assert answer == nothing_changes(other, **form)


def test_parts_tell_states_apart_as_json_does():
    parts = [frozenset(state_parts(state(thing(1, size=size)))) for size in (True, 1, 2)]
    assert len(parts[0] ^ parts[1]) == len(parts[1] ^ parts[2]) == 2 and parts[0] == frozenset(
        state_parts(state(thing(1, size=True)))
    )


def test_recorded_steps_lead_to_what_was_recorded(shared, tmp_path):
    with gzip.open(shared / "data" / "bytesized32" / "test_dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        kept = [*islice(lines, 0, None, 25)]
    for name, of_file in {"train.jsonl": kept[:1], "test.jsonl": kept}.items():
        (tmp_path / name).write_text("".join(of_file), encoding="utf-8")
    steps = RecordedTransitions(folder=tmp_path, rules=False, compact=True).read()["test"]
    assert len(steps) > 50
    for step in steps:
        following = outcome(step.state, step.next_state, step.state, compact=True)
        assert state_entries(following) == state_entries(parse_object_state(step.next_state))
