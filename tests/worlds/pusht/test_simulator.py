from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.data.episode import Episode
from rlvr_world_hf.worlds.pusht.agent import locate_agent
from rlvr_world_hf.worlds.pusht.law import follow_actions, way_matrix
from rlvr_world_hf.worlds.pusht.policies import MARGIN, WORLD_SIZE
from rlvr_world_hf.worlds.pusht.simulator import (
    Recording,
    collect_episode,
    collect_episodes,
    policy_of,
    processor_settings,
    record_policy,
)


@pytest.fixture(scope="module")
def episode() -> Episode:
    return collect_episode(3, length=16, image_size=64, frame_interval=0.5, action_law="absolute")


def assert_equal(first: Episode, second: Episode) -> None:
    assert first.episode_id == second.episode_id
    for name in ("frames", "actions", "states"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_an_episode_has_frames_actions_and_the_agents_position(episode: Episode) -> None:
    assert episode.frames.shape == (16, 3, 64, 64) and episode.frames.dtype == np.uint8
    assert episode.actions.shape == episode.states.shape == (16, 2)
    assert episode.fps == 2.0 and episode.episode_id == "pusht-3"
    assert (episode.actions >= MARGIN).all() and (episode.actions <= WORLD_SIZE - MARGIN).all()


def test_the_same_seed_gives_the_same_episode(episode: Episode) -> None:
    settings = {"length": 16, "image_size": 64, "frame_interval": 0.5, "action_law": "absolute"}
    assert_equal(collect_episode(3, **settings), episode)
    other = collect_episode(4, **settings)
    assert not np.array_equal(other.frames, episode.frames)


def test_two_processes_give_the_episodes_of_one() -> None:
    alone, shared = (
        list(collect_episodes([5, 6, 7], length=3, image_size=32, processes=processes)) for processes in (1, 2)
    )
    assert len(alone) == len(shared) == 3
    for first, second in zip(alone, shared, strict=True):
        assert_equal(first, second)


def test_the_agents_position_is_where_it_is_drawn(episode: Episode) -> None:
    seen = locate_agent(torch.from_numpy(episode.frames).float() / 255).numpy()
    distances = np.abs(seen - episode.states / WORLD_SIZE).max(axis=1)
    assert np.isfinite(seen).all()
    assert distances.max() < 0.01


def test_things_move_and_the_agent_follows_its_actions(episode: Episode) -> None:
    frames = episode.frames.astype(np.float32) / 255
    changes = np.abs(frames[1:] - frames[:-1]).mean(axis=(1, 2, 3))
    assert (changes > 0).mean() > 0.8
    reached = np.linalg.norm(episode.states[1:] - episode.actions[:-1], axis=1)
    assert np.median(reached) < 20  # world units; pushing the block holds the agent back


def test_the_block_is_pushed() -> None:
    """The inside of the block is drawn in (143, 163, 184), which nothing else is; its centre moves by pixels."""
    settings = {"length": 24, "image_size": 64, "frame_interval": 0.5, "action_law": "absolute"}
    frames = collect_episode(0, **settings).frames.astype(int)
    block = np.abs(frames - np.array([143, 163, 184])[:, None, None]).sum(axis=1) < 30  # (T, 64, 64)
    centres = np.array([np.argwhere(mask).mean(axis=0) for mask in block])
    assert np.abs(centres - centres[0]).max() > 3


@pytest.mark.parametrize("frame_interval", [0.05, 0.25, 0.0, -0.5])
def test_the_interval_is_a_multiple_of_the_control_step(frame_interval: float) -> None:
    with pytest.raises(ValueError, match=f"multiple of 0.1 s, got {frame_interval}"):
        collect_episode(0, length=2, image_size=32, frame_interval=frame_interval)


@pytest.mark.parametrize("image_size", [0, 60, 1024])
def test_the_frame_size_divides_the_drawing(image_size: int) -> None:
    with pytest.raises(ValueError, match=f"divide 512, got {image_size}"):
        next(collect_episodes([0], length=2, image_size=image_size))


def test_with_less_reach_the_agent_moves_more_slowly() -> None:
    fast, slow = (
        collect_episode(
            3, length=24, image_size=64, frame_interval=0.1, frames=False, reach=reach, action_law="absolute"
        )
        for reach in (72, 16)
    )
    way, short = (np.linalg.norm(np.diff(made.states, axis=0), axis=1).sum() for made in (fast, slow))
    assert 0 < short < way / 2


def test_exploring_episodes_are_others_and_as_reproducible(episode: Episode) -> None:
    settings = {"length": 16, "image_size": 64, "frame_interval": 0.5, "exploration": 0.5, "action_law": "absolute"}
    exploring = collect_episode(3, **settings)
    assert np.array_equal(exploring.frames[0], episode.frames[0])
    assert not np.array_equal(exploring.actions, episode.actions)
    assert_equal(exploring, next(collect_episodes([3], **settings)))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share of exploration to be within \[0, 1\]"):
        collect_episode(0, length=1, image_size=64, frame_interval=0.5, exploration=share, action_law="absolute")


def test_a_recording_goes_on_where_the_policy_stopped(episode: Episode) -> None:
    recording = record_policy(3, length=10, image_size=64, frame_interval=0.5, action_law="absolute")
    for target in episode.actions[10:]:
        recording.act(target)
    again = recording.episode()
    assert np.array_equal(recording.episode().frames[:11], episode.frames[:11])
    assert np.abs(again.states - episode.states).max() < 1e-2  # the recorded actions are rounded to float32


def test_a_frame_can_be_looked_at_without_being_recorded() -> None:
    recording = Recording(3, image_size=32, frame_interval=0.5)
    seen = recording.frame()
    recording.hold(recording.agent + 30)
    assert np.array_equal(recording.episode().frames, seen[None])
    assert not np.array_equal(recording.frame(), seen)


def test_states_hold_the_blocks_pose_and_frames_may_be_left_out(episode: Episode) -> None:
    settings = {"image_size": 64, "frame_interval": 0.5, "action_law": "absolute"}
    sensors = collect_episode(3, length=16, **settings, states="agent_and_block", frames=False)
    assert sensors.frames is None and sensors.states.shape == (16, 6) and len(sensors) == 16
    assert np.array_equal(sensors.actions, episode.actions)
    assert np.array_equal(sensors.states[:, :2], episode.states)
    np.testing.assert_allclose(np.linalg.norm(sensors.states[:, 4:], axis=1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="one of agent, agent_and_block, got 'block'"):
        collect_episode(3, length=1, image_size=64, frame_interval=0.5, states="block")  # type: ignore[arg-type]


def test_what_was_seen_ends_with_the_present_frame(episode: Episode) -> None:
    recording = record_policy(3, length=10, image_size=64, frame_interval=0.5, action_law="absolute")
    assert np.array_equal(recording.seen(3), episode.frames[8:11])
    assert np.array_equal(recording.seen(11), episode.frames[:11])
    assert np.array_equal(recording.seen(1)[0], recording.frame())
    assert np.array_equal(recording.actions.astype(np.float32), episode.actions[:10])
    for count in (0, 12):
        with pytest.raises(ValueError, match=f"at most 11 frames.*got {count}"):
            recording.seen(count)


def test_absolute_actions_move_as_those_of_gym_pusht() -> None:
    """To the last bit, so that old checkpoints are measured on the episodes they were trained on."""
    from gym_pusht.envs.pusht import PushTEnv

    recording = record_policy(
        17, length=12, image_size=64, frame_interval=0.5, states="agent_and_block", frames=False, action_law="absolute"
    )
    own = PushTEnv(obs_type="state")
    observed, _ = own.reset(seed=17)
    for target in recording.actions:
        for _ in range(5):
            observed, *_ = own.step(target)
    assert np.array_equal(observed[:4], recording.state[:4])
    assert np.array_equal([np.cos(observed[4]), np.sin(observed[4])], recording.state[4:])


def test_a_relative_target_counts_from_the_agent_at_each_control_step() -> None:
    recording = Recording(3, image_size=32, frame_interval=0.5, frames=False)
    agent, velocity = recording.agent.copy(), recording.velocity
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 10)).astype(np.float32)
    for action in actions:
        recording.act(action)
        agent, velocity = follow_actions(agent, velocity, action)
    assert recording.agent == pytest.approx(agent, abs=1e-9) and recording.velocity == pytest.approx(
        velocity, abs=1e-9
    )
    assert np.array_equal(recording.episode().actions, actions)


