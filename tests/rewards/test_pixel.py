import pytest
import torch
from torch.nn.functional import conv2d

from rlvr_world_hf.rewards import MAEReward, MSEReward, MSSSIMReward, PSNRReward, SSIMReward
from rlvr_world_hf.rewards.base import VerifiableReward
from rlvr_world_hf.rewards.pixel import mae, moving_pixels, mse, psnr, ssim


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 3, 24, 30, generator=generator), torch.rand(2, 3, 3, 24, 30, generator=generator)


def test_each_frame_is_measured_on_its_own(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    for function in (mae, mse, psnr, ssim):
        whole = function(*pair)
        assert whole.shape == (2, 3)
        assert whole[1, 2] == pytest.approx(function(pair[0][1, 2], pair[1][1, 2]).item(), abs=1e-5)


@pytest.mark.parametrize("function", [mae, mse, psnr, ssim])
def test_a_full_mask_changes_nothing_and_an_empty_one_leaves_nothing(function, pair) -> None:
    mask = torch.ones(2, 3, 24, 30, dtype=torch.bool)
    mask[0, 0] = False
    masked = function(*pair, mask=mask)
    assert masked[0, 0].isnan()
    assert torch.allclose(masked.flatten()[1:], function(*pair).flatten()[1:], atol=1e-5)


def test_the_mask_chooses_pixels() -> None:
    reference, predicted = torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)
    predicted[0, 1, 1] = 0.6
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[1, 1:3] = True
    assert mae(predicted, reference, mask=mask) == pytest.approx(0.6 / 3 / 2)
    assert mse(predicted, reference, mask=mask) == pytest.approx(0.36 / 3 / 2)


def test_ssim_is_the_convolution_of_its_definition(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = (frames.flatten(0, 2)[:, None].double() for frames in pair)
    offsets = torch.arange(11.0, dtype=torch.float64) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]
    mean_x, mean_y = conv2d(x, window), conv2d(y, window)
    variance_x, variance_y = conv2d(x * x, window) - mean_x**2, conv2d(y * y, window) - mean_y**2
    covariance = conv2d(x * y, window) - mean_x * mean_y
    local = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
    local = local / (mean_x**2 + mean_y**2 + 1e-4) / (variance_x + variance_y + 9e-4)
    expected = local.view(2, 3, 3, 14, 20).mean(dim=(-3, -2, -1))
    assert torch.allclose(ssim(*pair).double(), expected, atol=1e-6)
    assert torch.allclose(ssim(*pair, batch_size=1).double(), expected, atol=1e-6)
    mask = torch.zeros(2, 3, 24, 30, dtype=torch.bool)
    mask[..., 7, 9] = True
    assert torch.allclose(
        ssim(*pair, mask=mask).double(), local.view(2, 3, 3, 14, 20)[..., 2, 4].mean(dim=-1), atol=1e-6
    )


def test_ssim_refuses_frames_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="at least 11x11 pixels for SSIM, got 10x64"):
        SSIMReward()(predicted=[torch.zeros(1, 3, 10, 64)], reference=[torch.zeros(1, 3, 10, 64)])


def test_pixels_move_against_the_last_context_frame_beyond_the_threshold() -> None:
    context = torch.zeros(1, 2, 3, 1, 3)
    context[:, 0] = 1  # a frame further back does not count
    reference = torch.tensor([0.04, 0.06, 0.5]).expand(1, 1, 3, 1, 3)
    assert moving_pixels(reference, context).tolist() == [[[[False, True, True]]]]


def test_still_frames_are_left_out_of_the_moving_mean() -> None:
    reference = torch.zeros(2, 2, 3, 16, 16)
    reference[0, 1, :, 4, 4] = 1.0
    reward = MAEReward(pixels="moving")
    assert reward.name == "mae_moving" and MAEReward.name == "mae"
    rewards = reward(predicted=reference * 0.5, reference=reference, context=torch.zeros(2, 1, 3, 16, 16))
    assert rewards == [-0.5, None]


def test_moving_pixels_need_the_context() -> None:
    frames = torch.zeros(1, 1, 3, 16, 16)
    with pytest.raises(ValueError, match="expected `context`"):
        PSNRReward(pixels="moving").metric(frames, frames)
    with pytest.raises(ValueError, match="'still'"):
        PSNRReward(pixels="still")


def test_on_moving_pixels_alone_a_white_frame_beats_a_copy() -> None:
    context, reference = torch.ones(1, 1, 3, 16, 16), torch.ones(1, 1, 3, 16, 16)
    context[..., 2:8, 2:8] = 0.3
    reference[..., 2:8, 4:10] = 0.3
    moving, everywhere = MAEReward(pixels="moving"), MAEReward()
    columns = {"predicted": [context[0], torch.ones(1, 3, 16, 16)], "reference": [reference[0]] * 2}
    copied, white = moving(**columns, context=[context[0]] * 2)
    assert copied < white and "white frame" in moving.alone and not everywhere.alone  # type: ignore[operator]
    copied, white = everywhere(**columns)
    assert copied > white  # type: ignore[operator]


@pytest.mark.parametrize("reward", [MAEReward(), MSEReward(), PSNRReward(), SSIMReward(), MSSSIMReward(scales=1)])
def test_frames_may_have_any_number_of_channels(reward: VerifiableReward) -> None:
    predicted, reference = torch.rand(2, 4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    measured = reward(predicted=[predicted], reference=[reference])
    grey = [reward(predicted=[predicted[:, [channel]]], reference=[reference[:, [channel]]]) for channel in range(4)]
    repeated = reward(predicted=[predicted[:, [0, 0, 0]]], reference=[reference[:, [0, 0, 0]]])
    assert repeated == pytest.approx(grey[0], abs=1e-5)
    if reward.name != "psnr":  # a mean over channels, except for the logarithm
        assert measured == pytest.approx([sum(value for (value,) in grey) / 4], abs=1e-5)
