"""What every reward on text owes its caller, found by discovery: a new one needs a row of its world in `ROWS`."""

import inspect
import json
import pickle

import pytest

from rlvr_world_hf.rewards.text import TextReward
from rlvr_world_hf.states.answer import with_reason
from rlvr_world_hf.worlds.textworld.facts import FactChange
from rlvr_world_hf.worlds.web.change import PageChange
from tests.rewards.discovery import reward_classes


LAMP = {"uuid": 2, "properties": {"isOn": False, "size": 1}, "contains": []}
LIT = LAMP | {"properties": {"isOn": True, "size": 1}}


def game(*objects: dict) -> str:
    return json.dumps({"game_state": [*objects, {"score": 0}]})


def difference(*modified: dict) -> str:
    return f"The final answer is:\n{json.dumps({'modified': modified, 'removed': [], 'score': {}})}"


# For each world, or reward that is not on answers: what was recorded, the right answer, one that is nearer to it than
# the other, and that.
CHANGE = FactChange(added=frozenset({"open(door)"}), removed=frozenset({"closed(door)"}))
PAGE = PageChange(new=("[3] link 'Undo'", "[4] link 'Redo'"))
ROWS = {
    "textworld": ({"ground_truth": str(CHANGE)}, str(CHANGE), "+ open(door)", "+ open(box)"),
    "ReasonMatchReward": (
        {"data_state": "at(player, attic)\nheld(key)", "data_action": "drop key"},
        with_reason("yes at(player, attic)\nyes held(key)", "nothing changes"),
        with_reason("yes at(player, attic)", "nothing changes"),
        with_reason("no held(key)", "nothing changes"),
    ),
    "web": ({"ground_truth": PAGE.text}, PAGE.text, PageChange(new=PAGE.new[:1]).text, PageChange().text),
    "bytesized32": (
        {"ground_truth": game(LIT), "data_state": game(LAMP), "data_action": "turn on lamp"},
        difference(LIT),
        difference(),
        difference(LIT | {"properties": {"isOn": "?", "size": 2}}),
    ),
}


def make_rewards() -> list[TextReward]:
    concrete = reward_classes(TextReward)
    kinds = [cls(kind="task_specific") for cls in concrete if "kind" in inspect.signature(cls).parameters]
    return [*(cls() for cls in concrete), *kinds]


REWARDS = make_rewards()
every_reward = pytest.mark.parametrize("reward", REWARDS, ids=lambda reward: reward.name)


def case_of(reward: TextReward) -> tuple:
    return ROWS.get(type(reward).__name__) or ROWS[type(reward).__module__.split(".")[2]]


def score(reward: TextReward, *answers: str) -> list:
    row = case_of(reward)[0]
    columns = {name: [value] * len(answers) for name, value in row.items()}
    return reward(completions=list(answers), prompts=["?"] * len(answers), **columns)


def answers_of(reward: TextReward) -> tuple[str, str, str]:
    return case_of(reward)[1:]


def test_the_rewards_of_worlds_are_found() -> None:
    assert {type(reward).__name__ for reward in REWARDS} >= {
        "FactMatchReward",
        "ObjectStateReward",
        "PageChangeReward",
    }


@every_reward
def test_the_recorded_answer_is_best_and_others_are_less(reward):
    right, near, far = score(reward, *answers_of(reward))
    assert right == pytest.approx(reward.best)
    assert right > near >= far >= reward.floor


@pytest.mark.parametrize(
    "reward", [reward for reward in REWARDS if reward.name != "reason_match"], ids=lambda reward: reward.name
)
def test_reasoning_and_special_tokens_do_no_harm(reward):
    right = answers_of(reward)[0]
    dressed = [f"<think>Let me see.</think>\n{right}", f"{right}<|im_end|>", f"{right}\n<｜end▁of▁sentence｜>"]
    assert score(reward, *dressed) == pytest.approx([reward.best] * 3)


@every_reward
@pytest.mark.parametrize("answer", ["", "I do not know.", "[" * 100_000, "{" * 50_000 + "}" * 50_000])
def test_the_unreadable_earns_the_floor_and_is_counted(reward, answer):
    row = case_of(reward)[0]
    seen = {}
    rewards = reward(completions=[answer], log_metric=seen.__setitem__, **{name: [one] for name, one in row.items()})
    assert rewards == [reward.floor] and seen == {"parse_failure": 1.0}


@every_reward
def test_order_pickling_and_processes_change_nothing(reward):
    right, near, far = answers_of(reward)
    expected = score(reward, far, right, near)
    assert score(pickle.loads(pickle.dumps(reward)), far, right, near) == expected
    assert score(reward, *([far, right, near] * 2)) == expected * 2