def test_a_target_nearby_is_walked_to_as_if_it_was_held() -> None:
    held, walked = (
        Recording(3, image_size=32, frame_interval=0.5, states="agent_and_block", frames=False, action_law=law)
        for law in ("absolute", "relative")
    )
    for way in ([60.0, 20.0], [-80.0, 0.0], [-30.0, -70.0]):
        target = held.agent + way
        held.hold(target)
        walked.hold(target)
        assert walked.state == pytest.approx(held.state, abs=1e-4)


def test_replayed_relative_actions_lead_to_the_same_frames() -> None:
    recording = record_policy(11, length=8, image_size=64, frame_interval=0.5, states="agent_and_block")
    episode = recording.episode()
    again = Recording(11, image_size=64, frame_interval=0.5, states="agent_and_block")
    for action in episode.actions:
        again.act(action)
    assert np.array_equal(again.episode().frames, episode.frames) and np.array_equal(again.state, recording.state)


NOISY = {"image_size": 32, "frame_interval": 0.5, "states": "agent_and_block", "frames": False}


@pytest.mark.parametrize("action_law", ["relative", "absolute"])
def test_noise_moves_what_is_done_and_not_what_is_recorded(action_law: Any) -> None:
    plain, noisy, again = (
        Recording(4, **NOISY, action_law=action_law, action_noise=noise) for noise in (0.0, 20.0, 20.0)
    )
    target = plain.agent + 30
    action = target if action_law == "absolute" else plain.aim(target)
    for recording in (plain, noisy, again):
        recording.act(action)
    assert np.array_equal(noisy.actions, plain.actions) and np.array_equal(noisy.state, again.state)
    assert 1 < np.linalg.norm(noisy.agent - plain.agent) < 80
    noisy.act(action)
    assert not np.array_equal(noisy.agent, again.agent)


