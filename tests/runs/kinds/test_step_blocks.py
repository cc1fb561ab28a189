import numpy as np

from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.kinds.step_blocks import lively_rows


def test_the_processor_knows_the_ranges_of_the_training_actions(whole_run):
    processor = kind_of(whole_run).build_processor()
    actions = np.concatenate([episode.actions for episode in kind_of(whole_run).stored("train")])
    np.testing.assert_allclose(processor.action_low, actions.min(axis=0))
    np.testing.assert_allclose(processor.action_high, actions.max(axis=0))
    assert processor.layout.action_bins == 8
    assert processor.fps == 2.0


def test_of_each_episode_a_window_is_drawn_in_which_much_moves():
    still = np.zeros((1, 3, 2, 2), np.uint8)

    def row(episode, brightness, is_recorded=True):
        moved = np.full((1, 3, 2, 2), brightness, np.uint8)
        return {
            "episode": episode,
            "context": still,
            "reference": moved,
            "reference_mask": np.array([is_recorded]),
        }

    rows = [*(row("a", value) for value in (1, 9, 4, 6, 2)), row("b", 5), row("b", 7, is_recorded=False), row("c", 3)]
    chosen = [int(item["reference"].max()) for item in lively_rows(rows, 3)]
    assert chosen == [6, 5, 3]
    assert len(lively_rows(rows, 2)) == 2
