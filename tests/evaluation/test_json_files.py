import json
import os
from pathlib import Path

import pytest

from rlvr_world_hf.evaluation.json_files import write_json


def test_folders_are_made_and_who_may_read_is_for_the_user_to_say(tmp_path: Path) -> None:
    path = write_json({"rows": [1, 2.5, None]}, tmp_path / "new" / "numbers.json")
    assert json.loads(path.read_text(encoding="utf-8")) == {"rows": [1, 2.5, None]}
    (tmp_path / "usual").touch()
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "usual").unlink()
    write_json({"rows": []}, path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"rows": []}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_json({"mae": 1}, tmp_path / "numbers.json")
    with pytest.raises(ValueError):
        write_json({"mae": float("nan")}, path)

    def fail(*arguments: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_json({"mae": 2}, path)
    assert os.listdir(tmp_path) == ["numbers.json"] and json.loads(path.read_text(encoding="utf-8")) == {"mae": 1}
