import json
from pathlib import Path

import pytest

from rlvr_world_hf.commands.cli import main
from rlvr_world_hf.hub.training_checkpoints import write_seconds


def test_it_prints_a_table_and_writes_what_it_measured(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "made" / "ladder.json"
    words = ["--windows", "2", "--steps", "[1,2]", "--policies", "[smooth]", "--horizon", "2", "--device", "cpu"]
    assert main(["ladder", str(checkpoint), *words, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert all(f"| smooth | {row} |" in printed for row in ("copy_last", "tokenizer_floor", "model"))
    assert "after 1 / 2 |" in printed and str(output) in printed and " s on " in printed
    record = json.loads(output.read_text())
    assert record["windows"] == 2 and record["steps"] == [1, 2] and record["checkpoint"] == str(checkpoint)


def test_help_lists_its_keys_and_it_wants_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", "--help"]) == 0
    text = capsys.readouterr().out
    assert "usage: rlvr-world ladder CHECKPOINT" in text
    assert all(f"--{name} " in text for name in ("windows", "steps", "temperature", "yardstick_episodes", "output"))
    assert main(["ladder"]) == main(["ladder", "--windows", "2"]) == 2


def test_wrong_words_and_places_are_refused(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", str(checkpoint), "--window", "2"]) == 2
    assert "window" in capsys.readouterr().err
    assert main(["ladder", str(checkpoint.parent / "none")]) == 2
    assert main(["ladder", str(checkpoint), "--windows", "0"]) == 2
    assert "at least one window" in capsys.readouterr().err


def test_a_checkpoint_of_a_training_is_added_to_a_history(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "made" / "history.json"
    words = [
        "--windows",
        "2",
        "--steps",
        "[1]",
        "--policies",
        "[smooth]",
        "--device",
        "cpu",
        "--history",
        str(history),
    ]
    assert main(["ladder", str(checkpoint), *words]) == 2, "it has no hours"
    assert "expected the folder of a training's checkpoint" in capsys.readouterr().err and not history.exists()
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 30, "max_steps": 60}))
    write_seconds(checkpoint.parent, 30, 1800.0)
    assert main(["ladder", str(checkpoint), *words]) == 0
    (entry,) = json.loads(history.read_text())["entries"]
    assert (entry["updates"], entry["hours"]) == (30, 0.5) and history.with_suffix(".png").exists()
