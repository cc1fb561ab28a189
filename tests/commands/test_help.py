import dataclasses

import pytest

from rlvr_world_hf.commands.help import (
    TOOLS,
    WHOLE_RUNS,
    describe,
    finding_help,
    help_of,
    stage_help,
    usage,
)
from rlvr_world_hf.findings.application import find_application
from rlvr_world_hf.findings.applications import application_names
from rlvr_world_hf.runs.keys import Key
from rlvr_world_hf.runs.locations import finding_names, recipe_names
from rlvr_world_hf.runs.recipe import STAGES


def test_usage_names_stages_tools_recipes_findings_and_shared_keys():
    text = usage()
    lines = [line.split() for line in text.splitlines()]
    for name in (*STAGES, *TOOLS, *WHOLE_RUNS):
        assert [words for words in lines if words[:1] == [name] and len(words) > 2], f"{name} with what it does"
    assert all(name in text for name in (*recipe_names(), *finding_names(), *application_names()))
    assert all(f"--{name} " in text for name in ("seed", "output_dir", "tokenizer", "windows.horizon"))
    assert max(map(len, text.splitlines())) > 0 and "{" not in text, "nothing is left to be filled in"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_says_what_it_does_and_lists_its_keys(stage):
    usage_line, blank, purpose, *rest = stage_help(stage).splitlines()
    assert usage_line == f"usage: rlvr-world {stage} RECIPE [--key value ...]"
    assert blank == "" and len(purpose) > 20 and "keys:" in rest
    assert any(line.startswith("  --") for line in rest[rest.index("keys:") :])


def test_keys_have_our_defaults_and_those_of_our_trainer():
    lines = stage_help("grpo").splitlines()
    assert any(line.strip().startswith("--beta") and line.endswith("[0.001]") for line in lines)
    assert any(line.strip().startswith("--rewards") for line in lines)
    names = [line.split()[0] for line in lines if line.startswith("  --")]
    assert len(names) == len(set(names)), "a key of the stage hides that of the trainer"


def test_a_finding_measured_by_a_program_lists_its_own_keys():
    text = finding_help("planning")
    assert "--starts" in text and "[300]" in text and "[pusht/quickstart]" in text and "--seeds" in text
    assert "Plan for PushT in the true simulator" in text and "--windows.horizon" not in text


@pytest.mark.parametrize("name", application_names())
def test_every_program_of_a_finding_has_help(name):
    text = finding_help(name)
    assert text.startswith(f"usage: rlvr-world reproduce {name} [--key value ...]")
    options = find_application(name).options
    assert all(f"--{option} " in text for option in (*options, "recipe", "seeds", "output_dir"))


def test_a_finding_of_varied_recipes_names_its_rows():
    text = finding_help("group_size")
    assert "rows: base; control; G 2" in text and "[outputs/findings/group_size]" in text


def test_help_is_that_of_the_command():
    assert help_of("predict", "pusht/debug") == stage_help("predict")
    assert help_of("reproduce", "planning") == finding_help("planning")
    assert help_of("reproduce", "pusht/debug") == help_of("run", "") == usage()


def test_keys_of_a_recipe_are_those_of_its_world():
    text = help_of("collect", "folder/cpu")
    assert "--folder " in text and "--alignment " in text and "--exploration " not in text
    assert "--exploration " in help_of("collect", "") and "--folder " not in help_of("collect", "")
    assert "--min_frames" not in text, "it follows from the windows"
    with pytest.raises(FileNotFoundError, match="folder/cpu"):
        help_of("collect", "folder/cpuu")


def test_a_key_shows_its_meaning_and_default():
    known = {
        "steps": Key(hint=int, default=4, help="Updates."),
        "folder": Key(hint=str, default=None, help="Where."),
        "runs": Key(hint=list, default=dataclasses.MISSING, help="Which."),
        "noted": Key(hint=str, default="", help=""),
    }
    assert [" ".join(line.split()) for line in describe(known)] == [
        "--steps Updates. [4]",
        "--folder Where. [none]",
        "--runs Which. [needed]",
        "--noted [none]",
    ]
