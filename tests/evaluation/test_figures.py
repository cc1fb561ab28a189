import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from rlvr_world_hf.evaluation.figures import _smoothed, _title, contact_sheet, learning_curves, sensor_lines, strip


@pytest.fixture
def frames():
    return torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_strip_draws_rows_over_time(tmp_path, frames):
    png, gif = tmp_path / "new" / "strip.png", tmp_path / "new" / "strip.gif"
    context = torch.zeros(2, 1, 3, 16, 16, dtype=torch.uint8)
    strip(context, frames, {"base": 1 - frames, "RLVR": frames}, path_png=png, path_gif=gif, scale=4)
    with Image.open(png) as image:
        assert image.width > 5 * 64  # context and four steps
        assert image.height > 2 * 5 * 64  # two examples of reference, two predictions, two errors
    with Image.open(gif) as image:
        assert image.n_frames == 5


def test_many_examples_are_drawn_in_two_columns(tmp_path, frames):
    examples = torch.cat([frames, frames[:1]])
    png = tmp_path / "strip.png"
    strip(examples[:, :1], examples, {"base": 1 - examples, "RLVR": examples}, path_png=png, scale=4)
    with Image.open(png) as image:
        assert image.width > 2 * 5 * 64
        assert 2 * 5 * 64 < image.height < 3 * 5 * 64  # two examples on the left, one on the right
        lower = np.asarray(image)[image.height // 2 + 20 :]
    assert (lower[:, : image.width // 2] < 255).any()
    assert (lower[:, image.width // 2 + 100 :] == 255).all()


def test_error_is_white_where_the_prediction_is_right(tmp_path):
    reference = torch.zeros(1, 3, 16, 16)
    predicted = reference.clone()
    predicted[..., :8] = 1
    strip(reference[:1], reference, {"m": predicted}, path_png=tmp_path / "strip.png", scale=1, error_gain=1.0)
    with Image.open(tmp_path / "strip.png") as image:
        right, wrong = (
            image.getpixel((image.width - 6, image.height - 20)),
            image.getpixel((image.width - 18, image.height - 20)),
        )
    assert right == (255, 255, 255)
    assert wrong[0] > 200 > 50 > wrong[1]


def test_strip_refuses_what_does_not_fit(tmp_path, frames):
    with pytest.raises(ValueError, match="'base' has shape"):
        strip(frames[:, :1], frames, {"base": frames[:, :2]}, path_png=tmp_path / "strip.png")
    with pytest.raises(ValueError, match="1 examples and `reference` 2"):
        strip(frames[:1, :1], frames, {}, path_png=tmp_path / "strip.png")
    with pytest.raises(ValueError, match="Expected frames of shape"):
        strip(frames[..., 0], frames, {}, path_png=tmp_path / "strip.png")


def drawn_figure(monkeypatch, tmp_path, histories, **options):
    """The figure of curves, as it is saved."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **how: (figures.append(figure), save(figure, *args, **how))
    )
    learning_curves(histories, tmp_path / "curves.png", **options)
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    return figures[0]


def test_the_trainings_of_a_run_share_a_panel_a_metric(monkeypatch, tmp_path):
    def log(first, name, values):
        return [{"step": first + at, "minutes": (first + at) / 2, name: value} for at, value in enumerate(values)]

    histories = {
        "base": log(0, "eval_mae", [3.0, 2.0]) + log(0, "eval_loss", [1.0, 0.5]),
        "control": log(1, "eval_mae", [2.0, 1.5]) + log(1, "eval_loss", [0.5, 0.4]),
        "rlvr": log(1, "eval_mae", [2.0, 1.0])
        + log(1, "reward", [-2.0, -1.0])
        + [{"step": 5, "minutes": 9.0, "x": 1}],
    }
    figure = drawn_figure(monkeypatch, tmp_path, histories, titles={"eval_mae": "mae ↓", "eval_psnr": "psnr ↑"})
    panels = figure.get_axes()
    assert [axes.get_title() for axes in panels] == [
        "mae ↓", "validation loss, nats a token", "reward, mean of an update"
    ]  # fmt: skip
    assert {axes.get_xlabel() for axes in panels} == {"minutes of training"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["base", "control", "rlvr"]
    lines = {line.get_color(): line.get_xydata().tolist() for line in panels[0].get_lines()}
    assert lines == {
        "C0": [[0.0, 3.0], [0.5, 2.0]], "C1": [[0.5, 2.0], [1.0, 1.5]], "C2": [[0.5, 2.0], [1.0, 1.0]]
    }  # fmt: skip
    assert [len(axes.get_lines()) for axes in panels] == [3, 2, 1]


def test_without_minutes_curves_are_drawn_over_steps(monkeypatch, tmp_path):
    histories = {
        "base": [{"step": step, "loss": 1 / (step + 1), "eval_loss": 2.0} for step in range(5)],
        "rlvr": [{"step": step, "reward": -0.1, "rewards/mae/mean": -0.1, "minutes": 1.0} for step in range(5)],
    }
    figure = drawn_figure(monkeypatch, tmp_path, histories)
    assert [axes.get_xlabel() for axes in figure.get_axes()] == ["optimizer step"] * 2
    assert figure.get_axes()[1].get_lines()[0].get_xdata().tolist() == [0, 1, 2, 3, 4]


def test_what_is_0_throughout_is_left_out(monkeypatch, tmp_path):
    log = [{"step": step, "loss": 0.0, "reward": -1.0, "eval_parse_failure": 0.0} for step in range(3)]
    titles = {"eval_parse_failure": "parse_failure"}
    figure = drawn_figure(monkeypatch, tmp_path, {"rlvr": log}, titles=titles)
    assert [axes.get_title() for axes in figure.get_axes()] == [_title("reward")]
    some = [*log, {"step": 3, "eval_parse_failure": 0.5}]
    figure = drawn_figure(monkeypatch, tmp_path, {"rlvr": some}, titles=titles)
    assert [axes.get_title() for axes in figure.get_axes()] == ["parse_failure", _title("reward")]


def test_a_noisy_curve_is_the_mean_of_points_nearby():
    assert np.allclose(_smoothed([0.0, 3.0, 0.0, 3.0, 6.0], 3), [1.5, 1, 2, 3, 4.5])
    rising = np.arange(64) / 64
    noise = np.random.default_rng(0).normal(size=64)
    assert np.abs(_smoothed(rising + noise, 8) - rising).mean() < 0.5 * np.abs(noise).mean()


def test_curves_have_titles_that_say_their_unit():
    assert [_title(metric) for metric in ("kl", "rewards/mae/mean", "grad_norm")] == [
        "KL to base, nats a token", "reward mae, mean of an update", "grad_norm"
    ]  # fmt: skip


def test_curves_of_nothing_fail(tmp_path):
    with pytest.raises(ValueError, match="Nothing to plot"):
        learning_curves({"grpo": [{"step": 1, "reward": 0.5}]}, tmp_path / "curves.png")


def test_the_contact_sheet_shows_first_middle_and_last_frame(tmp_path):
    times = (40 * np.arange(5, dtype=np.uint8))[:, None, None, None]
    episodes = {
        "a long name of an episode" * 9: np.broadcast_to(times, (5, 3, 32, 32)),
        "b": np.zeros((2, 3, 64, 64), np.uint8),
    }
    contact_sheet(episodes, path_png=tmp_path / "new" / "sheet.png", columns=1)
    with Image.open(tmp_path / "new" / "sheet.png") as picture:
        pixels = np.asarray(picture)
    assert {0, 80, 160} <= set(pixels[80, ::9, 0].tolist()) and not {40, 120} & set(pixels[80, ::9, 0].tolist())
    with pytest.raises(ValueError, match="got none"):
        contact_sheet({}, path_png=tmp_path / "sheet.png")


def test_sensors_are_drawn_as_lines_a_panel_a_dimension(tmp_path):
    states = torch.rand(2, 6, 3, generator=torch.Generator().manual_seed(0))
    png = tmp_path / "new" / "sensors.png"
    sensor_lines(states[:, :2], states[:, 2:], {"base": states[:, 2:] + 1, "rlvr": states[:, 2:]}, path_png=png)
    with Image.open(png) as image:
        colours = {colour[:3] for _, colour in image.getcolors(maxcolors=10**6)}
        assert image.width > image.height > 400
    assert {(31, 119, 180), (0, 0, 0)} & colours, "lines are drawn"
    with pytest.raises(ValueError, match="'base' has shape"):
        sensor_lines(states[:, :2], states[:, 2:], {"base": states}, path_png=png)
    with pytest.raises(ValueError, match="'context' has shape"):
        sensor_lines(states[:1, :2], states[:, 2:], {}, path_png=png)
