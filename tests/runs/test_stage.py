import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rlvr_world_hf.data.drafts import draft_path
from rlvr_world_hf.runs import stage as stage_module
from rlvr_world_hf.runs.keys import key
from rlvr_world_hf.runs.lock import RunFolderError, RunInUseError, locked
from rlvr_world_hf.runs.outputs import settings_folders
from rlvr_world_hf.runs.recipe import Recipe
from rlvr_world_hf.runs.stage import StageRun, stage


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeSettings:
    size: int = key(1)
    workers: int = key(1, affects_result=False)


@pytest.fixture
def calls(monkeypatch):
    """Replaces the first two stages by fakes, and lists what they did."""
    done = []

    def work(run: StageRun, name: str):
        checkpoint = run.folder / "checkpoint"
        done.append((name, run.settings.size, checkpoint.exists()))
        checkpoint.touch()
        if done[-1][1] < 0 and not done[-1][2]:
            raise KeyboardInterrupt
        output = run.folder / f"{name}.out"
        output.write_text(str(run.settings.size))
        return [output]

    @stage(settings=FakeSettings, shares_seeds=True)
    def collect(run):
        return work(run, "collect")

    @stage(settings=FakeSettings, after=("collect",), makes=("base",))
    def pretrain(run):
        return work(run, "pretrain")

    fakes = {"collect": collect, "pretrain": pretrain}
    monkeypatch.setattr(stage_module, "find_stage", fakes.__getitem__)
    return done


def run_pretrain(tmp_path, *, seed=0, **sections):
    recipe = Recipe(name="fake", output_dir=tmp_path, seed=seed, sections=sections)
    return stage_module.find_stage("pretrain")(recipe)


def test_an_interrupted_stage_notes_it_and_says_what_is_kept(tmp_path, calls):
    with pytest.raises(KeyboardInterrupt) as ended:
        run_pretrain(tmp_path, pretrain={"size": -1})
    assert ended.value.__notes__ == [
        "collect is finished and kept; pretrain begins again, as nothing of it was saved yet."
    ]
    (file,) = (tmp_path / "stages" / "pretrain").glob("*/stopped.json")
    assert json.loads(file.read_text()) == {"is_failure": False, "reason": "interrupted"}
    asked = json.loads((tmp_path / "stages" / "asked.json").read_text())
    assert asked == {"recipe": "fake", "stages": ["collect", "pretrain"]}
    run_pretrain(tmp_path, pretrain={"size": -1})
    assert not file.exists()


def test_a_stage_runs_those_before_it_and_a_second_call_nothing(tmp_path, calls):
    folder = run_pretrain(tmp_path)
    assert [name for name, *_ in calls] == ["collect", "pretrain"]
    record = json.loads((folder / "done.json").read_text())
    assert record["seconds"] >= 0
    assert [*record["outputs"]] == ["pretrain.out"]
    assert (tmp_path / "pretrain.out").resolve() == (folder / "pretrain.out").resolve()
    run_pretrain(tmp_path)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"pretrain": {"size": 2}}, ["pretrain"]),
        ({"collect": {"size": 2}}, ["collect", "pretrain"]),
        ({"seed": 1}, ["pretrain"]),
        ({"collect": {"workers": 2}}, []),
    ],
)
def test_a_changed_setting_runs_its_stage_and_the_later_ones_afresh(tmp_path, calls, changed, again):
    run_pretrain(tmp_path)
    run_pretrain(tmp_path, **changed)
    assert [name for name, *_ in calls[2:]] == again
    assert not any(resumed for *_, resumed in calls)


def test_an_interrupted_stage_finds_its_checkpoint(tmp_path, calls):
    with pytest.raises(KeyboardInterrupt):
        run_pretrain(tmp_path, pretrain={"size": -1})
    run_pretrain(tmp_path, pretrain={"size": -1})
    assert calls == [("collect", 1, False), ("pretrain", -1, False), ("pretrain", -1, True)]


def test_an_interrupted_stage_with_other_settings_starts_afresh(tmp_path, calls):
    with pytest.raises(KeyboardInterrupt):
        run_pretrain(tmp_path, pretrain={"size": -1})
    run_pretrain(tmp_path, pretrain={"size": 2})
    assert calls[-1] == ("pretrain", 2, False)


def test_a_lost_output_is_made_again(tmp_path, calls, caplog):
    run_pretrain(tmp_path)
    (tmp_path / "collect.out").resolve().unlink()
    run_pretrain(tmp_path)
    assert [name for name, *_ in calls[2:]] == ["collect"]
    assert "collect.out is gone" in caplog.text


