import pytest
import torch

from rlvr_world_hf.rewards.repetition import SAME_FRAME, RepetitionReward, repeated_steps, repetition_rate


@pytest.fixture
def predicted() -> torch.Tensor:
    """Five steps of which the third and the fifth repeat the one before."""
    frames = torch.rand(1, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return frames[:, [0, 1, 1, 2, 2]]


def test_consecutive_equal_frames_are_counted(predicted: torch.Tensor) -> None:
    assert repeated_steps(predicted).tolist() == [[False, True, False, True]]
    assert repetition_rate(predicted).tolist() == [0.5]


def test_differences_too_small_for_uint8_are_none(predicted: torch.Tensor) -> None:
    noise = 0.2 / 255 * torch.rand(predicted.shape, generator=torch.Generator().manual_seed(1))
    assert repetition_rate(predicted + noise).tolist() == [0.5]


def test_one_changed_pixel_is_a_change(predicted: torch.Tensor) -> None:
    predicted[0, 2, 1, 4, 4] += 1 / 255
    assert repetition_rate(predicted).tolist() == [0.25]


def test_padding_does_not_count(predicted: torch.Tensor) -> None:
    mask = torch.tensor([[True, True, True, False, False]])
    assert repetition_rate(predicted, reference_mask=mask).tolist() == [0.5]


def test_a_single_step_has_no_rate(predicted: torch.Tensor) -> None:
    assert repetition_rate(predicted[:, :1]).isnan().all()
    assert RepetitionReward()(predicted=predicted[:, :1], reference=predicted[:, :1]) == [None]


@pytest.mark.parametrize("mask", [None, torch.tensor([[True, True, True, False, False]])])
def test_the_reward_is_minus_the_rate(predicted: torch.Tensor, mask: torch.Tensor | None) -> None:
    rewards = RepetitionReward()(predicted=predicted, reference=predicted.flip(1), reference_mask=mask)
    assert rewards == [-repetition_rate(predicted, reference_mask=mask).item()] == [-0.5]


def test_the_more_often_it_repeats_itself_the_worse(predicted: torch.Tensor) -> None:
    often = torch.cat([predicted[:, order] for order in ([0, 1, 3, 1, 0], [0, 1, 1, 3, 0], [0, 0, 1, 1, 1], [0] * 5)])
    assert RepetitionReward()(predicted=often, reference=often) == [0.0, -0.25, -0.75, -1.0]


def test_the_last_two_frames_are_the_authors_flag(predicted: torch.Tensor) -> None:
    reward = RepetitionReward(aggregation="last")
    assert reward(predicted=predicted, reference=predicted) == [-1.0]
    assert reward(predicted=predicted[:, :4], reference=predicted[:, :4]) == [0.0]


def test_a_flicker_is_found_with_a_tolerance() -> None:
    still = torch.full((1, 6, 3, 8, 8), 0.5)
    still[:, 1::2] += 1.5 / 255
    assert RepetitionReward()(predicted=still, reference=still) == [0.0]
    assert RepetitionReward(tolerance=2 / 255)(predicted=still, reference=still) == [-1.0]
    moved = still + torch.arange(6).view(1, 6, 1, 1, 1) * 4 / 255
    assert RepetitionReward(tolerance=2 / 255)(predicted=moved, reference=still) == [0.0]


def test_another_tolerance_has_another_name() -> None:
    assert RepetitionReward().name == "repetition_rate" == RepetitionReward(tolerance=SAME_FRAME).name
    assert RepetitionReward(tolerance=2 / 255, aggregation="last").name == "repetition_rate_0.00784_last"
    for tolerance in (-0.1, 1, 2, float("nan")):
        with pytest.raises(ValueError, match=r"in \[0, 1\), got .*255"):
            RepetitionReward(tolerance=tolerance)
