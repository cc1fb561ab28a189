import numpy as np
import pytest

from rlvr_world_hf.data.folder import UnusableEpisodesError
from rlvr_world_hf.worlds.rt1 import RecordedEpisodes


def test_episodes_of_the_converter_are_read(shared, tmp_path):
    with np.load(shared / "data" / "rt1" / "sample.npz") as arrays:
        frames = arrays["frames"]
    actions = np.arange(len(frames) * 13, dtype=np.float32).reshape(-1, 13)
    np.savez_compressed(tmp_path / "0.npz", image=frames, action=actions)
    (episode,) = RecordedEpisodes(folder=tmp_path).read()
    assert np.array_equal(episode.frames.transpose(0, 2, 3, 1), frames)
    assert np.array_equal(episode.actions, actions) and episode.fps == 3.0


def test_other_names_say_what_is_there(tmp_path):
    np.savez(tmp_path / "0.npz", frames=np.full((3, 8, 8, 3), 9, np.uint8), action=np.zeros((3, 13)))
    with pytest.raises(UnusableEpisodesError, match="`image`: is missing; the file has frames, action"):
        RecordedEpisodes(folder=tmp_path).read()
