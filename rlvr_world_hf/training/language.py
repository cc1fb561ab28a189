"""Likelihood training of a language world model: a tokenizer of its own text, a small policy, TRL's `SFTTrainer`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Trainer,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer

from ..processors.layout import IGNORED_LABEL
from ..processors.text import LanguageWorldModelProcessor
from .length_sampler import LengthSampler
from .pretraining import LikelihoodConfig, Pretraining, train_by_likelihood


FinetuningConfig = SFTConfig
"""Where `training_arguments` of [`TextLikelihoodConfig`] go: TRL's."""

LENGTH_STEP = 32
"""Batches are padded to multiples of it: a CPU keeps kernels and buffers for every shape it has met, in
bfloat16 40 of them took 1.6 GB."""

OF_TEXT: Mapping[str, Any] = {
    "gradient_checkpointing": None,  # on by TRL's default, which costs a second forward pass
    "max_length": None,  # TRL would cut; `tokenize_transitions` has left out what is too long
    "pad_to_multiple_of": LENGTH_STEP,
    "dataset_kwargs": {"skip_prepare_dataset": True},  # TRL would tokenize text; these are tokens, with labels
    # States differ in length by far, and so less is padded. Where an update has several parts, [`LengthSampler`] does.
    "train_sampling_strategy": "group_by_length",
}
"""Fields of [`~trl.SFTConfig`] that [`finetune`] sets, unless a recipe does."""

END = "<|endoftext|>"
"""End token of a tokenizer that [`train_text_tokenizer`] trains; it also pads."""


def train_text_tokenizer(texts: Iterable[str], *, vocab_size: int = 2048) -> PreTrainedTokenizerFast:
    r"""
    Train a byte-level BPE tokenizer: any text can be written with it and read back.

    Args:
        texts (`Iterable[str]`):
            What it is trained on: prompts and completions of the training split.
        vocab_size (`int`, *optional*, defaults to 2048):
            Tokens at most; 256 bytes and the end token are among them.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: The tokenizer; it adds no token by itself.

    Raises:
        ValueError: if the vocabulary cannot hold all bytes.

    Example:

    ```python
    >>> tokenizer = train_text_tokenizer(["open(door)"] * 8, vocab_size=300)
    >>> tokenizer.decode(tokenizer("shut(door)\n").input_ids)
    'shut(door)\n'

    ```
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size <= len(alphabet):
        raise ValueError(f"Expected `vocab_size` above the {len(alphabet)} bytes and the end token, got {vocab_size}.")
    # All bytes are in the alphabet, whether the texts have them or not: what is seen later can be written, too.
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END,
        pad_token=END,
        padding_side="left",  # prompts of a batch end together, where their completions begin
        clean_up_tokenization_spaces=False,  # would take spaces before commas out of a state
    )


def build_language_policy(
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden_size: int = 256,
    num_hidden_layers: int = 4,
    num_attention_heads: int = 4,
    num_key_value_heads: int | None = None,
    intermediate_size: int = 768,
    tie_word_embeddings: bool = True,
    max_position_embeddings: int = 2048,
    seed: int = 0,
) -> Qwen3ForCausalLM:
    """
    A policy over a tokenizer's vocabulary with fresh weights, in the architecture of Qwen3.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Gives vocabulary and special ids.
        hidden_size (`int`, *optional*, defaults to 256):
            Width.
        num_hidden_layers (`int`, *optional*, defaults to 4):
            Depth.
        num_attention_heads (`int`, *optional*, defaults to 4):
            Heads of each attention.
        num_key_value_heads (`int`, *optional*):
            Heads of keys and values; as many by default.
        intermediate_size (`int`, *optional*, defaults to 768):
            Width inside the MLPs.
        tie_word_embeddings (`bool`, *optional*, defaults to `True`):
            Whether input and output embeddings are one.
        max_position_embeddings (`int`, *optional*, defaults to 2048):
            Longest sequence the model declares.
        seed (`int`, *optional*, defaults to 0):
            Decides the weights.

    Returns:
        [`~transformers.Qwen3ForCausalLM`]: The model, float32 on the CPU.

    Example:

    ```python
    >>> tokenizer = train_text_tokenizer(["open(door)"], vocab_size=260)
    >>> build_language_policy(tokenizer, hidden_size=16, num_hidden_layers=1, num_attention_heads=2).num_parameters()
    42112

    ```
    """
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        num_key_value_heads=num_key_value_heads or num_attention_heads,
        head_dim=hidden_size // num_attention_heads,  # Qwen3's own default is 128, whatever the width
        intermediate_size=intermediate_size,
        tie_word_embeddings=tie_word_embeddings,
        max_position_embeddings=max_position_embeddings,
        bos_token_id=None,  # the tokenizer adds no token by itself
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def tokenize_transitions(rows: Dataset, processor: LanguageWorldModelProcessor, *, max_length: int) -> Dataset:
    """
    Sequences and labels of transitions.

    Args:
        rows ([`~datasets.Dataset`]):
            Rows with `prompt` and `completion`; see [`~rlvr_world_hf.data.transition.transition_row`].
        processor ([`LanguageWorldModelProcessor`]):
            Writes them as tokens.
        max_length (`int`):
            Longest sequence, prompt and completion together; longer ones are left out, as a state that is cut is
            another state.

    Returns:
        [`~datasets.Dataset`]: Columns `input_ids` and `labels`, -100 on the prompt; of different lengths.

    Raises:
        ValueError: if none is short enough.
    """
    prompts, completions = processor.encode_prompt(rows["prompt"]), processor.encode_completion(rows["completion"])
    pairs = [pair for pair in zip(prompts, completions, strict=True) if sum(map(len, pair)) <= max_length]
    if not pairs:
        lengths = [len(prompt) + len(completion) for prompt, completion in zip(prompts, completions, strict=True)]
        raise ValueError(
            f"`max_length={max_length}` leaves none of {len(rows)} transitions, the shortest of which takes "
            f"{min(lengths, default=0)} tokens; raise it."
        )
    return Dataset.from_dict(
        {
            "input_ids": [prompt + completion for prompt, completion in pairs],
            "labels": [[IGNORED_LABEL] * len(prompt) + completion for prompt, completion in pairs],
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLikelihoodConfig(LikelihoodConfig):
    """How [`finetune`] trains: as [`~rlvr_world_hf.training.pretraining.LikelihoodConfig`], with values for text."""

    learning_rate: float = 1e-5
    """That of the paper's table for text."""

    warmup_steps: int = 0
    """Updates over which the learning rate rises from 0."""


