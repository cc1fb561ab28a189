from pathlib import Path

import numpy as np
import pytest

from rlvr_world_hf.data.folder import UnusableEpisodesError
from rlvr_world_hf.worlds.bridge import RecordedEpisodes


def test_the_recorded_episodes_keep_their_alignment_and_poses(shared: Path) -> None:
    folder = shared / "data" / "bridge"
    episodes = RecordedEpisodes(folder=folder).read()
    assert len(episodes) == 23 and {len(episode) for episode in episodes} == {10}
    stored = np.load(folder / "00.npz")
    assert np.array_equal(episodes[0].actions, stored["actions"]) and episodes[0].actions.shape == (10, 7)
    assert np.array_equal(episodes[0].states, stored["state"]) and episodes[0].fps == 5


def test_an_action_moves_the_hand_to_the_next_pose(shared: Path) -> None:
    episodes = RecordedEpisodes(folder=shared / "data" / "bridge").read()
    commanded = np.concatenate([episode.actions[:-1, :3] for episode in episodes])
    moved = np.concatenate([np.diff(episode.states[:, :3], axis=0) for episode in episodes])
    assert min(np.corrcoef(commanded[:, axis], moved[:, axis])[0, 1] for axis in range(3)) > 0.7


def test_another_camera_is_another_field(shared: Path) -> None:
    folder = shared / "data" / "bridge"
    episode = RecordedEpisodes(folder=folder, frames_field="frames_cam1").read()[0]
    assert np.array_equal(episode.frames, np.load(folder / "00.npz")["frames_cam1"].transpose(0, 3, 1, 2))


def test_a_missing_folder_names_the_source(tmp_path: Path) -> None:
    with pytest.raises(UnusableEpisodesError, match="--collect.folder PATH`.*github.com/octo-models/octo"):
        RecordedEpisodes(folder=tmp_path / "nowhere").read()
