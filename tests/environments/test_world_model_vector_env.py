import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from rlvr_world_hf.environments import WorldModelEnv, WorldModelVectorEnv
from tests.environments.worlds import make_episodes, make_pipeline
from tests.tiny import tiny_processor, tiny_sensor_processor


@pytest.fixture(scope="module")
def sensors():
    return make_pipeline(tiny_sensor_processor()), make_episodes(("sensors",))


def same(stacked, alone, index) -> None:
    for name in alone if isinstance(alone, dict) else [...]:
        got = stacked[name][index] if name is not ... else stacked[index]
        wanted = alone[name] if name is not ... else alone
        # A frame may round to a neighbouring byte where a batch computes in another order.
        assert got.shape == wanted.shape and got.dtype == wanted.dtype
        np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), atol=1, rtol=0)
        assert (got != wanted).mean() < 0.01


def test_each_does_what_one_alone_does_step_by_step(world) -> None:
    pipeline, episodes = world
    settings = {"horizon": 2, "max_steps": 3}
    envs = WorldModelVectorEnv(pipeline, episodes, num_envs=3, **settings)
    singles = [WorldModelEnv(pipeline, episodes, **settings) for _ in range(3)]
    shown, infos = envs.reset(seed=5)
    for i, env in enumerate(singles):
        alone, info = env.reset(seed=5 + i)
        same(shown, alone, i)
        assert infos["start"][i] == info["start"]
    envs.action_space.seed(0)
    for step in range(1, 6):
        actions = envs.action_space.sample()
        shown, rewards, terminations, truncations, infos = envs.step(actions)
        assert shown in envs.observation_space
        for i, env in enumerate(singles):
            if env.is_over:
                alone, info = env.reset()
                assert infos["start"][i] == info["start"] and rewards[i] == 0 and not truncations[i]
            else:
                alone, reward, terminated, truncated, _ = env.step(actions[i])
                assert (rewards[i], terminations[i], truncations[i]) == (reward, terminated, truncated)
            same(shown, alone, i)
        assert truncations.all() == (step == 3)


def test_episodes_end_on_their_own(sensors) -> None:
    """As gymnasium's own vectorization of single environments does it."""
    pipeline, episodes = sensors
    settings = {
        "termination": lambda state: state[0] > 0.3,
        "reward": lambda state: state[1],
        "max_steps": 5,
        "horizon": 3,
    }
    envs = WorldModelVectorEnv(pipeline, episodes, num_envs=4, **settings)
    others = gymnasium.vector.SyncVectorEnv(
        [lambda: WorldModelEnv(pipeline, episodes, **settings)] * 4, autoreset_mode=AutoresetMode.NEXT_STEP
    )
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert envs.observation_space == others.observation_space and envs.action_space == others.action_space
    shown, expected = envs.reset(seed=1), others.reset(seed=1)
    np.testing.assert_array_equal(shown[0], expected[0])
    envs.action_space.seed(1)
    ended = np.zeros(4, dtype=int)
    for _ in range(12):
        actions = envs.action_space.sample()
        found, wanted = envs.step(actions), others.step(actions)
        for ours, theirs in zip(found[:4], wanted[:4], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
        ended += found[2] | found[3]
    assert len(set(ended.tolist())) > 1, "some ended earlier than others"


def test_starts_and_seeds_may_be_given_one_by_one(sensors) -> None:
    envs = WorldModelVectorEnv(*sensors, num_envs=2)
    shown, infos = envs.reset(seed=[4, 4], options={"start": [2, 2]})
    assert infos["start"].tolist() == [2, 2]
    shown = envs.step(np.full((2, 2), 9.0))[0]
    np.testing.assert_array_equal(shown[0], shown[1])
    assert np.array_equal(envs.reset(seed=4)[1]["start"], envs.reset(seed=[4, 5])[1]["start"])
    envs.reset()
    for wrong in ({"seed": [1]}, {"options": {"start": [0, 1, 2]}}, {"options": {"start": 1}}):
        with pytest.raises(ValueError, match="each of 2 environments"):
            envs.reset(**wrong)


def test_rendering_gives_a_frame_each() -> None:
    pipeline, episodes = make_pipeline(tiny_processor()), make_episodes(("frames",))
    envs = WorldModelVectorEnv(pipeline, episodes, num_envs=2, render_mode="rgb_array")
    shown, _ = envs.reset(seed=0)
    assert all(np.array_equal(frame, alone) for frame, alone in zip(envs.render(), shown, strict=True))
    assert WorldModelVectorEnv(pipeline, episodes, num_envs=1).render() is None


def test_what_cannot_be_is_refused(sensors) -> None:
    with pytest.raises(ValueError, match="at least 1 environment"):
        WorldModelVectorEnv(*sensors, num_envs=0)
    envs = WorldModelVectorEnv(*sensors, num_envs=2)
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros((2, 2)))
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions of shape \(2, 2\), got \(2,\)"):
        envs.step(np.zeros(2))
    with pytest.raises(ValueError, match="clip it"):
        envs.step(np.full((2, 2), 600.0))
