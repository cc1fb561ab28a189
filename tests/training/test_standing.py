import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from rlvr_world_hf.training.standing import PROGRESS_FILE, Standing, note_standing, read_standing


def test_time_goes_on_while_nothing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standing = Standing(step=4, steps=8, metric="reward", value=0.5, best=0.75, best_step=2, seconds_left=100.0)
    note_standing(tmp_path, standing)
    later = time.time() + 40
    monkeypatch.setattr(time, "time", lambda: later)
    found = read_standing(tmp_path)
    assert found is not None and found.seconds_left == pytest.approx(60.0, abs=1.0)
    assert asdict(found) | {"seconds_left": None} == asdict(standing) | {"seconds_left": None}
    later += 1000
    assert read_standing(tmp_path).seconds_left == 0.0


@pytest.mark.parametrize("content", [None, "", "[1]", "{}", '{"written": 1, "of_another_version": 2}'])
def test_what_cannot_be_read_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / PROGRESS_FILE).write_text(content)
    assert read_standing(tmp_path) is None


def test_what_is_not_known_is_not_said(tmp_path: Path) -> None:
    assert str(Standing(step=3)) == "update 3"
    note_standing(tmp_path, Standing(step=3))
    assert json.loads((tmp_path / PROGRESS_FILE).read_text())["step"] == 3
    assert read_standing(tmp_path) == Standing(step=3)
