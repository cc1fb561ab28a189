import math

import numpy as np
import pytest
import torch

from rlvr_world_hf.data.episode import Episode
from rlvr_world_hf.worlds.pusht.ladder import ladder_errors, read_states
from rlvr_world_hf.worlds.pusht.law import ActionLaw
from rlvr_world_hf.worlds.pusht.simulator import collect_episode
from rlvr_world_hf.worlds.pusht.state_model import (
    StateModel,
    apply_changes,
    mirror_actions,
    mirror_states,
    read_changes,
    read_features,
    train_state_model,
)


def record(seed: int, law: ActionLaw = "relative") -> Episode:
    settings = {"length": 30, "image_size": 64, "frame_interval": 0.5, "states": "agent_and_block", "frames": False}
    return collect_episode(seed, **settings, action_law=law)


@pytest.fixture(scope="module", params=["relative", "absolute"])
def law(request: pytest.FixtureRequest) -> ActionLaw:
    return request.param


def columns(episode: Episode) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    states = read_states(torch.from_numpy(episode.states))
    return states[:-2], states[1:-1], states[2:], torch.from_numpy(episode.actions)[1:-1]


def test_changes_lead_where_they_were_read(law: ActionLaw) -> None:
    _, now, after, _ = columns(record(0, law))
    assert torch.allclose(apply_changes(now, read_changes(now, after)), after, atol=1e-5)


def turned_states(states: torch.Tensor) -> torch.Tensor:
    """The table turned by a quarter about its middle."""
    x, y, block_x, block_y, angle = states.unbind(1)
    return torch.stack([1 - y, x, 1 - block_y, block_x, angle + math.pi / 2], dim=1)


def test_a_turned_table_looks_the_same_but_for_its_walls() -> None:
    before, now, after, actions = columns(record(0))
    pairs = actions.unflatten(1, (5, 2))
    turned = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=2).flatten(1)
    seen = read_features(before, now, actions, action_law="relative")
    again = read_features(turned_states(before), turned_states(now), turned, action_law="relative")
    assert torch.allclose(seen[:, :-4], again[:, :-4], atol=1e-5)
    assert not torch.allclose(seen[:, -4:], again[:, -4:], atol=0.1)
    changes = read_changes(now, after), read_changes(turned_states(now), turned_states(after))
    assert torch.allclose(*changes, atol=1e-5)


def test_a_mirror_turns_left_to_right_and_back(law: ActionLaw) -> None:
    before, now, after, actions = columns(record(1, law))
    in_mirror = [mirror_states(states) for states in (before, now, after)]
    mirrored = mirror_actions(actions, law)
    features = read_features(before, now, actions, action_law=law)
    seen = read_features(in_mirror[0], in_mirror[1], mirrored, action_law=law)
    # In the block's axes x changes its sign and y does not; the turn, which comes after all vectors, does.
    signs = torch.tensor([-1.0, 1.0] * 3 + [-1.0, 1.0] * (actions.shape[1] // 2) + [-1.0])
    assert torch.allclose(seen[:, :-4], features[:, :-4] * signs, atol=1e-5)
    changes = read_changes(now, after) * torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0])
    assert torch.allclose(read_changes(in_mirror[1], in_mirror[2]), changes, atol=1e-5)
    assert torch.allclose(mirror_states(in_mirror[0]), before, atol=1e-6)
    assert torch.allclose(mirror_actions(mirrored, law), actions, atol=1e-4)


def test_it_learns_where_agent_and_block_go(law: ActionLaw) -> None:
    model = train_state_model(
        [record(seed, law) for seed in range(12)], action_law=law, updates=150, batch_size=256, width=64, layers=2
    )
    before, now, _, actions = columns(record(2_000_000, law))
    given = torch.stack([before[:-2], now[:-2]], dim=1)
    taken = torch.stack([actions[:-2], actions[1:-1], actions[2:]], dim=1)
    truth = read_states(torch.from_numpy(record(2_000_000, law).states))
    truth = torch.stack([truth[2:-2], truth[3:-1], truth[4:]], dim=1)
    predicted = ladder_errors(model.predict(given, taken), truth)
    copied = ladder_errors(given[:, 1:].expand(-1, 3, -1), truth)
    assert predicted["agent_error"].mean() < 0.3 * copied["agent_error"].mean()
    assert predicted["block_error"][:, 0].mean() < 0.8 * copied["block_error"][:, 0].mean()


def test_training_repeats_by_its_seed_and_leaves_the_global_one() -> None:
    episodes = [record(0)]
    settings = {"action_law": "relative", "updates": 2, "batch_size": 8, "width": 8, "layers": 1}
    state = torch.get_rng_state()
    first, again = train_state_model(episodes, **settings), train_state_model(episodes, **settings)
    other = train_state_model(episodes, **settings, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    weights = [model.state_dict()["straight.weight"] for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_what_it_cannot_learn_from_is_refused() -> None:
    short = Episode(
        episode_id="0", frames=None, actions=np.zeros((2, 10), np.float32), fps=2.0,
        states=np.zeros((2, 6), np.float32),
    )  # fmt: skip
    with pytest.raises(ValueError, match="at least three frames"):
        train_state_model([short], action_law="relative", updates=1)
    with pytest.raises(ValueError, match="`action_law`"):
        StateModel(action_dims=2, action_law="polar")  # type: ignore[arg-type]
