import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from rlvr_world_hf import WorldModelPipeline
from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.runs.kinds import step_blocks
from rlvr_world_hf.runs.run import RESULT_FILES, run, summary
from rlvr_world_hf.runs.stage import find_stage
from rlvr_world_hf.runs.stages import evaluate as evaluate_module
from tests.recorded_outputs import hold_against_records


CHECKPOINTS = ("base", "control", "control_equal_prompts", "rlvr")
OF_OTHER_WORLDS = ("sensors.png", "examples.md")


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_at_update(number, recipe):
    """Run until optimizers have made so many updates."""
    count = 0

    def hook(*_):
        nonlocal count
        count += 1
        if count == number:
            raise Killed

    handle = register_optimizer_step_post_hook(hook)
    try:
        with pytest.raises(Killed):
            run(recipe)
    finally:
        handle.remove()


def kill_in(module, name, recipe, monkeypatch):
    """Run until a stage calls a function."""

    def end(*_, **__):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, name, end)
        run(recipe)


def test_a_run_leaves_checkpoints_results_card_and_pictures(whole_run):
    folder = whole_run.output_dir
    assert all((folder / name).stat().st_size for name in RESULT_FILES if name not in OF_OTHER_WORLDS)
    for checkpoint in CHECKPOINTS:
        pipeline = WorldModelPipeline.from_pretrained(folder / checkpoint)
        assert pipeline(torch.zeros(3, 16, 16), torch.zeros(3, 10)).shape == (1, 2, 3, 16, 16)


def test_the_summary_has_table_files_and_times(whole_run):
    text = summary(whole_run)
    assert all(word in text for word in ("copy_last", "rlvr", "strip.gif", "wall time", *whole_run.sections))


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_with_the_same_parameters(whole_run, small_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path / "cache"))
    recipe = small_recipe(tmp_path / "killed")
    kill_in(step_blocks, "save_episodes", recipe, monkeypatch)
    kill_at_update(3, recipe)  # of 4 updates of the tokenizer, saved at 2
    for _ in ("pretrain", "grpo", "control"):
        kill_at_update(5, recipe)  # 2 left of the stage before, then 3 of 4
    kill_in(evaluate_module, "write_results", recipe, monkeypatch)
    run(recipe)
    for checkpoint in CHECKPOINTS:
        expected, found = (load_file(of.output_dir / checkpoint / "model.safetensors") for of in (whole_run, recipe))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    tables = [read_results(of.output_dir / "results.json")["rows"] for of in (whole_run, recipe)]
    assert tables[0].keys() == tables[1].keys()


def test_a_second_run_does_nothing(whole_run, caplog):
    stages = sorted((whole_run.output_dir / "stages").glob("*/*/done.json"))
    assert stages
    before = [path.read_text() for path in stages]
    with caplog.at_level("INFO", logger="rlvr_world_hf"):
        run(whole_run)
    assert [path.read_text() for path in stages] == before
    assert len([record for record in caplog.records if "already done" in record.getMessage()]) == len(
        whole_run.sections
    )


def test_every_stage_makes_what_its_revision_made(whole_run):
    hold_against_records(whole_run)


def test_what_was_finished_survives_harmless_invalid_and_other_settings(whole_run, small_recipe, tmp_path, caplog):
    shutil.copytree(whole_run.output_dir, tmp_path / "run", symlinks=True)
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*.safetensors")}
    harmless = {"pretrain.logging_steps": 7, "grpo.run_name": "x", "pretrain.dataloader_num_workers": 1}
    with caplog.at_level("INFO", logger="rlvr_world_hf"):
        run(small_recipe(tmp_path / "run", **harmless))
        with pytest.raises(ValueError, match="2 generations per prompt"):
            run(small_recipe(tmp_path / "run", **{"grpo.num_generations": 1}))
    assert "running" not in caplog.text
    find_stage("pretrain")(small_recipe(tmp_path / "run", **{"pretrain.learning_rate": 1e-5}))
    assert (tmp_path / "run" / "base" / "model.safetensors").read_bytes() not in before.values()
    caplog.clear()
    with caplog.at_level("INFO", logger="rlvr_world_hf"):
        run(small_recipe(tmp_path / "run"))
    assert "running" not in caplog.text and "resuming" not in caplog.text
    assert {file: file.read_bytes() for file in before} == before
