import numpy as np
import pytest

from rlvr_world_hf.worlds.pusht.continuations import continue_episode, continue_recording, return_to_step
from rlvr_world_hf.worlds.pusht.simulator import Recording, collect_episode


SETTINGS = {"image_size": 32, "frame_interval": 0.5, "action_noise": 20.0, "states": "agent_and_block"}


@pytest.mark.parametrize("policy", ["scripted", "near_block", "smooth"])
def test_an_episode_is_played_again_to_a_step(policy):
    episode = collect_episode(5, length=8, policies={policy: 1}, **SETTINGS)
    for step in (0, 3, 7):
        recording = return_to_step(episode.episode_id, step, **SETTINGS)
        assert np.array_equal(recording.frame(), episode.frames[step])
        assert np.array_equal(recording.state.astype(np.float32), episode.states[step])
        assert np.array_equal(recording.actions.astype(np.float32), episode.actions[:step])


def test_what_happened_is_one_of_what_may_follow_and_no_two_are_alike():
    episode = collect_episode(5, length=8, policies={"near_block": 1}, **SETTINGS)
    found = continue_episode(episode.episode_id, 3, episode.actions[3:7], samples=48, **SETTINGS)
    assert found.states.shape == (48, 4, 6) and found.frames.shape == (48, 4, 3, 32, 32)
    assert len(np.unique(found.states[:, 0, 0])) == 48
    happened, spread = episode.states[4:8, :2], found.states[:, :, :2].std(axis=0)
    assert (spread > 5).all() and spread[3].mean() > spread[0].mean(), "it adds up"
    assert (np.abs(happened - found.states[:, :, :2].mean(axis=0)) < 4 * spread).all()
    again = continue_episode(episode.episode_id, 3, episode.actions[3:7], samples=4, first=2, frames=False, **SETTINGS)
    assert again.frames is None and np.array_equal(again.states, found.states[2:6])
    elsewhere = continue_episode(episode.episode_id, 4, episode.actions[3:7], samples=48, frames=False, **SETTINGS)
    moved = [of.states[:, 0, :2] - now[:2] for of, now in ((found, episode.states[3]), (elsewhere, episode.states[4]))]
    assert abs(np.corrcoef(moved[0][:, 0], moved[1][:, 0])[0, 1]) < 0.5, "each step draws noise of its own"


def test_a_recording_stays_as_it_is_and_without_noise_one_thing_follows():
    recording = Recording(2, **SETTINGS | {"action_noise": 0.0})
    recording.act(np.full(10, 0.3))
    before = recording.state.copy()
    found = continue_recording(recording, np.full((2, 10), -0.2), samples=3, frames=False)
    assert np.array_equal(recording.state, before) and len(recording.actions) == 1
    assert (found.states == found.states[:1]).all()
    recording.act(np.full(10, -0.2))
    assert np.array_equal(found.states[0, 0], recording.state.astype(np.float32))


@pytest.mark.parametrize("name", ["pusht-7", "chance-7", "pusht-near_block-x", "a/b-c-7"])
def test_an_episode_whose_name_does_not_say_its_policy_is_refused(name):
    with pytest.raises(ValueError, match="name of an episode of PushT with relative actions"):
        return_to_step(name, 1, **SETTINGS)


def test_nothing_to_draw_is_refused():
    recording = Recording(2, **SETTINGS)
    for samples, count in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match=f"got {samples} and {count}"):
            continue_recording(recording, np.zeros((count, 10)), samples=samples)
