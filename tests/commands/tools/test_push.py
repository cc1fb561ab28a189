"""`rlvr-world push`: a checkpoint, or a run with what belongs to it, in one line."""

from pathlib import Path

import pytest

from rlvr_world_hf.commands import cli
from rlvr_world_hf.hub.checkpoint import save_world_model
from tests.local_hub import USER, LocalHub
from tests.tiny import tiny_model, tiny_sensor_processor


REPO = f"{USER}/from-the-command-line"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Output of a run, as its stages leave it."""
    processor = tiny_sensor_processor()
    for name in ("base", "rlvr"):
        save_world_model(tmp_path / name, tiny_model(processor), processor)
    for name in ("README.md", "results.json", "sensors.png", "learning_curves.png"):
        (tmp_path / name).write_text(f'{name}: WorldModelPipeline.from_pretrained("outputs/run/rlvr")')
    (tmp_path / ".eval_results").mkdir()
    (tmp_path / ".eval_results" / "pages.yaml").write_text("[]")
    return tmp_path


def test_a_run_goes_with_its_documents(hub: LocalHub, run_folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["push", str(run_folder), REPO, "--private", "true", "--message", "First"]) == 0
    assert f"{REPO}, commit " in capsys.readouterr().out
    files = hub.files(REPO)
    assert {
        "model.safetensors",
        "results.json",
        "sensors.png",
        "learning_curves.png",
        ".eval_results/pages.yaml",
    } <= set(files)
    assert files["README.md"].decode() == f'README.md: WorldModelPipeline.from_pretrained("{REPO}")'
    assert hub.repositories["model", REPO].is_private
    assert not [path for path in files if path.startswith(("base/", "rlvr/"))]


def test_a_checkpoint_goes_alone(hub: LocalHub, run_folder: Path) -> None:
    assert cli.main(["push", str(run_folder / "base"), REPO, "--revision", "base"]) == 0
    files = hub.files(REPO, revision="base")
    assert "results.json" not in files and "Not evaluated yet" in files["README.md"].decode()
    assert "model.safetensors" not in hub.files(REPO)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["none", REPO], "There is no checkpoint folder none"),
        (["stages", REPO], "stages is not a world model: it has no config.json"),
        (["rlvr", REPO, "--revison", "x"], "'revision'"),
    ],
)
def test_what_cannot_be_pushed_is_said_in_one_line(
    words: list[str], expected: str, hub: LocalHub, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(run_folder)
    (run_folder / "stages").mkdir()
    assert cli.main(["push", *words]) == 2
    message = capsys.readouterr().err
    assert expected in message and message.count("\n") == 1
    assert not hub.repositories


def test_pickles_stay_here(hub: LocalHub, run_folder: Path, capsys: pytest.CaptureFixture) -> None:
    (run_folder / "rlvr" / "optimizer.pt").write_bytes(b"")
    assert cli.main(["push", str(run_folder), REPO]) == 2
    assert "got optimizer.pt; push" in capsys.readouterr().err
    assert not hub.repositories


@pytest.mark.parametrize(("words", "code"), [([], 2), (["rlvr"], 2), (["rlvr", "--private"], 2), (["--help"], 0)])
def test_push_explains_itself(words: list[str], code: int, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["push", *words]) == code
    usage = capsys.readouterr().out
    assert usage.startswith("usage: rlvr-world push FOLDER REPO") and "--revision" in usage
