import pytest
import torch

from rlvr_world_hf.planning.planner import ActionBox, Plan, check_sizes, draw_candidates, evaluate, start


@pytest.mark.parametrize(
    ("low", "high"),
    [((0.0,), (1.0, 2.0)), ((), ()), ((1.0,), (0.0,)), ((0.0,), (float("inf"),)), ((float("nan"),), (1.0,))],
)
def test_a_box_has_ends_in_order(low: tuple[float, ...], high: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="lowest and highest value of each action dimension"):
        ActionBox(low=low, high=high)


def test_a_box_projects_and_contains(box: ActionBox) -> None:
    outside = torch.tensor([[[2.0, -5.0], [0.0, 1.0]]])
    assert not box.contains(outside)
    assert box.contains(box.project(outside))
    assert torch.equal(box.project(outside)[0, 1], outside[0, 1])
    assert box.centre.tolist() == [0.0, 0.0]


def test_candidates_are_drawn_around_the_mean_and_stay_in_the_box(box: ActionBox) -> None:
    mean, std = torch.full((3, 2), 0.5), torch.full((3, 2), 0.1)
    drawn = draw_candidates(mean, std, box, count=4000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn[0], mean)
    torch.testing.assert_close(drawn.mean(dim=0), mean, atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.std(dim=0), std, atol=0.01, rtol=0)
    wide = draw_candidates(mean, 100 * std, box, count=100, generator=torch.Generator().manual_seed(0))
    assert box.contains(wide) and wide.max() == 4.0


def test_a_search_begins_at_the_centre_or_at_a_guess(box: ActionBox) -> None:
    mean, std = start(box, horizon=3, spread=0.25, guess=None)
    assert mean.abs().max() == 0 and std.tolist() == [[0.5, 2.0]] * 3
    guess = torch.tensor([[9.0, 1.0]] * 3)
    assert start(box, horizon=3, spread=0.25, guess=guess)[0].tolist() == [[1.0, 1.0]] * 3
    with pytest.raises(ValueError, match=r"guess of shape \(3, 2\), got \(2, 2\)"):
        start(box, horizon=3, spread=0.25, guess=guess[:2])


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        (torch.zeros(3), "one cost for each of 2 candidates"),
        (torch.tensor([0.0, torch.nan]), "got nan for 1 of 2"),
        (torch.tensor([-torch.inf, 0.0]), "got -inf for 1 of 2"),
        (torch.tensor([-torch.inf, torch.nan]), "got -inf and nan for 2 of 2"),
    ],
)
def test_costs_are_one_number_a_candidate(costs: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(lambda candidates: costs, torch.zeros(2, 3, 1))
    assert evaluate(lambda candidates: torch.tensor([0.0, torch.inf]), torch.zeros(2, 3, 1))[1] == torch.inf


@pytest.mark.parametrize("cost", [float("inf"), float("-inf"), float("nan")])
def test_a_plan_has_a_finite_cost(cost: float) -> None:
    with pytest.raises(ValueError, match=f"at least one finite cost, got {cost} as the lowest of 8 candidates"):
        Plan(actions=("wait",), cost=cost, evaluations=8, history=(cost,))


def test_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="`elites` to be at least 1, got 0"):
        check_sizes(horizon=1, elites=0)
