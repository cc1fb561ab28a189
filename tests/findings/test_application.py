import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlvr_world_hf.commands.cli import main
from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.findings import application as application_module
from rlvr_world_hf.findings import page as page_module
from rlvr_world_hf.findings.application import Application, find_application, measure_application
from rlvr_world_hf.findings.applications import application_names
from rlvr_world_hf.findings.table import finding_table
from rlvr_world_hf.runs.keys import keys_of
from rlvr_world_hf.runs.recipe import load_recipe
from tests.small_runs import SMALL


@pytest.mark.parametrize("name", application_names())
def test_every_application_states_itself_in_the_file_of_its_name(name):
    application = find_application(name)
    assert isinstance(application, Application) and application.measure.__name__ == name
    assert load_recipe(application.recipe).sections.keys() >= {"grpo", "evaluate"}
    arguments = keys_of(application.measure)
    assert {*application.options, "folder", "device"} <= arguments.keys()
    assert not application.window or application.window in arguments


def test_applications_are_listed_without_importing_one():
    code = (
        "import sys; from rlvr_world_hf.findings.applications import application_names; "
        "assert 'planning_text' in application_names(); "
        "print([name for name in sys.modules if name == 'torch' or name.startswith('rlvr_world_hf.findings.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['rlvr_world_hf.findings.applications']"


def test_an_unknown_application_is_refused():
    with pytest.raises(ValueError, match=r"one of the applications .*planning_text.*, got 'planing'"):
        find_application("planing")


@pytest.fixture
def finished(whole_run, monkeypatch):
    """Takes the finished debug run for the reproduction of every recipe and seed, and notes what was asked for."""
    asked = []
    monkeypatch.setattr(
        application_module, "run_stages", lambda recipe, names: asked.append((recipe.output_dir, names))
    )

    def load(name):
        recipe = dataclasses.replace(load_recipe("pusht/debug", overrides=SMALL), name=name)
        return dataclasses.replace(recipe, output_dir=whole_run.output_dir.parent / "x")

    monkeypatch.setattr(application_module, "load_recipe", load)
    place = whole_run.output_dir.parent / "reproduce" / "x"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "seed-0").exists():
        (place / "seed-0").symlink_to(whole_run.output_dir)
    return asked


def test_planning_is_measured_on_the_reproduced_runs_and_drawn(finished, tmp_path):
    few = {"starts": 2, "decisions": 1, "candidates": 4, "iterations": 1, "rows": ["random", "base", "rlvr"]}
    file = measure_application("planning", folder=tmp_path, seeds=[0], **few)
    record = json.loads(file.read_text())
    assert [(place.name, names) for place, names in finished] == [("seed-0", ["evaluate"])]
    assert record["n"] == 2 and set(record["rows"]) == {"random", "base", "rlvr"}
    assert {path.name for path in tmp_path.glob("planning*")} == {
        "planning.json", "planning.png", "planning_best.gif", "planning_worst.gif",
    }  # fmt: skip


@pytest.mark.slow
def test_policies_are_judged_on_the_reproduced_runs_and_drawn(finished, whole_run, tmp_path):
    file = measure_application("policy_evaluation", folder=tmp_path, seeds=[0], episodes=1)
    record = json.loads(file.read_text())
    assert record["recipe"] == read_results(whole_run.output_dir / "results.json")["recipe"]
    assert {row["world"] for row in record["rows"]} == {"simulator", "base", "rlvr", "rlvr - base"}
    assert "1 training seed(s)" in record["reason"] and file.with_suffix(".png").stat().st_size > 1000


def test_long_rollouts_are_measured_on_the_reproduced_runs_and_drawn(finished, tmp_path):
    file = measure_application("long_rollouts", folder=tmp_path, seeds=[0], windows=2, frames=3)
    record = json.loads(file.read_text())
    assert record["recipe"] == "pusht/quickstart" and record["n"] == 2 and "1 training seed(s)" in record["reason"]
    assert len(record["curves"]["rlvr"]["mae"]["mean"]) == 3 and file.with_suffix(".png").stat().st_size > 1000
    table = finding_table(record, metrics=find_application("long_rollouts").metrics)
    assert table.startswith("| row | mae | mae_at_1 | ") and "\n| tokenizer_floor | " in table


def test_only_without_options_is_the_evidence_renewed(finished, tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    monkeypatch.setattr(page_module, "CHECKOUT", checkout)
    monkeypatch.setattr(application_module, "is_checkout", lambda: True)

    def measure(runs, *, folder, device, window, starts=50):
        assert str(device) == "cpu" and window == load_recipe("pusht/debug").windows.horizon
        folder.mkdir(exist_ok=True)
        summary = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": starts}
        record = {
            "n": starts,
            "training_seeds": [0],
            "sampling_seeds": [0],
            "recipe": "r",
            "commit": "0123456789abcdef",
        }
        for name in ("planning.json", "planning_best.gif", "planning.txt"):
            Path(folder, name).write_text(json.dumps(record | {"rows": {"base": {"success": summary}}}))
        return Path(folder, "planning.json")

    application = dataclasses.replace(find_application("planning"), measure=measure, metrics=("success",))
    monkeypatch.setattr(application_module, "find_application", {"planning": application}.get)
    measure_application("planning", folder=tmp_path / "a", starts=2)
    assert not checkout.exists()
    (checkout / "docs").mkdir(parents=True)
    (checkout / "docs" / "evidence.md").write_text("# All\n\n<!-- planning -->\n<!-- end of planning -->\n\nEnd.\n")
    measure_application("planning", folder=tmp_path / "a")
    evidence = checkout / "docs" / "evidence"
    assert {path.name for path in evidence.iterdir()} == {"planning.json", "planning.png", "planning_best.gif"}
    page = (checkout / "docs" / "evidence.md").read_text()
    assert "| base | 0.500 (0.250 to 0.750) |\n\n50 samples" in page and page.endswith(
        "<!-- end of planning -->\n\nEnd.\n"
    )
    assert [place.name for place, _ in finished[3:]] == ["seed-0", "seed-1", "seed-2"]  # if nothing else is asked for


@pytest.mark.parametrize(("words", "message"), [(["--start", "2"], "starts"), (["--grpo.max_steps", "2"], "unknown")])
def test_an_unknown_option_is_refused_before_anything_runs(capsys, words, message):
    assert main(["reproduce", "planning", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": "many"}, r"planning\.starts: expected int.*'many'"),
        ({"starts": 0}, r"planning\.starts: expected at least 1, got 0"),
        ({"ceiling": 3}, r"planning\.ceiling: expected bool.*3"),
        ({"start": 3}, r"planning: unknown key 'start'; the nearest known key is 'starts'"),
        ({"rows": ["bass"]}, r"planning\.rows: .*bass"),
        ({"cost": "mae"}, r"planning\.cost: .*mae"),
        ({"seeds": "0,1"}, r"planning\.seeds: expected tuple.*'0,1'"),
        ({"seeds": 0}, r"planning\.seeds: expected tuple.*0"),
        ({"seeds": []}, r"planning: expected training seeds, each once, got \[\]"),
        ({"seeds": [1, 1]}, r"planning: expected training seeds, each once, got \[1, 1\]"),
    ],
)
def test_options_are_checked_before_anything_is_trained(finished, tmp_path, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        measure_application("planning", folder=tmp_path, **{"seeds": [0], **options})
    assert not finished


def test_an_unknown_recipe_is_refused_before_anything_runs(capsys):
    assert main(["reproduce", "planning", "--recipe", "pusht/quickstrat"]) == 2
    assert "pusht/quickstart" in capsys.readouterr().err
