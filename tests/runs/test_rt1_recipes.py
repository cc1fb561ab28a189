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
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import vgg16

from rlvr_world_hf import VideoWorldModelProcessor
from rlvr_world_hf.hub.checkpoint import save_world_model
from rlvr_world_hf.hub.official import RT1_ACTIONS
from rlvr_world_hf.runs.codec import load_codec
from rlvr_world_hf.runs.named_parts import build_part
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stages.pretrain import pretrain
from rlvr_world_hf.runs.stages.tokenizer import tokenizer
from rlvr_world_hf.training.pretraining import build_policy


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
    "windows.stride": 99,  # one window, in which the codec is measured
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
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a recipe, so that a stage goes on from what the one before has left, where both are run."""
    return tmp_path_factory.mktemp("rt1")


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


def codec_of(outputs: Path, codec: str) -> str:
    """The codec that its recipe has trained, or one of its sizes that has learned nothing."""
    trained, untrained = outputs / f"{codec}_tokenizer" / "codec", outputs / f"{codec}_untrained"
    if not trained.is_dir() and not untrained.is_dir():
        settings = tokenizer.read(load_recipe(f"rt1/{codec}_tokenizer"))
        build_part(settings.codec, where="tokenizer.codec", example="").save_pretrained(untrained)
    return str(trained if trained.is_dir() else untrained)


def base_of(outputs: Path, codec: str, steps: str) -> str:
    """The world model that its recipe has trained, or one of its sizes that has learned nothing."""
    trained, untrained = outputs / f"pretrain_{steps}" / "base", outputs / f"{steps}_untrained"
    if not trained.is_dir():
        recipe = load_recipe(f"rt1/pretrain_{steps}")
        settings, observed = pretrain.read(recipe), recipe.windows.observed_steps
        low, high = np.array(RT1_ACTIONS).T.tolist()
        bins: dict[str, Any] = {"action_bins": settings.action_bins, "observed_steps": observed, "fps": 3.0}
        processor = VideoWorldModelProcessor.from_codec(load_codec(codec_of(outputs, codec)), low, high, **bins)
        save_world_model(untrained, build_policy(processor.layout, **settings.policy_sizes()), processor)
    return str(trained if trained.is_dir() else untrained)


@pytest.mark.slow
@pytest.mark.memory
@pytest.mark.parametrize("codec", ["frame", "compressive"])
def test_a_tokenizer_of_rt1_makes_a_step_at_official_sizes(codec: str, clips: Path, outputs: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = {name: value for name, value in vgg16().state_dict().items() if name.startswith("features")}
    save_file(trunk, outputs / "trunk.safetensors")
    keys = ONE_TOKENIZER_STEP | {"tokenizer.perceptual_trunk": str(outputs / "trunk.safetensors")}
    if codec == "compressive":
        keys |= {"tokenizer.later_frames": 2, "tokenizer.horizon": 7}
    run("tokenizer", f"rt1/{codec}_tokenizer", outputs / f"{codec}_tokenizer", clips, keys)
    assert Path(codec_of(outputs, codec)).parent.name == f"{codec}_tokenizer"


@pytest.mark.slow
@pytest.mark.memory
@pytest.mark.parametrize(("codec", "steps"), [("frame", "single"), ("compressive", "multi")])
def test_likelihood_of_rt1_makes_a_step_at_official_sizes(codec: str, steps: str, clips: Path, outputs: Path) -> None:
    keys = ONE_LIKELIHOOD_STEP | {"tokenizer.source": codec_of(outputs, codec)}
    run("pretrain", f"rt1/pretrain_{steps}", outputs / f"pretrain_{steps}", clips, keys)
    assert Path(base_of(outputs, codec, steps)).parent.name == f"pretrain_{steps}"


@pytest.mark.slow
@pytest.mark.memory
@pytest.mark.parametrize(("codec", "steps"), [("frame", "single"), ("compressive", "multi")])
def test_rl_of_rt1_makes_a_step_at_official_sizes(codec: str, steps: str, clips: Path, outputs: Path) -> None:
    given = {"tokenizer.source": codec_of(outputs, codec), "pretrain.start_from": base_of(outputs, codec, steps)}
    rlvr = outputs / f"grpo_{steps}"
    run("grpo", f"rt1/grpo_{steps}", rlvr, clips, ONE_RL_STEP | given)
    history = json.loads((rlvr / "stages" / "grpo" / "history.json").read_text())
    rewards = [entry["reward"] for entry in history["log_history"] if "reward" in entry]
    assert len(rewards) == 1 and np.isfinite(rewards[0]) and rewards[0] < 0
    sizes = json.loads((rlvr / "rlvr" / "config.json").read_text())
    assert (sizes["vocab_size"], sizes["num_hidden_layers"]) == ({"single": 4633, "multi": 9008}[steps], 12)
