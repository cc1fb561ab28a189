import pytest
import torch

from rlvr_world_hf.planning.enumeration import EnumerationPlanner


OPTIONS = [["open", "wait"], ["north", "south", "wait"]]


def test_all_sequences_are_tried_once_and_the_best_is_taken() -> None:
    asked: list[list[tuple[str, ...]]] = []

    def cost(plans: list[tuple[str, ...]]) -> torch.Tensor:
        asked.append(plans)
        return torch.tensor([float(plan != ("open", "south")) for plan in plans])

    plan = EnumerationPlanner(horizon=2).plan(cost, OPTIONS, seed=0)
    assert plan.actions == ("open", "south") and plan.cost == 0 and plan.evaluations == 6
    assert len(asked) == 1 and len(set(asked[0])) == 6


def test_the_seed_decides_among_equals() -> None:
    planner = EnumerationPlanner()
    chosen = [planner.plan(lambda plans: torch.zeros(len(plans)), [["a", "b", "c"]], seed=seed) for seed in range(30)]
    assert {plan.actions for plan in chosen} == {("a",), ("b",), ("c",)}
    again = planner.plan(lambda plans: torch.zeros(len(plans)), [["a", "b", "c"]], seed=7)
    assert again.actions == chosen[7].actions


def test_infinity_is_never_chosen() -> None:
    with pytest.raises(ValueError, match="at least one finite cost, got inf as the lowest of 6 candidates"):
        EnumerationPlanner(horizon=2).plan(lambda plans: torch.full((len(plans),), torch.inf), OPTIONS, seed=0)


@pytest.mark.parametrize("space", [OPTIONS[:1], [[], ["wait"]], [["wait"] * 10, ["wait"] * 11]])
def test_options_are_for_each_step_and_not_too_many(space: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="options for each of 2 steps, at most 100 sequences"):
        EnumerationPlanner(horizon=2, limit=100).plan(lambda plans: torch.zeros(len(plans)), space, seed=0)
