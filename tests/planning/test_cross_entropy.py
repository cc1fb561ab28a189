from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlvr_world_hf.planning.cross_entropy import CrossEntropyPlanner
from rlvr_world_hf.planning.planner import ActionBox


Cost = Callable[[torch.Tensor], torch.Tensor]


def test_it_finds_the_least_of_a_quadratic(quadratic: Cost, box: ActionBox, target: torch.Tensor) -> None:
    planner = CrossEntropyPlanner(horizon=3, candidates=200, iterations=12, elites=20)
    plan = planner.plan(quadratic, box, seed=0)
    torch.testing.assert_close(plan.actions, target, atol=0.1, rtol=0)
    assert plan.cost < 1e-3 and plan.evaluations == 2400
    torch.testing.assert_close(quadratic(plan.actions[None])[0].item(), plan.cost)


def test_the_distribution_is_fitted_to_the_elites(box: ActionBox) -> None:
    """What is drawn second has the mean and the deviation of the best of what was drawn first."""
    seen: list[torch.Tensor] = []

    def cost(candidates: torch.Tensor) -> torch.Tensor:
        seen.append(candidates)
        return candidates[:, 0, 0]

    CrossEntropyPlanner(horizon=1, candidates=2000, iterations=2, elites=500, spread=0.1).plan(cost, box, seed=0)
    first, second = seen
    elites = first[first[:, 0, 0].argsort()[:500]]
    assert torch.equal(second[0], elites.mean(dim=0))
    torch.testing.assert_close(second.std(dim=0), elites.std(dim=0, correction=0), atol=0.02, rtol=0.1)


def test_what_costs_infinity_is_no_elite_and_is_never_chosen(box: ActionBox) -> None:
    """Fewer candidates have a finite cost than elites are asked for."""
    seen: list[torch.Tensor] = []

    def walled(candidates: torch.Tensor) -> torch.Tensor:
        seen.append(candidates)
        place = candidates.sum(dim=(1, 2))
        return place.masked_fill(place < 3, torch.inf)

    planner = CrossEntropyPlanner(horizon=1, candidates=2000, iterations=2, elites=1000, spread=0.5)
    plan = planner.plan(walled, box, seed=0)
    allowed = seen[0][walled(seen[0]).isfinite()]
    assert 1 < len(allowed) < 1000 and plan.cost >= 3
    torch.testing.assert_close(seen[1][0], allowed.mean(dim=0))


def test_while_all_cost_infinity_the_distribution_stays(box: ActionBox, quadratic: Cost) -> None:
    seen: list[torch.Tensor] = []

    def late(candidates: torch.Tensor) -> torch.Tensor:
        seen.append(candidates)
        return quadratic(candidates) if len(seen) > 1 else torch.full((len(candidates),), torch.inf)

    planner = CrossEntropyPlanner(horizon=3, candidates=500)
    plan = planner.plan(late, box, seed=0)
    torch.testing.assert_close(seen[1].std(dim=0), seen[0].std(dim=0), atol=0, rtol=0.2)
    assert plan.history[0] == torch.inf and plan.cost == plan.history[1] < 1
    with pytest.raises(ValueError, match="at least one finite cost, got inf as the lowest of 1000 candidates"):
        planner.plan(lambda candidates: torch.full((len(candidates),), torch.inf), box, seed=0)


def test_the_seed_decides(quadratic: Cost, box: ActionBox) -> None:
    planner = CrossEntropyPlanner(horizon=3)
    first, again, other = (planner.plan(quadratic, box, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.actions, again.actions) and first.cost == again.cost
    assert not torch.equal(first.actions, other.actions)


def test_the_box_holds_and_costs_never_rise(box: ActionBox) -> None:
    seen: list[bool] = []

    def far(candidates: torch.Tensor) -> torch.Tensor:
        seen.append(box.contains(candidates))
        return (candidates - 100).square().sum(dim=(1, 2))

    plan = CrossEntropyPlanner(horizon=3, candidates=64, iterations=6).plan(far, box, seed=0)
    assert all(seen) and len(seen) == 6
    assert list(plan.history) == sorted(plan.history, reverse=True) and plan.history[-1] == plan.cost
    torch.testing.assert_close(plan.actions, torch.tensor([[1.0, 4.0]] * 3), atol=0.2, rtol=0)


def test_a_good_guess_is_kept(quadratic: Cost, box: ActionBox, target: torch.Tensor) -> None:
    plan = CrossEntropyPlanner(horizon=3).plan(quadratic, box, seed=0, guess=target)
    assert plan.cost == 0 and torch.equal(plan.actions, target)


def test_the_last_mean_may_be_the_plan(quadratic: Cost, box: ActionBox) -> None:
    seen: list[torch.Tensor] = []

    def cost(candidates: torch.Tensor) -> torch.Tensor:
        seen.append(candidates)
        return quadratic(candidates)

    plan = CrossEntropyPlanner(horizon=3, candidates=8, elites=2, returns="mean").plan(cost, box, seed=0)
    _, drawn, last = seen
    best = drawn[quadratic(drawn).argsort()[:2]]
    assert torch.equal(plan.actions, best.mean(dim=0)) and torch.equal(last[0], plan.actions)
    assert plan.cost == pytest.approx(float(quadratic(plan.actions[None]))) and plan.evaluations == 17
    assert list(plan.history) == sorted(plan.history, reverse=True) and len(plan.history) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "`horizon` to be at least 1"),
        ({"elites": 33}, "at most 32 elites"),
        ({"spread": 0.0}, "positive spread"),
        ({"returns": "median"}, "`returns` to be one of best, mean, got 'median'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropyPlanner(**{"horizon": 3, **settings})
