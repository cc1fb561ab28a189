from collections import Counter

import numpy as np
import pytest

from rlvr_world_hf.data.episode import Episode
from rlvr_world_hf.worlds.pusht.behaviours import BEHAVIOURS, SHARES, draw_policy
from rlvr_world_hf.worlds.pusht.policies import WORLD_SIZE
from rlvr_world_hf.worlds.pusht.simulator import collect_episode


def record(policy: str, seed: int, *, length: int = 20) -> Episode:
    settings = {"image_size": 64, "frame_interval": 0.5, "states": "agent_and_block", "frames": False}
    return collect_episode(seed, length=length, **settings, policies={policy: 1.0})


@pytest.fixture(scope="module")
def episodes() -> dict[str, list[Episode]]:
    return {policy: [record(policy, seed) for seed in range(8)] for policy in BEHAVIOURS}


def test_policies_are_drawn_in_their_shares_whatever_their_order() -> None:
    drawn = Counter(draw_policy(seed, SHARES) for seed in range(2000))
    for name, share in SHARES.items():
        assert drawn[name] / 2000 == pytest.approx(share, abs=0.04)
    turned = dict(reversed([*SHARES.items()]))
    assert [draw_policy(seed, turned) for seed in range(50)] == [draw_policy(seed, SHARES) for seed in range(50)]


def test_actions_are_relative_and_repeat_by_the_seed(episodes: dict[str, list[Episode]]) -> None:
    for policy, made in episodes.items():
        assert made[3].episode_id == f"pusht-{policy}-3" and made[3].actions.shape == (20, 10)
        assert np.abs(np.concatenate([episode.actions for episode in made])).max() <= 1
        assert np.array_equal(record(policy, 3).actions, made[3].actions)
        assert policy == "still" or not np.array_equal(made[4].actions, made[3].actions)


def test_who_stands_still_stays(episodes: dict[str, list[Episode]]) -> None:
    for episode in episodes["still"]:
        assert np.abs(episode.states - episode.states[0])[:, :2].max() < 1e-6


def test_the_block_is_moved_most_by_those_who_push(episodes: dict[str, list[Episode]]) -> None:
    moved = {
        policy: np.mean([np.linalg.norm(np.diff(episode.states[:, 2:4], axis=0), axis=1).sum() for episode in made])
        for policy, made in episodes.items()
    }
    assert moved["still"] < 5 < moved["random"] < min(moved["scripted"], moved["near_block"])
    assert min(moved["scripted"], moved["exploring"], moved["near_block"], moved["smooth"]) > 50


def test_scales_and_speeds_differ_between_episodes(episodes: dict[str, list[Episode]]) -> None:
    largest = np.array([np.abs(episode.actions).max() for episode in episodes["random"]])
    assert largest.min() < 0.4 and largest.max() > 0.7
    ways = [np.linalg.norm(np.diff(episode.states[:, :2], axis=0), axis=1).max() for episode in episodes["scripted"]]
    assert min(ways) < 80 and max(ways) > 120


def test_smooth_sequences_differ_in_smoothness_and_may_leave_the_table_but_return() -> None:
    correlations, places = [], []
    for seed in range(30):
        episode = record("smooth", seed, length=40)
        places.append(episode.states[:, :2])
        for start in range(0, 40, 5):
            steps = episode.actions[start : start + 5].reshape(25, 2) - episode.actions[start : start + 5].mean()
            correlations.append(float((steps[1:] * steps[:-1]).mean() / (steps**2).mean()))
    assert min(correlations) < 0.1 and max(correlations) > 0.8
    away = np.array([((place < 0) | (place > WORLD_SIZE)).any(axis=1) for place in places])
    assert 0.01 < away.mean() < 0.3
    for left in away:
        runs = "".join("x" if out else "." for out in left).split(".")
        assert max(map(len, runs)) <= 4, "it walks back where a frame finds it beyond"


def test_the_others_stay_on_the_table(episodes: dict[str, list[Episode]]) -> None:
    for policy in ("scripted", "exploring", "random", "near_block"):
        places = np.concatenate([episode.states[:, :2] for episode in episodes[policy]])
        assert places.min() > 0 and places.max() < WORLD_SIZE


def test_some_are_for_what_was_never_recorded(episodes: dict[str, list[Episode]]) -> None:
    assert set(BEHAVIOURS) - set(SHARES) == {"circling", "borrowed"}
    turned = []
    for episode in episodes["circling"]:
        way = episode.states[:, :2] - episode.states[:, 2:4]
        assert np.median(np.linalg.norm(way, axis=1)) < 200
        angles = np.unwrap(np.arctan2(way[:, 1], way[:, 0]))
        turned.append(abs(angles[-1] - angles[0]))
    assert np.median(turned) > np.pi, "round the block"


def test_borrowed_actions_are_those_of_the_next_episode_where_they_stay_on_the_table() -> None:
    settings = {"image_size": 64, "frame_interval": 0.5, "frames": False}
    same, places = [], []
    for seed in range(6):
        borrower, lender = record("borrowed", seed), collect_episode(seed + 1, length=20, **settings)
        same.append(np.isclose(borrower.actions, lender.actions, atol=1e-6).mean())
        places.append(borrower.states[:, :2])
    assert np.mean(same) > 0.6
    assert np.concatenate(places).min() > 0 and np.concatenate(places).max() < WORLD_SIZE
