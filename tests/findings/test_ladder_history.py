import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_world_hf.findings.ladder_history import add_to_history, draw_history, trained_so_far
from rlvr_world_hf.hub.training_checkpoints import write_seconds


def record(share: float, **changes: Any) -> dict[str, Any]:
    """A ladder as it is measured, with one share everywhere."""
    after = {step: {"within": {"mean": share, "n": 4}} for step in ("1", "3")}
    rows = {row: {"smooth": after, "scripted": after} for row in ("copy_last", "tokenizer_floor", "model")}
    settings = {"windows": 4, "steps": [1, 3], "horizon": 5, "temperature": 0.0, "sampling_seeds": [0]}
    form = {"image_size": 64, "action_law": "relative"}
    return {
        "checkpoint": "x",
        "rows": rows,
        "form": form,
        "within": {"units": 20.0, "degrees": 20.0},
        **settings,
    } | changes


def test_entries_stand_by_updates_and_one_of_as_many_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "made" / "history.json"
    for share, updates in ((0.5, 200), (0.25, 100), (0.75, 200)):
        entries = add_to_history(record(share), file, trained={"updates": updates, "hours": updates / 100})
    assert [(entry["updates"], entry["hours"]) for entry in entries] == [(100, 1.0), (200, 2.0)]
    assert entries == json.loads(file.read_text())["entries"]
    assert entries[1]["rows"]["model"]["smooth"]["3"]["within"]["mean"] == 0.75
    draw_history(entries, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_a_ladder_measured_otherwise_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    add_to_history(record(0.5), file, trained={"updates": 1, "hours": 0.1})
    before = file.read_bytes()
    with pytest.raises(
        ValueError, match=r"history\.json: expected a ladder measured as those in it, got other windows, hor"
    ):
        add_to_history(record(0.5, windows=8, horizon=4), file, trained={"updates": 2, "hours": 0.2})
    assert file.read_bytes() == before


def test_hours_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-30"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"with trainer_state\.json, .* give a `checkpoint-N` of a run"):
        trained_so_far(folder)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 30, "max_steps": 60}))
    write_seconds(tmp_path, 30, 5400.0)
    assert trained_so_far(folder) == {"updates": 30, "hours": 1.5}
