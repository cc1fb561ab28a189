import warnings
from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from rlvr_world_hf.rewards import LPIPSReward, perceptual
from rlvr_world_hf.rewards.perceptual import find_trunk, load_lpips


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 3, 64, 64, generator=generator), torch.rand(2, 3, 3, 64, 64, generator=generator)


@pytest.fixture(scope="module")
def trunk_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's own form with random weights."""
    path = tmp_path_factory.mktemp("trunk") / "squeezenet1_1.pth"
    with torch.random.fork_rng():
        torch.manual_seed(7)
        torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    return path


def package_distance(net: str, trunk: dict[str, torch.Tensor], pair, *, spatial: bool = False) -> torch.Tensor:
    """LPIPS as the package computes it, with the trunk that is given in torchvision's names."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False, spatial=spatial)
    model.net.load_state_dict({name: trunk[f"features.{name.split('.', 1)[1]}"] for name in model.net.state_dict()})
    with torch.no_grad():
        return model(pair[0].flatten(0, 1), pair[1].flatten(0, 1), normalize=True)


def test_it_is_the_package_s_distance(trunk_file: Path, pair) -> None:
    expected = package_distance("squeeze", torch.load(trunk_file), pair).view(2, 3)
    reward = LPIPSReward(net="squeeze", trunk_path=trunk_file, batch_size=4)
    assert torch.allclose(reward.measure(*pair), expected, atol=1e-5)
    assert expected.min() > 0.01


@pytest.mark.parametrize("batch_size", [2, 5, 64])
def test_a_reference_s_features_are_computed_once_for_its_group(
    trunk_file: Path, pair, batch_size: int, monkeypatch
) -> None:
    predicted, reference = torch.cat([pair[0], pair[0].flip(0)]), pair[1].repeat_interleave(2, dim=0)
    reward = LPIPSReward(net="squeeze", trunk_path=trunk_file, batch_size=batch_size)
    pairs = zip(predicted, reference, strict=True)
    expected = torch.cat([reward.measure(one[None], other[None]) for one, other in pairs])
    seen = []
    features = perceptual.lpips_features
    monkeypatch.setattr(perceptual, "lpips_features", lambda model, x: seen.append(len(x)) or features(model, x))
    assert torch.allclose(reward.measure(predicted, reference), expected, atol=1e-6)
    assert sum(seen) == 12 + (6 if batch_size == 64 else 9 if batch_size == 5 else 12)


def test_moving_pixels_are_the_package_s_spatial_mode(trunk_file: Path, pair) -> None:
    context = pair[1][:, -1:].clone()
    context[..., :20] += 0.1
    reward = LPIPSReward(net="squeeze", trunk_path=trunk_file, pixels="moving")
    maps = package_distance("squeeze", torch.load(trunk_file), pair, spatial=True).view(2, 3, 64, 64)
    measured = reward.measure(*pair, context=context)
    assert torch.allclose(measured[:, -1], maps[:, -1, :, :20].mean(dim=(-2, -1)), atol=1e-5)


def test_safetensors_hold_the_same_trunk(trunk_file: Path, pair, tmp_path: Path) -> None:
    save_file(torch.load(trunk_file), tmp_path / "trunk.safetensors")
    measured = [
        LPIPSReward(net="squeeze", trunk_path=path).measure(*pair)
        for path in (trunk_file, tmp_path / "trunk.safetensors")
    ]
    assert torch.equal(*measured)


@pytest.mark.parametrize("net", ["vgg", "alex", "squeeze"])
def test_every_trunk_is_found_in_the_cache_of_torch_hub(net: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}[net]
    reward = LPIPSReward(net=net)  # nothing is read before the first use
    with pytest.raises(FileNotFoundError, match=rf"`{name}` at .*checkpoints.*torchvision\.models\.{name}\("):
        reward.metric(torch.zeros(1, 1, 3, 64, 64), torch.zeros(1, 1, 3, 64, 64))
    model = load_lpips(net, trunk="random")
    weights = {f"features.{key.split('.', 1)[1]}": value for key, value in model.net.state_dict().items()}
    (tmp_path / "checkpoints").mkdir()
    file = Path(torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url).name
    torch.save(weights, tmp_path / "checkpoints" / file)
    assert find_trunk(net) == tmp_path / "checkpoints" / file
    frames = torch.rand(1, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    measured = reward.metric(frames, 1 - frames)
    assert torch.equal(measured, LPIPSReward(net=net, trunk="random").metric(frames, 1 - frames))
    explicit = LPIPSReward(net=net, trunk_path=str(tmp_path / "checkpoints" / file))
    assert torch.equal(measured, explicit.metric(frames, 1 - frames))
    assert measured.item() == pytest.approx(written_out(net, weights, frames[0], 1 - frames[0]), rel=1e-4)


def written_out(net: str, weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> float:
    """Equation 1 with the layers the package takes, by torchvision's own modules."""
    name, layers = {
        "vgg": ("vgg16", [3, 8, 15, 22, 29]),
        "alex": ("alexnet", [1, 4, 7, 9, 11]),
        "squeeze": ("squeezenet1_1", [1, 4, 7, 9, 10, 11, 12]),
    }[net]
    with torch.device("meta"):
        features = torchvision.models.get_model(name).features
    features.load_state_dict({key.removeprefix("features."): value for key, value in weights.items()}, assign=True)
    heads = torch.load(Path(lpips.__file__).parent / f"weights/v0.1/{net}.pth", map_location="cpu", weights_only=True)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    pair = (torch.cat([x, y]) * 2 - 1 - mean) / deviation
    distance = 0.0
    for index, module in enumerate(features):
        pair = module(pair)
        if index in layers:
            unit = pair / (pair.norm(dim=1, keepdim=True) + 1e-10)
            head = heads[f"lin{layers.index(index)}.model.1.weight"][0]
            distance += (head * (unit[0] - unit[1]) ** 2).sum(dim=0).mean().item()
    return distance


