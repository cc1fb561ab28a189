import numpy as np
import pytest
from matplotlib.image import imread

from rlvr_world_hf.evaluation.results import summarize
from rlvr_world_hf.findings import figures as finding_figures
from rlvr_world_hf.findings.figures import draw_curves, draw_finding


def record_of(rows, settings=None):
    named = {row: {"x": None, "series": row} for row in rows if row != "copy_last"}
    return {
        "rows": {
            row: {metric: summarize(values) for metric, values in metrics.items()} for row, metrics in rows.items()
        },
        "settings": named | (settings or {}),
        "higher_is_better": {"mae": False, "psnr": True},
    }


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws a record and returns the figure's panels."""
    figures = []
    real = finding_figures.Figure

    def remember(*args, **kwargs):
        figures.append(real(*args, **kwargs))
        return figures[-1]

    monkeypatch.setattr(finding_figures, "Figure", remember)

    def draw(record, by=draw_finding, **options):
        by(record, tmp_path / "deep" / "plot.png", **options)
        assert imread(tmp_path / "deep" / "plot.png").std() > 0
        return figures[-1].axes

    return draw


def test_rows_with_a_place_are_lines_and_the_others_levels(drawn):
    rows = {
        "copy_last": {"mae": [0.5]},
        "G 4": {"mae": [0.2, 0.4]},
        "G 2": {"mae": [0.4, 0.6]},
        "base": {"mae": [0.6, 0.6]},
    }
    places = {f"G {x}": {"x": x, "series": "rlvr"} for x in (2, 4)}
    (panel,) = drawn(record_of(rows, places), metrics=["mae"], axis="answers", log_axis=True)
    line = panel.containers[0].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[2, 0.5], [4, 0.3]])
    assert panel.get_xscale() == "log" and panel.get_xlabel() == "answers" and panel.get_ylabel() == "mae ↓"
    (legend,) = panel.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["copy_last", "base", "rlvr"]


def test_lines_show_what_was_trained_and_name_what_lies_beyond(drawn):
    rows = {"copy_last": {"mae": [9.0]}, "base": {"mae": [0.6, 0.6]}, "G 4": {"mae": [0.2, 0.4]}}
    record = record_of(rows, {"G 4": {"x": 4, "series": "rlvr"}})
    (panel,) = drawn(record, metrics=["mae"], log_axis=True)
    low, high = panel.get_ylim()
    assert 0 < low < 0.2 and 0.6 < high < 1 and panel.get_title(loc="right") == "beyond: copy_last 9"
    assert [text.get_text() for text in panel.get_xticklabels()] == ["4"]
    assert {(4, 0.2), (4, 0.4)} <= {tuple(point) for line in panel.lines for point in line.get_xydata().tolist()}
    near = record_of(rows | {"copy_last": {"mae": [0.5]}}, {"G 4": {"x": 4, "series": "rlvr"}})
    assert not drawn(near, metrics=["mae"])[0].get_title(loc="right")
    near["rows"]["copy_last"]["psnr"] = summarize([20.0])
    assert drawn(near, metrics=["mae", "psnr"])[1].get_ylim() == (18, 22), "of a yardstick alone"


def test_numbers_of_places_that_lie_close_do_not_overlap(drawn):
    rows = {f"G {x}": {"mae": [x, x]} for x in (1, 2, 20, 21, 40)}
    (panel,) = drawn(
        record_of(rows, {f"G {x}": {"x": x, "series": "rlvr"} for x in (1, 2, 20, 21, 40)}), metrics=["mae"]
    )
    assert [text.get_text() for text in panel.get_xticklabels()] == ["1", "", "20", "", "40"]


