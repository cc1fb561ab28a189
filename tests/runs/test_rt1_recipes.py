"""
The recipes of RT-1 at official sizes: one step of each on the one real episode at hand, as overlapping clips with
made-up actions. The trunk of LPIPS is random: its weights cannot be downloaded here.
"""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import vgg16

from rlvr_world_hf.hub.official import RT1_ACTIONS


logger = logging.getLogger(__name__)

GIB = 2**30
REWARDS = [
    {"path": "rlvr_world_hf.rewards.LPIPSReward", "trunk": "random"},
    {"path": "rlvr_world_hf.rewards.MAEReward"},
]
ONE_TOKENIZER_STEP = {
    "tokenizer.max_steps": 1,
    "tokenizer.batch_size": 1,
    "tokenizer.adversarial_start": 0,
    "tokenizer.validation_batches": 1,
    "tokenizer.validation_batch_size": 1,
}
ONE_LIKELIHOOD_STEP = {
    "pretrain.max_steps": 1,
    "pretrain.eval_steps": 1,
    "pretrain.batch_size": 1,
    "pretrain.gradient_checkpointing": True,
    "windows.stride": 1,
}
ONE_RL_STEP = {
    "grpo.rewards": REWARDS,
    "grpo.per_device_train_batch_size": 2,
    "grpo.gradient_accumulation_steps": 1,
    "grpo.num_generations": 2,
    "grpo.updates_per_generation": 1,
    "grpo.max_steps": 1,
    "grpo.gradient_checkpointing": True,
    "grpo.validation_windows": 1,
    "pretrain.max_steps": 0,
    "windows.stride": 1,
}


@pytest.fixture(scope="module")
def clips(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Overlapping clips of the episode: one each to train on, to validate with and to test on."""
    folder = tmp_path_factory.mktemp("clips")
    with np.load(shared / "data" / "rt1" / "sample.npz", allow_pickle=False) as stored:
        frames = stored["frames"]
    low, high = np.array(RT1_ACTIONS).T
    rng = np.random.default_rng(0)
    for start in (0, 5, 10):
        actions = rng.uniform(low, high, (12, len(low))).astype(np.float32)
        np.savez(folder / f"{start}.npz", image=frames[start : start + 12], action=actions)
    return folder


def run(stage: str, recipe: str, output: Path, clips: Path, keys: dict) -> None:
    """One command in a process of its own, within 24 GiB; its peak and its time are logged."""
    words = [stage, recipe]
    for name, value in {"collect.folder": str(clips), "output_dir": str(output), **keys}.items():
        words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    code = "import sys; from rlvr_world_hf.commands.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "RLVR_WORLD_CACHE": str(output.parent / "cache")}
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", code, *words], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * 1024 / GIB
    logger.info("%s %s: %.0f s, %.1f GiB", stage, recipe, time.monotonic() - start, peak)
    assert process.returncode == 0
    assert peak < 24


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "steps"), [("frame", "single"), ("compressive", "multi")])
def test_the_recipes_of_rt1_make_a_step_at_official_sizes(codec: str, steps: str, clips: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = {name: value for name, value in vgg16().state_dict().items() if name.startswith("features")}
    save_file(trunk, tmp_path / "trunk.safetensors")
    tokenizer = ONE_TOKENIZER_STEP | {"tokenizer.perceptual_trunk": str(tmp_path / "trunk.safetensors")}
    if codec == "compressive":
        tokenizer |= {"tokenizer.later_frames": 2, "tokenizer.horizon": 7}
    run("tokenizer", f"rt1/{codec}_tokenizer", tmp_path / "codec", clips, tokenizer)
    source = {"tokenizer.source": str(tmp_path / "codec" / "codec")}
    run("pretrain", f"rt1/pretrain_{steps}", tmp_path / "base", clips, ONE_LIKELIHOOD_STEP | source)
    base = {"pretrain.start_from": str(tmp_path / "base" / "base")}
    run("grpo", f"rt1/grpo_{steps}", tmp_path / "rlvr", clips, ONE_RL_STEP | source | base)
    history = json.loads((tmp_path / "rlvr" / "stages" / "grpo" / "history.json").read_text())
    rewards = [entry["reward"] for entry in history["log_history"] if "reward" in entry]
    assert len(rewards) == 1 and np.isfinite(rewards[0]) and rewards[0] < 0
    sizes = json.loads((tmp_path / "rlvr" / "rlvr" / "config.json").read_text())
    assert (sizes["vocab_size"], sizes["num_hidden_layers"]) == ({"single": 4633, "multi": 9008}[steps], 12)
