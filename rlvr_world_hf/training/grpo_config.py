"""Settings of [`WorldModelGRPOTrainer`]: TRL's, with the paper's values as defaults, and a few of our own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging
from trl import GRPOConfig

from .group_credit import refuse_bent_credit


logger = logging.get_logger(__name__)

# Options of TRL that have no meaning when a world model is sampled at fixed positions and lengths.
WITHOUT_MEANING = {
    "use_vllm": False,
    "use_transformers_continuous_batching": False,
    "use_transformers_paged": False,
    "cache_implementation": None,
    "generation_kwargs": None,
    "chat_template_kwargs": None,
    "min_p": None,
    "repetition_penalty": 1.0,
    "pad_to_multiple_of": None,
    "mask_truncated_completions": False,
    "remove_unused_columns": False,
}


def computes_in_bfloat16() -> bool:
    """Whether there is a GPU that computes in bfloat16 itself; older ones emulate it, slower than float32."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


@dataclass
class WorldModelGRPOConfig(GRPOConfig):
    r"""
    Settings of [`WorldModelGRPOTrainer`].

    Every option of [`~trl.GRPOConfig`] is taken over; those below are ours, or have the value of RLVR-World (appendix
    of [the paper](https://huggingface.co/papers/2505.13934) and the authors' scripts for video) as default.

    Args:
        updates_per_generation (`int`, *optional*, defaults to `4`):
            Optimizer updates made from one batch of rollouts: the paper's 128 prompts in mini-batches of 32. Sets
            `steps_per_generation`, unless that or `generation_batch_size` is given.
        advantage_epsilon (`float`, *optional*, defaults to `1e-6`):
            Added to the standard deviation of a group's rewards. TRL's constant 1e-4 would shrink the advantages of
            groups whose rewards are close, as those of pixel errors are.
        credit (`str`, *optional*, defaults to `"completion"`):
            What the advantage of a token is made of: `"completion"`, the reward of its whole completion, as in the
            paper; or `"reward_to_go"`, the rewards of its own step and of those after it, see [`rewards_to_go`]. Where
            a reward does not aggregate its steps by their mean, they count with the weights of its aggregation.
        credit_discount (`float`, *optional*, defaults to `1.0`):
            With `credit="reward_to_go"`: factor of a reward for each step that it comes later, above 0 and at most 1.
        credit_baseline (`str`, *optional*, defaults to `"group"`):
            With `credit="reward_to_go"`: what rewards are relative to, the mean of their `"group"`, or also the reward
            of the `"last_step"`, as far as it foretells them, see [`beyond_last_step`].
        likelihood_weight (`float`, *optional*, defaults to `0.0`):
            Weight, in the loss, of the negative log-likelihood of the recorded completion of each prompt, in nats a
            token that the model writes, at temperature 1 and among the ids valid at a position; 0 in the paper. For
            worlds of frames and sensors.
        restrict_log_probs (`bool`, *optional*, defaults to `True`):
            Whether probabilities in the loss are over the ids valid at a position, as those sampled from are, so that
            the importance ratio is exact. `False`: over the whole vocabulary, as the authors' code has it.
        share_prompts (`bool`, *optional*, defaults to `True`):
            Whether a prompt is computed once for its completions, where the model can. The result is the same up to
            rounding.
        compile_sampling (`bool`, *optional*, defaults to `False`):
            Whether the steps of sampling are compiled (`torch.compile`), which takes a minute on a CPU, and makes
            later rollouts faster; for prompts and completions of few sizes. On a GPU they are captured as CUDA graphs
            instead.
        max_resampling_rounds (`int`, *optional*, defaults to `0`):
            Rounds, after each batch of rollouts, in which groups whose rewards are all equal are replaced by groups of
            other prompts: the dynamic sampling of [DAPO](https://huggingface.co/papers/2503.14476), section 3.2. 0:
            off, as in the paper.
        learning_rate (`float`, *optional*, defaults to `5e-5`):
            Constant (`lr_scheduler_type="constant"`), with `weight_decay=0.01` and gradients clipped at norm 1.
        num_generations (`int`, *optional*, defaults to `16`):
            Group size, G.
        beta (`float`, *optional*, defaults to `1e-3`):
            Weight of the KL term to the reference policy (k3 estimator, `use_bias_correction_kl=False`).
        delta (`float`, *optional*, defaults to `3.0`):
            Dual clip: largest ratio that counts when the advantage is negative.
        loss_type (`str`, *optional*, defaults to `"bnpo"`):
            Mean over all tokens of a micro-batch that the policy wrote.
        bf16 (`bool`, *optional*):
            Whether to compute in bfloat16 by autocast, with float32 parameters. If not set: where the GPU can.
        gradient_checkpointing (`bool`, *optional*, defaults to `False`):
            Whether to recompute activations in the backward pass.
        save_steps (`float`, *optional*, defaults to `500`):
            Rounded up to a multiple of the updates made from one batch of rollouts, which is not saved: only there
            can a run be resumed to the same parameters as an uninterrupted one.

    Raises:
        ValueError: if `credit` is none of the two, or does not go with other settings, `save_steps` is a share of an
            unknown number of steps, `save_total_limit` leaves the best checkpoint alone, `max_resampling_rounds` does
            not go with how rewards are added, or `hub_strategy` uploads the state of the optimizer.

    Example:

    ```python
    >>> config = WorldModelGRPOConfig(output_dir="grpo", per_device_train_batch_size=32, save_steps=50)
    >>> config.generation_batch_size, config.generation_batch_size // config.num_generations, config.save_steps
    (128, 8, 52)

    ```
    """

    updates_per_generation: int = field(
        default=4, metadata={"help": "Optimizer updates made from one batch of rollouts."}
    )
    advantage_epsilon: float = field(
        default=1e-6, metadata={"help": "Added to the standard deviation of a group's rewards."}
    )
    credit: str = field(
        default="completion",
        metadata={"help": "What a token's advantage is made of: 'completion' or 'reward_to_go'."},
    )
    credit_discount: float = field(
        default=1.0, metadata={"help": "Factor of a reward for each step that it comes later."}
    )
    credit_baseline: str = field(
        default="group",
        metadata={"help": "What later rewards are relative to: 'group', or also the reward of the 'last_step'."},
    )
    likelihood_weight: float = field(
        default=0.0, metadata={"help": "Weight of the recorded completions' negative log-likelihood in the loss."}
    )
    restrict_log_probs: bool = field(
        default=True,
        metadata={"help": "Whether probabilities in the loss are over the ids valid at a position, or over all."},
    )
    share_prompts: bool = field(
        default=True, metadata={"help": "Whether a prompt is computed once for its completions."}
    )
    compile_sampling: bool = field(default=False, metadata={"help": "Whether the steps of sampling are compiled."})
    max_resampling_rounds: int = field(
        default=0, metadata={"help": "Rounds in which groups whose rewards are all equal are replaced; 0: off."}
    )

    learning_rate: float = field(default=5e-5, metadata={"help": "Learning rate of AdamW."})
    lr_scheduler_type: str = field(default="constant", metadata={"help": "Schedule of the learning rate."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of AdamW."})
    num_generations: int | None = field(default=16, metadata={"help": "Group size, G."})
    beta: float = field(default=1e-3, metadata={"help": "Weight of the KL term to the reference policy."})
    use_bias_correction_kl: bool = field(
        default=False, metadata={"help": "Whether to weight the KL term by the importance ratio; the paper does not."}
    )
    delta: float | None = field(
        default=3.0, metadata={"help": "Dual clip: largest ratio that counts when the advantage is negative."}
    )
    loss_type: str = field(default="bnpo", metadata={"help": "How the loss of tokens becomes one number."})
    disable_dropout: bool = field(default=True, metadata={"help": "Whether to disable dropout in the policy."})
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "Whether to recompute activations in the backward pass."}
    )

    def __post_init__(self) -> None:
        """Derives the steps between rollouts, and holds checkpoints to them."""
        if self.steps_per_generation is None and self.generation_batch_size is None:
            # TRL counts micro-batches here, and the paper optimizer updates.
            self.steps_per_generation = self.updates_per_generation * self.gradient_accumulation_steps
        if self.bf16 is None:
            self.bf16 = not self.fp16 and computes_in_bfloat16()
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()  # else transformers refuses bf16 on a CPU
        super().__post_init__()  # derives `steps_per_generation` from `generation_batch_size`, where that is given
        self.updates_per_generation = max(self.steps_per_generation // self.gradient_accumulation_steps, 1)
        self._check_credit()
        self._check_resampling()
        if self.load_best_model_at_end and self.save_total_limit == 1:
            raise ValueError(
                "Expected a `save_total_limit` of at least 2 where the best checkpoint is kept, as training goes on "
                "from the last one, got 1; raise it, or leave `load_best_model_at_end` out."
            )
        if self.likelihood_weight < 0:
            raise ValueError(f"Expected `likelihood_weight` of at least 0, got {self.likelihood_weight}.")
        self._check_hub_strategy()
        self._align_checkpoints()

    @property
    def checkpoint_interval(self) -> int:
        """Updates between two batches of rollouts: where a checkpoint can be resumed exactly."""
        return self.updates_per_generation * self.num_iterations

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """Precision of forward passes, `None` for that of the weights."""
        return torch.bfloat16 if self.bf16 else torch.float16 if self.fp16 else None

    @property
    def samples_by_probability_only(self) -> bool:
        """Whether completions are drawn from the policy's probabilities, by temperature, top-k and top-p alone."""
        only_host_can = (
            "use_vllm",
            "use_transformers_continuous_batching",
            "cache_implementation",
            "generation_kwargs",
            "min_p",
            "repetition_penalty",
        )
        return all(getattr(self, name) == WITHOUT_MEANING[name] for name in only_host_can)

    def refuse_for_world(self, rewards: Any, *, fixed_length: bool) -> None:
        """
        Holds the settings to a kind of world and to its rewards; called before a run, and by the trainer.

        Args:
            rewards (`Callable` or `Sequence[Callable]`):
                The rewards.
            fixed_length (`bool`):
                Whether completions have fixed lengths, as in worlds of frames and sensors; `False` for text.

        Raises:
            ValueError: if `credit` asks for rewards by step that there are not, a setting bends a reward that is a
                credit, or an option is set that only the other kind of world has a use for.
        """
        rewards = rewards if isinstance(rewards, Sequence) else [rewards]
        refuse_bent_credit(self, rewards)
        whole = [getattr(reward, "__name__", reward) for reward in rewards if not hasattr(reward, "score_steps")]
        if self.credit == "reward_to_go" and whole:
            raise ValueError(
                f"`credit='reward_to_go'` needs the reward of each step, which {whole} does not give; make it a "
                "`VerifiableReward`, or leave `credit` at 'completion'."
            )
        if fixed_length:
            self.refuse_what_has_no_meaning()
        elif self.credit == "reward_to_go":
            raise ValueError("`credit='reward_to_go'` needs steps of known length, which text has not; leave it out.")
        elif self.likelihood_weight:
            raise ValueError("`likelihood_weight` is for worlds of frames and sensors; leave it at 0 for text.")

    def accept_world(self, rewards: Any, *, fixed_length: bool) -> None:
        """As [`refuse_for_world`], and one warning where the only reward is one that should not be alone."""
        self.refuse_for_world(rewards, fixed_length=fixed_length)
        self._warn_of_lone_reward(rewards if isinstance(rewards, Sequence) else [rewards])

    def refuse_what_has_no_meaning(self) -> None:
        """
        Holds the settings to worlds whose completions have fixed lengths.

        Raises:
            ValueError: if an option is set that only free text has a use for.
        """
        for name, value in WITHOUT_MEANING.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"`{name}={getattr(self, name)!r}` has no meaning for a world model whose completions have fixed "
                    f"lengths and are sampled by `rlvr_world_hf.rollouts`; leave it at {value!r}."
                )

    def _warn_of_lone_reward(self, rewards: Sequence[Any]) -> None:
        """Likelihood beside it counts as a reward."""
        weights = self.reward_weights or [1.0] * len(rewards)
        counting = [reward for reward, weight in zip(rewards, weights, strict=False) if weight]
        if len(counting) == 1 and not self.likelihood_weight and (harm := getattr(counting[0], "alone", "")):
            logger.warning(f"`{counting[0].__name__}` is the only reward: {harm}.")

    def _check_credit(self) -> None:
        if self.credit not in ("completion", "reward_to_go"):
            raise ValueError(f"Expected `credit` to be 'completion' or 'reward_to_go', got {self.credit!r}.")
        if self.credit == "reward_to_go" and self.multi_objective_aggregation != "sum_then_normalize":
            raise ValueError(
                "`credit='reward_to_go'` adds the rewards of a step before it compares them, got "
                f"multi_objective_aggregation={self.multi_objective_aggregation!r}; leave it as it is."
            )
        if not 0 < self.credit_discount <= 1 or (self.credit_discount != 1 and self.credit != "reward_to_go"):
            raise ValueError(
                "Expected `credit_discount` above 0 and at most 1, and below 1 only with `credit='reward_to_go'`, got "
                f"{self.credit_discount} with credit={self.credit!r}."
            )
        known = ("group", "last_step") if self.credit == "reward_to_go" else ("group",)
        if self.credit_baseline not in known:
            raise ValueError(
                f"Expected `credit_baseline` to be one of {', '.join(known)} with credit={self.credit!r}, got "
                f"{self.credit_baseline!r}; 'last_step' goes with `credit='reward_to_go'`."
            )

    def _check_resampling(self) -> None:
        if self.max_resampling_rounds < 0:
            raise ValueError(
                f"Expected `max_resampling_rounds` of at least 0, got {self.max_resampling_rounds}; 0 turns it off."
            )
        if self.max_resampling_rounds and self.multi_objective_aggregation != "sum_then_normalize":
            raise ValueError(
                "`max_resampling_rounds` makes the advantages of a batch anew, which are TRL's with "
                f"multi_objective_aggregation={self.multi_objective_aggregation!r}; leave one of both as it is."
            )

    def _check_hub_strategy(self) -> None:
        if self.push_to_hub and self.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            raise ValueError(
                f"`hub_strategy={self.hub_strategy.value!r}` uploads the state of the optimizer, which is pickled, "
                "and a repository of ours holds nothing pickled; use 'end' or 'every_save'."
            )

    def _align_checkpoints(self) -> None:
        if 0 < self.save_steps < 1:
            if self.max_steps <= 0:
                raise ValueError(
                    f"`save_steps={self.save_steps}` is a share of the run, and needs `max_steps`; got "
                    f"max_steps={self.max_steps}. Set `max_steps`, or give `save_steps` in updates."
                )
            self.save_steps = math.ceil(self.save_steps * self.max_steps)
        aligned = math.ceil(self.save_steps / self.checkpoint_interval) * self.checkpoint_interval
        if aligned != self.save_steps:
            logger.info(
                f"`save_steps` {self.save_steps} becomes {aligned}: {self.checkpoint_interval} updates are made from "
                "one batch of rollouts, and only between two batches can a run be resumed exactly."
            )
        self.save_steps = aligned
        if self.load_best_model_at_end and self.eval_strategy == "steps" and self.save_steps % self.eval_steps:
            self.eval_steps = self.save_steps  # the best is chosen among those that were saved
