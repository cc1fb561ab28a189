import json
from pathlib import Path

import pytest

from rlvr_world_hf.commands.cli import main


def test_a_checkpoint_is_measured_without_a_run(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "made" / "results.json"
    keys = ["--windows.horizon", "1", "--windows.observed_steps", "0", "--collect.image_size", "32"]
    keys += ["--output_dir", str(tmp_path / "out"), "--output", str(file), "--evaluate.best_sampling", "[]"]
    assert main(["measure", "pusht/debug", f"mine={checkpoint}", *keys]) == 0
    assert "| mine |" in capsys.readouterr().out
    results = json.loads(file.read_text())
    assert set(results["rows"]) == {"copy_last", "tokenizer_floor", "mine"}
    stages = {path.name for path in (tmp_path / "out" / "stages").iterdir() if path.is_dir()}
    assert stages == {"collect"}, "nothing is trained"


def test_wrong_words_are_refused(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure"]) == main(["measure", "pusht/debug"]) == 2
    assert main(["measure", "--help"]) == 0
    assert "ROW=CHECKPOINT" in capsys.readouterr().out
    for pair, said in (
        ("base", "such as base=outputs"),
        (f"copy_last={checkpoint}", "a row has it already"),
        ("base=pusht-bas", "pusht-base"),
    ):
        assert main(["measure", "pusht/debug", pair]) == 2
        assert said in capsys.readouterr().err
    assert main(["measure", "pusht/debug", f"base={checkpoint}", "--windos", "2"]) == 2
    assert "windos" in capsys.readouterr().err
