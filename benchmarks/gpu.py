"""
One step of multi-step RLVR at the paper's sizes on one GPU: `python benchmarks/gpu.py`.

128 prompts of 1,373 tokens, 16 completions of 651 (560 of them sampled), the recipe's rewards (LPIPS with VGG, here of
random weights, and the mean absolute error) on decoded frames of 256 x 320, four updates, KL to a reference policy.
Codec, policy and frames are random: they take the time that trained ones take. Writes gpu.json beside this file, or
where `--output` says; needs this repository and its packages, and no data. `--small` goes through all of it in a
minute on a CPU. Where there is a GPU, the tests marked `gpu` run first; what they say is in the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback
from workloads import now

from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor, WorldModelGRPOConfig, WorldModelGRPOTrainer
from rlvr_world_hf.evaluation.provenance import commit, machine, versions
from rlvr_world_hf.rewards import LPIPSReward, MAEReward
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.training import modality
from rlvr_world_hf.training.pretraining import build_policy


SMALL_CODEC = {"block_out_channels": [32, 32], "norm_num_groups": 8, "image_size": [32, 32]}
SMALL_POLICY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


class Clock:
    """Seconds of named parts, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Adds the time of a block to a part."""
        start = now()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + now() - start

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Times a method or function under a name of its owner."""
        call: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.time(part):
                return call(*args, **kwargs)

        setattr(owner, name, timed)


class StepTimes(TrainerCallback):
    """Seconds from one batch of rollouts to the next; parts are counted from the second on."""

    def __init__(self, updates: int, clock: Clock) -> None:
        self.updates, self.clock, self.ends = updates, clock, [now()]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the time after the last update of a batch."""
        if state.global_step % self.updates == 0:
            self.ends.append(now())
        if state.global_step == self.updates:
            self.clock.seconds.clear()


def build(given: argparse.Namespace, folder: str) -> WorldModelGRPOTrainer:
    """The trainer of the recipe `rt1/grpo_multi`, of random weights and frames, on one device."""
    torch.manual_seed(0)
    codec_settings = dict(load_recipe("rt1/compressive_tokenizer").sections["tokenizer"]["codec"])
    codec_settings.pop("path")
    policy_settings = load_recipe("rt1/grpo_multi").sections["pretrain"]
    sizes = SMALL_POLICY if given.small else {name: policy_settings[name] for name in SMALL_POLICY}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    codec = CompressiveTokenizer(**(SMALL_CODEC if given.small else codec_settings)).eval().to(device)
    low, high = [-1.0] * 13, [1.0] * 13
    processor = VideoWorldModelProcessor.from_codec(codec, low, high, action_bins=256, observed_steps=1)
    height, width = codec.config.image_size
    numbers = np.random.default_rng(0)
    shape = (given.prompts, 2, 3, height, width)
    rows = {
        "context": numbers.integers(0, 256, shape, dtype=np.uint8),
        "reference": numbers.integers(0, 256, (given.prompts, given.horizon, *shape[2:]), dtype=np.uint8),
        "actions": numbers.uniform(-1, 1, (given.prompts, 1 + given.horizon, 13)).astype(np.float32),
        "reference_mask": np.ones((given.prompts, given.horizon), dtype=bool),
    }

    def read(batch: dict[str, list[int]]) -> dict[str, Any]:
        return {name: [column[index] for index in batch["index"]] for name, column in rows.items()}

    dataset = Dataset.from_dict({"index": list(range(given.prompts))}).with_transform(read)
    args = WorldModelGRPOConfig(
        folder,
        per_device_train_batch_size=given.micro_batch,
        gradient_accumulation_steps=given.prompts * 16 // 4 // given.micro_batch,
        num_generations=16,
        updates_per_generation=4,
        max_steps=4 * given.steps,
        bf16=device == "cuda",
        save_strategy="no",
        report_to="none",
    )
    rewards = [LPIPSReward(trunk="random", batch_size=given.frames), MAEReward()]
    policy = build_policy(processor.layout, **sizes)
    return WorldModelGRPOTrainer(policy, rewards, args, dataset, processing_class=processor)


def run_tests() -> str | None:
    """The last line of pytest about the tests that need a GPU; `None` where there is none."""
    if not torch.cuda.is_available():
        return None
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    repository = Path(__file__).resolve().parents[1]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    sys.stdout.write(ended.stdout[-3000:])
    return ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else ended.stderr[-1000:]


def main() -> None:
    """Trains for some batches of rollouts and writes what each part took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2, help="batches of rollouts, at least 2; the first warms up")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--horizon", type=int, default=7)
    parser.add_argument("--micro-batch", type=int, default=64, help="completions in memory at a time in the update")
    parser.add_argument("--frames", type=int, default=256, help="frames in memory at a time in LPIPS")
    parser.add_argument("--small", action="store_true", help="sizes of a moment")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("gpu.json"))
    given = parser.parse_args()
    if given.small:
        given.prompts, given.horizon, given.micro_batch = 4, 2, 16
    tests, clock = run_tests(), Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = build(given, folder)
        times = StepTimes(4, clock)
        trainer.add_callback(times)
        clock.watch(modality, "rollout", "encode and sample")
        clock.watch(trainer.processor, "decode_state", "decode")
        clock.watch(trainer, "_calculate_rewards", "rewards")
        clock.watch(trainer, "_generate_and_score_completions", "rollout, rewards, old and reference probabilities")
        trainer.train()
    steps = [after - before for before, after in zip(times.ends, times.ends[1:], strict=False)]
    parts = {name: seconds / (given.steps - 1) for name, seconds in clock.seconds.items()}
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    sizes = {name: value for name, value in vars(given).items() if name != "output"}
    result = {
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "tests": tests,
        "sizes": sizes,
        "seconds_a_step": steps,
        "mean_seconds_of_parts": parts,
        "peak_memory": peak,
    }
    given.output.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps({"seconds_a_step": steps, **parts}, indent=2) + "\n")


if __name__ == "__main__":
    main()
