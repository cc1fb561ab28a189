import runpy
import sys

import pytest

from rlvr_world_hf.commands import cli
from rlvr_world_hf.runs import reproduce as reproduce_module
from rlvr_world_hf.runs.recipe import STAGES
from rlvr_world_hf.runs.stage import Stage


def test_help_names_stages_recipes_and_keys(capsys):
    assert cli.main(["--help"]) == 0
    usage = capsys.readouterr().out
    assert all(name in usage for name in (*STAGES, "run", "reproduce", "pusht/quickstart", "--seed", "--tokenizer"))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_lists_its_keys(stage, capsys):
    assert cli.main([stage, "--help"]) == 0
    assert f"usage: rlvr-world {stage} RECIPE" in capsys.readouterr().out


def test_help_of_a_finding_names_its_keys_or_rows(capsys):
    assert cli.main(["reproduce", "planning", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--starts" in text and "[50]" in text and "[pusht/quickstart]" in text and "--seeds" in text
    assert "Plan for PushT in the true simulator" in text and "--horizon" not in text
    assert cli.main(["reproduce", "group_size", "--help"]) == 0
    text = capsys.readouterr().out
    assert "rows: base; control; G 2" in text and "[outputs/findings/group_size]" in text


def test_help_gives_defaults_of_ours_and_of_the_trainer(capsys):
    cli.main(["grpo", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.strip().startswith("--beta") and line.endswith("[0.001]") for line in lines)
    assert any(line.strip().startswith("--rewards") for line in lines)


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
    ],
)
def test_what_cannot_be_understood_is_said_in_one_line(arguments, expected, capsys):
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1


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
