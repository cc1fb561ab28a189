import numpy as np

from rlvr_world_hf.worlds.chance import (
    NOISE,
    OFFSETS,
    collect_episode,
    collect_episodes,
    draw_next,
    mode_probabilities,
    modes_of,
    sample_law,
)


def test_an_episode_has_states_and_tilts_and_is_that_of_its_seed() -> None:
    episode, again, other = (collect_episode(seed, length=30) for seed in (3, 3, 4))
    assert episode.frames is None and episode.states.shape == (30, 2) and episode.actions.shape == (30, 1)
    assert np.array_equal(episode.states, again.states) and not np.array_equal(episode.states, other.states)
    assert np.array_equal(next(collect_episodes([3], length=30, processes=1)).states, episode.states)
    assert np.abs(episode.actions).max() <= 1 and np.abs(episode.states).max() < 1.2


def test_modes_come_as_often_as_the_law_says() -> None:
    rng = np.random.default_rng(0)
    for action in (-1.0, -0.3, 0.0, 0.8):
        states, actions = rng.uniform(-1, 1, (20_000, 2)), np.full((20_000, 1), action)
        modes = modes_of(states, draw_next(states, actions, rng))
        np.testing.assert_allclose(
            np.bincount(modes, minlength=3) / 20_000, mode_probabilities(actions[:1])[0], atol=0.015
        )
    left, right = mode_probabilities(np.array([[-1.0], [1.0]]))
    np.testing.assert_allclose(left, right[::-1])


def test_a_mode_moves_both_sensors_together() -> None:
    """A product of the two sensors' own laws would have nine places; the law has three."""
    drawn = sample_law(np.zeros((1, 2)), np.zeros((1, 1)), samples=4000, seed=0)[0]
    distance = np.linalg.norm(drawn[:, None] - OFFSETS, axis=-1).min(axis=1)
    assert distance.max() < 6 * NOISE
    assert np.array_equal(drawn, sample_law(np.zeros((1, 2)), np.zeros((1, 1)), samples=4000, seed=0)[0])


def test_recorded_steps_follow_the_law() -> None:
    episodes = [collect_episode(seed, length=200) for seed in range(20)]
    found = np.concatenate([modes_of(episode.states[:-1], episode.states[1:]) for episode in episodes])
    expected = np.concatenate([mode_probabilities(episode.actions[:-1]) for episode in episodes]).mean(axis=0)
    np.testing.assert_allclose(np.bincount(found, minlength=3) / len(found), expected, atol=0.02)
