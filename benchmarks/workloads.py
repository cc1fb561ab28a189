"""What is measured: one step of GRPO on prompts of random tokens, by plain TRL and by this library."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
WAYS = ("ours", "trl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sizes of a step: `prompts` of `prompt_length` tokens, `group_size` completions of `completion_length` each."""

    prompt_length: int
    completion_length: int
    prompts: int
    group_size: int = 16

    @property
    def rows(self) -> int:
        """Completions of all prompts."""
        return self.prompts * self.group_size

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens that have to go through the model once, where prompts are shared and where they are not."""
        completions = self.rows * self.completion_length
        return {
            "ours": self.prompts * self.prompt_length + completions,
            "trl": self.rows * self.prompt_length + completions,
        }


def build_model(*, layers: int = 6, width: int = 256) -> LlamaForCausalLM:
    """The policy of every workload: Llama of 6 layers of 256, vocabulary 2304, float32."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=8192,
    )
    return LlamaForCausalLM(config)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word a token. The end token is beyond the model's vocabulary, so that no completion ends early."""
    words = {str(index): index for index in range(VOCABULARY + 1)}
    backend = Tokenizer(models.WordLevel(words, unk_token="0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=str(VOCABULARY), pad_token="0")


def random_prompts(workload: Workload) -> list[str]:
    """Prompts of exactly `prompt_length` tokens."""
    ids = torch.randint(1, VOCABULARY, (workload.prompts, workload.prompt_length), generator=_generator())
    return [" ".join(map(str, row)) for row in ids.tolist()]


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
    """

    def __init__(self, way: str, workload: Workload, folder: Path) -> None:
        self.way = way
        prompts, tokenizer = random_prompts(workload), build_tokenizer()
        settings: dict[str, Any] = {
            "output_dir": str(folder),
            "per_device_train_batch_size": workload.rows,
            "num_generations": workload.group_size,
            "max_completion_length": workload.completion_length,
            "steps_per_generation": 1,
            "temperature": 1.0,
            "beta": 1e-3,
            "learning_rate": 1e-5,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": not torch.cuda.is_available(),
        }
        model, rows = build_model(), Dataset.from_dict({"prompt": prompts})
        if way == "ours":
            processor = LanguageWorldModelProcessor(tokenizer)
            args = WorldModelGRPOConfig(**settings)
            self.trainer = WorldModelGRPOTrainer(model, different_tokens, args, rows, processing_class=processor)
        else:
            # The host loads its reference policy from a folder.
            model.save_pretrained(folder / "start")
            args = GRPOConfig(**settings)
            self.trainer = GRPOTrainer(str(folder / "start"), different_tokens, args, rows, processing_class=tokenizer)
        self.rows = [{"prompt": prompt} for prompt in prompts for _ in range(workload.group_size)]
        self.optimizer = torch.optim.AdamW(self.trainer.model.parameters(), lr=1e-5)
        self.trainer.current_gradient_accumulation_steps = 1
        self.trainer.model.train()

    def run(self) -> dict[str, float]:
        """Seconds of the rollout, of log-probabilities and update, and of all."""
        trainer, seconds = self.trainer, {}
        name = "rollout_func" if self.way == "ours" else "_generate_single_turn"
        sample = getattr(trainer, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = now()
            output = sample(*args, **kwargs)
            seconds["rollout"] = now() - start
            return output

        setattr(trainer, name, timed)
        start = now()
        batch = trainer._prepare_inputs(self.rows)
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        seconds["step"] = now() - start
        seconds["update"] = seconds["step"] - seconds["rollout"]
        return seconds


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


def now() -> float:
    """Seconds, once everything asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
