from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlvr_world_hf.planning.improved_cross_entropy import ImprovedCrossEntropyPlanner, colored_noise
from rlvr_world_hf.planning.planner import ActionBox


Cost = Callable[[torch.Tensor], torch.Tensor]


def test_it_finds_the_least_of_a_quadratic(quadratic: Cost, box: ActionBox, target: torch.Tensor) -> None:
    planner = ImprovedCrossEntropyPlanner(horizon=3, candidates=200, iterations=12, elites=20, exponent=0.5)
    plan = planner.plan(quadratic, box, seed=0)
    torch.testing.assert_close(plan.actions, target, atol=0.1, rtol=0)
    torch.testing.assert_close(quadratic(plan.actions[None])[0].item(), plan.cost)
    assert plan.cost < 1e-3 and list(plan.history) == sorted(plan.history, reverse=True)


def test_iterations_shrink_keep_the_best_and_end_with_the_mean(quadratic: Cost, box: ActionBox) -> None:
    seen: list[torch.Tensor] = []

    def cost(candidates: torch.Tensor) -> torch.Tensor:
        seen.append(candidates)
        return quadratic(candidates)

    settings: dict[str, Any] = {"horizon": 3, "candidates": 40, "iterations": 3, "elites": 10, "momentum": 0.25}
    plan = ImprovedCrossEntropyPlanner(**settings).plan(cost, box, seed=0)
    # 40, 40 / 1.25, 40 / 1.25^2; three elites are kept, and the mean is tried in the end.
    assert [len(drawn) for drawn in seen] == [40, 32 + 3, 26 + 3 + 1] and plan.evaluations == 105
    mean, means = torch.zeros(3, 2), []
    for drawn in seen[:2]:
        best = drawn[quadratic(drawn).double().argsort(stable=True)[:10]]
        mean = 0.25 * mean + 0.75 * best.mean(dim=0)
        means.append(best)
    assert torch.equal(seen[1][-3:], means[0][:3]) and torch.equal(seen[2][-4:-1], means[1][:3])
    torch.testing.assert_close(seen[2][-1], mean)


def test_noise_has_the_asked_for_spectrum_and_variance() -> None:
    noise = colored_noise(20_000, 8, 2, exponent=1.0, generator=torch.Generator().manual_seed(0))
    assert noise.shape == (20_000, 8, 2)
    torch.testing.assert_close(noise.std(dim=0), torch.ones(8, 2), atol=0.03, rtol=0)
    power = torch.fft.rfft(noise, dim=1).abs().square().mean(dim=(0, 2))[1:]  # of frequencies 1/8, ..., 4/8
    torch.testing.assert_close(power / power[0], 1 / torch.arange(1.0, 5.0), atol=0.02, rtol=0)
    one = colored_noise(1000, 1, 1, exponent=2.0, generator=torch.Generator().manual_seed(0))
    assert one.std() == pytest.approx(1.0, abs=0.1)


def test_the_seed_decides_and_a_good_guess_is_kept(quadratic: Cost, box: ActionBox, target: torch.Tensor) -> None:
    planner = ImprovedCrossEntropyPlanner(horizon=3)
    first, again, other = (planner.plan(quadratic, box, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.actions, again.actions) and not torch.equal(first.actions, other.actions)
    guessed = ImprovedCrossEntropyPlanner(horizon=3, iterations=1).plan(quadratic, box, seed=0, guess=target)
    assert guessed.cost == 0 and torch.equal(guessed.actions, target)


def test_while_all_cost_infinity_the_distribution_stays(box: ActionBox, quadratic: Cost) -> None:
    seen: list[torch.Tensor] = []

    def late(candidates: torch.Tensor) -> torch.Tensor:
        seen.append(candidates)
        return quadratic(candidates) if len(seen) > 1 else torch.full((len(candidates),), torch.inf)

    plan = ImprovedCrossEntropyPlanner(horizon=3, candidates=50, iterations=2).plan(late, box, seed=0)
    assert len(seen[1]) == 40 + 1 and plan.history[0] == torch.inf and plan.cost == plan.history[1] < 1


@pytest.mark.parametrize(
    "settings", [{"elites": 33}, {"spread": 0.0}, {"exponent": -1.0}, {"decay": 0.5}, {"kept": 2.0}, {"momentum": 1.0}]
)
def test_wrong_settings_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"got .*{next(iter(settings.values()))}"):
        ImprovedCrossEntropyPlanner(**{"horizon": 3, **settings})
    with pytest.raises(ValueError, match="`horizon` to be at least 1"):
        ImprovedCrossEntropyPlanner(horizon=0)
