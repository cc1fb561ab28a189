import json
import math

import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.findings.finding import borrow_stages
from rlvr_world_hf.hub.cards import FURTHER_ROWS
from rlvr_world_hf.playground.measured import ROWS
from rlvr_world_hf.runs.curves import log_histories
from rlvr_world_hf.runs.processes import Processes
from rlvr_world_hf.runs.progress import HISTORY, read_json, write_json
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stage import find_stage, needed_stages, stage_folder
from rlvr_world_hf.runs.stages import control_equal_prompts as module
from rlvr_world_hf.runs.stages.control_equal_prompts import control_equal_prompts
from rlvr_world_hf.training.schedule import Schedule
from tests.small_runs import SMALL


ROW = "control_equal_prompts"
BASE = 4  # updates of pretrain


def history(recipe, stage=ROW):
    return read_json(stage_folder(recipe, stage) / HISTORY)


def looks(recipe):
    """Updates after which validation was looked at, those of base left out."""
    return [entry["step"] - BASE for entry in history(recipe)["log_history"] if "eval_loss" in entry][2:]


@pytest.fixture
def after_rl(whole_run, small_recipe, tmp_path, monkeypatch):
    """Makes a run of which all but the second control is finished, and in which RL drew so many prompts."""

    def borrowed(prompts, **overrides):
        recipe = small_recipe(tmp_path, **overrides)
        borrow_stages(whole_run, recipe, ["collect", "tokenizer", "pretrain", "grpo"])
        monkeypatch.setattr(module, "_prompts_of_rl", lambda run: prompts)
        return recipe

    return borrowed


def test_it_goes_on_for_as_many_examples_as_rl_drew_prompts(whole_run):
    """4 updates of RL, 2 from each batch of 4 prompts; an update of likelihood has 8 examples."""
    assert history(whole_run, "grpo")["drawn_prompts"] == 8
    assert looks(whole_run) == [1] and history(whole_run)["last_checkpoint"].endswith(f"checkpoint-{BASE + 1}")


def test_what_rl_drew_is_known_of_earlier_versions_too(whole_run, small_recipe, tmp_path, caplog):
    recipe = small_recipe(tmp_path)
    borrow_stages(whole_run, recipe, ["collect", "tokenizer", "pretrain", "grpo"])
    file = stage_folder(recipe, "grpo") / HISTORY
    write_json(file, {name: value for name, value in read_json(file).items() if name != "drawn_prompts"})
    with caplog.at_level("INFO", logger="rlvr_world_hf"):
        control_equal_prompts.work(
            control_equal_prompts._prepare(recipe, control_equal_prompts.progress(recipe), Processes())
        )
    assert "RL drew 8 prompts; likelihood goes on for 1 updates of 8 examples" in caplog.text


@pytest.mark.parametrize(("prompts", "expected"), [(3, [1]), (33, [1, 2, 3, 4, 5])])
def test_updates_are_rounded_up_and_validation_is_looked_at_a_few_times(after_rl, prompts, expected):
    recipe = after_rl(prompts)
    control_equal_prompts(recipe)
    assert len(expected) == math.ceil(prompts / 8) and looks(recipe) == expected
    assert (recipe.output_dir / ROW / "model.safetensors").is_file()


def test_more_looks_than_pretrain_had_are_evenly_spaced(after_rl):
    recipe = after_rl(64, **{"control_equal_prompts.evaluations": 2, "pretrain.eval_steps": 2})
    control_equal_prompts(recipe)
    assert looks(recipe) == [2, 4, 6, 8], "never fewer than pretrain's eval_steps ask for"


