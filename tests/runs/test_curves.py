"""What the trainings of a run logged stands over the minutes that they had trained, base first."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.hub.training_checkpoints import seconds_by_step, write_seconds
from rlvr_world_hf.runs.curves import curve_titles, log_histories
from rlvr_world_hf.runs.progress import HISTORY
from rlvr_world_hf.runs.recipe import Recipe
from rlvr_world_hf.runs.stage import stage_folder


def test_control_and_rl_begin_where_base_ended(whole_run: Recipe) -> None:
    logs = log_histories(whole_run)
    assert list(logs) == ["base", "control", "control_equal_prompts", "rlvr"]
    measured = {
        row: [(entry["step"], entry["minutes"], entry["eval_mae"]) for entry in log if "eval_mae" in entry]
        for row, log in logs.items()
    }
    seconds = {row: seconds_by_step(stage_folder(whole_run, stage)) for row, stage in (
        ("base", "pretrain"), ("control", "control"), ("rlvr", "grpo")
    )}  # fmt: skip
    assert [at for at, *_ in measured["base"]] == [2, 4] == [*seconds["base"]]
    assert [minutes * 60 for _, minutes, _ in measured["base"]] == pytest.approx([*seconds["base"].values()])
    ended = seconds["base"][4]
    assert measured["control"][0] == measured["base"][-1], "it goes on from base's last checkpoint"
    assert measured["rlvr"][0][0] == 0
    for row in ("control", "rlvr"):
        (_, begin, _), *later = measured[row]
        assert begin * 60 == pytest.approx(ended)
        assert [minutes * 60 - ended for _, minutes, _ in later] == pytest.approx([*seconds[row].values()])
        assert len(later) == len(seconds[row]) >= 2


def test_what_rl_is_measured_by_first_is_base(whole_run: Recipe) -> None:
    logs = log_histories(whole_run)
    best = min((entry for entry in logs["base"] if "eval_loss" in entry), key=lambda entry: entry["eval_loss"])
    (of_base,) = [entry for entry in logs["base"] if "eval_mae" in entry and entry["step"] == best["step"]]
    names = [name for name in of_base if name.startswith("eval_")]
    assert len(names) > 5 and {name: of_base[name] for name in names} == {
        name: logs["rlvr"][0][name] for name in names
    }


@pytest.fixture
def small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes what a stage of a run logged, and its seconds; the run is the folder."""
    monkeypatch.setattr("rlvr_world_hf.runs.curves.stage_folder", lambda recipe, stage: recipe / stage)

    def write(stage: str, steps: list[int], seconds: dict[int, float]) -> Path:
        (tmp_path / stage).mkdir()
        (tmp_path / stage / HISTORY).write_text(json.dumps({"log_history": [{"step": step} for step in steps]}))
        for step, count in seconds.items():
            write_seconds(tmp_path / stage, step, count)
        return tmp_path

    return write


def test_between_checkpoints_minutes_are_interpolated(small_run: Any) -> None:
    small_run("pretrain", [5, 10, 20], {10: 60.0, 20: 180.0})
    small_run("grpo", [0, 1, 4], {2: 30.0, 4: 90.0})
    logs = log_histories(small_run("control", [5, 10, 20, 25, 30], {30: 120.0}))
    minutes = {row: [(entry["step"], entry["minutes"]) for entry in log] for row, log in logs.items()}
    assert minutes["base"] == [(5, 0.5), (10, 1.0), (20, 3.0)]
    assert minutes["rlvr"] == [(0, 3.0), (1, 3.25), (4, 4.5)]
    assert minutes["control"] == [(20, 3.0), (25, 4.0), (30, 5.0)]


def test_a_run_without_pretraining_begins_at_zero(small_run: Any) -> None:
    small_run("pretrain", [], {})
    logs = log_histories(small_run("grpo", [0, 2], {2: 30.0}))
    assert logs == {"base": [], "rlvr": [{"step": 0, "minutes": 0.0}, {"step": 2, "minutes": 0.5}]}


def test_no_entry_has_minutes_where_some_training_did_not_count_them(small_run: Any) -> None:
    small_run("pretrain", [5], {})
    logs = log_histories(small_run("grpo", [0, 2], {2: 30.0}))
    assert logs == {"base": [{"step": 5}], "rlvr": [{"step": 0}, {"step": 2}]}


def test_curves_are_called_as_the_columns_of_the_table(whole_run: Recipe) -> None:
    titles = curve_titles(read_results(whole_run.output_dir / "results.json"))
    assert list(titles.items())[0] == ("eval_mae", "mae ↓") and titles["eval_psnr"] == "psnr ↑"
    card = (whole_run.output_dir / "README.md").read_text()
    assert all(f"| {title} |" in card or f"| {title} " in card for title in titles.values())
    logged = {name for entry in log_histories(whole_run)["rlvr"] for name in entry}
    assert set(titles) <= logged
