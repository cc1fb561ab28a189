import gzip
import json
import pickle
from time import process_time

import pytest

from rlvr_world_hf.rewards import ObjectStateReward
from rlvr_world_hf.worlds.bytesized32.compact import read_compact_state, write_compact_difference
from rlvr_world_hf.worlds.bytesized32.state import ObjectState, object_state_text, parse_object_state, state_difference


BEFORE = "1|box|Box|-isOpen;size=2\n2|cup|Cup|+isFull\nscore|score=0;-gameOver"
KINDS = ("binary", "task_specific")


def score(completion, after, *, before=BEFORE, kind="task_specific", parity=False):
    texts = [object_state_text(read_compact_state(lines)) for lines in (before, after)]
    columns = dict(
        zip(("data_state", "ground_truth", "data_action"), [[text] for text in [*texts, "act"]], strict=True)
    )
    return ObjectStateReward(kind=kind, parity=parity)(completions=[completion], **columns)[0]


def full_answer(after, before=BEFORE, **changes):
    difference = state_difference(read_compact_state(before), read_compact_state(after))
    return json.dumps(difference | changes)


OPENED = BEFORE.replace("-isOpen", "+isOpen")
ADDED = BEFORE.replace("score|", "3|ball|Ball|+isNew;size=1\nscore|")
REMOVED = BEFORE.replace("2|cup|Cup|+isFull\n", "")


@pytest.mark.parametrize("after", [BEFORE, OPENED, ADDED, REMOVED, BEFORE.replace("score=0", "score=1")])
def test_the_recorded_difference_earns_all(after):
    best = 1.3 if after in (OPENED, ADDED, REMOVED) else 0.3
    for answer in (full_answer(after), write_compact_difference(*map(read_compact_state, (BEFORE, after)))):
        assert score(answer, after) == pytest.approx(best)
        assert score(answer, after, kind="binary") == 1
        assert score(f"{answer}<|im_end|>", after, kind="binary") == 1


def test_an_added_object_can_be_predicted():
    assert score(full_answer(ADDED), ADDED, parity=True) < 1.2
    half = ADDED.replace("size=1", "size=9")
    assert score(".", ADDED) < score(full_answer(half), ADDED) < score(full_answer(ADDED), ADDED)
    assert score(full_answer(half), ADDED) == pytest.approx(0.09 * 7 / 8 + 0.01 + 2 / 3)


def test_a_removal_must_be_reported():
    assert score(".", REMOVED, kind="binary") == 0
    assert score(full_answer(BEFORE), REMOVED, kind="binary", parity=True) == 1
    assert score(".", REMOVED) == pytest.approx(0.09 * 3 / 5 + 0.01)


def test_an_unknown_property_costs_itself():
    known, unknown = full_answer(OPENED), full_answer(OPENED.replace("+isOpen", "+isOpen;+isBlue"))
    assert score(unknown, OPENED, parity=True) == 0
    assert score(unknown, OPENED) == pytest.approx(0.09 * 5 / 6 + 0.01 + 1)
    assert score(unknown, OPENED, kind="binary") == 0 and score(known, OPENED, kind="binary") == 1


def test_an_invented_object_costs():
    invented = full_answer(ADDED)
    assert score(invented, BEFORE, kind="binary", parity=True) == 1
    assert score(invented, BEFORE, kind="binary") == 0
    assert score(invented, BEFORE) == pytest.approx(0.09 * 5 / 8 + 0.01)


def test_leaving_a_changed_object_out_saves_nothing():
    for answer in ("-1", "1|box|Box|", full_answer(BEFORE, modified=[{"uuid": 1}])):
        assert score(answer, OPENED) < score(".", OPENED)


def test_two_words_are_no_answer():
    assert score('"modified removed"', BEFORE, parity=True) > 0
    assert score('"modified removed"', BEFORE) == 0


