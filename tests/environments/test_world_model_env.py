import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from rlvr_world_hf.environments import WorldModelEnv
from rlvr_world_hf.environments.sliding_window import SlidingWindow, advance
from rlvr_world_hf.environments.starts import read_start
from tests.environments.worlds import make_episodes, make_pipeline
from tests.tiny import text_tokenizer, tiny_language_model, tiny_processor, tiny_sensor_processor


ACTION = np.array([100.0, 200.0], np.float32)


@pytest.fixture(scope="module")
def video():
    return make_pipeline(tiny_processor()), make_episodes(("frames",))


@pytest.fixture(scope="module")
def sensors():
    return make_pipeline(tiny_sensor_processor()), make_episodes(("sensors",))


@pytest.mark.parametrize("name", ["frames", "sensors", "both"])
def test_gymnasiums_checker_passes(unit_worlds, name) -> None:
    pipeline, episodes = unit_worlds[name]
    check_env(WorldModelEnv(pipeline, episodes), skip_render_check=True)  # pytest makes its warnings errors


@pytest.mark.parametrize("kind", ["video", "sensors"])
def test_checker_says_nothing_but_that_actions_are_not_normalized(request, kind) -> None:
    env = WorldModelEnv(*request.getfixturevalue(kind))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    assert len(said) == 1 and "symmetric and normalized" in str(said[0].message)
    scaled = gymnasium.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))
    scaled.reset(seed=0)
    scaled.step(np.array([-1.0, 1.0], np.float32))


def test_observations_are_those_of_the_window(world) -> None:
    pipeline, episodes = world
    env = WorldModelEnv(pipeline, episodes, horizon=2)
    shown, info = env.reset(seed=3)
    assert env.observation_space.contains(shown)
    rng = np.random.default_rng(3)
    assert info == {"start": int(rng.integers(3))}
    start = read_start(episodes[info["start"]], pipeline.processor)
    window = SlidingWindow(start, pipeline.processor, horizon=2, rng=rng)
    for step in range(5):
        action = ACTION + 10 * step
        shown, *_ = env.step(action)
        (state,) = advance(pipeline, [window], torch.from_numpy(action)[None])
        assert env.observation_space.contains(shown)
        frame = shown["frame"] if isinstance(shown, dict) else shown
        if "frames" in pipeline.processor.predicts:
            expected = (state["context"].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            np.testing.assert_array_equal(frame, expected)
        if isinstance(shown, dict):
            np.testing.assert_array_equal(shown["sensors"], state["context_states"].numpy())
        elif pipeline.processor.predicts == ("sensors",):
            np.testing.assert_array_equal(shown, state["context"].numpy())


def run(env, seed, *, options=None):
    shown, info = env.reset(seed=seed, options=options)
    return info["start"], [shown, *(env.step(ACTION)[0] for _ in range(4))]


def test_the_same_seed_gives_the_same_episode(sensors) -> None:
    env = WorldModelEnv(*sensors)
    start, first = run(env, 7)
    again, second = run(env, 7)
    assert start == again and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    _, chosen = run(env, 7, options={"start": start})
    assert all(np.array_equal(a, b) for a, b in zip(first, chosen, strict=True))
    others = [run(env, seed, options={"start": start})[1] for seed in range(8, 12)]
    assert any(not np.array_equal(first[-1], other[-1]) for other in others)
    assert {run(env, seed)[0] for seed in range(20)} == {0, 1, 2}
    env.reset(seed=7)
    assert len({env.reset()[1]["start"] for _ in range(20)}) == 3, "without a seed it goes on"


def test_reward_and_ends_come_from_the_predicted_state(sensors, video) -> None:
    pipeline, episodes = sensors
    env = WorldModelEnv(
        pipeline, episodes, reward=lambda state: 2 * state[0], termination=lambda state: state[0] > 0, max_steps=200
    )
    env.reset(seed=0)
    for step in range(1, 201):
        shown, reward, terminated, truncated, info = env.step(ACTION)
        assert isinstance(reward, float) and reward == pytest.approx(2 * shown[0]) and info == {}
        assert terminated is bool(shown[0] > 0) and truncated is (step == 200)
        if terminated:
            break
    assert terminated
    seen = []
    pipeline, episodes = video
    env = WorldModelEnv(pipeline, episodes, reward=lambda state: seen.append(state) or 1, max_steps=2)
    env.reset(seed=0)
    assert env.step(ACTION)[1:4] == (1.0, False, False)
    assert env.step(ACTION)[1:4] == (1.0, False, True)
    assert seen[0].shape == (3, 16, 16) and seen[0].dtype == torch.float32 and 0 <= seen[0].min() <= seen[0].max() <= 1


def test_callables_see_both_kinds_by_name(unit_worlds) -> None:
    pipeline, episodes = unit_worlds["both"]
    env = WorldModelEnv(pipeline, episodes, reward=lambda state: state["sensors"][1])
    env.reset(seed=0)
    shown, reward, *_ = env.step(np.zeros(2, np.float32))
    assert reward == shown["sensors"][1] and shown["frame"].shape == (16, 16, 3)


def test_bounds_are_those_of_the_processor(sensors) -> None:
    pipeline, episodes = sensors
    env = WorldModelEnv(pipeline, episodes)
    assert env.action_space == gymnasium.spaces.Box(0, 512, (2,), np.float32)
    assert env.observation_space == gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    beyond = WorldModelEnv(pipeline, [{"context": [[-3.0, 0.0, 2.0]]}])
    assert beyond.reset(seed=0)[0].tolist() == [-1.0, 0.0, 1.0]


def test_rendering_shows_the_present_frame(video, sensors) -> None:
    pipeline, episodes = video
    env = WorldModelEnv(pipeline, episodes, render_mode="rgb_array")
    assert env.metadata == {"render_modes": ["rgb_array"], "render_fps": 2.0}
    shown, _ = env.reset(seed=0)
    assert np.array_equal(env.render(), shown)
    shown, *_ = env.step(ACTION)
    assert np.array_equal(env.render(), shown)
    assert WorldModelEnv(pipeline, episodes).render() is None
    with pytest.raises(ValueError, match="one of \\['rgb_array'\\], got 'human'"):
        WorldModelEnv(pipeline, episodes, render_mode="human")
    with pytest.raises(ValueError, match="one of \\[\\]"):
        WorldModelEnv(*sensors, render_mode="rgb_array")


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (np.zeros(3), r"shape \(2,\), got \(3,\)"),
        (np.array([0.0, 513.0]), "clip it"),
        (np.array([np.nan, 0.0]), "clip it"),
        (0.0, "shape"),
    ],
)
def test_impossible_actions_are_refused_and_change_nothing(sensors, action, words) -> None:
    env = WorldModelEnv(*sensors)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=words):
        env.step(action)
    after = env.step(ACTION)[0]
    env.reset(seed=0)
    assert np.array_equal(after, env.step(ACTION)[0])


