import numpy as np

from rlvr_world_hf.data import Episode
from rlvr_world_hf.data.recording import record_episodes


def record(seed: int) -> Episode:
    actions = np.full((2, 1), seed, np.float32)
    return Episode(episode_id=str(seed), frames=None, actions=actions, states=actions, fps=1.0)


def test_processes_record_what_one_records_in_its_order() -> None:
    alone = [episode.episode_id for episode in record_episodes(record, [3, 1, 2], processes=1)]
    shared = [episode.episode_id for episode in record_episodes(record, [3, 1, 2], processes=2, chunk=1)]
    assert alone == shared == ["3", "1", "2"]
