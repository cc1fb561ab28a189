"""The whole path on a CPU: all stages of the debug recipe, once in one go and once killed in every stage."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from rlvr_world_hf import WorldModelPipeline
from rlvr_world_hf.commands import collect as collect_module
from rlvr_world_hf.commands import evaluate as evaluate_module
from rlvr_world_hf.commands.recipe import load_recipe
from rlvr_world_hf.commands.run import RESULT_FILES, run
from rlvr_world_hf.evaluation.results import read_results


SMALL = {
    "collect.train": 2,
    "collect.validation": 1,
    "collect.test": 1,
    "collect.length": 8,
    "tokenizer.max_steps": 4,
    "tokenizer.save_steps": 2,
    "pretrain.max_steps": 4,
    "pretrain.eval_steps": 2,
    "grpo.max_steps": 4,
    "grpo.save_steps": 2,
    "grpo.logging_steps": 1,
    "control.max_steps": 4,
    "evaluate.windows": 2,
    "evaluate.validation_windows": 2,
    "predict.examples": 1,
}


class Killed(BaseException):
    """Stands for the end of the process."""


def debug_run(folder: Path) -> Path:
    return run(load_recipe("pusht/debug", overrides={**SMALL, "output_dir": str(folder)}))


def kill_at_update(number: int, folder: Path) -> None:
    """Run until an optimizer has made so many updates."""
    count = 0

    def hook(*_: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise Killed

    handle = register_optimizer_step_post_hook(hook)
    try:
        with pytest.raises(Killed):
            debug_run(folder)
    finally:
        handle.remove()


def kill_in(module: object, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until a stage calls a function."""

    def end(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, name, end)
        debug_run(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLVR_WORLD_CACHE", str(tmp_path_factory.mktemp("cache")))
        return debug_run(tmp_path_factory.mktemp("whole"))


def test_a_run_leaves_checkpoints_results_card_and_pictures(whole):
    assert all((whole / name).stat().st_size for name in RESULT_FILES)
    results = read_results(whole / "results.json")
    assert {"copy_last", "tokenizer_floor", "base", "base_best_sampling", "control", "rlvr"} <= set(results["rows"])
    assert results["recipe"] == "pusht/debug"
    assert results["rewarded"] == ["mae"]
    for checkpoint in ("base", "control", "rlvr"):
        pipeline = WorldModelPipeline.from_pretrained(whole / checkpoint)
        assert pipeline(torch.zeros(3, 16, 16), torch.full((3, 2), 256.0)).shape == (1, 2, 3, 16, 16)


def test_a_run_killed_in_every_stage_ends_with_the_same_parameters(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "killed"
    kill_in(collect_module, "save_episodes", folder, monkeypatch)
    kill_at_update(3, folder)  # of 4 updates of the tokenizer, saved at 2
    for _ in ("pretrain", "grpo", "control"):
        kill_at_update(5, folder)  # 2 left of the stage before, then 3 of 4
    kill_in(evaluate_module, "write_results", folder, monkeypatch)
    debug_run(folder)
    for checkpoint in ("base", "rlvr", "control"):
        expected = load_file(whole / checkpoint / "model.safetensors")
        found = load_file(folder / checkpoint / "model.safetensors")
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert read_results(folder / "results.json")["rows"].keys() == read_results(whole / "results.json")["rows"].keys()


def test_a_second_run_does_nothing(whole, monkeypatch, caplog):
    stages = sorted((whole / "stages").glob("*/done.json"))
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(Path(json.loads(stages[0].read_text())["outputs"][0]).parents[2]))
    before = [path.read_text() for path in stages]
    with caplog.at_level("INFO", logger="rlvr_world_hf"):
        debug_run(whole)
    assert [path.read_text() for path in stages] == before
    assert len([record for record in caplog.records if "already done" in record.getMessage()]) == len(stages)
