import random
from typing import Any

import datasets
import pytest

from rlvr_world_hf.evaluation.nearest import nearest_transitions


def rows_of(*pairs: tuple[str, str]) -> Any:
    return datasets.Dataset.from_list([{"data_state": state, "data_action": action} for state, action in pairs])


def test_it_is_the_least_difference_of_sets_by_another_computation() -> None:
    draw = random.Random(0)

    def drawn(count: int) -> list[tuple[str, str]]:
        return [("\n".join(draw.choices("abcdefgh", k=draw.randint(1, 6))), draw.choice("xyz")) for _ in range(count)]

    transitions, rows = drawn(60), drawn(40)
    expected: list[int | None] = []
    for state, action in rows:
        best, least = None, float("inf")
        for index, (other, other_action) in enumerate(transitions):
            one, two = {*state.split("\n")}, {*other.split("\n")}
            distance = len(one | two) - len(one & two)
            if other_action == action and distance < least:
                best, least = index, distance
        expected.append(best)
    assert nearest_transitions(rows_of(*rows), rows_of(*transitions)) == expected


def test_of_equally_near_ones_the_first_counts() -> None:
    assert nearest_transitions(rows_of(("a\nb", "x")), rows_of(("a", "y"), ("b", "x"), ("a", "x"))) == [1]


@pytest.mark.parametrize(("parts", "expected"), [(str.splitlines, 1), (lambda state: state.lower(), 0)])
def test_states_are_compared_by_what_their_world_says(parts: Any, expected: int) -> None:
    assert nearest_transitions(rows_of(("A", "x")), rows_of(("a", "x"), ("A", "x")), parts=parts) == [expected]
