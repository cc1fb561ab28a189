import pickle

import pytest

from rlvr_world_hf.rewards import PageChangeReward, page_change_scores
from rlvr_world_hf.worlds.web.change import PageChange


CHANGE = PageChange(new=("[5] link 'Undo'",), updated=("[2] checkbox 'Milk' checked: True",))
UNCHANGED = PageChange()


def reward_of(completion, reference, **settings):
    return PageChangeReward(**settings)(completions=[completion], ground_truth=[reference])[0]


@pytest.mark.parametrize(
    ("predicted", "scores"),
    [
        (CHANGE, (1, 1, 1)),
        (PageChange(new=CHANGE.new * 3, updated=CHANGE.updated), (1, 1, 1)),  # a set has no duplicates
        (PageChange(new=CHANGE.new), (1, 1 / 2, 2 / 3)),
        (PageChange(new=(*CHANGE.new, "x", "y"), updated=CHANGE.updated), (1 / 2, 1, 2 / 3)),
        (PageChange(deleted=CHANGE.new, updated=CHANGE.updated), (1 / 2, 1 / 2, 1 / 2)),
        (UNCHANGED, (0, 0, 0)),
    ],
)
def test_precision_recall_and_f1_of_items_in_their_sections(predicted, scores):
    assert page_change_scores(predicted, CHANGE) == pytest.approx(scores)
    assert reward_of(predicted.text, CHANGE.text) == pytest.approx(scores[-1])


@pytest.mark.parametrize(("predicted", "reward"), [(UNCHANGED, 1.0), (CHANGE, 0.0)])
def test_a_page_that_stays_is_scored(predicted, reward):
    assert reward_of(predicted.text, UNCHANGED.text) == reward


def test_an_answer_without_section_is_unreadable():
    seen = {}
    rewards = PageChangeReward()(
        completions=["It stays.", CHANGE.text, ""], ground_truth=[CHANGE.text] * 3, log_metric=seen.__setitem__
    )
    assert rewards == [0.0, 1.0, 0.0]
    assert seen == {"parse_failure": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("completion", "reference", "ours", "official"),
    [
        pytest.param(f"<think>\nNew items: one\n?\n</think>\n{CHANGE.text}", CHANGE.text, 1, 3 / 4, id="reasoning"),
        pytest.param(f"x\nNew items:\nThe final answer is:\n{CHANGE.text}", CHANGE.text, 1, 6 / 7, id="marker"),
        pytest.param(f"{CHANGE.text}<|im_end|>", CHANGE.text, 1, 2 / 3, id="glued token"),
        pytest.param(f"{CHANGE.text}\n</s>", CHANGE.text, 1, 6 / 7, id="token in a line"),
        pytest.param("New items:\nNone\nDeleted items:\nNone", CHANGE.text, 0, 2 / 5, id="credit for None"),
        pytest.param(CHANGE.text.replace("None\n", ""), CHANGE.text, 1, 4 / 5, id="None forgotten"),
        pytest.param(CHANGE.text, "", None, 0, id="nothing recorded"),
    ],
)
def test_where_the_official_code_differs(completion, reference, ours, official):
    assert reward_of(completion, reference) == pytest.approx(ours)
    assert reward_of(completion, reference, parity=True) == pytest.approx(official)


RIGHT, WRONG = "[2] checkbox 'Milk' checked: True", "[2] checkbox 'Milk' checked: False"
BESIDE = "[3] button 'Save'"


@pytest.mark.parametrize(
    ("predicted", "recorded", "scores"),
    [
        pytest.param(PageChange(updated=(RIGHT, WRONG)), PageChange(updated=(RIGHT,)), (0, 0), id="both values"),
        pytest.param(
            PageChange(updated=(RIGHT, WRONG, BESIDE)),
            PageChange(updated=(RIGHT, BESIDE)),
            (1 / 3, 1 / 2),
            id="beside",
        ),
        pytest.param(
            PageChange(updated=(RIGHT,), deleted=(WRONG,)), PageChange(updated=(RIGHT,)), (0, 0), id="both fates"
        ),
        pytest.param(PageChange(new=(RIGHT, BESIDE[:2])), PageChange(new=(RIGHT,)), (1 / 2, 1), id="no number"),
        pytest.param(PageChange(new=(BESIDE,), deleted=(RIGHT,)), PageChange(deleted=(RIGHT,)), (1 / 2, 1), id="two"),
        pytest.param(
            PageChange(new=(RIGHT,), updated=(RIGHT,)), PageChange(updated=(RIGHT,)), (1 / 2, 1), id="new ones apart"
        ),
        pytest.param(PageChange(updated=(RIGHT, WRONG)), PageChange(updated=(RIGHT, WRONG)), (1, 1), id="recorded"),
        pytest.param(PageChange(updated=(RIGHT,)), PageChange(updated=(RIGHT, WRONG)), (1, 1 / 2), id="half recorded"),
    ],
)
def test_lines_that_contradict_each_other_earn_nothing(predicted, recorded, scores):
    assert page_change_scores(predicted, recorded)[:2] == pytest.approx(scores)
    assert reward_of(predicted.text, recorded.text) == pytest.approx(page_change_scores(predicted, recorded)[-1])


def test_the_official_code_pays_for_contradictions():
    both, recorded = PageChange(updated=(RIGHT, WRONG)).text, PageChange(updated=(RIGHT,)).text
    without_none = [text.replace("None", "") for text in (both, recorded)]
    assert reward_of(*without_none, parity=True) == pytest.approx(2 / 3)


def test_the_cost_belongs_to_parity():
    with pytest.raises(ValueError, match="parity=True"):
        PageChangeReward(matching_cost=1.0)


def test_survives_pickling():
    reward = pickle.loads(pickle.dumps(PageChangeReward(parity=True, matching_cost=10_000)))
    assert reward.name == "page_change_f1_official_10000"
    assert PageChangeReward(parity=True).name == "page_change_f1_official"
    assert reward(completions=["New items:\nx"], ground_truth=["New items:\ny"]) == [1.0]
