"""
The two kinds of worlds, to the trainer: how rows become prompts, and prompts completions.

    step blocks    frames and sensors: who writes a position, and which ids are valid there, is known beforehand
    text           the model writes all of an answer, and ends it
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..processors.base import WorldModelProcessor, state_columns
from ..rollouts.head import RangeHead
from ..rollouts.sampling import rollout
from ..rollouts.text import sample_text
from .grouped_rows import GroupedRows, Rows
from .log_probs import SampledLogProbs
from .readable import PICTURED, description, differences, picture, save_below_each_other, situation


class Modality(ABC):
    """What the trainer asks of a kind of world."""

    horizon: int = 1
    """Steps of a completion."""
    head: RangeHead | None = None
    """Head over the ids valid at each position of a completion, at the temperature of the sampling, for probabilities
    among them alone; none for text."""
    likelihood_head: RangeHead | None = None
    """The same at temperature 1."""

    def inputs(self, groups: GroupedRows) -> Rows:
        """The rows for TRL, one a completion, each with a `prompt`."""
        return groups.once_a_completion()

    @abstractmethod
    def sample(
        self, model: PreTrainedModel, groups: GroupedRows, prompts: list[Any], **how: Any
    ) -> tuple[dict[str, Any], SampledLogProbs | None]:
        """
        Sample completions of the rows, whose column `prompt` is given once a completion.

        `how` holds a seed for each row, temperature, top-k, top-p and precision. Returns what TRL expects of a
        `rollout_func`, and columns for rewards, one entry a completion; and the completions' log-probabilities, where
        those of the sampling are exact.
        """

    @abstractmethod
    def make_readable(self, trainer: Any, rows: Rows, prompts: list[Any], completions: list[Any], *_: Any) -> None:
        """
        Where completions are logged: has a person read what TRL is about to log of a batch, its two lists.

        `rows` are those of the completions, with the columns that [`sample`] returned.
        """

    def recorded(self, groups: GroupedRows) -> dict[str, torch.Tensor]:
        """`recorded_ids` `(rows, L)`: what followed each prompt; `recorded_mask`: where the model would write it."""
        raise NotImplementedError("`likelihood_weight` is refused for text.")

    def per_token(self, steps: torch.Tensor) -> torch.Tensor:
        """Values `(N, S)` of the steps as values `(N, L)` of their tokens."""
        raise NotImplementedError("`credit='reward_to_go'` is refused for text.")


class TextModality(Modality):
    """Worlds of text; `tokenize` gives the ids of prompts, texts or messages, `find_answer` a completion's answer."""

    def __init__(
        self,
        tokenize: Callable[[list[Any]], list[list[int]]],
        find_answer: Callable[[str], str],
        *,
        max_new_tokens: int,
        end_ids: list[int],
    ) -> None:
        self.tokenize = tokenize
        self.find_answer = find_answer
        self.limits = {"max_new_tokens": max_new_tokens, "end_ids": end_ids}

    def sample(
        self, model: PreTrainedModel, groups: GroupedRows, prompts: list[Any], **how: Any
    ) -> tuple[dict[str, Any], SampledLogProbs | None]:
        """As [`Modality.sample`]; TRL's `generate` would compute a prompt once for each of its completions."""
        prompt_ids = self.tokenize(prompts[:: groups.samples])
        how |= {"num_samples": groups.samples, "skipped": groups.skipped, **self.limits}
        ids, log_probs = sample_text(model, prompt_ids, **how, return_logprobs=True)
        once_a_completion = [ids for ids in prompt_ids for _ in range(groups.samples)]
        output = {"prompt_ids": once_a_completion, "completion_ids": ids, "logprobs": None}
        return output, SampledLogProbs.of(model, ids, log_probs, precision=how.get("autocast_dtype"))

    def make_readable(self, trainer: Any, rows: Rows, prompts: list[Any], completions: list[Any], *_: Any) -> None:
        """As [`Modality.make_readable`]; the texts stay as they are, and their differences go beside them."""
        if trainer.log_completions:
            marked = differences(completions, rows, find_answer=self.find_answer)
            trainer._log_completion_extra("difference", marked)


