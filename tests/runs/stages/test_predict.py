from PIL import Image


def test_pictures_are_drawn(whole_run):
    with Image.open(whole_run.output_dir / "strip.png") as picture:
        assert picture.width > 16
    with Image.open(whole_run.output_dir / "strip.gif") as animation:
        assert animation.n_frames == 3