class AnswerTrainer(SFTTrainer):
    """
    TRL's, with updates cut by length and a validation loss in nats an answer.

    An update of several parts (`gradient_accumulation_steps`) is a random draw of rows, as of a single one; its rows
    are sorted by length and each part is padded to its own longest. Evaluation also logs `eval_nats_per_answer`, by
    which models with different tokenizers can be compared: nats a token depend on what a token is.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        parts = self.args.gradient_accumulation_steps
        if parts == 1 or self.args.train_sampling_strategy != OF_TEXT["train_sampling_strategy"]:
            return super()._get_train_sampler(rows)
        size = parts * self.args.train_batch_size * self.args.world_size
        return LengthSampler([len(ids) for ids in rows["input_ids"]], update_size=size, seed=self.args.seed)

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As TRL; counts nats and answers, and none that evens out the last batches of several processes."""
        rows = len(inputs["labels"])
        count = self._not_repeated(rows)
        if 0 < count < rows:  # without any, forward with what is repeated: all processes take part in a pass
            inputs = {name: value[:count] for name, value in inputs.items()}
        output = super().prediction_step(model, inputs, *args, **kwargs)
        tokens = int((inputs["labels"][:, 1:] != IGNORED_LABEL).sum())
        if count:
            self._evaluated += torch.tensor([output[0].item() * tokens, count], dtype=torch.float64)
        return output

    def _not_repeated(self, rows: int) -> int:
        """Rows of this process's batch that accelerate has not repeated; it puts these behind all others."""
        state = self.accelerator.gradient_state
        if not state.end_of_dataloader or state.remainder <= 0:
            return rows
        return min(max(state.remainder - self.accelerator.process_index * rows, 0), rows)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """As TRL; adds the nats an answer."""
        self._evaluated = torch.zeros(2, dtype=torch.float64)
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        nats, answers = self.accelerator.reduce(self._evaluated.to(self.accelerator.device, torch.float32)).tolist()
        output.metrics[f"{metric_key_prefix}_nats_per_answer"] = nats / max(answers, 1)
        return output


def finetune(
    model: PreTrainedModel | PeftModel,
    processor: LanguageWorldModelProcessor,
    train_tokens: Dataset,
    validation_tokens: Dataset,
    *,
    output_dir: str | Path,
    args: LikelihoodConfig,
    callbacks: Sequence[TrainerCallback] = (),
    watch: Callable[[Trainer], None] | None = None,
) -> Pretraining:
    """
    Trains a language world model on recorded answers (SFT) and keeps the checkpoint with the least validation loss, as
    [`~rlvr_world_hf.training.pretrain`] does for fixed lengths.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, trained in place; of the second, the adapter.
        processor ([`LanguageWorldModelProcessor`]):
            Its processor.
        train_tokens ([`~datasets.Dataset`]):
            What [`tokenize_transitions`] returns.
        validation_tokens ([`~datasets.Dataset`]):
            The same of other transitions.
        output_dir (`str` or `Path`):
            Folder for checkpoints.
        args ([`TextLikelihoodConfig`]):
            How to train; its `training_arguments` are fields of [`~trl.SFTConfig`].
        callbacks (`Sequence[TrainerCallback]`, *optional*):
            Callbacks to add.
        watch (`Callable`, *optional*):
            Called with the trainer before it trains: adds what looks on, see
            [`~rlvr_world_hf.training.measuring.measure_at_evaluations`].

    Returns:
        [`Pretraining`]: History, with `eval_nats_per_answer` beside the loss; checkpoints and seconds.

    Raises:
        ValueError: as [`~rlvr_world_hf.training.pretrain`].
    """

    def make_trainer(callbacks: Sequence[TrainerCallback], **settings: Any) -> Trainer:
        return AnswerTrainer(
            model,
            FinetuningConfig(**settings),
            train_dataset=train_tokens,
            eval_dataset=validation_tokens,
            processing_class=processor.tokenizer,
            callbacks=list(callbacks),
        )

    settings = args.complete_settings(output_dir=output_dir, **OF_TEXT)
    return train_by_likelihood(
        model, make_trainer, output_dir=output_dir, args=args, settings=settings, callbacks=callbacks, watch=watch
    )
