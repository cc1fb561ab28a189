"""GRPO for world models: TRL's trainer with our rollouts and rewards plugged in."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from einops import rearrange
from huggingface_hub import CommitInfo
from peft import PeftConfig, PeftModel
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel, ProgressCallback, TrainerCallback
from transformers.trainer_utils import HubStrategy, TrainOutput
from transformers.utils import logging
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer import grpo_trainer as trl_grpo
from trl.trainer.utils import get_config_model_id, split_tensor_dict

from ..hub.cards import CardSubject, card_text
from ..hub.push import push_world_model
from ..processors.base import WorldModelProcessor, state_columns
from ..rollouts.head import RangeHead, accept_range_head
from ..rollouts.sampling import rollout
from ..rollouts.shared_prompt import PackedGroups, pack_groups, share_prompts, unpack_completions
from ..rollouts.text import sample_text, seed_of
from .advantages import beyond_last_step, group_advantages, rewards_to_go
from .callbacks import ProgressLine
from .checkpoints import checkpoint_state, last_checkpoint
from .grpo_config import WorldModelGRPOConfig


logger = logging.get_logger(__name__)

Rows = list[dict[str, Any]]

STATES = ("predicted", "reference", "context")
SCORED_COLUMNS = (*STATES, *(f"{name}_states" for name in STATES), "reference_mask")
"""What a reward is measured from, step by step."""

SETTINGS = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_generations",
    "updates_per_generation",
    "max_steps",
    "num_train_epochs",
    "learning_rate",
    "lr_scheduler_type",
    "temperature",
    "beta",
    "epsilon",
    "loss_type",
    "credit",
    "credit_discount",
    "credit_baseline",
    "likelihood_weight",
    "seed",
)
"""Of the configuration, what a card tells; paths and tokens of the Hub are not among it."""

UNKNOWN_DATA = "Rows that were given to the trainer; where they are from, and under which license, was not recorded."
"""What a card says of data without a name."""


class WorldModelGRPOTrainer(GRPOTrainer):
    """
    Trainer of a world model with verifiable rewards, as in
    [RLVR-World](https://huggingface.co/papers/2505.13934), by group relative policy optimization.

    What differs from [`~trl.GRPOTrainer`]:

    - a prompt is computed once for its completions, when they are sampled and in the forward and backward passes of
      policy and reference policy; where a model or an option forbids it, one warning says why;
    - a group stays in one micro-batch as far as it fits;
    - the reference policy of a model in memory is a copy made in memory;

    and in worlds of frames and sensors, whose completions have a fixed length:

    - prompts come from rows of frames and actions, encoded once a group, and completions are sampled at fixed
      positions with noise that belongs to the row: two processes draw what one draws, a resumed run what an
      uninterrupted one draws;
    - each completion is decoded once; rewards receive `predicted`, and the columns of the row (`reference`,
      `reference_mask`, `context`, ...), as lists with one tensor a completion;
    - tokens the world writes carry no loss, and log-probabilities are over the ids valid at a position.

    In worlds of text prompts come from the column `prompt`; rewards receive `completions` and the columns of the row.
    With vLLM, continuous batching, tools, images, `min_p`, a repetition penalty or `generation_kwargs` it is TRL
    that samples.

    All else is inherited.

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
        callbacks (`list` of [`~transformers.TrainerCallback`], *optional*):
            Callbacks to add.
        optimizers (`tuple`, *optional*, defaults to `(None, None)`):
            Optimizer and scheduler to use in place of those of `args`.
        peft_config ([`~peft.PeftConfig`], *optional*):
            Adapter to train in place of the whole policy; the reference policy is then the model without it.

    Raises:
        TypeError: if `processing_class` is not a [`WorldModelProcessor`].
        ValueError: if there is no `train_dataset`, or `credit` asks for rewards by step that a reward does not give,
            or `likelihood_weight` is set in a world of text.

    Example:

    ```python
    >>> import tempfile
    >>> import numpy as np
    >>> from rlvr_world_hf import CompressiveTokenizer, MAEReward, VideoWorldModelProcessor
    >>> from rlvr_world_hf.data import Episode, window_rows
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [1.0, 1.0], action_bins=8)
    >>> noise = np.random.default_rng(0)
    >>> frames = noise.integers(0, 256, (8, 3, 16, 16), dtype=np.uint8)
    >>> episode = Episode(episode_id="0", frames=frames, actions=noise.random((8, 2), dtype=np.float32), fps=2.0)
    >>> rows = window_rows([episode], horizon=2)
    >>> from rlvr_world_hf.training import build_policy
    >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     args = WorldModelGRPOConfig(folder, per_device_train_batch_size=16, max_steps=4, save_strategy="no")
    ...     model = build_policy(processor.layout, **sizes)
    ...     trainer = WorldModelGRPOTrainer(model, MAEReward(), args, rows, processing_class=processor)
    ...     trainer.train().global_step  # 4 prompts, 16 completions each, 4 updates
    4

    ```
    """

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
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        peft_config: PeftConfig | None = None,
    ) -> None:
        if not isinstance(processing_class, WorldModelProcessor):
            raise TypeError(
                f"`processing_class` must be a `WorldModelProcessor`, got {type(processing_class).__name__}; load it "
                "with `load_world_model`, or build it with `VideoWorldModelProcessor.from_codec`."
            )
        args = args or WorldModelGRPOConfig(output_dir="rlvr")
        if train_dataset is None:
            raise ValueError("Expected `train_dataset`, got None; make one with `window_rows`.")
        functions = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
        args.refuse_for_world(functions, fixed_length=processing_class.fixed_length)
        _warn_of_lone_reward(functions, args)
        self.processor = processing_class
        self._range_head: RangeHead | None = None
        if processing_class.fixed_length:
            self._fix_lengths(args, horizon=len(next(iter(train_dataset))["reference"]))
        in_memory = args.beta != 0.0 and peft_config is None and isinstance(model, PreTrainedModel)
        with _reference_copied_from(model) if in_memory else nullcontext():
            super().__init__(
                model=model,
                reward_funcs=reward_funcs,
                args=args,
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                processing_class=processing_class.tokenizer,  # TRL takes a processor for one of a VLM
                callbacks=callbacks,
                optimizers=optimizers,
                peft_config=peft_config,
            )
        policies = [self.accelerator.unwrap_model(policy) for policy in (self.model, self.ref_model) if policy]
        if self._range_head is not None:
            self.rollout_func = self._rollout  # set here, as the constructor warns of it
            for policy in policies:
                accept_range_head(policy)
        self._shares_prompts = args.share_prompts and self._let_share_prompts(policies)
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(ProgressLine("reward", "kl"))

    def _fix_lengths(self, args: WorldModelGRPOConfig, *, horizon: int) -> None:
        """What is known of a completion beforehand, in a world of step blocks; of text, nothing is."""
        mask = self.processor.model_token_mask(horizon)
        args.max_completion_length = len(mask)
        self.horizon, self._env_mask = horizon, mask.int().tolist()
        self._range_head = RangeHead.of(self.processor, horizon, temperature=args.temperature)
        self._likelihood_head = RangeHead.of(self.processor, horizon)

    def _let_share_prompts(self, policies: list[PreTrainedModel | PeftModel]) -> bool:
        reasons = [reason for policy in policies if (reason := share_prompts(policy))]
        if self.aux_loss_enabled:
            reasons.append("a mixture of experts balances its load by all tokens of a batch")
        if reasons:
            logger.warning(f"A prompt is computed for each of its completions: {reasons[0]}.")
        return not reasons

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """
        Trains, as transformers' trainer does.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*):
                A checkpoint's folder, or `True` for the last complete one of the run; if there is none, the run
                starts from its beginning, and if it is the run's end, its weights are loaded.

        Returns:
            [`~transformers.trainer_utils.TrainOutput`]: as transformers gives it.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_checkpoint(self.args.output_dir)
        if resume_from_checkpoint:
            state = checkpoint_state(resume_from_checkpoint)
            if state.global_step >= (self.args.max_steps if self.args.max_steps > 0 else state.max_steps):
                self._load_from_checkpoint(resume_from_checkpoint)  # TRL would add another update
                self.state = state
                return TrainOutput(state.global_step, math.nan, {})
        return super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)

    def _get_dataloader(self, dataset: Dataset | IterableDataset, *args: Any, **kwargs: Any) -> DataLoader:
        # TRL's sampler asks for a row once a completion, and for a batch of rollouts once an update.
        dataset = _RowsReadOnce(dataset) if isinstance(dataset, Dataset) else dataset
        return super()._get_dataloader(dataset, *args, **kwargs)

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler:
        sampler = super()._get_train_sampler(dataset)
        if sampler.shuffle:  # TRL's order depends on how many epochs this process has seen; ours on the epoch
            sampler.set_epoch = lambda epoch: sampler.generator.manual_seed(self.args.seed + epoch)
        return sampler

    def _prepare_inputs(self, generation_batch: Rows) -> dict[str, Any]:
        # As TRL, except that it scatters groups over the updates at random.
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            order = self._update_order(len(generation_batch))
            batch = {name: value[order] if value.ndim else value for name, value in batch.items()}
            self._buffered_inputs = split_tensor_dict(batch, steps)
        return self._buffered_inputs[self._step % steps]

    def _update_order(self, num_rows: int) -> torch.Tensor:
        """Every U-th group goes to the same one of U updates, so that an update is the same for any process count."""
        updates, rows = self.args.updates_per_generation, torch.arange(num_rows)
        if num_rows % (updates * self.num_generations):
            return rows
        return rearrange(rows, "(B U G) -> (U B G)", U=updates, G=self.num_generations)

    def _generate_and_score_completions(self, inputs: Rows) -> dict[str, Any]:
        group_size = self.num_generations if self.model.training else self.num_generations_eval
        self._samples = math.gcd(len(inputs), group_size)  # completions of a prompt in this process
        self._rows = [{name: _as_tensor(value) for name, value in row.items()} for row in inputs[:: self._samples]]
        if self._range_head is not None:  # TRL wants a prompt in text; ours are the rows
            inputs = [{**row, "prompt": ""} for row in self._rows for _ in range(self._samples)]
        output = super()._generate_and_score_completions(inputs)
        advantages = self._advantages(group_size)
        if advantages is not None:
            output["advantages"] = advantages[self._first_row() :][: len(inputs)]
        if self.args.likelihood_weight and self.model.training:
            output |= self._recorded_completions()
        return output

    def _recorded_completions(self) -> dict[str, torch.Tensor]:
        """What was recorded after each prompt, `(rows, L)`, and where the model would write it, once a completion."""
        columns = dict.fromkeys((*self.processor.prompt_columns, *self.processor.reference_columns))
        recorded = {name: torch.stack([row[name] for row in self._rows]) for name in columns}
        ids = self.processor.encode_completion(**recorded).to(self.accelerator.device)
        is_known = torch.ones(len(ids), self.horizon, dtype=torch.bool)
        if "reference_mask" in self._rows[0]:
            is_known = torch.stack([row["reference_mask"] for row in self._rows]).bool().cpu()
        is_written = torch.tensor(self._env_mask, dtype=torch.bool)
        mask = is_known.repeat_interleave(len(is_written) // self.horizon, dim=1) & is_written
        both = {"recorded_ids": ids, "recorded_mask": mask.to(ids.device)}
        return {name: value.repeat_interleave(self._samples, dim=0) for name, value in both.items()}

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        if "recorded_ids" not in inputs:
            return loss
        once = slice(None, None, math.gcd(len(inputs["recorded_ids"]), self.num_generations))  # of each group
        ids, mask, prompts = (inputs[name][once] for name in ("recorded_ids", "recorded_mask", "prompt_ids"))
        with self.accelerator.autocast():
            head = {"range_head": self._likelihood_head, "completion_ids": ids, "with_entropies": False}
            log_probs, _ = model(input_ids=torch.cat([prompts, ids], dim=1), **head)
        likelihood = -(log_probs * mask).sum() / mask.sum().clamp(min=1)
        self._metrics["train"]["likelihood"].append(self.accelerator.gather(likelihood.detach()).mean().item())
        return loss + self.args.likelihood_weight / self.current_gradient_accumulation_steps * likelihood

    def _calculate_rewards(self, inputs: Rows, *args: Any) -> torch.Tensor:
        self._rewards = super()._calculate_rewards(inputs, *args)  # of all processes, (rows, rewards)
        if self.args.credit == "reward_to_go":
            columns = {name: [row[name] for row in inputs] for name in SCORED_COLUMNS if name in inputs[0]}
            steps = torch.stack([reward.score_steps(**columns) for reward in self.reward_funcs], dim=2)
            self._step_rewards = self.accelerator.gather(steps.to(self._rewards.device))  # (rows, S, rewards)
        return self._rewards

    def _advantages(self, group_size: int) -> torch.Tensor | None:
        """Advantages of all processes, `(rows,)` or, one a token, `(rows, L)`; none where TRL's are right."""
        if self.args.credit == "reward_to_go":
            rewards = self._weighted_sum(self._step_rewards)
            to_go = rewards_to_go(rewards, discount=self.args.credit_discount)
            if self.args.credit_baseline == "last_step":
                to_go = beyond_last_step(to_go, rewards, group_size)
            scale = {"epsilon": self.args.advantage_epsilon, "scale": self.scale_rewards}
            steps = group_advantages(to_go, group_size, **scale)
            return steps.repeat_interleave(len(self._env_mask) // self.horizon, dim=1)
        if self.scale_rewards != "group" or self.multi_objective_aggregation != "sum_then_normalize":
            return None
        rewards = self._weighted_sum(self._rewards)
        return group_advantages(rewards, group_size, epsilon=self.args.advantage_epsilon)

    def _weighted_sum(self, rewards: torch.Tensor) -> torch.Tensor:
        """Sum over the last dimension; NaN where no reward could be given."""
        weighted = rewards * self.reward_weights.to(rewards.device)
        return weighted.nansum(dim=-1).masked_fill(rewards.isnan().all(dim=-1), torch.nan)

    def _rollout(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        # `prompts` are empty: what a rollout needs was kept by `_generate_and_score_completions`.
        names = self.processor.prompt_columns
        prompt: dict[str, Any] = {name: torch.stack([row[name] for row in self._rows]) for name in names}
        with self._policy_to_sample_from() as model:
            record = rollout(
                model,
                self.processor,
                **prompt,
                horizon=self.horizon,
                num_samples=self._samples,
                seeds=self._seeds(),
                temperature=self.temperature,
                top_k=self.top_k,
                top_p=self.top_p,
                autocast_dtype=torch.bfloat16 if self.args.bf16 else None,
                decode=False,
            )
        with self.accelerator.autocast():
            decoded = self.processor.decode_state(record.completion_ids, prompt["context"])
        return {
            "prompt_ids": [ids for ids in record.prompt_ids.tolist() for _ in range(self._samples)],
            "completion_ids": record.completion_ids.tolist(),
            "logprobs": None,
            "env_mask": [self._env_mask] * len(prompts),
            **{name: list(states) for name, states in state_columns(decoded).items()},
        }

    @contextmanager
    def _policy_to_sample_from(self) -> Iterator[PreTrainedModel | PeftModel]:
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            yield model

    def _generate_single_turn(self, prompt_ids: list[list[int]], images: Any, *args: Any, **kwargs: Any) -> Any:
        # As TRL, whose `generate` computes a prompt once for each completion, except where only it can sample.
        if not self._shares_prompts or images is not None or self.tools or not self.args.samples_by_probability_only:
            return super()._generate_single_turn(prompt_ids, images, *args, **kwargs)
        with self._policy_to_sample_from() as model:
            completions = sample_text(
                model,
                prompt_ids[:: self._samples],
                num_samples=self._samples,
                max_new_tokens=self.max_completion_length,
                end_ids=self.eos_token_ids,
                seeds=self._seeds(),
                temperature=self.temperature,
                top_k=self.top_k,
                top_p=self.top_p,
                autocast_dtype=torch.bfloat16 if self.args.bf16 else None,
            )
        return completions, None

    def _seeds(self) -> list[int]:
        """A seed for each prompt, from its place in the run: the same for any process count, and after a resume."""
        place: tuple[int, ...] = (self.args.seed,)
        if self.model.training:
            place += (self.state.global_step, self._step % self.args.gradient_accumulation_steps)
        first = self._first_row()
        rows = range(first, first + len(self._rows) * self._samples, self._samples)
        return [seed_of(*place, row) for row in rows]

    def _first_row(self) -> int:
        """Index of this process's first row among the rows of all."""
        return self.accelerator.process_index * len(self._rows) * self._samples

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        restricted = self._range_head is not None and self.args.restrict_log_probs
        is_shared = self._shares_prompts and all(value is None or value is False for value in kwargs.values())
        if not restricted and not is_shared:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **kwargs
            )
        rows = batch_size or len(input_ids)
        outputs = []
        for ids, mask in zip(input_ids.split(rows), attention_mask.split(rows), strict=True):
            # Without padding there is no mask to give, and completions of one length have none.
            inputs = pack_groups(ids, mask, completion_length=logits_to_keep) if is_shared else {"input_ids": ids}
            completions = ids[:, -logits_to_keep:], mask[:, -logits_to_keep:]
            with self.accelerator.autocast():
                if restricted:
                    inputs |= {"completion_ids": completions[0], "with_entropies": compute_entropy}
                    outputs.append(model(**inputs, range_head=self._range_head))
                else:
                    outputs.append(_score_packed(model, inputs, *completions))
        log_probs, entropies = zip(*outputs, strict=True)
        return torch.cat(log_probs), torch.cat(entropies) if compute_entropy else None, None

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """
        Saves the policy, and, when called by a user and not for an intermediate checkpoint, the whole processor.

        Args:
            output_dir (`str`, *optional*): folder to write to; `args.output_dir` by default.
        """
        super().save_model(output_dir, _internal_call)
        if self.args.should_save and not _internal_call:
            self.processor.save_pretrained(output_dir or self.args.output_dir)

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: str | list[str] | None = None
    ) -> None:
        """
        Writes the card of a world model in place of TRL's, as yet without results: TRL asks for it at every
        checkpoint, before anything is measured. A card beside a `results.json` has them and stays as it is.

        Args:
            model_name (`str`, *optional*):
                Title; by default the last part of the repository's name, or of `args.output_dir`.
            dataset_name (`str`, *optional*):
                Dataset on the Hub that the rows are from.
            tags (`str` or `list[str]`, *optional*):
                Tags to add.
        """
        folder = Path(self.args.output_dir)
        if not self.is_world_process_zero() or (folder / "results.json").exists():
            return
        repo_id = self.hub_model_id or str(folder)  # known once something was pushed
        start = get_config_model_id(self.model.config)
        subject = CardSubject(
            name=model_name or Path(repo_id).name,
            horizon=self.horizon if self._range_head is not None else 1,
            world=dataset_name or "recorded episodes",
            data=f"https://huggingface.co/datasets/{dataset_name}" if dataset_name else UNKNOWN_DATA,
            repo_id=repo_id,
            datasets=[dataset_name] if dataset_name else [],
            base_model=start if start and start.count("/") == 1 and not Path(start).exists() else None,
            tags=[*self._tag_names, *([tags] if isinstance(tags, str) else tags or [])],
        )
        card = card_text(
            self.processor, subject, recipe=self._settings(), recipe_title="Settings that differ between runs"
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(card, encoding="utf-8")

    def _settings(self) -> dict[str, Any]:
        """What a card tells of the training: rewards, and those of `SETTINGS`."""
        weights = self.reward_weights.tolist()
        rewards = [
            {"reward": name, "weight": weight} for name, weight in zip(self.reward_func_names, weights, strict=True)
        ]
        settings = {name: getattr(self.args, name) for name in SETTINGS}
        return {"rewards": rewards} | {name: getattr(value, "value", value) for name, value in settings.items()}

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        merge_adapter: bool = True,
        **kwargs: Any,
    ) -> CommitInfo | None:
        """
        Uploads the whole world model to `args.hub_model_id`: policy, processor, codec and card, in one commit.

        Unlike transformers', the repository holds no `training_args.bin`: nothing in it runs code when it is loaded.

        Args:
            commit_message (`str`, *optional*, defaults to `"End of training"`): title of the commit.
            blocking (`bool`, *optional*, defaults to `True`): accepted as in transformers; the upload is waited for.
            token (`str`, *optional*): Hub token with write permission; `args.hub_token` by default.
            revision (`str`, *optional*): branch; `args.hub_revision` by default.
            private (`bool`, *optional*): whether a repository that is made is private; `args.hub_private_repo` by
                default.
            merge_adapter (`bool`, *optional*, defaults to `True`): whether an adapter is merged, or kept apart with
                its base beside it.
            kwargs (`dict[str, Any]`, *optional*): arguments of [`create_model_card`].

        Returns:
            [`~huggingface_hub.CommitInfo`]: the commit; `None` on other processes than the first.

        Raises:
            PermissionError: if the Hub does not let you write.
            ConnectionError: if the upload broke off.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**kwargs)
        folder = Path(self.args.output_dir)
        return push_world_model(
            self.accelerator.unwrap_model(self.model),
            self.processor,
            self.args.hub_model_id or Path(self.args.output_dir).absolute().name,
            merge_adapter=merge_adapter,
            documents=[folder / name for name in ("README.md", "results.json") if (folder / name).is_file()],
            commit_message=commit_message or "End of training",
            token=token if token is not None else self.args.hub_token,
            revision=revision if revision is not None else self.args.hub_revision,
            private=private if private is not None else self.args.hub_private_repo,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # As transformers at each save, except that it uploads its folder with pickled settings and without the codec.
        if self.args.hub_strategy != HubStrategy.END:
            self.push_to_hub(commit_message=f"Training in progress, step {self.state.global_step}")


def _score_packed(
    model: torch.nn.Module, inputs: dict[str, Any], ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probabilities and entropies `(N, L)` of a packed row's completions, by TRL's head."""
    groups: PackedGroups = inputs["shared_prompt"]
    unscored = ids.new_full((1, groups.prompts * groups.prompt_length), -100)
    labels = torch.cat([unscored, ids.masked_fill(mask == 0, -100).reshape(1, -1)], dim=1)
    output = model(**inputs, shift_labels=labels, fused_lm_head=True)
    log_probs = unpack_completions(output.log_probs, groups)
    return log_probs, None if output.entropy is None else unpack_completions(output.entropy, groups)


class _RowsReadOnce(torch.utils.data.Dataset):
    """A dataset that reads each of a batch's rows once, and a batch that is asked for again not at all."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.asked: list[int] = []
        self.rows: Rows = []

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.dataset[index]

    def __getitems__(self, indices: list[int]) -> Rows:
        if indices != self.asked:
            unique = list(dict.fromkeys(indices))
            rows = dict(zip(unique, self.dataset.__getitems__(unique), strict=True))
            self.asked, self.rows = indices, [rows[index] for index in indices]
        return self.rows


def _warn_of_lone_reward(functions: list[Callable], args: WorldModelGRPOConfig) -> None:
    """One warning, where the only reward is one that should not be; likelihood beside it also counts as a reward."""
    weights = args.reward_weights or [1.0] * len(functions)
    counting = [reward for reward, weight in zip(functions, weights, strict=False) if weight]
    if len(counting) == 1 and not args.likelihood_weight and (harm := getattr(counting[0], "alone", "")):
        logger.warning(f"`{counting[0].__name__}` is the only reward: {harm}.")


@contextmanager
def _reference_copied_from(model: PreTrainedModel) -> Iterator[None]:
    """TRL loads the reference policy by its name; a model in memory has none, or has changed since: copy it."""
    load = trl_grpo.create_model_from_path
    trl_grpo.create_model_from_path = lambda *args, **kwargs: copy.deepcopy(model).requires_grad_(False)
    try:
        yield
    finally:
        trl_grpo.create_model_from_path = load


def _as_tensor(value: Any) -> Any:
    return torch.tensor(value) if isinstance(value, np.ndarray) else value
