import runpy
import sys
from functools import partial

import pytest

from rlvr_world_hf.commands import cli
from rlvr_world_hf.commands.help import finding_help, help_of, stage_help, usage
from rlvr_world_hf.commands.tools import check as check_module
from rlvr_world_hf.runs import reproduce as reproduce_module
from rlvr_world_hf.runs.stage import Stage


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


def test_an_interrupted_command_says_how_to_go_on(monkeypatch, capsys):
    def interrupt(self, recipe):
        raise KeyboardInterrupt

    monkeypatch.setattr(Stage, "__call__", interrupt)
    monkeypatch.setattr(cli, "_show_progress", lambda: None)
    assert cli.main(["collect", "pusht/debug"]) == 130
    assert "resumes" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["tokenizer", "pretrain", "grpo", "control", "run"])
def test_launch_scripts_run_the_command_of_their_name(script, repository, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "pusht/debug", "--sed", "1"])
    with pytest.raises(SystemExit) as ending:
        runpy.run_path(str(repository / "trainers" / f"{script}.py"), run_name="__main__")
    assert ending.value.code == 2
    assert "unknown key 'sed'" in capsys.readouterr().err