def test_one_that_was_killed_goes_on_to_the_same_end(after_rl, whole_run, small_recipe, tmp_path_factory):
    recipe = after_rl(40)
    control_equal_prompts(recipe)
    other = small_recipe(tmp_path_factory.mktemp("killed"))
    borrow_stages(whole_run, other, ["collect", "tokenizer", "pretrain", "grpo"])
    count = 0

    def kill(*_):
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt

    handle = register_optimizer_step_post_hook(kill)
    try:
        with pytest.raises(KeyboardInterrupt):
            control_equal_prompts(other)
    finally:
        handle.remove()
    assert not control_equal_prompts.progress(other).is_done()
    control_equal_prompts(other)
    assert looks(other) == looks(recipe)
    weights = [(of.output_dir / ROW / "model.safetensors").read_bytes() for of in (recipe, other)]
    assert weights[0] == weights[1]


def test_it_has_the_shape_of_controls_schedule(whole_run, small_recipe, monkeypatch):
    keys = {"control.lr_scheduler_type": "linear", "control.warmup_steps": 7}
    recipe, asked = small_recipe(whole_run.output_dir, **keys), {}
    assert control_equal_prompts.fingerprint(recipe) != control_equal_prompts.fingerprint(whole_run)
    monkeypatch.setattr(module, "_prompts_of_rl", lambda run: 8 * 20)
    monkeypatch.setattr(module, "continue_likelihood", lambda run, settings, **limits: asked.update(limits))
    progress = control_equal_prompts.progress(recipe)
    control_equal_prompts.work(control_equal_prompts._prepare(recipe, progress, Processes()))
    assert asked["updates"] == 20
    assert asked["schedule"] == Schedule(kind="linear", warmup_steps=2, first_step=BASE), "a tenth is warm-up"


def test_how_long_control_trains_changes_nothing(whole_run, small_recipe):
    recipe = small_recipe(
        whole_run.output_dir, **{"control.max_steps": 9, "control_equal_prompts.save_total_limit": 5}
    )
    assert control_equal_prompts.fingerprint(recipe) == control_equal_prompts.fingerprint(whole_run)


def test_a_recipe_without_it_has_no_such_row_and_the_results_of_before(whole_run, tmp_path):
    without = load_recipe("pusht/quickstart", overrides={"output_dir": str(tmp_path)})
    assert ROW not in needed_stages(["evaluate"], without)
    content = find_stage("evaluate").result_settings(without)
    assert content["after"].keys() == {"control"}, "fingerprints of runs that are finished stay as they were"
    assert find_stage("evaluate").result_settings(whole_run)["after"].keys() == {"control", ROW}
    assert needed_stages(["evaluate"], whole_run).index(ROW) < needed_stages(["evaluate"], whole_run).index("evaluate")


def test_the_table_the_card_the_curves_and_the_page_name_it(whole_run):
    results = read_results(whole_run.output_dir / "results.json")
    assert list(results["rows"])[-3:] == ["control", ROW, "rlvr"]
    assert FURTHER_ROWS[ROW] in (whole_run.output_dir / "README.md").read_text()
    assert ROW in ROWS
    log = log_histories(whole_run)[ROW]
    assert min(entry["step"] for entry in log) >= BASE, "it begins with what was logged last of base"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"control_equal_prompts.evaluations": 0}, "control_equal_prompts.evaluations"),
        ({"control_equal_prompts.save_total_limit": 1}, "control_equal_prompts.save_total_limit: .*got 1; raise it"),
        ({"control.lr_scheduler_type": "lineal"}, "control.lr_scheduler_type: .*such as 'linear', got 'lineal'"),
        ({"evaluate.further_rows": {ROW: "pusht-base"}}, "expected other names than those of a run's own rows"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_trained(overrides, message, small_recipe, tmp_path):
    recipe = small_recipe(tmp_path, **overrides)
    with pytest.raises(ValueError, match=message):
        (find_stage("evaluate") if "evaluate.further_rows" in overrides else control_equal_prompts).try_settings(
            recipe
        )


def test_the_small_run_has_a_part_for_it():
    assert json.dumps(load_recipe("pusht/debug", overrides=SMALL).sections[ROW]) == "{}"
