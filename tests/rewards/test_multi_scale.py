import pytest
import torch
from torch.nn.functional import conv2d

from rlvr_world_hf.rewards import MSSSIMReward
from rlvr_world_hf.rewards.multi_scale import ms_ssim
from rlvr_world_hf.rewards.pixel import ssim


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of different content, so that no factor is near 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(2, 2, 3, 48, 50, generator=generator)
    return 0.7 * reference + 0.3 * torch.rand(reference.shape, generator=generator), reference


def written_out(x: torch.Tensor, y: torch.Tensor, exponents: list[float]) -> float:
    """Equation 7 for two grey images `(H, W)`, by convolutions and sums over slices, in double precision."""
    offsets = torch.arange(11.0, dtype=torch.float64) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def blur(image: torch.Tensor) -> torch.Tensor:
        return conv2d(image[None, None], window)[0, 0]

    product = 1.0
    for scale, exponent in enumerate(exponents):
        mean_x, mean_y = blur(x), blur(y)
        variances = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
        factor = (2 * (blur(x * y) - mean_x * mean_y) + 9e-4) / (variances + 9e-4)
        if scale == len(exponents) - 1:
            factor = factor * (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
        product *= factor.mean().item() ** exponent
        x, y = (z[: len(z) // 2 * 2, : z.shape[1] // 2 * 2] for z in (x, y))  # an odd row or column is left out
        x, y = ((z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4 for z in (x, y))
    return product


@pytest.mark.parametrize(
    ("scales", "exponents"),
    [
        (1, [1.0001]),
        (3, [weight * 1.0001 / 0.6305 for weight in (0.0448, 0.2856, 0.3001)]),
    ],
)
def test_it_is_the_product_of_its_definition(pair, scales: int, exponents: list[float]) -> None:
    measured = ms_ssim(*pair, scales=scales, batch_size=3)
    expected = [
        sum(written_out(*frames, exponents) for frames in zip(x, y, strict=True)) / 3
        for x, y in zip(*(frames.flatten(0, 1).double() for frames in pair), strict=True)
    ]
    assert measured.shape == (2, 2)
    assert measured.flatten().tolist() == pytest.approx(expected, abs=1e-5)
    assert 0.3 < min(expected) < max(expected) < 0.95


def test_all_five_scales_have_the_published_exponents() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(176, 176, generator=generator)
    x = 0.7 * y + 0.3 * torch.rand(y.shape, generator=generator)
    expected = written_out(x.double(), y.double(), [0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    assert ms_ssim(x.expand(3, -1, -1), y.expand(3, -1, -1)).item() == pytest.approx(expected, abs=1e-5)


def test_of_even_frames_only_the_coarsest_brightness_counts() -> None:
    x, y = torch.full((3, 176, 176), 0.4), torch.full((3, 176, 176), 0.8)
    expected = ((2 * 0.32 + 1e-4) / (0.16 + 0.64 + 1e-4)) ** 0.1333
    assert ms_ssim(x, y).item() == pytest.approx(expected, abs=1e-4)


def test_a_detail_of_the_finest_scale_costs_less_than_in_ssim() -> None:
    frame = torch.linspace(0, 1, 48).expand(3, 48, 48)
    checks = (torch.arange(48)[:, None] + torch.arange(48)) % 2 * 0.2 - 0.1
    assert ssim(frame + checks, frame) < ms_ssim(frame + checks, frame, scales=3) - 0.2


def test_frames_too_small_are_refused_with_the_scales_they_allow() -> None:
    with pytest.raises(ValueError, match="at least 176x176 .* at 5 scales, got 64x200; set `scales=3`"):
        ms_ssim(torch.zeros(3, 64, 200), torch.zeros(3, 64, 200))
    with pytest.raises(ValueError, match="got 10x64; use larger frames"):
        ms_ssim(torch.zeros(3, 10, 64), torch.zeros(3, 10, 64), scales=2)
    with pytest.raises(ValueError, match="from 1 to 5, got 6"):
        MSSSIMReward(scales=6)


def test_its_name_tells_the_scales_apart() -> None:
    assert [MSSSIMReward().name, MSSSIMReward(scales=3, aggregation="last").name] == ["ms_ssim", "ms_ssim_3_last"]
