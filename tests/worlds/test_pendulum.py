import numpy as np
import pytest

from rlvr_world_hf.worlds.pendulum import MAX_TORQUE, collect_episode, collect_episodes


def test_an_episode_has_states_and_torques_and_no_frames() -> None:
    episode = collect_episode(3, length=50, frame_interval=0.2)
    assert episode.frames is None and episode.fps == pytest.approx(5.0)
    assert episode.states.shape == (50, 3) and episode.actions.shape == (50, 1)
    np.testing.assert_allclose(np.linalg.norm(episode.states[:, :2], axis=1), 1, rtol=1e-5)
    assert np.abs(episode.actions).max() <= MAX_TORQUE


def test_the_same_seed_gives_the_same_episode_in_any_process() -> None:
    alone, again, other = (collect_episode(seed, length=5, frame_interval=0.2) for seed in (5, 5, 6))
    assert np.array_equal(alone.states, again.states) and not np.array_equal(alone.states, other.states)
    assert np.array_equal(next(collect_episodes([5], length=5)).states, alone.states)


def test_the_policy_swings_the_pendulum_through() -> None:
    """Upright is an angle of 0, so a cosine near 1; hanging still, near -1."""
    cosines = np.concatenate([collect_episode(seed, length=40, frame_interval=0.2).states[:, 0] for seed in range(20)])
    assert (cosines > 0.7).mean() > 0.1 and (cosines < -0.7).mean() > 0.1


def test_the_velocity_is_that_of_the_angle() -> None:
    states = collect_episode(0, length=20, frame_interval=0.05).states.astype(np.float64)
    angles = np.unwrap(np.arctan2(states[:, 1], states[:, 0]))
    np.testing.assert_allclose(np.diff(angles) / 0.05, states[1:, 2], atol=1e-3)


@pytest.mark.parametrize("frame_interval", [0.07, 0.0, -0.2])
def test_the_interval_is_a_multiple_of_the_control_step(frame_interval: float) -> None:
    with pytest.raises(ValueError, match="multiple of 0.05 s"):
        collect_episode(0, length=2, frame_interval=frame_interval)
