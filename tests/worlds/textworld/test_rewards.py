import pickle

import pytest

from rlvr_world_hf.rewards import FactF1Reward, FactMatchReward
from rlvr_world_hf.worlds.textworld.facts import NO_CHANGE


TAKEN = "- in(apple, box)\n+ held(apple)"


def values(completion, ground_truth=TAKEN):
    return [
        reward.metric([completion], ground_truth=[ground_truth])[0][0]
        for reward in (FactMatchReward(), FactF1Reward())
    ]


@pytest.mark.parametrize("change", [TAKEN, NO_CHANGE, "+ eaten(apple)"])
def test_the_recorded_answer_is_perfect(change):
    assert values(change, change) == [1.0, 1.0]
    assert values(f"<think>\n+ open(box)\n</think>{change}<|im_end|>", change) == [1.0, 1.0]
    assert values(f"The box is open. The final answer is:\n{change}", change) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("completion", "f1"),
    [
        ("+ held(apple)", 2 / 3),
        ("- in(apple, box)\n+ held(apple)\n+ open(box)", 4 / 5),
        ("- in(apple, box)\n+ held(pear)", 1 / 2),
        ("+ in(apple, box)\n- held(apple)", 0.0),  # the right facts with the wrong signs
        (NO_CHANGE, 0.0),
    ],
)
def test_a_wrong_answer_earns_its_share_of_the_facts(completion, f1):
    assert values(completion) == [0.0, pytest.approx(f1)]


def test_a_change_claimed_where_nothing_changes_earns_nothing():
    assert values(TAKEN, NO_CHANGE) == [0.0, 0.0]


def test_repetition_earns_nothing_more():
    assert values("- in(apple, box)\n" * 50 + "+ held(apple)\n+ Held( apple )") == [1.0, 1.0]
    assert values("+ held(apple)\n" * 50) == values("+ held(apple)")
    assert values("+ held(pear)\n" * 50 + TAKEN) == values("+ held(pear)\n" + TAKEN)


def test_what_holds_already_cannot_be_added_for_safety():
    """The state may hold `open(box)`: adding it would lead to the recorded state and is wrong all the same."""
    assert values(TAKEN + "\n+ open(box)") == [0.0, pytest.approx(4 / 5)]
    assert values("+ open(box)", NO_CHANGE) == [0.0, 0.0]
    assert values("- closed(box)", NO_CHANGE) == [0.0, 0.0]


def test_naming_every_fact_earns_little():
    hedge = "\n".join([TAKEN, *(f"+ held(thing {number})" for number in range(96))])
    assert values(hedge) == [0.0, pytest.approx(0.04)]


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "\n",
        TAKEN + "\n+ in(apple, box)",  # both signs of one fact
        TAKEN + "\n" + NO_CHANGE,
        TAKEN + "\nThe apple is taken.",
        TAKEN + "<|im_end|>and so on",
        TAKEN + "\nThe final answer is:",
        f"The final answer is: {TAKEN}\nThe final answer is: it is taken",  # only the last counts
        "The apple is taken.",
        "+ held(apple",
    ],
)
@pytest.mark.parametrize("ground_truth", [TAKEN, NO_CHANGE])
@pytest.mark.parametrize("reward", [FactMatchReward(), FactF1Reward()], ids=lambda reward: reward.name)
def test_the_unreadable_earns_the_floor_and_is_counted(reward, completion, ground_truth):
    seen = {}
    assert reward([completion], ground_truth=[ground_truth], log_metric=seen.__setitem__) == [reward.floor] == [0.0]
    assert seen == {"parse_failure": 1.0}


@pytest.mark.parametrize("ground_truth", ["", "The apple is taken.", "+ a(b)\n- a(b)"])
def test_a_recorded_change_that_cannot_be_read_is_a_fault_of_the_data(ground_truth):
    with pytest.raises(ValueError, match="column `ground_truth`"):
        values("what?", ground_truth)


@pytest.mark.parametrize("reward", [FactMatchReward(processes=2), FactF1Reward()], ids=lambda reward: reward.name)
def test_it_is_a_metric_with_a_direction_and_survives_pickling(reward):
    assert (reward.best, reward.floor, reward.higher_is_better) == (1.0, 0.0, True)
    assert reward.__name__ in ("exact_match", "fact_f1")
    again = pickle.loads(pickle.dumps(reward))
    assert again(completions=[TAKEN, NO_CHANGE], ground_truth=[TAKEN] * 2, data_state=["?"] * 2) == [1.0, 0.0]