def test_a_file_of_another_trunk_is_refused(trunk_file: Path) -> None:
    frames = torch.zeros(1, 1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"`vgg16` in .*squeezenet1_1\.pth.*such as 'features\."):
        LPIPSReward(trunk_path=trunk_file).metric(frames, frames)


def test_each_trunk_has_its_name() -> None:
    assert LPIPSReward().name == "lpips" and LPIPSReward(pixels="moving").name == "lpips_moving"
    assert LPIPSReward(net="alex", pixels="moving", aggregation="last").name == "lpips_alex_moving_last"
    assert LPIPSReward(net="squeeze", trunk="random").name == "lpips_squeeze_random"
    assert LPIPSReward(trunk="random", seed=1, pixels="moving").name == "lpips_random_1_moving"


def test_a_random_trunk_follows_its_seed_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    frames = torch.rand(1, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    values = [LPIPSReward(net="squeeze", trunk="random", seed=seed).metric(frames, 1 - frames) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_values_out_of_reach_are_refused() -> None:
    with pytest.raises(ValueError, match="'resnet'"):
        LPIPSReward(net="resnet")
    with pytest.raises(ValueError, match="'best'"):
        LPIPSReward(trunk="best")
    small = torch.zeros(1, 1, 3, 16, 64)
    with pytest.raises(ValueError, match="got 16x64"):
        LPIPSReward(net="squeeze", trunk="random").metric(small, small)


def test_frames_are_rgb_or_grey() -> None:
    reward = LPIPSReward(net="squeeze", trunk="random")
    frames = torch.rand(2, 2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    grey, repeated = (
        reward(predicted=[frames[0][:, chosen]], reference=[frames[1][:, chosen]]) for chosen in ([0], [0, 0, 0])
    )
    assert grey == pytest.approx(repeated, abs=1e-5)
    with pytest.raises(ValueError, match="RGB or grey frames for LPIPS, got 4 channels"):
        reward(predicted=[frames[0]], reference=[frames[1]])
