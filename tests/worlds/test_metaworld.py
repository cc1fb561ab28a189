from pathlib import Path

import numpy as np
import pytest

from rlvr_world_hf.data import split_episodes
from rlvr_world_hf.data.folder import UnusableEpisodesError
from rlvr_world_hf.worlds.metaworld import RecordedEpisodes


def test_the_recorded_episodes_are_shifted_and_clipped(shared: Path) -> None:
    folder = shared / "data" / "metaworld"
    episodes = RecordedEpisodes(folder=folder).read()
    assert len(episodes) == 24
    episode = next(episode for episode in episodes if episode.episode_id == "handle-pull-side/0")
    stored = np.load(folder / "handle-pull-side" / "0.npz")
    assert np.array_equal(episode.frames, stored["frames"].transpose(0, 3, 1, 2))
    assert np.array_equal(episode.actions[:-1], stored["actions"][1:].clip(-1, 1))
    assert np.abs(stored["actions"]).max() > 20 and episode.fps == 40


def test_every_task_is_held_out_once_and_trained_on(shared: Path) -> None:
    episodes = RecordedEpisodes(folder=shared / "data" / "metaworld", frame_stride=4).read()
    parts = split_episodes(episodes, validation=3, test=6)
    tasks = [[episode.episode_id.split("/")[0] for episode in part] for part in parts]
    assert [len(part) for part in parts] == [15, 3, 6]
    assert len(set(tasks[2])) == 6 and len(set(tasks[1])) == 3
    assert {tasks[0].count(task) for task in set(tasks[0])} == {2, 3}


def test_a_missing_folder_names_the_source(tmp_path: Path) -> None:
    for missing in (None, tmp_path / "nowhere"):
        with pytest.raises(UnusableEpisodesError, match="--collect.folder PATH`.*github.com/thuml/iVideoGPT"):
            RecordedEpisodes(folder=missing).read()
