from typing import Any

import pytest
import torch

from rlvr_world_hf.planning.controller import RecedingHorizonController
from rlvr_world_hf.planning.cross_entropy import CrossEntropyPlanner
from rlvr_world_hf.planning.enumeration import EnumerationPlanner
from rlvr_world_hf.planning.planner import ActionBox, Plan


class Remembering:
    """A planner that keeps the guesses it was given."""

    horizon = 2

    def __init__(self) -> None:
        self.guesses: list[torch.Tensor | None] = []

    def plan(self, objective: Any, space: Any, *, seed: int, guess: Any = None) -> Plan:
        self.guesses.append(guess)
        return Plan(actions=torch.tensor([[1.0], [2.0]]), cost=0.0, evaluations=1, history=(0.0,))


def test_the_rest_of_a_plan_is_the_next_guess() -> None:
    planner, box = Remembering(), ActionBox(low=(-1.0,), high=(3.0,))
    controller = RecedingHorizonController(planner)
    for step in range(2):
        controller.decide(lambda candidates: candidates.sum(dim=(1, 2)), box, seed=step)
    controller.reset()
    controller.decide(lambda candidates: candidates.sum(dim=(1, 2)), box, seed=2)
    assert planner.guesses[0] is None and planner.guesses[2] is None
    assert planner.guesses[1] is not None and planner.guesses[1].tolist() == [[2.0], [1.0]]
    fresh = RecedingHorizonController(planner, reuses_plans=False)
    for step in range(2):
        fresh.decide(lambda candidates: candidates.sum(dim=(1, 2)), box, seed=step)
    assert planner.guesses[3:] == [None, None]


def test_what_was_taken_of_a_plan_is_no_guess() -> None:
    planner, box = Remembering(), ActionBox(low=(-1.0,), high=(3.0,))
    controller = RecedingHorizonController(planner, steps=2)
    for step in range(2):
        controller.decide(lambda candidates: candidates.sum(dim=(1, 2)), box, seed=step)
    assert planner.guesses[1] is not None and planner.guesses[1].tolist() == [[1.0], [1.0]]
    with pytest.raises(ValueError, match="take from 1 to 2 actions of a plan, .*got 3"):
        RecedingHorizonController(planner, steps=3)


def test_it_reaches_what_no_single_plan_does(box: ActionBox) -> None:
    goal, place = torch.tensor([5.0, -20.0]), torch.zeros(2)
    controller = RecedingHorizonController(CrossEntropyPlanner(horizon=3, candidates=64, iterations=3))
    for step in range(8):

        def cost(moves: torch.Tensor, place: torch.Tensor = place) -> torch.Tensor:
            return (place + moves.cumsum(dim=1) - goal).abs().sum(dim=(1, 2))

        place = place + controller.decide(cost, box, seed=step).actions[0]
    assert (place - goal).abs().max() < 0.5


def test_options_have_no_guess() -> None:
    controller = RecedingHorizonController(EnumerationPlanner())
    for seed in range(2):
        plan = controller.decide(lambda plans: torch.tensor([1.0, 0.0]), [["a", "b"]], seed=seed)
        assert plan.actions == ("b",)
