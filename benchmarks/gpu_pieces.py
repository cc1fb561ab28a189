"""
The pieces of `gpu.py`, which runs each in a process of its own.

The step is one of multi-step RLVR at the paper's sizes: 128 prompts of 1,373 tokens, 16 completions of 651 (560 of
them sampled), the recipe's rewards (LPIPS with VGG, here of random weights, and the mean absolute error) on decoded
frames of 256 x 320, four updates, KL to a reference policy. Codec, policy and frames are random: they take the time
that trained ones take.
"""

from __future__ import annotations

import argparse
import copy
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from datasets import Dataset
from gpu import put, read
from transformers import TrainerCallback
from workloads import END, VOCABULARY, WAYS, Step, Workload, build_ending_model, build_model, now, random_prompts

from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor, WorldModelGRPOConfig, WorldModelGRPOTrainer
from rlvr_world_hf.evaluation.provenance import commit, machine, versions
from rlvr_world_hf.rewards import LPIPSReward, MAEReward
from rlvr_world_hf.rollouts.head import RangeHead, accept_range_head
from rlvr_world_hf.rollouts.sampling import draw_uniforms, sample_completions
from rlvr_world_hf.rollouts.shared_prompt import pack_groups, share_prompts
from rlvr_world_hf.rollouts.text import sample_text
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.training import modality
from rlvr_world_hf.training.pretraining import build_policy


SMALL_CODEC = {"block_out_channels": [32, 32], "norm_num_groups": 8, "image_size": [32, 32]}
SMALL_POLICY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
GROUP, UPDATES = 16, 4
WARM_UPS = 1
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TESTS_BEFORE_LIMIT = 15
"""Seconds by which pytest is ended before the piece is, so that what it said is kept."""
Report = Callable[[dict[str, Any]], None]


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
    """Seconds from one batch of rollouts to the next, and of its parts, reported as each ends."""

    def __init__(self, clock: Clock, report: Report) -> None:
        self.clock, self.report = clock, report
        self.seconds: list[float] = []
        self.parts: list[dict[str, float]] = []
        self.last = now()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begins to count."""
        self.last = now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the time after the last update of a batch."""
        if state.global_step % UPDATES == 0:
            self.seconds.append(now() - self.last)
            self.parts.append(dict(self.clock.seconds))
            self.clock.seconds.clear()
            self.last = now()
            peak = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None
            self.report({"seconds_a_step": self.seconds, "seconds_of_parts": self.parts, "peak_memory": peak})


def build_processor(given: argparse.Namespace) -> VideoWorldModelProcessor:
    """The recipe's codec, of random weights, and its processor."""
    torch.manual_seed(0)
    settings = dict(load_recipe("rt1/compressive_tokenizer").sections["tokenizer"]["codec"])
    settings.pop("path")
    codec = CompressiveTokenizer(**(SMALL_CODEC if given.small else settings)).eval().to(DEVICE)
    return VideoWorldModelProcessor.from_codec(codec, [-1.0] * 13, [1.0] * 13, action_bins=256, observed_steps=1)


def policy_sizes(given: argparse.Namespace) -> dict[str, int]:
    """Those of the recipe."""
    settings = load_recipe("rt1/grpo_multi").sections["pretrain"]
    return SMALL_POLICY if given.small else {name: settings[name] for name in SMALL_POLICY}


