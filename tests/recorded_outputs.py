"""
What each stage made of small debug runs, held against what is recorded in `recorded_outputs.json`.

A stage that makes something else of the same settings must say so by a raised `REVISION`, or finished runs of users
would be taken for what they are not. `python -m tests.recorded_outputs` then renews the records of this machine.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.precision import computes_bfloat16
from rlvr_world_hf.runs.recipe import Recipe
from rlvr_world_hf.runs.stage import find_stage, stage_folder
from rlvr_world_hf.runs.world import is_text


RECORDS = Path(__file__).with_suffix(".json")


def machine() -> str:
    """What numbers are equal on: the minor version of torch, and what the processor computes with."""
    version = ".".join(torch.__version__.split(".")[:2])
    precision = "bfloat16" if computes_bfloat16("cpu") else "float32"
    matrices = ", AMX" if torch.cpu.get_capabilities().get("amx_bf16") else ""
    return f"torch {version}, {torch.backends.cpu.get_cpu_capability()}{matrices}, {precision}"


def outputs_of(recipe: Recipe) -> dict[str, dict[str, float]]:
    """Stage -> numbers that change with what it made."""
    kind, folder = kind_of(recipe), recipe.output_dir
    train = kind.stored("train")
    rows = read_results(folder / "results.json")["rows"]
    if is_text(recipe):
        collected = {"rows": len(train), "characters": sum(map(len, train["completion"]))}
        tokenizer = {"vocabulary": len(kind.build_processor().tokenizer)}
        drawn = {"characters": len((folder / "examples.md").read_text())}
    else:
        collected = {
            "frames": np.mean([episode.frames.mean() for episode in train]),
            "actions": np.mean([np.abs(episode.actions).mean() for episode in train]),
        }
        tokenizer = {"mae": read_results(folder / "codec" / "results.json")["rows"]["tokenizer_floor"]["mae"]["mean"]}
        drawn = {"strip": np.asarray(Image.open(folder / "strip.png"), dtype=np.float64).mean()}
    measured = {f"{row} {metric}": rows[row][metric]["mean"] for row in rows for metric in list(rows[row])[:2]}
    return {
        "collect": collected,
        "tokenizer": tokenizer,
        "pretrain": {"loss": _last(recipe, "pretrain", "eval_loss")},
        "grpo": {"reward": _last(recipe, "grpo", "reward"), "gradient": _last(recipe, "grpo", "grad_norm")},
        **{name: {"loss": _last(recipe, name, "eval_loss")} for name in ("control", "control_equal_prompts")},
        "evaluate": measured,
        "predict": drawn,
    }


def hold_against_records(recipe: Recipe) -> None:
    """Fail where a stage made something else than is recorded; skip on a machine without records."""
    known = json.loads(RECORDS.read_text())
    if machine() not in known:
        pytest.skip(f"No outputs are recorded for {machine()}, only for {'; '.join(known)}.")
    records = known[machine()][recipe.name]
    found = outputs_of(recipe)
    for stage in recipe.sections:
        revision = find_stage(stage).revision
        assert revision == records[stage]["revision"], f"{stage}: run `python -m tests.recorded_outputs`"
        assert found[stage] == pytest.approx(records[stage]["outputs"], rel=1e-3), (
            f"{stage} made something else: raise `REVISION` in rlvr_world_hf/runs/stages/{stage}.py, and run "
            "`python -m tests.recorded_outputs`"
        )


def record(recipes: list[Recipe]) -> None:
    """Write what the stages of finished runs made into the records, for this machine."""
    known: dict[str, Any] = json.loads(RECORDS.read_text()) if RECORDS.exists() else {}
    known[machine()] = {
        recipe.name: {
            stage: {
                "revision": find_stage(stage).revision,
                "outputs": {name: float(value) for name, value in outputs.items()},
            }
            for stage, outputs in outputs_of(recipe).items()
        }
        for recipe in recipes
    }
    RECORDS.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _last(recipe: Recipe, stage: str, name: str) -> float:
    history = json.loads((stage_folder(recipe, stage) / "history.json").read_text())["log_history"]
    return [entry[name] for entry in history if name in entry][-1]


if __name__ == "__main__":
    import tempfile

    from rlvr_world_hf.runs.run import run
    from tests.small_runs import small_recipe, small_text_recipe

    with tempfile.TemporaryDirectory() as place:
        recipes = [small_recipe(Path(place, "frames")), small_text_recipe(Path(place, "text"))]
        for made in recipes:
            run(made)
        record(recipes)
