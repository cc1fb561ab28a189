"""How far a run is, read from its folder."""

import json
from pathlib import Path

import pytest

from rlvr_world_hf.runs.lock import locked
from rlvr_world_hf.runs.outputs import note_current
from rlvr_world_hf.runs.progress import Progress, write_json
from rlvr_world_hf.runs.recipe import STAGES
from rlvr_world_hf.runs.stage import find_stage, stage_folder
from rlvr_world_hf.runs.status import describe_run, note_asked, run_status, what_is_kept
from rlvr_world_hf.training.standing import Standing, note_standing


def begin(run: Path, stage: str, *, name: str = "a", after: dict[str, str] | None = None) -> Progress:
    progress = Progress(folder=run / "stages" / stage / name, fingerprint=name)
    progress.start({"after": after or {}})
    note_current(progress.folder)
    return progress


def finish(progress: Progress, *, seconds: float = 5.0) -> None:
    output = progress.folder / "base"
    output.mkdir(exist_ok=True)
    progress.finish(seconds=seconds, outputs=[output])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Collect is done, pretrain has begun, and the others are to come."""
    note_asked(tmp_path, "pusht/debug", ["collect", "pretrain", "grpo"])
    finish(begin(tmp_path, "collect"), seconds=65.0)
    begin(tmp_path, "pretrain", after={"collect": "a"})
    return tmp_path


def states(run: Path) -> dict[str, str]:
    return {status.stage: status.state for status in run_status(run)}


def test_states_while_a_process_works_when_it_is_gone_and_after_its_end(run):
    with locked(run):
        assert states(run) == {"collect": "done", "pretrain": "running", "grpo": "waiting"}
    assert states(run)["pretrain"] == "stopped"
    assert run_status(run)[1].reason == "its process is gone"
    progress = Progress(folder=run / "stages" / "pretrain" / "a", fingerprint="a")
    progress.stop(KeyboardInterrupt())
    with locked(run):  # by another stage, or a process that comes later
        assert states(run)["pretrain"] == "stopped" and run_status(run)[1].reason == "interrupted"
    progress.stop(ValueError("expected a number\nof updates"))
    assert states(run)["pretrain"] == "failed"
    assert run_status(run)[1].reason == "ValueError: expected a number"
    begin(run, "pretrain", after={"collect": "a"})
    with locked(run):
        assert states(run)["pretrain"] == "running", "what stopped it before is no longer said"
    finish(progress)
    assert states(run)["pretrain"] == "done" and run_status(run)[1].seconds == 5.0


def test_what_was_made_from_other_results_is_to_be_made_anew(run):
    finish(Progress(folder=run / "stages" / "pretrain" / "a", fingerprint="a"))
    finish(begin(run, "grpo", after={"pretrain": "a"}))
    assert states(run)["grpo"] == "done"
    begin(run, "pretrain", name="b", after={"collect": "a"})
    assert states(run) == {"collect": "done", "pretrain": "stopped", "grpo": "waiting"}


def test_all_that_comes_of_what_is_to_be_made_anew_is_to_be_made_anew(run):
    finish(Progress(folder=run / "stages" / "pretrain" / "a", fingerprint="a"))
    finish(begin(run, "grpo", after={"pretrain": "a"}))
    begin(run, "collect", name="b")
    assert states(run) == {"collect": "stopped", "pretrain": "waiting", "grpo": "waiting"}


def test_lines_tell_the_metric_its_best_the_time_left_and_the_last_picture(run):
    folder = run / "stages" / "pretrain" / "a"
    standing = Standing(
        step=40, steps=100, metric="eval_mae", value=0.02, best=0.01, best_step=20, seconds_left=3600.0
    )
    note_standing(folder, standing)
    for step, name in ((20, "strip.gif"), (40, "strip.png")):
        drawn = folder / "predictions" / f"step_{step:06d}"
        drawn.mkdir(parents=True)
        (drawn / name).touch()
    with locked(run):
        lines = describe_run(run, run_status(run)).splitlines()
    assert lines[0].startswith(f"{run}: pusht/debug; process ") and lines[0].endswith(" works in it")
    assert lines[1].split() == ["collect", "done", "1:05"]
    assert lines[2].split()[:3] == ["pretrain", "running", "0:00"]
    assert "update 40 of 100, eval_mae 0.02, best 0.01 at 20, " in lines[2]
    assert lines[2].endswith(" left") and ("1:00:00" in lines[2] or "59:5" in lines[2])
    assert lines[3].strip() == str(folder / "predictions" / "step_000040" / "strip.png")
    assert lines[4].split() == ["grpo", "waiting"]
    (line,) = [line for line in describe_run(run, run_status(run)).splitlines() if "pretrain" in line][:1]
    assert "left" not in line and line.split()[1] == "stopped", "nobody works in it"
    finish(Progress(folder=folder, fingerprint="a"))
    (line,) = [line for line in describe_run(run, run_status(run)).splitlines() if line.startswith("  pretrain")]
    assert line.endswith("0:05  eval_mae 0.02, best 0.01 at 20")


def test_a_damaged_record_hides_nothing_else(run):
    (run / "stages" / "asked.json").write_text("{")
    (run / "stages" / "pretrain" / "a" / "progress.json").write_text("[]")
    assert states(run) == {"collect": "done", "pretrain": "stopped"}


def test_a_finished_run_tells_what_was_measured(whole_run):
    found = run_status(whole_run.output_dir)
    asked = [stage for stage in STAGES if stage not in ("inverse", "straight_through")]
    assert [status.stage for status in found] == asked and {status.state for status in found} == {"done"}
    by_name = {status.stage: status for status in found}
    assert by_name["grpo"].standing.metric == "reward" and by_name["grpo"].standing.step == 4
    assert by_name["pretrain"].standing.metric == by_name["control"].standing.metric == "eval_loss"
    assert by_name["tokenizer"].standing.metric == "mae" and by_name["tokenizer"].standing.steps == 4
    results = json.loads((whole_run.output_dir / "results.json").read_text())
    assert by_name["evaluate"].figures["mae"] == {
        row: results["rows"][row]["mae"]["mean"] for row in ("base", "control", "control_equal_prompts", "rlvr")
    }
    assert by_name["grpo"].picture.parent.name == "step_000004"
    assert by_name["predict"].picture.name == "strip.gif"
    text = describe_run(whole_run.output_dir, found)
    assert "nobody works in it" in text.splitlines()[0] and "mae: base 0." in text
    assert str(stage_folder(whole_run, "grpo")) in text


def test_a_stage_asked_for_alone_has_those_before_it(small_recipe, tmp_path, cache):
    recipe = small_recipe(tmp_path)
    find_stage("collect")(recipe)
    assert states(tmp_path) == {"collect": "done"}
    write_json(tmp_path / "stages" / "asked.json", {"stages": ["collect", "tokenizer", "pretrain"]})
    assert states(tmp_path) == {"collect": "done", "tokenizer": "waiting", "pretrain": "waiting"}


def test_what_is_kept_names_the_newest_whole_checkpoint(tmp_path):
    folder = tmp_path / "stages" / "grpo" / "a"
    for step in (8, 16, 24):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        if step < 24:
            (folder / f"checkpoint-{step}" / "manifest.json").write_text("{}")
    said = what_is_kept(folder, finished=["collect"])
    assert said == f"collect is finished and kept; grpo goes on from update 16, saved in {folder / 'checkpoint-16'}."
    tokenizer = tmp_path / "stages" / "tokenizer" / "a"
    tokenizer.mkdir(parents=True)
    (tokenizer / "resume.pt").touch()
    assert what_is_kept(tokenizer, finished=[]).startswith("tokenizer goes on from what is saved in ")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the output folder of a run"):
        run_status(tmp_path)
