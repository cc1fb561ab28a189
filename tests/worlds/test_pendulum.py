import numpy as np
import pytest

from rlvr_world_hf.worlds.pendulum import MAX_TORQUE, ROD_RGB, collect_episode, collect_episodes, draw_pendulum


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


def tip_of(frames: np.ndarray) -> np.ndarray:
    """Direction from the joint to the centre of all that is rod-coloured, `(N, 2)`: rightwards and downwards."""
    size = frames.shape[-1]
    share = (255.0 - frames[:, 1]) / (255 - ROD_RGB[1])  # the joint, which is darker, lies in the middle
    line = (np.arange(size) + 0.5) / size - 0.5
    centre = np.stack([(share * line).sum(axis=(1, 2)), (share * line[:, None]).sum(axis=(1, 2))], axis=1)
    return centre / np.linalg.norm(centre, axis=1, keepdims=True)


@pytest.mark.parametrize("image_size", [32, 64])
def test_frames_show_the_angle_more_finely_than_pixels(image_size: int) -> None:
    """Of one that turns by far less than a pixel, too, so that a velocity can be read from two frames."""
    angles = np.concatenate([np.linspace(-np.pi, np.pi, 60), [0.0, 0.01, 0.02]])
    states = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    frames = draw_pendulum(states, image_size)
    assert frames.dtype == np.uint8 and frames.shape == (63, 3, image_size, image_size)
    read = tip_of(frames)
    errors = np.angle(np.exp(1j * (np.arctan2(-read[:, 0], -read[:, 1]) - angles)))
    assert np.abs(errors).max() < 0.01
    assert np.diff(np.arctan2(-read[-3:, 0], -read[-3:, 1])) == pytest.approx([0.01, 0.01], abs=0.004)


def test_positive_angles_are_where_gymnasium_draws_them() -> None:
    """Its drawing needs pygame and is another; where the rod points is the same."""
    pytest.importorskip("pygame")
    from gymnasium.envs.classic_control.pendulum import PendulumEnv

    for angle in (0.4, 2.0, -1.0):
        world = PendulumEnv(render_mode="rgb_array")
        world.reset(seed=0)
        world.state, world.last_u = np.array([angle, 0.0]), None
        theirs = world.render().transpose(2, 0, 1)[None]
        world.close()
        own = draw_pendulum(np.array([[np.cos(angle), np.sin(angle), 0.0]]), 64)
        assert (tip_of(own) * tip_of(theirs)).sum() > 0.98  # theirs has a knob at the joint


def test_an_episode_with_frames_is_the_one_without_and_shows_its_states() -> None:
    plain, drawn = (collect_episode(4, length=6, frame_interval=0.2, frames=frames) for frames in (False, True))
    assert plain.frames is None and np.array_equal(plain.actions, drawn.actions)
    assert np.array_equal(plain.states, drawn.states)
    assert drawn.frames.shape == (6, 3, 64, 64)
    read = tip_of(drawn.frames)
    np.testing.assert_allclose(-read[:, ::-1], drawn.states[:, :2], atol=0.02)
    (again,) = collect_episodes([4], length=6, frames=True, image_size=32)
    assert again.frames.shape == (6, 3, 32, 32)


def test_frames_that_would_show_no_joint_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 pixels, got 8"):
        collect_episode(0, length=2, frame_interval=0.2, frames=True, image_size=8)


def test_a_torque_shows_against_the_velocity_before_and_hardly_without_it() -> None:
    """So an inverse model is given two frames; of one, it would read what the policy mostly does at such a speed."""
    one, two, torques = [], [], []
    for seed in range(40):
        episode = collect_episode(seed, length=40, frame_interval=0.2)
        angles = np.arctan2(episode.states[:, 1], episode.states[:, 0])
        moved = np.angle(np.exp(1j * np.diff(angles)))
        pulled = np.sin(angles)
        one.append(np.stack([moved[1:], pulled[1:-1], pulled[2:]], axis=1))
        two.append(np.column_stack([one[-1], moved[:-1], pulled[:-2]]))
        torques.append(episode.actions[1:-1, 0])
    torque = np.concatenate(torques)
    found = {}
    for name, parts in (("one", one), ("two", two)):
        known = np.concatenate(parts)
        found[name] = np.corrcoef(known @ np.linalg.lstsq(known, torque, rcond=None)[0], torque)[0, 1]
    assert found["one"] < 0.6 and found["two"] > 0.8, found
