"""`rlvr-world status`: a few lines for a person, JSON for a program."""

import json
from pathlib import Path

import pytest

from rlvr_world_hf.commands import cli
from rlvr_world_hf.runs.outputs import note_current
from rlvr_world_hf.runs.progress import Progress


def make_run(folder: Path) -> Path:
    progress = Progress(folder=folder / "stages" / "collect" / "a", fingerprint="a")
    progress.start({})
    note_current(progress.folder)
    progress.finish(seconds=65.0, outputs=[])
    return folder


def test_a_run_is_told_in_lines(tmp_path, capsys):
    make_run(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert cli.main(["status", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path}: a run; nobody works in it" and second.split() == ["collect", "done", "1:05"]
    assert set(tmp_path.rglob("*")) == before, "it only looks"


def test_a_program_gets_json(tmp_path, capsys):
    make_run(tmp_path)
    assert cli.main(["status", str(tmp_path), "--json", "true"]) == 0
    ((run, stages),) = json.loads(capsys.readouterr().out).items()
    assert run == str(tmp_path)
    (collect,) = stages
    assert (collect["stage"], collect["state"], collect["seconds"]) == ("collect", "done", 65.0)
    assert collect["folder"] == str(tmp_path / "stages" / "collect" / "a") and collect["picture"] is None


def test_a_reproduction_tells_each_of_its_runs(tmp_path, capsys):
    for seed in (0, 1):
        make_run(tmp_path / f"seed-{seed}")
    (tmp_path / "notes").mkdir()
    assert cli.main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[::2]] == [str(tmp_path / f"seed-{seed}") for seed in (0, 1)]


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_says_what_it_shows(words, capsys):
    assert cli.main(["status", *words]) == (0 if words else 2)
    shown = capsys.readouterr().out
    assert shown.startswith("usage: rlvr-world status RUN") and "--json" in shown


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert cli.main(["status", str(tmp_path)]) == 2
    assert "expected the output folder of a run" in capsys.readouterr().err
    assert cli.main(["status", str(tmp_path), "--jso", "true"]) == 2
    assert "'json'" in capsys.readouterr().err