def test_noise_has_its_deviation_at_each_control_step() -> None:
    """Held still at one target, the agent goes to the share of the noise that it reaches in 0.1 s."""
    moved = []
    for seed in range(200):
        recording = Recording(seed, **NOISY | {"frame_interval": 0.1}, action_noise=20.0)
        before = recording.agent.copy()
        recording.act(np.zeros(2))
        moved.append(recording.agent - before)
    reached = follow_actions(np.zeros(2), np.zeros(2), np.array([0.2, 0.2]))[0]  # of a target 20 away
    assert np.std(moved, axis=0) == pytest.approx(reached, rel=0.15)
    assert np.mean(moved, axis=0) == pytest.approx([0, 0], abs=4 * reached[0] / np.sqrt(200))


def test_noise_is_that_of_the_control_step_whatever_the_interval() -> None:
    often, seldom = (Recording(9, **NOISY | {"frame_interval": seconds}, action_noise=20.0) for seconds in (0.1, 0.5))
    for _ in range(5):
        often.act(np.full(2, 0.1))
    seldom.act(np.full(10, 0.1))
    assert np.array_equal(often.agent, seldom.agent)


def test_an_episode_with_noise_repeats_and_one_without_is_as_it_was() -> None:
    settings = {"length": 6, "image_size": 32, "frame_interval": 0.5}
    assert_equal(collect_episode(7, **settings, action_noise=20.0), collect_episode(7, **settings, action_noise=20.0))
    assert_equal(collect_episode(7, **settings, action_noise=0.0), collect_episode(7, **settings))
    assert not np.array_equal(
        collect_episode(7, **settings, action_noise=20.0).frames[1:], collect_episode(7, **settings).frames[1:]
    )