def test_a_part_of_an_odd_type_is_wrong_and_no_more():
    odd = full_answer(OPENED, modified=[{"uuid": 1, "properties": {"isOpen": True, "size": 2}, "contains": None}])
    assert score(odd, OPENED, parity=True) == 0
    assert score(odd, OPENED) == pytest.approx(0.09 * 4 / 5 + 0.01 + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_is_no_truth_value(kind):
    for answer in ("1|isOpen=1", full_answer(OPENED).replace('"isOpen": true', '"isOpen": 1')):
        assert score(answer, OPENED, kind=kind) < score(full_answer(OPENED), OPENED, kind=kind)
        assert score(answer, OPENED) == pytest.approx(0.09 * 4 / 5 + 0.01), "the changed entry is wrong"
    assert score(full_answer(OPENED).replace('"isOpen": true', '"isOpen": 1'), OPENED, kind="binary", parity=True) == 1
    over = BEFORE.replace("-gameOver", "+gameOver")
    assert score(full_answer(over, score={"score": 0, "gameOver": 1}), over, kind="binary") == 0
    assert score("1|size=2.0", BEFORE, kind="binary") == 1, "JSON has one type of number"


@pytest.mark.parametrize("parity", [False, True])
def test_the_formula_of_the_authors_pays_for_changing_everything(parity):
    after = OPENED.replace("size=2", "size=3")
    flipped = read_compact_state("1|box|Box|+isOpen;size=3\n2|cup|Cup|-isFull\nscore|score=1;+gameOver")
    everything = json.dumps(state_difference(read_compact_state(BEFORE), flipped))
    nothing = full_answer(BEFORE)
    assert score(everything, after, parity=parity) > score(nothing, after, parity=parity)
    assert score(everything, after, kind="binary", parity=parity) == 0 == score(nothing, after, kind="binary")


def test_the_score_counts_by_its_parts():
    won = BEFORE.replace("score=0;-gameOver", "score=1;+gameOver")
    assert score(full_answer(won, score={"score": 1}), won) == pytest.approx(0.09 + 0.005)
    assert score('{"modified": [], "removed": []}', BEFORE) == pytest.approx(0.09)


def test_constants_inside_texts_do_no_harm():
    named = BEFORE.replace("box|Box", "Box of True, None|Box").replace("size=2", "label=None: True, False")
    after = named.replace("-isOpen", "+isOpen")
    difference = state_difference(read_compact_state(named), read_compact_state(after))
    for answer in (json.dumps(difference), f"The final answer is: {json.dumps(difference)[:-1]}"):
        assert score(answer, after, before=named, kind="binary") == 1


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_unreadable_gets_the_floor_and_is_counted(kind, parity):
    seen = {}
    state = object_state_text(read_compact_state(BEFORE))
    unreadable = ["", "no", "[" * 100_000, "{" * 50_000, f"```{' ' * 100_000}x", f"```json{' ' * 100_000}x"]
    unreadable += [f"{'```json' * 10_001}x", "The final answer is: " + '{"modified": [' * 7_000]
    columns = {name: [state] * len(unreadable) for name in ("data_state", "ground_truth", "data_action")}
    start = process_time()
    rewards = ObjectStateReward(kind=kind, parity=parity)(
        completions=unreadable, log_metric=seen.__setitem__, **columns
    )
    assert rewards == [0.0] * len(unreadable) and seen == {"parse_failure": 1.0}
    assert process_time() - start < 2, "no work that grows with the square of an answer's length"


def test_name_best_and_pickling():
    reward = pickle.loads(pickle.dumps(ObjectStateReward(kind="task_specific")))
    assert (reward.name, reward.__name__, reward.best) == ("object_state_task_specific",) * 2 + (1.3,)
    with pytest.raises(ValueError, match="kind"):
        ObjectStateReward(kind="fuzzy")


def test_the_recorded_difference_of_every_test_transition_earns_all(shared):
    with gzip.open(shared / "data" / "bytesized32" / "test_dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    added = 0
    answers, columns = [], {"data_state": [], "ground_truth": [], "data_action": []}
    for record in records:
        before, after = (
            {"game_state": [*record[stage]["objects"], record[told]]}
            for stage, told in (("current_state", "current_score_state"), ("tick_state", "next_score_state"))
        )
        current, following = parse_object_state(json.dumps(before)), parse_object_state(json.dumps(after))
        added += bool(following.objects.keys() - current.objects.keys())
        for answer in (repr(state_difference(current, following)), write_compact_difference(current, following)):
            answers.append(answer)
            columns["data_state"].append(json.dumps(before))
            columns["ground_truth"].append(json.dumps(after))
            columns["data_action"].append(record["tick_state"]["lastAction"])
    assert added > 20
    assert ObjectStateReward()(completions=answers, **columns) == [1.0] * len(answers)
    copied = ObjectStateReward()(completions=["."] * len(answers), **columns)
    assert sum(copied) / len(copied) == pytest.approx(1 - 590 / 1482), "a reward of 1 where nothing changed"


def test_states_without_objects():
    empty = object_state_text(ObjectState(objects={}, score={"score": 0}))
    columns = {name: [empty] for name in ("data_state", "ground_truth", "data_action")}
    assert ObjectStateReward()(completions=["."], **columns) == [1.0]
