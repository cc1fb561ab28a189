import warnings
from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from rlvr_world_hf.rewards import LPIPSReward
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
    random = LPIPSReward(net=net, trunk="random").metric(frames, 1 - frames)
    assert torch.equal(reward.metric(frames, 1 - frames), random)


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
