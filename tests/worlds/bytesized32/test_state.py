import pytest

from rlvr_world_hf.worlds.bytesized32.state import (
    ObjectState,
    apply_difference,
    differing,
    object_state_text,
    parse_object_state,
    state_difference,
    state_entries,
)


def thing(uuid, contains=(), **properties):
    return {"name": f"thing (ID: {uuid})", "uuid": uuid, "properties": properties, "contains": list(contains)}


def state(*objects, score=0):
    return ObjectState(objects={item["uuid"]: item for item in objects}, score={"score": score})


BEFORE = state(thing(1, ["a", "b"], isOpen=True), thing(2, size=1))


@pytest.mark.parametrize(
    ("after", "modified", "removed", "score"),
    [
        (BEFORE, [], [], {}),
        (state(thing(1, ["b", "a"], isOpen=True), thing(2, size=1)), [], [], {}),
        (state(thing(1, ["a"], isOpen=True), thing(2, size=1)), [1], [], {}),
        (state(thing(1, ["a", "b"], isOpen=False), thing(2, size=1), score=1), [1], [], {"score": 1}),
        (state(thing(1, ["a", "b"], isOpen=True, isWet=True), thing(2, size=1)), [1], [], {}),
        (state(thing(1, ["a", "b"], isOpen=True)), [], [2], {}),
        (state(thing(3), thing(2, size=2), thing(1, ["a", "b"], isOpen=True)), [2, 3], [], {}),
    ],
    ids=["nothing", "order", "contents", "value and score", "new property", "removed", "added and changed"],
)
def test_a_difference_tells_what_changed_and_leads_there(after, modified, removed, score):
    difference = state_difference(BEFORE, after)
    assert difference == {"modified": [after.objects[uuid] for uuid in modified], "removed": removed, "score": score}
    reached = apply_difference(BEFORE, difference)
    assert (state_entries(reached), reached.score) == (state_entries(after), after.score)


def test_a_difference_of_a_model_may_hold_anything():
    told = {"modified": [None, "x", {"uuid": "1"}, {"uuid": True}, {"uuid": [1]}], "removed": ["1", None, [2]]}
    assert apply_difference(BEFORE, told) == ObjectState(objects=BEFORE.objects, score={})
    assert apply_difference(BEFORE, told | {"score": [1]}).score == {}


def test_what_is_removed_and_modified_is_gone():
    assert list(apply_difference(BEFORE, {"modified": [thing(2)], "removed": [2], "score": {}}).objects) == [1]


def test_parts_of_a_wrong_type_are_no_entries():
    odd = {1: {"uuid": 1, "properties": [1], "contains": "ab"}, 2: {"uuid": 2, "contains": ["a", 1]}, 3: {"uuid": 3}}
    assert state_entries(ObjectState(objects=odd, score={})) == {}


def test_a_recorded_state_is_written_as_it_was_read():
    assert parse_object_state(object_state_text(BEFORE)) == BEFORE


@pytest.mark.parametrize("text", ["[]", '{"game_state": {}}', '{"game_state": [1]}', "nothing"])
def test_a_recorded_state_is_never_unreadable(text):
    with pytest.raises(ValueError, match="Expect"):
        parse_object_state(text)


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [(True, 1, True), (0, False, True), (1, 1.0, False), (True, True, False), ([1, [True]], [1, [1]], True),
     ([True], [True, True], True), ({"a": 0}, {"a": False}, True), ({"a": 0}, {"b": 0}, True), ("1", 1, True),
     ({"a": [False, None]}, {"a": [False, None]}, False), (None, False, True)],
)  # fmt: skip
def test_values_differ_as_json_has_them(one, other, differ):
    assert bool(differing({"x": one}, {"x": other})) == differ
    assert bool(differing({"x": one}, {"x": other}, true_is_one=True)) == (one != other)
