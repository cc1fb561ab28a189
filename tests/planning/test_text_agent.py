from collections.abc import Sequence

import pytest

from rlvr_world_hf.planning.enumeration import EnumerationPlanner
from rlvr_world_hf.planning.text_agent import (
    TextCost,
    attempt_goal,
    guided_actions,
    matching_actions,
    reactive_actions,
)


RULES = {("shut", "open door"): "open", ("open", "go north"): "yard"}
WORTH = {"shut": 0.0, "open": 0.5, "yard": 1.0}


class House:
    """A door to be opened, and a yard behind it."""

    def __init__(self, changing_actions: Sequence[str] = ("go north", "open door", "wait")) -> None:
        self.state = "shut"
        self.changing_actions = list(changing_actions)

    def play(self, action: str) -> str:
        self.state = RULES.get((self.state, action), self.state)
        return self.state


class Rules:
    """Foretells the house, and cannot be read of dances."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[str | None]:
        self.asked += pairs
        return [None if action == "dance" else RULES.get((state, action), state) for state, action in pairs]


def test_the_cost_is_the_best_discounted_value() -> None:
    objective = TextCost("shut", Rules(), WORTH.__getitem__, discount=0.8)
    plans = [("open door", "go north"), ("go north", "wait"), ("wait", "open door"), ("wait", "wait")]
    assert objective(plans).tolist() == pytest.approx([-0.8, 0.0, -0.4, 0.0])
    with pytest.raises(ValueError, match=r"a discount in \(0, 1\], got 0"):
        TextCost("shut", Rules(), WORTH.__getitem__, discount=0)


def test_equal_pairs_are_predicted_once_and_the_unreadable_is_worth_nothing() -> None:
    rules = Rules()
    objective = TextCost("shut", rules, WORTH.__getitem__)
    costs = objective([("wait", "wait"), ("wait", "open door"), ("dance", "open door"), ("dance", "wait")])
    assert costs.tolist() == pytest.approx([0.0, -0.45, 0.0, 0.0])
    assert sorted(action for _, action in rules.asked) == ["dance", "open door", "wait", "wait"]
    assert len(rules.asked) == 4, "the second wait is of the same state, asked at another step"


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_values_below_0_are_refused_as_the_unreadable_would_be_best(value: float) -> None:
    objective = TextCost("shut", Rules(), lambda state: value)
    with pytest.raises(ValueError, match=f"finite value of at least 0, got {value} of the state 'shut'"):
        objective([("wait",), ("dance",)])
    assert objective([("dance",)]).tolist() == [0.0], "what is unreadable is not valued"


def test_an_agent_acts_where_nothing_can_be_read() -> None:
    house = House()
    decide = guided_actions(lambda pairs: [None] * len(pairs), WORTH.__getitem__, EnumerationPlanner(), seed=0)
    assert {decide(house) for _ in range(20)} == set(house.changing_actions)


def test_looking_ahead_reaches_the_goal_and_ends_there() -> None:
    planner = EnumerationPlanner(horizon=2)
    guided = guided_actions(Rules(), WORTH.__getitem__, planner, seed=0, later=lambda world: world.changing_actions)
    won = attempt_goal(House(), WORTH.__getitem__, guided, limit=5)
    assert won.is_success and won.value == 1.0 and won.commands == ("open door", "go north") and len(won.seconds) == 2
    with pytest.raises(ValueError, match="options for each of 2 steps"):
        guided_actions(Rules(), WORTH.__getitem__, planner, seed=0)(House())


def test_an_attempt_ends_at_its_limit_and_where_nothing_changes_anything() -> None:
    assert attempt_goal(House(["wait"]), WORTH.__getitem__, reactive_actions(0), limit=3).commands == ("wait",) * 3
    stuck = attempt_goal(House([]), WORTH.__getitem__, reactive_actions(0), limit=3)
    assert not stuck.is_success and stuck.value == 0.0 and stuck.commands == stuck.seconds == ()


def test_reactive_actions_repeat_themselves_by_the_seed() -> None:
    house = House()
    first, again = ([decide(house) for _ in range(9)] for decide in (reactive_actions(3), reactive_actions(3)))
    assert first == again and set(first) == set(house.changing_actions)


def test_matching_actions_take_the_words_of_the_task_and_try_each_before_any_again() -> None:
    house, decide = House(["wait", "shut 'Door'", "open door"]), matching_actions("Open the door.", seed=0)
    assert [decide(house) for _ in range(4)] == ["open door", "shut 'Door'", "wait", "open door"]
