import math

import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht.form import PushTForm
from rlvr_world_hf.worlds.pusht.ladder import (
    PLACE,
    POLICIES,
    TURN,
    held_out_episodes,
    ladder_errors,
    read_frames,
    read_states,
    training_episodes,
)
from rlvr_world_hf.worlds.pusht.law import ActionLaw
from rlvr_world_hf.worlds.pusht.policies import WORLD_SIZE
from rlvr_world_hf.worlds.pusht.seeds import SEEDS
from rlvr_world_hf.worlds.pusht.simulator import policy_of


def form_of(law: ActionLaw) -> PushTForm:
    return PushTForm(image_size=64, frame_interval=0.5, given_frames=2, prompt_actions=1, action_law=law)


@pytest.mark.parametrize(("law", "dims"), [("relative", 10), ("absolute", 2)])
def test_episodes_of_each_policy_are_held_out_and_begin_apart(law: ActionLaw, dims: int) -> None:
    made = {policy: [*held_out_episodes(form_of(law), policy, count=2, length=3)] for policy in POLICIES[law]}
    episodes = [episode for of_policy in made.values() for episode in of_policy]
    seeds = [int(episode.episode_id.split("-")[-1]) for episode in episodes]
    assert len({*seeds}) == len(seeds) and {*seeds} <= {*SEEDS["test"]}
    assert all(episode.actions.shape == (3, dims) and episode.states.shape == (3, 6) for episode in episodes)
    if law == "relative":
        assert all(policy_of(item.episode_id) == policy for policy, of_policy in made.items() for item in of_policy)


def test_absolute_exploring_episodes_explore() -> None:
    (plain,) = held_out_episodes(form_of("absolute"), "scripted", count=1, length=30)
    (exploring,) = held_out_episodes(form_of("absolute"), "exploring", count=1, length=30)
    stays = [np.linalg.norm(np.diff(episode.states[:, :2], axis=0), axis=1) < 2 for episode in (plain, exploring)]
    assert stays[1].sum() > stays[0].sum()


def test_policies_of_another_law_and_too_many_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="among scripted, exploring for the absolute law, got 'smooth'"):
        next(held_out_episodes(form_of("absolute"), "smooth", count=1, length=3))
    with pytest.raises(ValueError, match="at most 200000 held-out episodes"):
        next(held_out_episodes(form_of("relative"), "smooth", count=200_001, length=3))


@pytest.mark.parametrize("law", ["relative", "absolute"])
def test_the_yardstick_learns_from_the_seeds_of_bases(law: ActionLaw) -> None:
    first, second = training_episodes(form_of(law), count=2)
    assert [int(episode.episode_id.split("-")[-1]) for episode in (first, second)] == [0, 1]
    assert first.frames is None and first.states.shape == (40, 6)


def test_what_is_read_from_frames_is_what_states_hold() -> None:
    (episode,) = held_out_episodes(form_of("relative"), "scripted", count=1, length=8)
    errors = ladder_errors(
        read_frames(torch.from_numpy(episode.frames).float() / 255), read_states(torch.from_numpy(episode.states))
    )
    assert errors["within"].tolist() == errors["agent_found"].tolist() == [1.0] * 8
    assert errors["agent_error"].max() < 4 and errors["block_error"].max() < 4 and errors["angle_error"].max() < 4


def test_within_needs_place_and_angle_and_a_block() -> None:
    truth = torch.tensor([0.5, 0.5, 0.3, 0.4, math.pi - 0.01])
    far, turn = PLACE / WORLD_SIZE, math.radians(TURN)
    changes = {
        "same": ([0.0] * 5, 1.0, 1.0),
        "agent elsewhere": ([0.2, 0.2, 0.0, 0.0, 0.0], 1.0, 1.0),
        "nearly too far": ([0.0, 0.0, 0.99 * far, 0.0, 0.0], 1.0, 1.0),
        "too far": ([0.0, 0.0, 0.0, 1.01 * far, 0.0], 0.0, 0.0),
        "beyond half a turn": ([0.0, 0.0, 0.0, 0.0, 0.99 * turn], 1.0, 1.0),
        "turned too far": ([0.0, 0.0, 0.0, 0.0, -1.01 * turn], 0.0, 1.0),
        "no block": ([0.0, 0.0, torch.nan, torch.nan, torch.nan], 0.0, 0.0),
    }
    moved = torch.stack([truth + torch.tensor(change) for change, *_ in changes.values()])
    errors = ladder_errors(moved, truth.expand_as(moved))
    assert errors["within"].tolist() == [within for _, within, _ in changes.values()]
    assert errors["place_within"].tolist() == [placed for *_, placed in changes.values()]
    assert errors["block_found"].tolist() == [1.0] * 6 + [0.0] and errors["block_error"][-1].isnan()
    assert errors["agent_error"][1].item() == pytest.approx(0.2 * math.sqrt(2) * WORLD_SIZE, rel=1e-4)
    assert errors["angle_error"][4].item() == pytest.approx(0.99 * TURN, rel=1e-3)