def test_a_damaged_output_is_made_again_and_an_untouched_one_is_not(tmp_path, calls, caplog):
    run_pretrain(tmp_path)
    (tmp_path / "pretrain.out").resolve().write_text("2")
    run_pretrain(tmp_path)
    assert [name for name, *_ in calls[2:]] == ["pretrain"]
    assert "pretrain.out holds other bytes than were written" in caplog.text
    assert (tmp_path / "pretrain.out").read_text() == "1"


def test_other_settings_leave_what_was_made_and_the_first_ones_train_nothing(tmp_path, calls):
    run_pretrain(tmp_path)
    (tmp_path / "stages" / "pretrain" / "notes.txt").write_text("mine")
    before = {file: file.read_bytes() for file in (tmp_path / "stages").rglob("*.out")}
    other = run_pretrain(tmp_path, pretrain={"size": 2})
    assert (tmp_path / "pretrain.out").read_text() == "2"
    assert {file: file.read_bytes() for file in before} == before
    assert (tmp_path / "stages" / "pretrain" / "notes.txt").read_text() == "mine"
    run_pretrain(tmp_path)
    assert len(calls) == 3
    assert (tmp_path / "pretrain.out").read_text() == "1"
    assert {folder.folder: folder.is_current for folder in settings_folders(tmp_path)}[other] is False


def test_the_draft_of_a_killed_process_is_removed_and_a_users_file_is_not(tmp_path, calls):
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    draft = tmp_path / "stages" / "pretrain" / draft_path(Path("done.json")).name
    draft = draft.with_name(draft.name.replace(f".{os.getpid()}.", f".{killed.pid}."))
    draft.parent.mkdir(parents=True)
    draft.write_text("half")
    (tmp_path / "mine.draft").write_text("mine")
    run_pretrain(tmp_path)
    assert not draft.exists() and (tmp_path / "mine.draft").exists()


def test_a_run_in_use_is_refused_and_a_finished_one_can_be_asked_for(tmp_path, calls):
    run_pretrain(tmp_path)
    with locked(tmp_path):
        run_pretrain(tmp_path)
        with pytest.raises(RunInUseError, match="process"):
            run_pretrain(tmp_path, pretrain={"size": 2})
    assert len(calls) == 2


def test_a_file_of_the_user_under_the_name_of_a_checkpoint_is_refused_before_anything_runs(tmp_path, calls):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="base: expected nothing here.*folder of your own"):
        run_pretrain(tmp_path)
    assert calls == [] and (tmp_path / "base" / "notes.txt").read_text() == "mine"


def test_a_raised_revision_runs_its_stage_and_the_later_ones(tmp_path, calls, monkeypatch):
    run_pretrain(tmp_path)
    find = stage_module.find_stage
    raised = dataclasses.replace(find("collect"), revision=2)
    monkeypatch.setattr(stage_module, "find_stage", lambda name: raised if name == "collect" else find(name))
    run_pretrain(tmp_path)
    assert [name for name, *_ in calls[2:]] == ["collect", "pretrain"]


def test_what_a_stage_is_made_from_counts_by_its_content(tmp_path, calls, monkeypatch):
    source = tmp_path / "weights.bin"
    source.write_text("1")
    find = stage_module.find_stage
    made = dataclasses.replace(find("collect"), made_from=lambda recipe: {"weights": source})
    monkeypatch.setattr(stage_module, "find_stage", lambda name: made if name == "collect" else find(name))
    run_pretrain(tmp_path / "run")
    source.touch()
    run_pretrain(tmp_path / "run")
    assert len(calls) == 2
    source.write_text("2")
    run_pretrain(tmp_path / "run")
    assert [name for name, *_ in calls[2:]] == ["collect", "pretrain"]


def test_an_answer_is_given_each_time_and_leaves_the_stage_as_it_was(tmp_path, calls, monkeypatch):
    run_pretrain(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()}
    answered = []

    @stage(settings=FakeSettings, after=("collect",), answers=lambda recipe: True)
    def pretrain(run):
        answered.append(run.settings.size)
        return []

    find = stage_module.find_stage
    monkeypatch.setattr(stage_module, "find_stage", lambda name: pretrain if name == "pretrain" else find(name))
    run_pretrain(tmp_path, pretrain={"size": 3})
    run_pretrain(tmp_path, pretrain={"size": 3})
    assert answered == [3, 3]
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()} == before


def test_settings_that_do_not_fit_the_recipe_fail_when_they_are_read():
    def check(recipe, settings):
        if settings.size > recipe.seed:
            raise ValueError("pretrain.size: too large")

    @stage(settings=FakeSettings, check=check)
    def pretrain(run):
        return []

    assert pretrain.read(Recipe(name="fake", seed=1)).size == 1
    with pytest.raises(ValueError, match="too large"):
        pretrain.read(Recipe(name="fake", seed=0))