def test_it_must_be_reset(sensors) -> None:
    env = WorldModelEnv(*sensors, max_steps=1)
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call `reset` first"):
        env.step(ACTION)
    env.reset(seed=0)
    env.step(ACTION)
    with pytest.raises(gymnasium.error.ResetNeeded, match="episode is over"):
        env.step(ACTION)


def test_impossible_settings_are_refused(sensors) -> None:
    pipeline, episodes = sensors
    with pytest.raises(ValueError, match="at least one start"):
        WorldModelEnv(pipeline, [])
    for settings in ({"max_steps": 0}, {"horizon": 0}):
        with pytest.raises(ValueError, match="to be at least 1"):
            WorldModelEnv(pipeline, episodes, **settings)
    env = WorldModelEnv(pipeline, episodes)
    with pytest.raises(ValueError, match=r"`start` in \[0, 3\), got 3"):
        env.reset(options={"start": 3})
    with pytest.raises(ValueError, match="no options but `start`, got \\['begin'\\]"):
        env.reset(options={"begin": 0})


def test_a_world_of_text_is_refused() -> None:
    from rlvr_world_hf import LanguageWorldModelProcessor, WorldModelPipeline

    tokenizer = text_tokenizer()
    pipeline = WorldModelPipeline(tiny_language_model(tokenizer), LanguageWorldModelProcessor(tokenizer))
    with pytest.raises(ValueError, match="no state that a policy could be shown"):
        WorldModelEnv(pipeline, [{"context": "open(door)"}])
