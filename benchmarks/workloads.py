"""What is measured: one step of GRPO on prompts of random tokens, by plain TRL and by this library."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from einops import rearrange
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from rlvr_world_hf import (
    CompressiveTokenizer,
    LanguageWorldModelProcessor,
    VideoWorldModelProcessor,
    WorldModelGRPOConfig,
    WorldModelGRPOTrainer,
)
from rlvr_world_hf.rewards import LPIPSReward
from rlvr_world_hf.rollouts import draw_uniforms, sample_completions
from rlvr_world_hf.runs.locations import bundled_path


VOCABULARY = 2304
END = VOCABULARY - 1
"""The end token of policies that end their answers."""
WAYS = ("ours", "trl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """
    Sizes of a step: `prompts` of `prompt_length` tokens, `group_size` completions of `completion_length` each.

    With a `longest` completion, completions end by themselves, and both lengths are means.
    """

    prompt_length: int
    completion_length: int
    prompts: int
    group_size: int = 16
    prompt_spread: int = 0
    """Tokens by which the longest prompt exceeds the shortest; the others lie evenly between."""
    longest: int | None = None
    """Tokens after which a completion is cut off, where the policy ends them."""
    micro_batch: int | None = None
    """Completions in memory at a time in the update; all by default."""

    @property
    def rows(self) -> int:
        """Completions of all prompts."""
        return self.prompts * self.group_size

    @property
    def prompt_lengths(self) -> list[int]:
        """Tokens of each prompt."""
        shortest, gaps = self.prompt_length - self.prompt_spread / 2, max(self.prompts - 1, 1)
        return [round(shortest + self.prompt_spread * index / gaps) for index in range(self.prompts)]

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens that have to go through the model once, where prompts are shared and where they are not."""
        completions = self.rows * self.completion_length
        return {
            "ours": self.prompts * self.prompt_length + completions,
            "trl": self.rows * self.prompt_length + completions,
        }