@pytest.mark.parametrize("noise", [-1.0, np.inf, np.nan])
def test_noise_that_is_no_deviation_is_refused(noise: float) -> None:
    with pytest.raises(ValueError, match="`action_noise` of at least 0"):
        Recording(0, **NOISY, action_noise=noise)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (np.zeros(2), r"shape \(10,\) by the relative law, got \(2,\)"),
        (np.full(10, 1.5), r"within \[-1, 1\]"),
        (np.full(10, np.nan), r"within \[-1, 1\]"),
    ],
)
def test_what_is_no_relative_action_is_refused(action: np.ndarray, words: str) -> None:
    recording = Recording(0, image_size=32, frame_interval=0.5)
    with pytest.raises(ValueError, match=words):
        recording.act(action)
    assert not len(recording.actions)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"action_law": "polar"}, "one of relative, absolute, got 'polar'"),
        (
            {"reach": 16.0, "policies": {"smooth": 1.0}},
            "no `reach` with the policy 'smooth', got 16.0; with it, choose `policies` among scripted, exploring",
        ),
        ({"exploration": 0.5}, "no `exploration` with relative actions, got 0.5; choose `policies`"),
        ({"action_law": "absolute", "policies": {"still": 1.0}}, "no `policies` with absolute actions"),
        (
            {"policies": {"mad": 1.0}},
            "among scripted, exploring, still, random, near_block, smooth, circling, borrowed, got 'mad'",
        ),
        ({"policies": {"still": 0.0}}, "not all 0, got {'still': 0.0}"),
        ({"policies": {"still": -1.0, "smooth": 2.0}}, "shares of `policies` of at least 0"),
    ],
)
def test_settings_of_the_other_law_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        collect_episode(0, length=1, image_size=32, frame_interval=0.5, **settings)


@pytest.mark.parametrize("policy", ["scripted", "exploring"])
def test_a_short_reach_slows_the_policies_that_aim(policy: str) -> None:
    settings: dict[str, Any] = {"length": 20, "frame_interval": 0.1, "frames": False, "policies": {policy: 1.0}}
    slow, fast = (collect_episode(3, image_size=32, reach=reach, **settings) for reach in (10.0, 60.0))
    assert slow.states is not None and fast.states is not None
    steps = [np.linalg.norm(np.diff(episode.states, axis=0), axis=1).mean() for episode in (slow, fast)]
    assert 0 < steps[0] < steps[1] / 2


def test_an_episode_is_named_after_its_policy() -> None:
    episode = collect_episode(7, length=1, image_size=32, frame_interval=0.5, policies={"near_block": 1})
    assert episode.episode_id == "pusht-near_block-7" and policy_of(episode.episode_id) == "near_block"
    assert policy_of("pusht-7") == "scripted"


def test_a_processor_is_told_law_and_range() -> None:
    assert processor_settings(length=40, image_size=64) == {
        "action_law": "relative",
        "action_low": [-1.0] * 10,
        "action_high": [1.0] * 10,
        "action_matrix": way_matrix(5),
    }
    assert processor_settings(action_law="absolute", exploration=0.5) == {"action_law": "absolute"}


def test_an_episode_may_begin_in_a_corner_and_repeats_by_its_seed() -> None:
    settings: dict[str, Any] = {"image_size": 32, "frame_interval": 0.5, "states": "agent_and_block"}
    for seed in range(4):
        state = Recording(seed, start="corner", **settings).state
        away = np.minimum(state[2:4], WORLD_SIZE - state[2:4])
        assert (away > 60).all() and (away < 140).all() and (np.abs(state[:2] - 256) < 60).all()
        recording = Recording(seed, start="corner", **settings)
        recording.act(np.full(10, 0.3))
        assert np.array_equal(recording.replay().state, recording.state)
    assert not np.array_equal(Recording(0, start="corner", **settings).state, Recording(0, **settings).state)


def test_frames_may_have_other_colours_and_the_world_stays_the_same() -> None:
    settings: dict[str, Any] = {"length": 2, "image_size": 32, "frame_interval": 0.5}
    usual, exchanged, dim = (
        collect_episode(3, colours=colours, **settings) for colours in ("usual", "exchanged", "dim")
    )
    assert usual.frames is not None and exchanged.frames is not None and dim.frames is not None
    assert np.array_equal(exchanged.frames, usual.frames[:, ::-1]) and not np.array_equal(
        exchanged.frames, usual.frames
    )
    assert np.abs(dim.frames - 0.75 * usual.frames).max() <= 0.5
    assert np.array_equal(exchanged.actions, usual.actions) and np.array_equal(dim.states, usual.states)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"start": "wall"}, "`start` to be one of anywhere, corner, got 'wall'"),
        ({"colours": "red"}, "`colours` to be"),
    ],
)
def test_starts_and_colours_that_there_are_not_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Recording(0, image_size=32, frame_interval=0.5, **settings)
