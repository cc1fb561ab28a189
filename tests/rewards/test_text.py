import pickle

import pytest

from rlvr_world_hf.rewards.text import FEW, TextReward
from rlvr_world_hf.states.answer import UnreadableAnswerError


class DistanceReward(TextReward):
    name, higher_is_better, best, floor, columns = "distance", False, 0.0, 10.0, ("ground_truth",)

    def measure(self, completion, *, ground_truth):
        if not completion.isdecimal():
            raise UnreadableAnswerError("Expected a number.")
        return abs(float(completion) - float(ground_truth)) if ground_truth else None


def test_signed_in_order_with_floor_and_none():
    seen = {}
    rewards = DistanceReward()(
        completions=["3", "what", "5"], ground_truth=["1", "1", ""], prompts=["?"] * 3, log_metric=seen.__setitem__
    )
    assert rewards == [-2.0, -10.0, None]
    assert seen == {"parse_failure": pytest.approx(1 / 3)}


def test_of_a_conversation_the_last_message_counts():
    conversation = [{"role": "assistant", "content": "no"}, {"role": "assistant", "content": "2"}]
    assert DistanceReward()(completions=[conversation], ground_truth=["2"]) == [0.0]


@pytest.mark.parametrize(
    "completion",
    [None, b"2", 2, [], [2, 3], [{"role": "assistant"}], [{"role": "assistant", "content": [{"text": "2"}]}]],
)
def test_what_is_no_text_is_refused_by_name(completion):
    kind = type(completion).__name__
    with pytest.raises(TypeError, match=rf"`distance`: expected each completion as `str`.*, got {kind} .*decode it"):
        DistanceReward()(completions=["2", completion], ground_truth=["2", "2"])


def test_many_processes_give_what_one_gives():
    completions, ground_truth = [str(number) for number in range(2 * FEW)], ["7"] * (2 * FEW)
    alone = DistanceReward()(completions=completions, ground_truth=ground_truth)
    reward = DistanceReward(processes=2)
    assert reward(completions=completions, ground_truth=ground_truth) == alone
    assert pickle.loads(pickle.dumps(reward))(completions=["9"], ground_truth=["7"]) == [-2.0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [({}, "ground_truth"), ({"ground_truth": ["1", "2"]}, "one entry a completion")],
)
def test_columns_are_checked(columns, message):
    with pytest.raises(ValueError, match=message):
        DistanceReward()(completions=["3"], **columns)


def test_a_bug_is_no_unreadable_answer():
    with pytest.raises(ValueError, match="could not convert"):
        DistanceReward()(completions=["3"], ground_truth=["x"])


def test_a_reward_says_what_it_measures():
    with pytest.raises(TypeError, match="floor, columns"):
        type("Nameless", (TextReward,), {"name": "x", "higher_is_better": True, "best": 1.0, "measure": len})
    with pytest.raises(ValueError, match="processes"):
        DistanceReward(processes=-1)