def build_model(*, layers: int = 6, width: int = 256) -> LlamaForCausalLM:
    """The policy of every workload: Llama of 6 layers of 256, vocabulary 2304, float32. It has no end token."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config)


@torch.no_grad()
def build_ending_model() -> LlamaForCausalLM:
    """
    The same policy, but each token is an end token with a probability of about 1 %.

    All embeddings have a first coordinate in common, and the head reads it for the end token alone. So that token's
    logit has a bias, and any way to make a step loads the policy as what it is, a Llama. Completions that are cut off
    after 200 tokens have a mean of about 80.
    """
    model = build_model()
    model.get_input_embeddings().weight[:, 0] += 2.0
    model.lm_head.weight[:, 0] = 0.0
    model.lm_head.weight[END] = 0.0
    model.lm_head.weight[END, 0] = 0.457
    return model


def build_tokenizer(vocabulary: int = VOCABULARY, *, end: int | None = None) -> PreTrainedTokenizerFast:
    """A word a token. By default the end token is beyond the model's vocabulary, so that no completion ends early."""
    words = {str(index): index for index in range(vocabulary + 1)}
    backend = Tokenizer(models.WordLevel(words, unk_token="0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    last = str(vocabulary if end is None else end)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=last, pad_token="0")


def random_prompts(workload: Workload) -> list[str]:
    """Prompts of exactly the lengths that are asked for."""
    generator = _generator()
    ids = [torch.randint(1, END, (length,), generator=generator) for length in workload.prompt_lengths]
    return [" ".join(map(str, row.tolist())) for row in ids]


def different_tokens(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    """A reward as a user of TRL would write it: the number of different tokens."""
    return [float(len(set(ids))) for ids in completion_ids]


class Step:
    """
    One way to make a step of GRPO, in parts that can be timed.

    Args:
        way: `"ours"` or `"trl"`.
        workload: its sizes.
        folder: where the trainer may write.
        policy: builds the policy; by default that of the workload.
        bf16: whether to compute in bfloat16 where autocast does.
        compiled: whether our way compiles the steps of sampling, at the first run; TRL's cannot.
    """

    def __init__(
        self,
        way: str,
        workload: Workload,
        folder: Path,
        *,
        policy: Callable[[], LlamaForCausalLM] | None = None,
        bf16: bool = False,
        compiled: bool = False,
    ) -> None:
        self.way = way
        self.peaks: dict[str, int] = {}  # bytes of a GPU at most, by part, at the last run
        ends = workload.longest is not None
        model = (policy or (build_ending_model if ends else build_model))()
        prompts, self.micro_batches = random_prompts(workload), 1
        if workload.micro_batch is not None:
            self.micro_batches = workload.rows // workload.micro_batch
        tokenizer = build_tokenizer(model.config.vocab_size, end=END if ends else None)
        settings: dict[str, Any] = {
            "output_dir": str(folder),
            "per_device_train_batch_size": workload.micro_batch or workload.rows,
            "gradient_accumulation_steps": self.micro_batches,
            "num_generations": workload.group_size,
            "max_completion_length": workload.longest or workload.completion_length,
            "steps_per_generation": self.micro_batches,
            "temperature": 1.0,
            "beta": 1e-3,
            "learning_rate": 1e-5,
            "bf16": bf16,
            "gradient_checkpointing": False,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": not torch.cuda.is_available(),
        }
        rows = Dataset.from_dict({"prompt": prompts})
        if way == "ours":
            processor = LanguageWorldModelProcessor(tokenizer)
            args = WorldModelGRPOConfig(**settings, compile_sampling=compiled)
            self.trainer = WorldModelGRPOTrainer(model, different_tokens, args, rows, processing_class=processor)
        else:
            # The host loads its reference policy from a folder.
            model.save_pretrained(folder / "start")
            args = GRPOConfig(**settings)
            self.trainer = GRPOTrainer(str(folder / "start"), different_tokens, args, rows, processing_class=tokenizer)
        self.rows = [{"prompt": prompt} for prompt in prompts for _ in range(workload.group_size)]
        self.optimizer = torch.optim.AdamW(self.trainer.model.parameters(), lr=1e-5)
        self.trainer.current_gradient_accumulation_steps = self.micro_batches
        if bf16:
            self.trainer.accelerator.prepare_model(self.trainer.model)  # in place, as `train` does
        self.trainer.model.train()

    def run(self) -> dict[str, float]:
        """Seconds of the rollout, of log-probabilities and update, and of all; the mean tokens of a completion."""
        trainer, seconds = self.trainer, {}
        name = "rollout_func" if self.way == "ours" else "_generate_single_turn"
        sample = getattr(trainer, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = now()
            output = sample(*args, **kwargs)
            seconds["rollout"] = now() - start
            self.peaks["rollout"] = peak_since_last_asked()
            return output

        setattr(trainer, name, timed)
        peak_since_last_asked()
        start = now()
        written = 0
        for _ in range(self.micro_batches):
            batch = trainer._prepare_inputs(self.rows)  # sampled at the first
            written += batch["completion_mask"].sum().item()
            loss = trainer.compute_loss(trainer.model, batch)
            loss.backward()
            trainer._step += 1
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        seconds["step"] = now() - start
        seconds["update"] = seconds["step"] - seconds["rollout"]
        self.peaks["update"] = peak_since_last_asked()
        setattr(trainer, name, sample)
        trainer.state.global_step += 1  # the noise of the next run is another
        return seconds | {"mean_length": written / len(self.rows)}


class Frames:
    """
    A multi-step rollout whose world writes tokens: one cache for all frames, or, as in the authors' code, the whole
    sequence so far computed again for each frame.

    Args:
        way: `"ours"` or `"trl"`, whose `generate` it is.
        workload: its sizes; completions are blocks of 20 tokens of the model and 4 of the world.
    """

    written, given = 20, 4

    def __init__(self, way: str, workload: Workload) -> None:
        self.way, self.workload = way, workload
        self.model = build_model().eval()
        steps = workload.completion_length // (self.written + self.given)
        block = torch.tensor([-1] * self.written + [7] * self.given)
        self.world = block.repeat(steps)[None].repeat(workload.prompts, 1)
        ids = torch.randint(1, VOCABULARY, (workload.prompts, workload.prompt_length), generator=_generator())
        self.prompts = ids

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Seconds of the rollout."""
        start, group = now(), self.workload.group_size
        if self.way == "ours":
            length = self.world.shape[1]
            ranges = torch.tensor([[0, VOCABULARY]]).repeat(length, 1)
            noise = draw_uniforms(range(self.workload.prompts), group, length)
            sample_completions(self.model, self.prompts, self.world, ranges, num_samples=group, uniforms=noise)
        else:
            ids = self.prompts.repeat_interleave(group, dim=0)
            while ids.shape[1] < self.workload.prompt_length + self.world.shape[1]:
                ids = self.model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=self.written, do_sample=True, top_k=0,
                    eos_token_id=VOCABULARY, pad_token_id=0,
                )  # fmt: skip
                ids = torch.cat([ids, ids.new_full((len(ids), self.given), 7)], dim=1)
        return {"rollout": now() - start}


class Reward:
    """
    Decoding and LPIPS (random trunk) of PushT's completions: each context and reference once, or for each completion.

    Args:
        way: `"ours"`, or `"trl"`: completions in an order in which neighbours have nothing in common.
        prompts: number of prompts.
        group_size: completions of each.
        horizon: frames of a completion.
    """

    prompts, group_size, horizon = 4, 16, 4

    def __init__(
        self, way: str, *, prompts: int = prompts, group_size: int = group_size, horizon: int = horizon
    ) -> None:
        codec = CompressiveTokenizer.from_pretrained(bundled_path("pusht-codec")).float()
        self.processor = VideoWorldModelProcessor.from_codec(
            codec, [0.0, 0.0], [512.0, 512.0], action_bins=256, observed_steps=1
        )
        self.reward = LPIPSReward(trunk="random")
        generator, rows = _generator(), prompts * group_size
        self.context = torch.rand(prompts, 2, 3, 64, 64, generator=generator)
        self.reference = torch.rand(prompts, horizon, 3, 64, 64, generator=generator).repeat_interleave(group_size, 0)
        ranges = self.processor.token_ranges(horizon)
        share = torch.rand(rows, len(ranges), generator=generator)
        self.ids = (ranges[:, 0] + share * (ranges[:, 1] - ranges[:, 0])).long()
        if way == "trl":
            order = rearrange(torch.arange(rows), "(b g) -> (g b)", g=group_size)
            self.context = self.context.repeat_interleave(group_size, 0)[order]
            self.reference, self.ids = self.reference[order], self.ids[order]

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Seconds of the reward."""
        start = now()
        predicted = self.processor.decode_state(self.ids, self.context)
        self.reward(predicted=list(predicted), reference=list(self.reference))
        return {"reward": now() - start}


class Candidates:
    """
    The futures of many sequences of actions from one situation of PushT, likeliest tokens, decoding included.

    Each run is a process of its own, with this code or with that of an earlier commit; both read the checkpoint of
    that commit as a user would. The commit has to be in the history of this checkout.

    Args:
        way: `"ours"`, or `"trl"`: the code of the commit.
        folder: where it may write; both ways share what lies in the folder above.
        candidates: number of sequences.
        calls: predictions whose median counts.
    """

    commit = "17ba652"
    candidates, horizon = 64, 4

    def __init__(self, way: str, folder: Path, *, candidates: int = candidates, calls: int = 5) -> None:
        self.calls, before, here = calls, folder.parent / "before", Path(__file__).parent
        self.repository = here.parent
        folder.mkdir(parents=True)
        if not before.exists():
            self._unpack(before)
        self.code = self.repository if way == "ours" else before
        self.checkpoint = before / "checkpoint"
        self.situation, self.predicted = folder / "situation.npz", folder / "predicted.npy"
        recorded = np.load(bundled_path("pusht-base") / "example.npz")
        actions = np.random.default_rng(0).uniform(32, 480, (candidates, 1 + self.horizon, 2)).astype(np.float32)
        np.savez(self.situation, frames=recorded["frames"][:2], actions=actions)
        files = here / "candidates.py", self.checkpoint, self.situation, self.predicted
        self.command = [sys.executable, *map(str, files)]

    def _unpack(self, folder: Path) -> None:
        """The commit's files, and its checkpoint with the codec that then had to lie inside."""
        packed = subprocess.run(
            ["git", "-C", self.repository, "archive", self.commit], check=True, stdout=subprocess.PIPE
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            files.extractall(folder, filter="data")
        shutil.copytree(folder / "model_cards" / "pusht-base", folder / "checkpoint")
        shutil.copytree(folder / "model_cards" / "pusht-codec", folder / "checkpoint" / "codec")

    def run(self) -> dict[str, Any]:
        """Seconds of a call, what calls add to the peak of memory, type of the weights, frames `(N, S, 3, H, W)`."""
        ended = subprocess.run(
            [*self.command, "--calls", str(self.calls)],
            check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(self.code)},
        )  # fmt: skip
        said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        if Path(said.pop("code")) != self.code.resolve():
            raise RuntimeError(f"Expected the code of {self.code} to be imported, got another's.")
        return said | {"frames": np.load(self.predicted)}


def now() -> float:
    """Seconds, once everything asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_since_last_asked() -> int:
    """Bytes of tensors on a GPU at most, since this was last asked; 0 where there is none."""
    if not torch.cuda.is_available():
        return 0
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