class StepBlockModality(Modality):
    """
    Worlds of frames, sensors or both.

    Completions are decoded in the context `autocast`; log-probabilities are among the valid ids if `restricted`.
    """

    def __init__(
        self, processor: Any, *, horizon: int, temperature: float, autocast: Callable[[], Any], restricted: bool
    ) -> None:
        self.processor = processor
        self.horizon = horizon
        self.mask = processor.model_token_mask(horizon)
        self.autocast = autocast
        self.head = RangeHead.of(processor, horizon, temperature=temperature) if restricted else None
        self.likelihood_head = RangeHead.of(processor, horizon)
        self._drawn: Counter[str] = Counter()  # batches that have a picture, by its name without their number

    def inputs(self, groups: GroupedRows) -> Rows:
        """As [`Modality.inputs`]; TRL wants a prompt in text, and here the rows are the prompts."""
        return [{**row, "prompt": ""} for row in groups.once_a_completion()]

    def sample(
        self, model: PreTrainedModel, groups: GroupedRows, prompts: list[Any], **how: Any
    ) -> tuple[dict[str, Any], SampledLogProbs | None]:
        """As [`Modality.sample`]; each completion is decoded once."""
        prompt: dict[str, Any] = groups.columns(*self.processor.prompt_columns)
        how |= {"num_samples": groups.samples, "skipped": groups.skipped, "horizon": self.horizon, "decode": False}
        record = rollout(model, self.processor, **prompt, **how, return_logprobs=True)
        with self.autocast():
            decoded = self.processor.decode_state(record.completion_ids, prompt["context"])
        ids = record.completion_ids.tolist()
        output = {
            "prompt_ids": [prompt for prompt in record.prompt_ids.tolist() for _ in range(groups.samples)],
            "completion_ids": ids,
            "logprobs": None,
            "env_mask": [self.mask.int().tolist()] * len(prompts),
            **{name: list(states) for name, states in state_columns(decoded).items()},
        }
        if record.logprobs is None or self.head is None:  # sampling knows those among the valid ids
            return output, None
        return output, SampledLogProbs.of(model, ids, record.logprobs.tolist(), precision=how.get("autocast_dtype"))

    def make_readable(self, trainer: Any, rows: Rows, prompts: list[Any], completions: list[Any], *_: Any) -> None:
        """As [`Modality.make_readable`]; TRL has read the tokens as words such as `<d12>`."""
        if not trainer.log_completions:
            return
        prompts[:] = [situation(row) for row in rows]
        completions[:] = [description(row, self.processor.predicts) for row in rows]
        if "frames" not in self.processor.predicts or not trainer.is_world_process_zero():
            return
        pictures = [picture(row) for row in rows[:PICTURED]]
        name = self._name_of_picture(trainer.state.global_step, is_training=trainer.model.training)
        save_below_each_other(pictures, Path(trainer.args.output_dir, "completions", name))
        for number in range(len(pictures)):
            completions[number] += f"; row {number + 1} of {name}"
        if trainer.log_multimodal:  # one entry a completion of all processes, of which this one's are the first
            others = len(rows) * trainer.accelerator.num_processes - len(pictures)
            trainer._logs["images"].extend([[drawn] for drawn in pictures] + [[]] * others)

    def _name_of_picture(self, step: int, *, is_training: bool) -> str:
        """One for each batch: an update may have several, and an evaluation those of several datasets."""
        name = f"completions_{step:05d}" if is_training else f"completions_{step:05d}_eval"
        self._drawn[name] += 1
        return f"{name}.png" if is_training and self._drawn[name] == 1 else f"{name}_{self._drawn[name]}.png"

    def recorded(self, groups: GroupedRows) -> dict[str, torch.Tensor]:
        """As [`Modality.recorded`]; padding is not written."""
        columns = dict.fromkeys((*self.processor.prompt_columns, *self.processor.reference_columns))
        ids = self.processor.encode_completion(**groups.columns(*columns))
        is_known = torch.ones(len(ids), self.horizon, dtype=torch.bool)
        if "reference_mask" in groups.rows[0]:
            is_known = groups.columns("reference_mask")["reference_mask"].bool().cpu()
        both = {"recorded_ids": ids, "recorded_mask": (self.per_token(is_known) & self.mask).to(ids.device)}
        return {name: value.repeat_interleave(groups.samples, dim=0) for name, value in both.items()}

    def per_token(self, steps: torch.Tensor) -> torch.Tensor:
        """As [`Modality.per_token`]."""
        return steps.repeat_interleave(len(self.mask) // self.horizon, dim=1)


def modality_of(processor: WorldModelProcessor, *, horizon: int, trainer: Any) -> Modality:
    """The modality of a processor, with a trainer's temperature, precision, limits and tokenizing."""
    if processor.fixed_length:
        how = {"temperature": trainer.temperature, "autocast": trainer.accelerator.autocast}
        how["restricted"] = trainer.args.restrict_log_probs
        return StepBlockModality(processor, horizon=horizon, **how)
    limits = {"max_new_tokens": trainer.max_completion_length, "end_ids": trainer.eos_token_ids}
    return TextModality(lambda prompts: trainer._tokenize_prompts(prompts)[0], processor.find_answer, **limits)


def complete(processor: Any, rows: Any) -> WorldModelProcessor:
    """The processor, refused with a word if it is none, or if there are no rows to learn from."""
    if not isinstance(processor, WorldModelProcessor):
        raise TypeError(
            f"`processing_class` must be a `WorldModelProcessor`, got {type(processor).__name__}; load it with "
            "`load_world_model`, or build it with `VideoWorldModelProcessor.from_codec`."
        )
    if rows is None:
        raise ValueError("Expected `train_dataset`, got None; make one with `window_rows`.")
    return processor
