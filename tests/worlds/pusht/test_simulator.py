import numpy as np
import pytest
import torch

from rlvr_world_hf.data.episode import Episode
from rlvr_world_hf.worlds.pusht.agent import locate_agent
from rlvr_world_hf.worlds.pusht.policies import MARGIN, WORLD_SIZE
from rlvr_world_hf.worlds.pusht.simulator import (
    Recording,
    collect_episode,
    collect_episodes,
    make_world,
    record_policy,
    render_frame,
)


@pytest.fixture(scope="module")
def episode() -> Episode:
    return collect_episode(3, length=16, image_size=64, frame_interval=0.5)


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
    assert_equal(collect_episode(3, length=16, image_size=64, frame_interval=0.5), episode)
    other = collect_episode(4, length=16, image_size=64, frame_interval=0.5)
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
    frames = collect_episode(0, length=24, image_size=64, frame_interval=0.5).frames.astype(int)
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


def test_a_frame_is_the_whole_drawing_averaged() -> None:
    from pygame.image import tobytes

    world = make_world()
    world.reset(seed=0)
    drawing = np.frombuffer(tobytes(world._draw(), "RGB"), dtype=np.uint8).reshape(64, 8, 64, 8, 3)
    mean = drawing.astype(float).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(render_frame(world, 64) - mean).max() <= 0.5  # rounding


def test_with_less_reach_the_agent_moves_more_slowly() -> None:
    fast, slow = (
        collect_episode(3, length=24, image_size=64, frame_interval=0.1, frames=False, reach=reach)
        for reach in (72, 16)
    )
    way, short = (np.linalg.norm(np.diff(made.states, axis=0), axis=1).sum() for made in (fast, slow))
    assert 0 < short < way / 2


def test_exploring_episodes_are_others_and_as_reproducible(episode: Episode) -> None:
    settings = {"length": 16, "image_size": 64, "frame_interval": 0.5, "exploration": 0.5}
    exploring = collect_episode(3, **settings)
    assert np.array_equal(exploring.frames[0], episode.frames[0])
    assert not np.array_equal(exploring.actions, episode.actions)
    assert_equal(exploring, next(collect_episodes([3], **settings)))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share of exploration to be within \[0, 1\]"):
        collect_episode(0, length=1, image_size=64, frame_interval=0.5, exploration=share)


def test_a_recording_goes_on_where_the_policy_stopped(episode: Episode) -> None:
    recording = record_policy(3, length=10, image_size=64, frame_interval=0.5)
    for target in episode.actions[10:]:
        recording.hold(target)
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
    sensors = collect_episode(3, length=16, image_size=64, frame_interval=0.5, states="agent_and_block", frames=False)
    assert sensors.frames is None and sensors.states.shape == (16, 6) and len(sensors) == 16
    assert np.array_equal(sensors.actions, episode.actions)
    assert np.array_equal(sensors.states[:, :2], episode.states)
    np.testing.assert_allclose(np.linalg.norm(sensors.states[:, 4:], axis=1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="one of agent, agent_and_block, got 'block'"):
        collect_episode(3, length=1, image_size=64, frame_interval=0.5, states="block")  # type: ignore[arg-type]


def test_what_was_seen_ends_with_the_present_frame(episode: Episode) -> None:
    recording = record_policy(3, length=10, image_size=64, frame_interval=0.5)
    assert np.array_equal(recording.seen(3), episode.frames[8:11])
    assert np.array_equal(recording.seen(11), episode.frames[:11])
    assert np.array_equal(recording.seen(1)[0], recording.frame())
    assert np.array_equal(recording.targets.astype(np.float32), episode.actions[:10])
    for count in (0, 12):
        with pytest.raises(ValueError, match=f"at most 11 frames.*got {count}"):
            recording.seen(count)
