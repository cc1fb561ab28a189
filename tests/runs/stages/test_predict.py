import numpy as np
from PIL import Image

from rlvr_world_hf.runs.stages.predict import lively_rows, log_histories


def test_pictures_are_drawn(whole_run):
    with Image.open(whole_run.output_dir / "strip.png") as picture:
        assert picture.width > 16
    with Image.open(whole_run.output_dir / "strip.gif") as animation:
        assert animation.n_frames == 3


def test_curves_are_of_the_three_trainings(whole_run):
    assert list(log_histories(whole_run)) == ["pretrain", "grpo", "control"]


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
