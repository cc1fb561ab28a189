import pytest
import torch

from rlvr_world_hf.rewards import MAEReward, SensorMAEReward, TemporalConsistencyReward


@pytest.fixture
def frames() -> torch.Tensor:
    """A given frame and four that follow, of noise: `(5, 3, 8, 8)`."""
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


def columns(frames: torch.Tensor, predicted: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    return {"predicted": [predicted], "reference": [frames[1:]], "context": [frames[:1]]}


def test_it_is_the_error_of_differences(frames: torch.Tensor) -> None:
    predicted = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    changes = torch.cat([frames[:1], predicted]).diff(dim=0) - frames.diff(dim=0)
    steps = TemporalConsistencyReward().score_steps(**columns(frames, predicted))
    torch.testing.assert_close(steps, -changes.abs().mean(dim=(1, 2, 3))[None])


def test_an_error_that_stays_costs_once_and_one_that_comes_and_goes_always(frames: torch.Tensor) -> None:
    still, flicker = frames[1:] + 0.2, frames[1:] + torch.tensor([0.2, 0.0, 0.2, 0.0]).view(4, 1, 1, 1)
    reward = TemporalConsistencyReward()
    assert reward(**columns(frames, still)) == pytest.approx([-0.05])
    assert reward(**columns(frames, flicker)) == pytest.approx([-0.2])
    assert MAEReward()(**columns(frames, flicker)) > MAEReward()(**columns(frames, still)), "which pixels prefer"


def test_without_a_context_the_first_step_has_no_change(frames: torch.Tensor) -> None:
    reward = TemporalConsistencyReward()
    assert reward(predicted=[frames[1:] + 0.2], reference=[frames[1:]]) == pytest.approx([0.0], abs=1e-6)
    assert reward(predicted=[frames[1:2]], reference=[frames[2:3]]) == [None]


def test_sensors_have_changes_too() -> None:
    given, reference = torch.zeros(1, 2), torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    predicted = torch.tensor([[300.0, 2.0], [301.0, 4.0]])
    reward = TemporalConsistencyReward()
    assert reward(predicted=[predicted], reference=[reference], context=[given]) == [-(299 / 2) / 2]
    assert reward.choose_columns({"predicted": 1, "reference": 2}) == {"predicted": 1, "reference": 2}
    beside = {"predicted": 1, "reference": 2, "predicted_states": 3, "reference_states": 4}
    assert (
        reward.choose_columns(beside)["predicted"] == 1 and SensorMAEReward().choose_columns(beside)["predicted"] == 3
    )


def test_it_says_that_it_should_not_be_alone() -> None:
    assert "MAEReward" in TemporalConsistencyReward.alone