def build_trainer(given: argparse.Namespace, folder: str) -> WorldModelGRPOTrainer:
    """The trainer of the recipe `rt1/grpo_multi`, of random weights and frames, on one device."""
    processor = build_processor(given)
    height, width = processor.codec.config.image_size
    numbers = np.random.default_rng(0)
    shape = (given.prompts, 2, 3, height, width)
    rows = {
        "context": numbers.integers(0, 256, shape, dtype=np.uint8),
        "reference": numbers.integers(0, 256, (given.prompts, given.horizon, *shape[2:]), dtype=np.uint8),
        "actions": numbers.uniform(-1, 1, (given.prompts, 1 + given.horizon, 13)).astype(np.float32),
        "reference_mask": np.ones((given.prompts, given.horizon), dtype=bool),
    }

    def read_rows(batch: dict[str, list[int]]) -> dict[str, Any]:
        return {name: [column[index] for index in batch["index"]] for name, column in rows.items()}

    dataset = Dataset.from_dict({"index": list(range(given.prompts))}).with_transform(read_rows)
    args = WorldModelGRPOConfig(
        folder,
        per_device_train_batch_size=given.micro_batch,
        gradient_accumulation_steps=given.prompts * GROUP // UPDATES // given.micro_batch,
        num_generations=GROUP,
        updates_per_generation=UPDATES,
        max_steps=UPDATES * given.steps,
        bf16=DEVICE == "cuda",
        save_strategy="no",
        report_to="none",
        use_cpu=DEVICE == "cpu",
    )
    rewards = [LPIPSReward(trunk="random", batch_size=given.frames), MAEReward()]
    policy = build_policy(processor.layout, **policy_sizes(given))
    return WorldModelGRPOTrainer(policy, rewards, args, dataset, processing_class=processor)


def tests(given: argparse.Namespace, report: Report) -> None:
    """What pytest says of the tests marked `gpu`; without a GPU they are only collected."""
    with tempfile.TemporaryDirectory() as folder:
        file, repository = Path(folder, "tests.xml"), Path(__file__).resolve().parents[1]
        # The others need not be imported: that takes half a minute.
        marked = [path for path in (repository / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text("utf-8")]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "gpu",
            *map(str, sorted(marked)),
        ]
        command += ["--junitxml", str(file)] if DEVICE == "cuda" else ["--collect-only"]
        start, limit = time.monotonic(), given.limit - TESTS_BEFORE_LIMIT
        try:
            ended = subprocess.run(command, cwd=repository, stdout=subprocess.PIPE, timeout=limit, check=False)
        except subprocess.TimeoutExpired as late:
            report({"last_lines_of_pytest": (late.output or b"").decode(errors="replace").splitlines()[-20:]})
            raise
        lines = ended.stdout.decode(errors="replace").strip().splitlines()
        if DEVICE == "cpu":
            report({"collected": sum("::" in line for line in lines), "seconds_of_pytest": time.monotonic() - start})
            if ended.returncode:
                raise RuntimeError(f"pytest could not collect the tests: {lines[-1:]}")
            return
        if not file.exists():
            raise RuntimeError(f"pytest did not come to its end: {lines[-5:]}")
        report(read_tests(file) | {"seconds_of_pytest": time.monotonic() - start, "summary": lines[-1:]})


