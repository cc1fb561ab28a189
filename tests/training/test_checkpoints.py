from pathlib import Path

from rlvr_world_hf.training.checkpoints import last_checkpoint, trained_seconds, write_seconds


def test_checkpoints_in_pieces_are_passed_over(tmp_path: Path) -> None:
    for step, state in {"8": "{}", "12": "{}", "16": '{"glob', "20": None}.items():
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-12")
    assert last_checkpoint(tmp_path / "nothing") is None


def test_seconds_after_the_checkpoint_resumed_from_are_forgotten(tmp_path: Path) -> None:
    for step, seconds in ((10, 1.0), (20, 2.0), (30, 3.0), (20, 2.5)):
        write_seconds(tmp_path, step, seconds)
    assert trained_seconds(tmp_path) == 2.5
    assert trained_seconds(tmp_path, 15) == 1.0
    assert trained_seconds(tmp_path / "nothing") == 0.0
