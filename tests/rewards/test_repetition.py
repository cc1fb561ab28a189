import pytest
import torch

from rlvr_world_hf.rewards.repetition import repeated_steps, repetition_rate


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
