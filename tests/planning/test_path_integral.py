import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlvr_world_hf.planning.path_integral import PathIntegralPlanner, path_integral_weights
from rlvr_world_hf.planning.planner import ActionBox


Cost = Callable[[torch.Tensor], torch.Tensor]


def test_weights_are_those_of_the_formula() -> None:
    costs, temperature = [3.0, 1.0, 2.5], 0.7
    terms = [math.exp(-(cost - min(costs)) / temperature) for cost in costs]
    weights = path_integral_weights(torch.tensor(costs), temperature=temperature)
    torch.testing.assert_close(weights, torch.tensor(terms) / sum(terms))
    torch.testing.assert_close(path_integral_weights(torch.tensor(costs) + 100, temperature=temperature), weights)


def test_weights_go_from_the_best_alone_to_all_alike() -> None:
    costs = torch.tensor([3.0, 1.0, 2.5, torch.inf])
    assert path_integral_weights(costs, temperature=1e-3).tolist() == [0.0, 1.0, 0.0, 0.0]
    torch.testing.assert_close(path_integral_weights(costs, temperature=1e6)[:3], torch.full((3,), 1 / 3))
    with pytest.raises(ValueError, match="at least one finite cost"):
        path_integral_weights(costs[3:], temperature=1.0)
    with pytest.raises(ValueError, match="temperature above 0"):
        path_integral_weights(costs, temperature=0.0)


def test_the_mean_is_moved_to_the_weighted_one(quadratic: Cost, box: ActionBox) -> None:
    seen: list[torch.Tensor] = []

    def cost(candidates: torch.Tensor) -> torch.Tensor:
        seen.append(candidates)
        return quadratic(candidates)

    PathIntegralPlanner(horizon=3, temperature=0.1, candidates=50, iterations=1).plan(cost, box, seed=0)
    weights = path_integral_weights(quadratic(seen[0]), temperature=0.1)
    assert len(seen[1]) == 1
    torch.testing.assert_close(seen[1][0], (weights[:, None, None] * seen[0]).sum(dim=0))


def test_it_finds_the_least_of_a_quadratic(quadratic: Cost, box: ActionBox, target: torch.Tensor) -> None:
    planner = PathIntegralPlanner(horizon=3, temperature=0.005, candidates=400, iterations=20, spread=0.1)
    plan = planner.plan(quadratic, box, seed=0)
    torch.testing.assert_close(plan.actions, target, atol=0.3, rtol=0)
    assert plan.cost < 5e-3 and plan.evaluations == 8001
    torch.testing.assert_close(quadratic(plan.actions[None])[0].item(), plan.cost)


def test_the_seed_decides_and_the_box_holds(quadratic: Cost, box: ActionBox) -> None:
    planner = PathIntegralPlanner(horizon=3, temperature=0.1, spread=2.0)
    first, again, other = (planner.plan(quadratic, box, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.actions, again.actions) and not torch.equal(first.actions, other.actions)
    assert box.contains(first.actions) and list(first.history) == sorted(first.history, reverse=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"candidates": 0}, "`candidates` to be at least 1"), ({"temperature": 0.0}, "positive temperature")],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PathIntegralPlanner(**{"horizon": 3, "temperature": 1.0, **settings})