def test_rows_without_a_place_are_bars_with_their_seeds(drawn):
    rows = {"copy_last": {"psnr": [1.0]}, "base": {"psnr": [20.0, 22.0]}, "rlvr": {"psnr": [23.0, 25.0]}}
    (panel,) = drawn(record_of(rows), metrics=["psnr"])
    assert [bar.get_width() for bar in panel.patches] == [21.0, 24.0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["base", "rlvr"]
    assert panel.get_xlim()[0] > 0 and panel.get_xlabel() == "psnr ↑"


def test_bars_are_named_once_a_line(drawn):
    rows = {"base": {"mae": [0.5], "psnr": [20.0], "ssim": [0.9]}, "rlvr": {"mae": [0.4], "psnr": [21.0]}}
    panels = drawn(record_of(rows), metrics=["mae", "psnr", "ssim"])
    assert [panel.yaxis.get_tick_params()["labelleft"] for panel in panels] == [True, False, True]


def test_gains_are_paired_by_seed_and_positive_where_better(drawn):
    rows = {
        "base": {"mae": [0.5, 0.4], "psnr": [20.0, 20.0]},
        "by mae": {"mae": [0.25, 0.2], "psnr": [19.0, 19.0]},
        "by psnr": {"mae": [0.5, 0.4], "psnr": [22.0, 24.0]},
    }
    (panel,) = drawn(record_of(rows), metrics=["mae", "psnr"], gains_over="base")
    np.testing.assert_allclose(panel.images[0].get_array(), [[1, -1 / 3], [0, 1]], err_msg="relative to the column")
    texts = {text.get_text(): text.get_fontweight() for text in panel.texts}
    assert texts["+50.00 ± 0.00"] == texts["+15.00 ± 7.07"] == "bold" and texts["-5.00 ± 0.00"] == "normal"


def test_best_of_n_is_a_curve_of_each_row(drawn):
    rows = {
        name: {"mae": [m], "mae_best_of_2": [m / 2], "mae_best_of_10": [m / 10]}
        for name, m in (("a", 1.0), ("b", 2.0))
    }
    (panel,) = drawn(record_of(rows), metrics=["mae_best_of"], axis="N")
    curves = {c.get_label(): c.lines[0].get_xydata().tolist() for c in panel.containers}
    assert curves == {"a": [[1, 1.0], [2, 0.5], [10, 0.1]], "b": [[1, 2.0], [2, 1.0], [10, 0.2]]}


@pytest.mark.parametrize("metrics", [["ssim"], []])
def test_a_metric_that_no_row_has_is_refused(tmp_path, metrics):
    with pytest.raises(ValueError, match=r"Expected metrics that some row has, got .*; rows have \['mae'\]"):
        draw_finding(record_of({"base": {"mae": [1.0]}}), tmp_path / "plot.png", metrics=metrics)
    assert not list(tmp_path.iterdir())


def test_curves_are_lines_over_frames_with_a_band(drawn):
    curves = {
        "copy_last": {"mae": {"mean": [0.25, 0.5], "std": [0.0, 0.0]}},
        "rlvr": {"mae": {"mean": [0.5, 0.75], "std": [0.25, 0.125]}, "psnr": {"mean": [1.0, 2.0], "std": [0.0, 0.0]}},
    }
    record = {"curves": curves, "protocol": {"horizon": 1}}
    panels = drawn(record, by=draw_curves, metrics=["mae", "ssim", "psnr"])
    assert [panel.get_ylabel() for panel in panels] == ["mae", "psnr"], "no panel of what no row has"
    lines = {line.get_label(): line.get_xydata().tolist() for line in panels[0].lines[1:]}
    assert lines == {"copy_last": [[1, 0.25], [2, 0.5]], "rlvr": [[1, 0.5], [2, 0.75]]}
    assert panels[0].lines[0].get_xdata() == [1, 1], "the horizon"
    band = panels[0].collections[1].get_paths()[0].vertices
    assert {(1, 0.25), (1, 0.75), (2, 0.625), (2, 0.875)} <= {tuple(corner) for corner in band.tolist()}
    assert panels[0].lines[2].get_color() == panels[1].lines[1].get_color(), "a row keeps its colour"


def test_curves_of_no_metric_are_refused(tmp_path):
    record = {"curves": {"base": {"mae": {"mean": [1.0], "std": [0.0]}}}, "protocol": {"horizon": 1}}
    with pytest.raises(ValueError, match=r"some row has, got \['ssim'\]; rows have \['mae'\]"):
        draw_curves(record, tmp_path / "plot.png", metrics=["ssim"])
