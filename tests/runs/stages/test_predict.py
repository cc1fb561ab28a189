from PIL import Image

from rlvr_world_hf.runs.stages.predict import log_histories


def test_pictures_are_drawn(whole_run):
    with Image.open(whole_run.output_dir / "strip.png") as picture:
        assert picture.width > 16
    with Image.open(whole_run.output_dir / "strip.gif") as animation:
        assert animation.n_frames == 3


def test_curves_are_of_the_three_trainings(whole_run):
    assert list(log_histories(whole_run)) == ["pretrain", "grpo", "control"]
