import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from rlvr_world_hf.rewards import ActionRecoveryReward
from rlvr_world_hf.rewards.inverse_dynamics import (
    FOLDER,
    InverseDynamicsConfig,
    InverseDynamicsModel,
    find_inverse_model,
    load_inverse_model,
)


def make(*, bins: int = 0, dims: int = 2, seed: int = 0) -> InverseDynamicsModel:
    config = InverseDynamicsConfig(
        action_low=[0.0, -1.0][:dims],
        action_high=[512.0, 1.0][:dims],
        image_size=16,
        width=8,
        hidden_size=16,
        action_bins=bins,
        fps=2.0,
        action_law="absolute",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return InverseDynamicsModel(config).eval()


def pairs(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_actions_are_in_the_unit_of_the_data() -> None:
    model = make()
    found = model(pairs())
    assert found.actions.shape == (4, 2) and found.loss is None and found.logits is None
    torch.nn.init.zeros_(model.head[-1].weight)
    model.head[-1].bias.copy_(torch.tensor([0.0, 0.5]))
    assert model(pairs()).actions.tolist() == [[256.0, 0.5]] * 4, "0 is the middle of the range, 1 its end"
    labels = torch.tensor([[256.0, 0.5]] * 4)
    assert model(pairs(), labels).loss == 0
    torch.testing.assert_close(model((pairs() * 255).round().to(torch.uint8)).actions, model(pairs()).actions)


@torch.no_grad()
def test_bins_have_probabilities_and_the_action_is_their_mean() -> None:
    model = make(bins=4)
    found = model(pairs())
    assert found.logits.shape == (4, 2, 4)
    torch.nn.init.zeros_(model.head[-1].weight)
    model.head[-1].bias.copy_(torch.tensor([0.0, 50.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]))
    found = model(pairs())
    torch.testing.assert_close(found.actions, torch.tensor([[192.0, 0.0]] * 4))
    done = torch.tensor([[130.0, 0.9], [255.0, -0.9], [500.0, 0.1], [-9.0, 7.0]])  # beyond the range: outermost bins
    expected = [(0 - math_log(4)) / 2] * 2 + [(-50 - math_log(4)) / 2] * 2
    assert model.log_probs(pairs(), done).tolist() == pytest.approx(expected, abs=1e-3)
    loss = model(pairs(), done).loss
    assert loss.item() == pytest.approx(-sum(expected) / 4, abs=1e-3)
    with pytest.raises(ValueError, match="inverse model with bins.*train one with `action_bins`"):
        make().log_probs(pairs(), done)


def math_log(value: float) -> float:
    return torch.tensor(value).log().item()


def test_it_can_learn_where_something_moves() -> None:
    """A white square on black that moves to the action."""
    torch.manual_seed(0)
    model = make(dims=1).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        frames, columns = torch.zeros(count, 2, 3, 16, 16), torch.randint(0, 14, (count, 2))
        for row in range(count):
            for time in range(2):
                frames[row, time, :, 6:9, columns[row, time] : columns[row, time] + 3] = 1
        return frames, columns[:, 1:] * 512 / 14

    for _ in range(150):
        optimizer.zero_grad()
        model(*draw(32)).loss.backward()
        optimizer.step()
    frames, actions = draw(64)
    with torch.no_grad():
        assert (model.eval()(frames).actions - actions).abs().mean() < 30, "of 512; a guess is 128 off"


@torch.no_grad()
def test_it_is_saved_and_loaded_and_found_in_the_folder_of_a_run(tmp_path: Path) -> None:
    model = make(bins=3)
    model.save_pretrained(tmp_path / "run" / FOLDER)
    for place in (tmp_path / "run", tmp_path / "run" / FOLDER):
        assert find_inverse_model(place) == tmp_path / "run" / FOLDER
        loaded = load_inverse_model(place)
        torch.testing.assert_close(loaded(pairs()).actions, model(pairs()).actions)
        assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert isinstance(AutoModel.from_pretrained(tmp_path / "run" / FOLDER), InverseDynamicsModel)
    assert loaded.config.action_law == "absolute" and loaded.config.fps == 2.0 and loaded.config.action_dims == 2


def test_what_is_none_is_refused_with_the_way_to_train_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(FileNotFoundError, match=r"got a folder without one; `rlvr-world inverse RECIPE` trains one"):
        load_inverse_model(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"a folder or a Hub id, got none; `rlvr-world inverse RECIPE`"):
        load_inverse_model("outputs/no/such/run")
    make().save_pretrained(tmp_path / "damaged")
    from safetensors.torch import load_file, save_file

    file = tmp_path / "damaged" / "model.safetensors"
    save_file(
        {name: value for name, value in load_file(file).items() if name != "head.2.bias"}, file, {"format": "pt"}
    )
    with pytest.raises(ValueError, match="without 1 of them, such as 'head.2.bias'"):
        load_inverse_model(tmp_path / "damaged")


def test_it_loads_from_the_hub_also_beside_a_world_model(hub, tmp_path: Path) -> None:
    from tests.local_hub import Repository

    make().save_pretrained(tmp_path / "alone")
    files = {file.name: file.read_bytes() for file in (tmp_path / "alone").iterdir()}
    for name, parts in (("someone/inverse", files), ("someone/world", {f"inverse/{n}": v for n, v in files.items()})):
        hub.repositories["model", name] = Repository()
        hub.repositories["model", name].commit(parts)
        with torch.no_grad():
            torch.testing.assert_close(load_inverse_model(name)(pairs()).actions, make()(pairs()).actions)
        ActionRecoveryReward(name).check_files()
    with pytest.raises(FileNotFoundError, match="a folder or a Hub id, got none"):
        ActionRecoveryReward("outputs/pusht-inverse").check_files()


def test_sizes_and_shapes_out_of_reach_are_refused() -> None:
    for wrong in ({"action_low": [0.0]}, {"action_low": [], "action_high": []}, {"action_low": [2.0, 0.0]}):
        with pytest.raises(ValueError, match="`action_low` and `action_high`"):
            InverseDynamicsConfig(**{"action_low": [0.0, 0.0], "action_high": [1.0, 1.0], **wrong})
    for wrong in ({"image_size": 20}, {"width": 12}, {"hidden_size": 1}, {"action_bins": -1}):
        with pytest.raises(ValueError, match="multiples of 8"):
            InverseDynamicsConfig(**wrong)
    with pytest.raises(ValueError, match=r"shape \(B, 2, 3, 16, 16\), got \(4, 2, 3, 32, 32\); use an inverse model"):
        make()(torch.zeros(4, 2, 3, 32, 32))
    with pytest.raises(ValueError, match="`given_frames` of at least 1, got 0"):
        InverseDynamicsConfig(given_frames=0)
    with pytest.raises(ValueError, match=r"shape \(B, 3, 3, 16, 16\), got \(4, 2, 3, 16, 16\); use .* so many frames"):
        InverseDynamicsModel(InverseDynamicsConfig(image_size=16, width=8, given_frames=2))(pairs())
    with pytest.raises(ValueError, match=r"actions of 2 dimensions, .* got shape \(4, 3\)"):
        make()(pairs(), torch.zeros(4, 3))
