from collections.abc import Callable

import pytest
import torch

from rlvr_world_hf.planning.planner import ActionBox
from rlvr_world_hf.planning.random_shooting import RandomShootingPlanner


Cost = Callable[[torch.Tensor], torch.Tensor]


def test_it_takes_the_best_of_what_it_drew_evenly(box: ActionBox, quadratic: Cost) -> None:
    seen: list[torch.Tensor] = []

    def cost(candidates: torch.Tensor) -> torch.Tensor:
        seen.append(candidates)
        return quadratic(candidates)

    plan = RandomShootingPlanner(horizon=3, candidates=4000).plan(cost, box, seed=0)
    assert len(seen) == 1 and box.contains(seen[0])
    assert plan.cost == quadratic(seen[0]).min() and plan.evaluations == 4000
    torch.testing.assert_close(seen[0].mean(dim=(0, 1)), box.centre, atol=0.1, rtol=0)
    torch.testing.assert_close(seen[0].var(dim=(0, 1)), torch.tensor([2.0, 8.0]) ** 2 / 12, rtol=0.1, atol=0)


def test_the_seed_decides_and_a_guess_is_a_candidate(box: ActionBox, quadratic: Cost, target: torch.Tensor) -> None:
    planner = RandomShootingPlanner(horizon=3)
    first, again, other = (planner.plan(quadratic, box, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.actions, again.actions) and not torch.equal(first.actions, other.actions)
    assert planner.plan(quadratic, box, seed=1, guess=target).cost == 0


def test_infinity_is_never_chosen(box: ActionBox) -> None:
    with pytest.raises(ValueError, match="at least one finite cost, got inf as the lowest of 64 candidates"):
        RandomShootingPlanner(horizon=3).plan(lambda drawn: torch.full((len(drawn),), torch.inf), box, seed=0)


def test_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="`candidates` to be at least 1, got 0"):
        RandomShootingPlanner(horizon=1, candidates=0)
