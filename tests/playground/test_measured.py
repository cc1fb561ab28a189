import json
from pathlib import Path

import pytest

from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.playground.measured import METRICS, ROWS, results_html, table_html


@pytest.mark.parametrize("world", ["pusht", "textworld"])
def test_committed_results_are_shown_whole_and_with_their_names(repository: Path, world: str) -> None:
    folder = repository / "model_cards" / world
    html = results_html(folder, title="Results & all")
    results = read_results(folder / "results.json")
    assert "<h3>Results &amp; all</h3>" in html and 'alt="Loss and reward' in html and "data:image/png;base64," in html
    assert all(f'<th scope="col">{ROWS[row]}</th>' in html for row in results["rows"])
    assert {metric for row in results["rows"].values() for metric in row} <= set(METRICS)
    assert html.count("<tr>") == 1 + len(results["rows"]["rlvr"])
    assert f"{results['samples']} held-out" in html and results["recipe"] in html


def test_the_best_of_a_rewarded_metric_is_bold(repository: Path) -> None:
    results = read_results(repository / "model_cards" / "pusht" / "results.json")
    html = table_html(results)
    assert html.count("<b>") == len(results["rewarded"])
    first = html.split("<tbody>")[1].split("</tr>")[0]
    assert "Mean absolute error ↓" in first and "rewarded" in first and "<b>" in first


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    assert "Not evaluated yet" in results_html(tmp_path, title="World")
    (tmp_path / "results.json").write_text(json.dumps({"rows": "<b>"}))
    html = results_html(tmp_path, title="World")
    assert "is not valid" in html and "<b>" not in html
    (tmp_path / "results.json").write_text("[" * 10)
    assert "is not valid" in results_html(tmp_path, title="World")
