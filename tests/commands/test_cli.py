import os
import runpy
import shlex
import signal
import subprocess
import sys
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from rlvr_world_hf.commands import cli
from rlvr_world_hf.commands.help import finding_help, help_of, stage_help, usage
from rlvr_world_hf.commands.tools import check as check_module
from rlvr_world_hf.runs import reproduce as reproduce_module
from rlvr_world_hf.runs.recipe import STAGES
from rlvr_world_hf.runs.stage import Stage, find_stage
from rlvr_world_hf.runs.status import run_status
from tests.small_runs import SMALL


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], usage),
        (["--help"], usage),
        (["run", "-h"], usage),
        (["predict", "--help"], partial(stage_help, "predict")),
        (["collect", "folder/cpu", "--help"], lambda: help_of("collect", "folder/cpu")),
        (["collect", "quickstart", "--seed", "-h"], partial(stage_help, "collect")),
        (["reproduce", "group_size", "--help"], partial(finding_help, "group_size")),
        (["reproduce", "pusht/debug", "--help"], usage),
    ],
)
def test_help_is_shown_where_it_is_asked_for(arguments, shown, capsys):
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.rstrip() == shown().rstrip()


def test_a_stage_without_a_recipe_shows_its_help_and_fails(capsys):
    assert cli.main(["predict"]) == 2
    assert capsys.readouterr().out.rstrip() == stage_help("predict").rstrip()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["grop", "pusht/debug"], "'grpo'"),
        (["grpo", "pusht/debugg"], "'pusht/debug'"),
        (["grpo", "pusht/debug", "--learnin_rate", "1"], "'learning_rate'"),
        (["grpo", "pusht/debug", "--pretrain.max_step", "1"], "'max_steps'"),
        (["run", "pusht/debug", "--grpo.betta", "1"], "'beta'"),
        (["run", "pusht/debug", "--sed", "1"], "'seed'"),
        (["run", "pusht/debug", "--seed", "one"], "expected int"),
        (["collect", "pusht/debug", "--world", "pusht2"], "collect_episodes"),
        (["run", "pusht/debug", "--seed"], "value after"),
        (["run", "pusht/debug", "--seed", "-1"], "pusht/debug: seed: expected a whole number"),
        (["run", "pusht/debug", "--grpo.beta", "[1"], "grpo.beta: expected YAML"),
        (["run", "pusht/debug", "--windows", "3"], "windows: expected dict"),
        (["run", "pusht/debug", "--world", "../../etc/passwd"], "world: expected the name of a world"),
        (["run", "pusht/quickstart", "--windows.horizon", "50"], "windows.horizon: expected windows of at most"),
        (
            ["run", "pusht/debug", "--grpo.rewards", "[{path: a.B, weight: .nan}]"],
            "debug: grpo.rewards.weight: expected",
        ),
        (["run", "pusht/debug", "--evaluate.temperature", ".nan"], "evaluate.temperature: expected a finite number"),
        (["run", "pusht/debug", "--predict.temperature", "1e-300"], "predict: Expected a temperature"),
        (["run", "pusht/debug", "--evaluate.num_samples", "-2"], "evaluate: Expected"),
        (["run", "pusht/debug", "--output_dir", ""], "output_dir: expected Path"),
        (["reproduce", "planning", "--starts", "[1"], "starts: expected YAML"),
        (["push", "nowhere", "owner/name", "--private", "maybe"], "push.private: expected bool"),
    ],
)
def test_what_cannot_be_understood_is_said_in_one_line(arguments, expected, capsys):
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "got nothing"),
        (b"seed: 1\n", "expected stages to run"),
        (b"grpo: [1", "expected YAML"),
        (b"windows: 3\ngrpo: {}", "mine.yaml: windows: expected dict"),
        (b"world: \xff", "expected text in UTF-8"),
    ],
)
@pytest.mark.parametrize("command", ["run", "reproduce"])
def test_a_recipe_that_cannot_be_used_is_told_in_one_line(command, content, expected, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    assert cli.main([command, str(file)]) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1


def test_a_card_may_be_left_out(monkeypatch):
    seen = []
    monkeypatch.setattr(reproduce_module, "reproduce", seen.append)
    monkeypatch.setattr(cli, "_show_progress", lambda: None)
    assert cli.main(["reproduce", "pusht/quickstart", "--card", ""]) == 0
    assert [recipe.card for recipe in seen] == [""]


def test_a_bug_within_a_tool_keeps_its_traceback(monkeypatch):
    def broken(words):
        raise TypeError("unsupported operand")

    monkeypatch.setattr(check_module, "check", broken)
    with pytest.raises(TypeError, match="unsupported operand"):
        cli.main(["check", "folder"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pendulum/cpu"], "outputs/reproduce/pendulum"),
        (["metaworld/cpu"], "outputs/reproduce/metaworld"),
        (["metaworld/cpu", "--output_dir", "elsewhere"], "elsewhere"),
        (["quickstart"], "outputs/reproduce/quickstart"),  # as `make reproduce` has it: of PushT, the main world
    ],
)
def test_seeds_of_each_recipe_have_a_folder_of_their_own(words, expected, monkeypatch):
    seen = []
    monkeypatch.setattr(reproduce_module, "reproduce", seen.append)
    monkeypatch.setattr(cli, "_show_progress", lambda: None)
    assert cli.main(["reproduce", *words]) == 0
    assert [recipe.output_dir.as_posix() for recipe in seen] == [expected]


def interrupted(*notes):
    error = KeyboardInterrupt()
    for note in notes:
        error.add_note(note)

    def interrupt(*_):
        raise error

    return interrupt


def test_an_interrupted_command_says_what_is_kept_and_how_to_go_on(monkeypatch, capsys):
    monkeypatch.setattr(Stage, "__call__", interrupted("pretrain goes on from update 8."))
    monkeypatch.setattr(cli, "_show_progress", lambda: None)
    assert cli.main(["collect", "pusht/debug", "--output_dir", "my runs"]) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == [
        "Interrupted.",
        "pretrain goes on from update 8.",
        "Go on with `rlvr-world collect pusht/debug --output_dir 'my runs'`.",
    ]


@pytest.mark.parametrize(("rank", "lines"), [("0", 4), ("1", 0)])
def test_one_of_several_processes_says_it(rank, lines, monkeypatch, capsys):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(Stage, "__call__", interrupted("pretrain goes on from update 8."))
    monkeypatch.setattr(cli, "_show_progress", lambda: None)
    assert cli.main(["collect", "pusht/debug"]) == 130
    said = capsys.readouterr().err
    assert len(said.splitlines()) == lines and (not said or said.endswith("Go on with the same launch.\n"))


def test_a_build_of_torch_that_knows_of_no_other_processes_is_interrupted_as_any(monkeypatch, capsys):
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    monkeypatch.delattr(torch.distributed, "is_initialized")
    monkeypatch.setattr(cli, "_named_recipe_of", interrupted())
    assert cli.main(["run", "pusht/debug"]) == 130
    assert capsys.readouterr().err.endswith("Go on with `rlvr-world run pusht/debug`.\n")


def test_a_command_interrupted_before_its_work_ends_without_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_named_recipe_of", interrupted())
    assert cli.main(["run", "pusht/debug"]) == 130
    monkeypatch.setattr(check_module, "check", interrupted())
    assert cli.main(["check", "folder"]) == 130
    said = capsys.readouterr().err
    assert "Go on with `rlvr-world run pusht/debug`." in said and said.endswith("\nInterrupted.\n")


CTRL_C = """
import os, signal, sys
from torch.optim.optimizer import register_optimizer_step_post_hook
from rlvr_world_hf.commands import cli
at, count = int(sys.argv.pop(1)), 0
def press(*_):
    global count
    count += 1
    if count == at:
        os.kill(0, signal.SIGINT)  # to all processes of the group, as a terminal does
register_optimizer_step_post_hook(press)
sys.exit(cli.main())
"""


def listen_to_ctrl_c():
    """As a process on a terminal, also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_a_run_ended_by_ctrl_c_in_each_stage_that_trains_ends_as_one_that_was_not(repository, tmp_path, whole_run):
    environment = {**os.environ, "PYTHONPATH": str(repository), "RLVR_WORLD_CACHE": str(tmp_path / "cache")}
    keys = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    words = ["run", "pusht/debug", "--output_dir", str(tmp_path / "run"), *keys]
    last = {"tokenizer": "resume.pt", "pretrain": "update 3", "grpo": "update 2", "control": "update 7"}
    for stage, saved in last.items():
        # One update less than the stage has, those of the stage before that are left counted in.
        at = {"tokenizer": 3, "pretrain": 1 + 3, "grpo": 1 + 3, "control": 2 + 3}[stage]
        command = [sys.executable, "-c", CTRL_C, str(at), *words]
        how = {"capture_output": True, "text": True, "start_new_session": True, "preexec_fn": listen_to_ctrl_c}
        ended = subprocess.run(command, env=environment, check=False, **how)
        assert ended.returncode == 130, ended.stderr[-3000:]
        assert "Traceback" not in ended.stderr and f"{stage} goes on from " in ended.stderr
        assert saved in ended.stderr and f"Go on with `rlvr-world {shlex.join(words)}`." in ended.stderr
        (status,) = [status for status in run_status(tmp_path / "run") if status.stage == stage]
        assert (status.state, status.reason) == ("stopped", "interrupted")
    done = [sys.executable, "-c", CTRL_C, "-1", *words]
    subprocess.run(done, env=environment, check=True, capture_output=True)
    for checkpoint in ("base", "control", "rlvr"):
        folders = (whole_run.output_dir, tmp_path / "run")
        expected, found = (load_file(folder / checkpoint / "model.safetensors") for folder in folders)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


# A script `evaluate.py` would hide the package of that name; `run.py` runs that stage, too.
LAUNCHED = ["run", *(name for name in STAGES if find_stage(name).shares_processes and name != "evaluate")]


def test_every_stage_that_trains_has_a_launch_script(repository):
    assert sorted(path.stem for path in (repository / "trainers").glob("*.py")) == sorted(LAUNCHED)


@pytest.mark.parametrize("script", LAUNCHED)
def test_launch_scripts_run_the_command_of_their_name(script, repository, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "pusht/debug", "--sed", "1"])
    with pytest.raises(SystemExit) as ending:
        runpy.run_path(str(repository / "trainers" / f"{script}.py"), run_name="__main__")
    assert ending.value.code == 2
    assert "unknown key 'sed'" in capsys.readouterr().err
