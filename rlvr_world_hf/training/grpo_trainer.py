"""GRPO for world models: TRL's trainer with our rollouts and rewards plugged in."""

import math
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from huggingface_hub import CommitInfo
from peft import PeftConfig, PeftModel
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel, ProgressCallback, TrainerCallback
from transformers.trainer_utils import TrainOutput
from trl import GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from ..hub.training_checkpoints import checkpoint_state, last_checkpoint
from ..processors.base import WorldModelProcessor
from .callbacks import OrderOfEpoch
from .dynamic_sampling import refuse_what_cannot_be_drawn, replace_groups
from .grouped_rows import GroupedRows, GroupSampler, Rows, read_once, update_order
from .grpo_config import WorldModelGRPOConfig
from .log_probs import SampledLogProbs, completion_log_probs
from .modality import complete, modality_of
from .objective import Scores, advantages, correct_logs, measured_once, own_part, recorded_likelihood, step_rewards
from .policies import attach_reference, nothing_loaded_beside, policy_to_sample_from, prepare_policies, reference_of
from .progress_line import ProgressLine
from .publishing import PushAtEachSave, push, save_parts, write_card


class WorldModelGRPOTrainer(GRPOTrainer):
    """
    Trainer of a world model with verifiable rewards, as in
    [RLVR-World](https://huggingface.co/papers/2505.13934), by group relative policy optimization.

    Unlike in [`~trl.GRPOTrainer`], a prompt is computed once for its completions, in sampling and in all forward and
    backward passes; where a model or an option forbids it, one warning says why. A group stays in one micro-batch as
    far as it fits, and noise belongs to a group: two processes, and a resumed run, draw what one whole run draws.

    In worlds of frames and sensors completions have a fixed length. Prompts are rows of frames and actions, encoded
    once a group; each completion is decoded once; rewards receive `predicted` and the row's columns (`reference`,
    `context`, ...), one tensor a completion; tokens the world writes carry no loss, and log-probabilities are over the
    ids valid at a position. In worlds of text prompts come from the column `prompt`. With vLLM, continuous batching,
    images, `min_p`, a repetition penalty or `generation_kwargs` it is TRL that samples.

    TRL's `tools`, `environment_factory`, `rollout_func`, `quantization_config` and `reward_processing_classes` are not
    taken: a world model answers by itself, and rewards are callables; load a quantized model beforehand.

    Args:
        model (`str`, [`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy: a causal language model over the processor's vocabulary.
        reward_funcs (`Callable` or `list[Callable]`):
            Rewards, such as [`MAEReward`]; their weights are `args.reward_weights`.
        args ([`WorldModelGRPOConfig`], *optional*):
            Settings.
        train_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Rows of [`~rlvr_world_hf.data.window_rows`], all of one horizon; of text, those of
            [`~rlvr_world_hf.data.transition.transition_row`].
        eval_dataset ([`~datasets.Dataset`] or `dict[str, Dataset]`, *optional*):
            Rows to evaluate on, sampled with the same noise at each evaluation.
        processing_class ([`WorldModelProcessor`]):
            Writes rows as tokens and reads completions back.
        callbacks, optimizers, peft_config:
            As of [`~trl.GRPOTrainer`].

    Raises:
        TypeError: if `processing_class` is not a [`WorldModelProcessor`].
        ValueError: if there is no `train_dataset`, or a setting does not go with the world or its rewards.

    Example:

    ```python
    >>> import tempfile
    >>> from rlvr_world_hf import MAEReward, WorldModelPipeline
    >>> from rlvr_world_hf.data import window_rows
    >>> world = WorldModelPipeline.from_pretrained("pusht-base")
    >>> rows = window_rows([world.example()], horizon=2, observed_steps=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     args = WorldModelGRPOConfig(folder, per_device_train_batch_size=16, updates_per_generation=1, max_steps=2)
    ...     trainer = WorldModelGRPOTrainer(world.model, MAEReward(), args, rows, processing_class=world.processor)
    ...     trainer.train().global_step  # two updates, of 16 futures of a prompt
    2

    ```
    """

    _sampled: SampledLogProbs | None = None
    _tag_names = ["trl", "grpo", "rlvr-world"]
    _name = "RLVR-World"
    _paper = {"title": "RLVR-World: Training World Models with Reinforcement Learning", "id": "2505.13934"}

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        reward_funcs: Callable | list[Callable],
        args: WorldModelGRPOConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Dataset | IterableDataset | dict[str, Dataset | IterableDataset] | None = None,
        processing_class: WorldModelProcessor | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        peft_config: PeftConfig | None = None,
    ) -> None:
        self.processor = processor = complete(processing_class, train_dataset)
        args = args or WorldModelGRPOConfig(output_dir="rlvr")
        args.accept_world(reward_funcs, fixed_length=processor.fixed_length)
        first_row: dict[str, Any] = next(iter(train_dataset or []))
        refuse_what_cannot_be_drawn(args, train_dataset, first_row)
        horizon = len(first_row["reference"]) if processor.fixed_length else 1
        if processor.fixed_length:
            args.max_completion_length = len(processor.model_token_mask(horizon))
        reference = reference_of(model, args) if peft_config is None else None
        with nothing_loaded_beside(reference, args):  # TRL takes a processor for one of a vision-language model
            super().__init__(
                model, reward_funcs, args, train_dataset, eval_dataset, processor.tokenizer,
                callbacks=callbacks, optimizers=optimizers, peft_config=peft_config,
            )  # fmt: skip
        attach_reference(self, reference)
        self.train_dataset, self.eval_dataset = read_once(self.train_dataset), read_once(self.eval_dataset)
        self.shares_prompts = prepare_policies(self, processor)
        self.modality = modality_of(processor, horizon=horizon, trainer=self)
        needs_host = not args.samples_by_probability_only or {"image", "images"} & first_row.keys()
        if processor.fixed_length or (self.shares_prompts and not needs_host):
            self.rollout_func = self._rollout  # set here, as the constructor warns of it
        self.add_callback(OrderOfEpoch())
        self.add_callback(PushAtEachSave(args, self.push_to_hub))
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(ProgressLine.of_rewards(args))

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """As transformers; `True` takes the last complete checkpoint, or none, and one at the run's end is loaded."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_checkpoint(self.args.output_dir)
        if resume_from_checkpoint:
            state = checkpoint_state(resume_from_checkpoint)
            last = self.set_initial_training_values(self.args, self.get_train_dataloader())[-1]
            if state.global_step >= last:
                self._load_from_checkpoint(resume_from_checkpoint)  # TRL would add another update
                self.state = state
                return TrainOutput(state.global_step, math.nan, {})
        return super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """As TRL; each of its rows is read once."""
        self._evaluated = 0  # batches, each with noise of its own
        return super().get_eval_dataloader(read_once(eval_dataset))

    def _get_train_sampler(self, dataset: Any = None) -> Sampler:
        return GroupSampler.of(super()._get_train_sampler(dataset))

    def _prepare_inputs(self, generation_batch: Rows) -> dict[str, Any]:
        # As TRL, except that it scatters groups over the updates at random, and that advantages are ours.
        steps = self.args.steps_per_generation
        if not self.model.training:
            place: tuple[int, ...] = (self.args.seed, self._evaluated)
            self._evaluated += 1
            return self._answered(generation_batch, self.num_generations_eval, place)
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            place = (self.args.seed, self.state.global_step, self._step % self.args.gradient_accumulation_steps)
            batch = self._answered(generation_batch, self.num_generations, place)
            if self.args.max_resampling_rounds:
                batch = replace_groups(self, batch, place)
            order = update_order(len(generation_batch), self.args.updates_per_generation, self.num_generations)
            batch = {name: value[order] if value.ndim else value for name, value in batch.items()}
            self._buffered_inputs = split_tensor_dict(batch, steps)
        return self._buffered_inputs[self._step % steps]

    def _answered(self, inputs: Rows, group_size: int, place: tuple[int, ...]) -> dict[str, Any]:
        """A batch of rollouts with its advantages; `place` is where in the run it stands."""
        self._groups = GroupedRows.of(inputs, group_size=group_size, process=self.accelerator.process_index)
        self._seeds = self._groups.seeds(*place)
        output = self._generate_and_score_completions(self.modality.inputs(self._groups))
        self._sampled = None  # what `_rollout` knew; the policy is about to change
        ours = advantages(self._scores, self.reward_weights, group_size=group_size, args=self.args)
        metrics = self._metrics["train" if self.model.training else "eval"]
        correct_logs(metrics, self._logs["advantages"], ours, fixed_length=self.processor.fixed_length)
        if ours is not None:
            output["advantages"] = own_part(ours, self._groups.first, len(inputs), self.modality)
        is_recorded = self.args.likelihood_weight and self.model.training
        return output | self.modality.recorded(self._groups) if is_recorded else output

    def _rollout(self, prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        how = {name: getattr(self, name) for name in ("temperature", "top_k", "top_p")}
        how |= {"seeds": self._seeds, "autocast_dtype": self.args.autocast_dtype}
        with policy_to_sample_from(self) as model:
            output, self._sampled = self.modality.sample(model, self._groups, prompts, **how)
        return output

    def _calculate_rewards(self, inputs: Rows, *args: Any) -> torch.Tensor:
        own, self.reward_funcs = self.reward_funcs, measured_once(self.reward_funcs, self._groups)
        try:
            rewards, steps = super()._calculate_rewards(inputs, *args), None  # of all processes
            if self.args.credit == "reward_to_go":
                steps = self.accelerator.gather(step_rewards(self.reward_funcs, inputs).to(rewards.device))
            self._scores = Scores(rewards=rewards, steps=steps)
            self.modality.make_readable(self, inputs, *args)
            return rewards
        finally:
            self.reward_funcs = own

    def _get_per_token_logps_and_entropies(
        self, *given: Any, batch_size: int | None = None, compute_entropy: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        shares_prompts = self.shares_prompts and all(value is None or value is False for value in kwargs.values())
        if not torch.is_grad_enabled() and self._sampled and (known := self._sampled.find(*given)) is not None:
            return known, None, None
        how: dict[str, Any] = {"batch_size": batch_size, "compute_entropy": compute_entropy}
        if self.modality.head is None and not shares_prompts:
            return super()._get_per_token_logps_and_entropies(*given, **how, **kwargs)
        how |= {"shares_prompts": shares_prompts, "autocast": self.accelerator.autocast}
        return *completion_log_probs(*given, head=self.modality.head, **how), None

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """As TRL, plus the weighted negative log-likelihood of what was recorded."""
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if "recorded_ids" not in inputs:
            return loss
        head, autocast = self.modality.likelihood_head, self.accelerator.autocast
        likelihood = recorded_likelihood(model, inputs, head, group_size=self.num_generations, autocast=autocast)
        self._metrics["train"]["likelihood"].append(self.accelerator.gather(likelihood.detach()).mean().item())
        return loss + self.args.likelihood_weight / self.current_gradient_accumulation_steps * likelihood

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As transformers; the whole processor, too, unless it is called for an intermediate checkpoint."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save and not _internal_call:
            save_parts(output_dir or self.args.output_dir, self.processor, self.reward_funcs)

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: str | list[str] | None = None
    ) -> None:
        """As TRL, a card of ours: without results, as TRL asks for it before any; one beside `results.json` stays."""
        if self.is_world_process_zero():
            rewards = dict(zip(self.reward_func_names, self.reward_weights.tolist(), strict=True))
            said: dict[str, Any] = {"name": model_name, "dataset": dataset_name, "rewards": rewards}
            said["tags"] = [*self._tag_names, *([tags] if isinstance(tags, str) else tags or [])]
            said["repo_id"] = self.hub_model_id or self.args.output_dir  # known once something was pushed
            write_card(self.processor, self.args, self.model.config, horizon=self.modality.horizon, **said)

    def push_to_hub(
        self, commit_message: str | None = "End of training", *, merge_adapter: bool = True, **kwargs: Any
    ) -> CommitInfo | None:
        """
        Upload policy, processor, codec and card in one commit, and nothing pickled, as [`push_world_model`] does.

        `kwargs` are `token`, `revision`, `private` and those of [`create_model_card`].
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if not self.is_world_process_zero():
            return None
        how = {name: kwargs.pop(name, None) for name in ("token", "revision", "private", "blocking")}
        self.create_model_card(**kwargs)
        how |= {"commit_message": commit_message, "merge_adapter": merge_adapter, "rewards": self.reward_funcs}
        return push(self.accelerator.unwrap_model(self.model), self.processor, self.args, **how)