def read_tests(file: Path) -> dict[str, Any]:
    """Numbers of a JUnit file, and the last lines of each test that failed."""
    suites = list(ElementTree.parse(file).iter("testsuite"))
    number = {name: sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors")}
    skipped = sum(int(suite.get("skipped", 0)) for suite in suites)
    failed = number["failures"] + number["errors"]
    failures = {
        f"{case.get('classname')}::{case.get('name')}": (problem.text or "").strip().splitlines()[-5:]
        for suite in suites
        for case in suite.iter("testcase")
        for problem in case
        if problem.tag in ("failure", "error")
    }
    passed = number["tests"] - failed - skipped
    return {"passed": passed, "failed": failed, "skipped": skipped, "failures": failures}


def exactness(given: argparse.Namespace, report: Report) -> None:
    """Largest differences between the device and the CPU of a small float32 policy."""
    prompts, group, length = (2, 2, 10) if given.small else (4, 8, 60)
    model = build_model(layers=2, width=64) if given.small else build_model()
    models = {"cpu": model.eval(), "device": copy.deepcopy(model).to(DEVICE)}
    ids = torch.randint(1, END, (prompts, 12 * prompts), generator=torch.Generator().manual_seed(0))
    world = torch.full((length,), -1)
    world[4::5] = 7  # each fifth token is the world's
    ranges = torch.tensor([[0, VOCABULARY]]).repeat(length, 1)
    ranges[4::5] = torch.tensor([7, 8])
    for name, temperature in {"greedy": 0.0, "drawn": 1.0}.items():
        how: dict[str, Any] = {"num_samples": group, "temperature": temperature, "return_logprobs": True}
        how |= {"uniforms": draw_uniforms(range(prompts), group, length)}
        drawn = {
            place: [
                value.cpu()
                for value in sample_completions(
                    each, ids.to(each.device), world.repeat(prompts, 1), ranges, **copy.deepcopy(how)
                )
            ]
            for place, each in models.items()
        }
        report({f"sampling_{name}": compare_samples(drawn["cpu"], drawn["device"])})
    report({"sampling_of_texts": compare_texts(given)})
    completions = drawn["cpu"][0]
    made = {place: score(each, ids, completions, ranges, world < 0) for place, each in models.items()}
    apart = [(on_device - on_cpu).abs().max().item() for on_cpu, on_device in zip(*made.values(), strict=True)]
    gradients = made["cpu"][1:]
    report(
        {
            "packed_log_probabilities": {"largest_difference": apart[0]},
            "gradients": {
                "largest_difference": max(apart[1:]),
                "largest_difference_over_largest_of_its_tensor": max(
                    difference / gradient.abs().max().item()
                    for difference, gradient in zip(apart[1:], gradients, strict=True)
                ),
            },
        }
    )


def compare_samples(on_cpu: list[torch.Tensor], on_device: list[torch.Tensor]) -> dict[str, Any]:
    """Completions that are not the same, and how far log-probabilities are apart up to the first other id."""
    same = (on_cpu[0] == on_device[0]).cumprod(dim=1).bool()
    apart = (on_cpu[1] - on_device[1]).abs()[same]
    return {
        "completions": len(same),
        "other_completions": int((~same.all(dim=1)).sum()),
        "largest_difference_of_log_probabilities": apart.max().item(),
    }


def compare_texts(given: argparse.Namespace) -> dict[str, int]:
    """Answers of free length that are not the same, drawn with the same noise from prompts of different lengths."""
    sizes = Workload(prompt_length=20, prompt_spread=16, completion_length=80, longest=200, prompts=3, group_size=4)
    prompts = [list(map(int, prompt.split())) for prompt in random_prompts(sizes)]
    how: dict[str, Any] = {"num_samples": sizes.group_size, "end_ids": [END], "seeds": range(sizes.prompts)}
    how |= {"max_new_tokens": 10 if given.small else sizes.longest}
    model = build_ending_model().eval()
    on_cpu, on_device = (sample_text(each, prompts, **how) for each in (model, copy.deepcopy(model).to(DEVICE)))
    return {"answers": len(on_cpu), "other_answers": sum(a != b for a, b in zip(on_cpu, on_device, strict=True))}


def score(
    model: Any, prompts: torch.Tensor, completions: torch.Tensor, ranges: torch.Tensor, mask: torch.Tensor
) -> list[torch.Tensor]:
    """Log-probabilities of packed completions, and the gradients of their mean."""
    rows = torch.cat([prompts.repeat_interleave(len(completions) // len(prompts), dim=0), completions], dim=1)
    rows = rows.to(model.device)
    if (reason := share_prompts(model)) is not None:
        raise RuntimeError(f"Expected a policy that shares prompts: {reason}.")
    accept_range_head(model)
    inputs = pack_groups(rows, torch.ones_like(rows), completion_length=completions.shape[1])
    log_probs = model(**inputs, range_head=RangeHead(ranges, mask), completion_ids=rows[:, -completions.shape[1] :])[0]
    gradients = torch.autograd.grad(log_probs.mean(), list(model.parameters()))
    return [value.detach().cpu() for value in (log_probs, *gradients)]


def step(given: argparse.Namespace, report: Report) -> None:
    """Trains for some batches of rollouts and says what each part took."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(given, folder)
        times = StepTimes(clock, report)
        trainer.add_callback(times)
        clock.watch(modality, "rollout", "encode and sample")
        clock.watch(trainer.processor, "decode_state", "decode")
        clock.watch(trainer, "_calculate_rewards", "rewards")
        clock.watch(trainer, "_generate_and_score_completions", "rollout, rewards, old and reference probabilities")
        trainer.train()
    warm = times.parts[WARM_UPS:]
    parts = {name: sum(of_step[name] for of_step in warm) / len(warm) for name in warm[0]}
    report({"mean_seconds_of_parts": parts, "mean_seconds_a_step": sum(times.seconds[WARM_UPS:]) / len(warm)})


def step_without_graphs(given: argparse.Namespace, report: Report) -> None:
    """The same, each token by kernels that are launched one by one."""
    from rlvr_world_hf.rollouts.decoder import graphs

    with graphs(False):
        step(given, report)


def trl(given: argparse.Namespace, report: Report) -> None:
    """A step of either way on the same prompts, as many as fit both."""
    processor = build_processor(given)
    layout, completion_length = processor.layout, len(processor.model_token_mask(given.horizon))
    del processor

    def build_endless_policy() -> Any:
        policy = build_policy(layout, **policy_sizes(given))
        policy.config.eos_token_id = policy.generation_config.eos_token_id = None  # all completions have full length
        return policy

    for prompts in (2,) if given.small else (8, 4, 2, 1):
        sizes = Workload(
            prompt_length=layout.prompt_length,
            completion_length=completion_length,
            prompts=prompts,
            group_size=4 if given.small else GROUP,
        )
        found: dict[str, Any] = {"prompts": prompts, "group_size": sizes.group_size}
        found |= {"prompt_length": sizes.prompt_length, "completion_length": completion_length}
        for way in reversed(WAYS):  # TRL first, as it needs more memory
            runs = measure_way(way, sizes, build_endless_policy)
            gc.collect()
            if DEVICE == "cuda":
                torch.cuda.empty_cache()
            if runs is None:
                report({"out_of_memory": {"way": way, "prompts": prompts}})
                break
            found[way] = runs
            report({"measured": found})
        else:
            seconds = {way: found[way]["seconds"] for way in WAYS}
            ratios = {part: seconds["trl"][part] / seconds["ours"][part] for part in ("rollout", "update", "step")}
            report({"times_as_fast": ratios})
            return
    raise RuntimeError("Not even one prompt fits in memory both ways.")


def measure_way(way: str, sizes: Workload, policy: Callable[[], Any]) -> dict[str, Any] | None:
    """Median seconds of the parts of a step, and peak memory, after a step to warm up; `None` if it does not fit."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = Step(way, sizes, Path(folder), policy=policy, bf16=DEVICE == "cuda")
            measured = [run.run() for _ in range(WARM_UPS + 2)]
        except torch.cuda.OutOfMemoryError:
            return None
    parts = ("rollout", "update", "step")
    seconds = {part: median(each[part] for each in measured[WARM_UPS:]) for part in parts}
    peaks = run.peaks | {"step": max(run.peaks.values())}
    return {"seconds": seconds, "peak_memory": peaks if DEVICE == "cuda" else None, "all_seconds": measured}


def main() -> None:
    """Runs one piece, whose result is written to the file as it comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    pieces = {call.__name__: call for call in (tests, exactness, step, step_without_graphs, trl)}
    parser.add_argument("piece", choices=pieces)
    parser.add_argument("--steps", type=int, default=2, help="batches of rollouts, at least 2; the first warms up")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--horizon", type=int, default=7)
    parser.add_argument("--micro-batch", type=int, default=64, help="completions in memory at a time in the update")
    parser.add_argument("--frames", type=int, default=256, help="frames in memory at a time in LPIPS")
    parser.add_argument("--limit", type=float, default=240, help="seconds after which this process is ended")
    parser.add_argument("--small", action="store_true", help="sizes of a moment")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    if given.small:
        given.prompts, given.horizon, given.micro_batch = 4, 2, 16
    elif DEVICE == "cpu":
        raise RuntimeError("Expected a CUDA device, found none; `--small` goes through it on a CPU.")

    def report(found: dict[str, Any]) -> None:
        put(given.output, given.piece, read(given.output).get(given.piece, {}) | found)

    sizes = {name: getattr(given, name) for name in ("steps", "prompts", "horizon", "micro_batch", "frames")}
    report({"small": given.small, "commit": commit(), "machine": machine(), "versions": versions()})
    if given.piece.startswith("step"):
        report({"sizes": sizes})
    pieces[given.piece](given, report)


if __name__ == "__main__":
    main()
