r"""
Gradients through the rewards, in place of policy gradients: for rewards that are differentiable, such as the error of
the action that an inverse model reads.

    loss = -mean_i \sum_r w_r r(x_i, y_i),     x_i a sampled prediction with straight-through codes

The value of the loss is minus the rewards that RL would see; its gradient goes through reward, inverse model and
codec, all frozen, into the policy. It is biased where that of RL is not, see `rollouts/relaxed.py`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from ..processors.video import VideoWorldModelProcessor
from ..rewards.base import VerifiableReward
from ..rollouts.relaxed import Relaxation, relaxed_rollout
from ..rollouts.text import seed_of
from .callbacks import ProcessorBeside
from .pretraining import LikelihoodConfig, Pretraining, train_by_likelihood


TRAINS, EVALUATES = 0, 1
"""What noise is for: of an update it changes with the update, of an evaluation it stays."""


class NumberedRows(Dataset):
    """
    Rows of windows as tensors, each with its number in `row`, on which its noise depends.

    Args:
        rows (`datasets.Dataset`):
            Rows of [`~rlvr_world_hf.data.window_rows`], all of one horizon.
        names (`Sequence[str]`):
            The columns to read.

    Example:

    ```python
    >>> rows = NumberedRows([{"actions": np.zeros((3, 2))}], ["actions"])
    >>> len(rows), rows[0]["row"], rows[0]["actions"].shape
    (1, tensor(0), torch.Size([3, 2]))

    ```
    """

    def __init__(self, rows: Any, names: Sequence[str]) -> None:
        self.rows = rows
        self.names = list(names)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.rows[index]
        columns = {name: torch.as_tensor(np.asarray(row[name])) for name in self.names}
        return columns | {"row": torch.tensor(index)}


class StraightThroughTrainer(Trainer):
    """
    transformers' trainer with rewards of relaxed predictions as its loss.

    Args:
        processor ([`VideoWorldModelProcessor`]):
            Processor of the policy.
        rewards (`Sequence[VerifiableReward]`):
            Differentiable rewards.
        weights (`Sequence[float]`):
            Their weights.
        relaxation ([`~rlvr_world_hf.rollouts.relaxed.Relaxation`]):
            How codes are drawn and relaxed.
        arguments (`Any`):
            As of [`~transformers.Trainer`].
    """

    def __init__(
        self,
        *arguments: Any,
        processor: VideoWorldModelProcessor,
        rewards: Sequence[VerifiableReward],
        weights: Sequence[float],
        relaxation: Relaxation,
        **further: Any,
    ) -> None:
        super().__init__(*arguments, **further)
        # Not `processor`: transformers' trainer has its own meaning for names of that kind.
        self.world = processor
        self.rewards = list(rewards)
        self.weights = list(weights)
        self.relaxation = relaxation

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Minus the weighted rewards of one prediction of each row; rows without any reward count as 0."""
        place = (TRAINS, self.state.global_step) if model.training else (EVALUATES,)
        columns = {name: value for name, value in inputs.items() if name != "row"}
        frames = relaxed_rollout(
            self.accelerator.unwrap_model(model),
            self.world,
            seeds=[seed_of(self.args.seed, *place, row) for row in inputs["row"].tolist()],
            horizon=columns["reference"].shape[1],
            relaxation=self.relaxation,
            forward=model,
            autocast_dtype=torch.bfloat16 if self.args.bf16 else None,
            **{name: columns[name] for name in self.world.prompt_columns},
        )
        with torch.autocast(frames.device.type, enabled=False):
            loss = -self._rewards(frames, columns).mean()
        return (loss, {"loss": loss}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[torch.Tensor, None, None]:
        """The loss of a batch of validation rows, with the same noise each time."""
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def _rewards(self, frames: torch.Tensor, columns: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted rewards `(B,)` of predicted frames, with their gradient where one is asked for."""
        total = frames.new_zeros(len(frames))
        for reward, weight in zip(self.rewards, self.weights, strict=True):
            chosen = reward.choose_columns({**columns, "predicted": frames})
            score = reward.score(**chosen, gradient=torch.is_grad_enabled())
            total = total + weight * score.nan_to_num()  # nan: nothing in that row to measure
        return total


def train_straight_through(
    model: PreTrainedModel,
    processor: VideoWorldModelProcessor,
    rewards: Sequence[VerifiableReward],
    train: Any,
    validation: Any,
    *,
    output_dir: str | Path,
    args: LikelihoodConfig,
    weights: Sequence[float] | None = None,
    relaxation: Relaxation | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    watch: Callable[[Trainer], None] | None = None,
) -> Pretraining:
    """
    Trains a policy by gradients through its rewards and keeps the checkpoint with the least loss on validation rows,
    or the best at what is measured.

    Called again with the same folder, it goes on from the last complete checkpoint, to the same weights as without the
    interruption. Codec and inverse model stay as they are.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The policy, trained in place.
        processor ([`VideoWorldModelProcessor`]):
            Its processor; the codec takes no gradient from now on.
        rewards (`Sequence[VerifiableReward]`):
            Differentiable rewards of frames, such as [`~rlvr_world_hf.rewards.ActionRecoveryReward`].
        train (`datasets.Dataset`):
            Rows of [`~rlvr_world_hf.data.window_rows`].
        validation (`datasets.Dataset`):
            The same of other episodes.
        output_dir (`str` or `Path`):
            Folder for checkpoints.
        args ([`LikelihoodConfig`]):
            How to train; its `batch_size` is of windows, each with one prediction.
        weights (`Sequence[float]`, *optional*):
            Of the rewards; 1 each by default.
        relaxation ([`~rlvr_world_hf.rollouts.relaxed.Relaxation`], *optional*):
            How codes are drawn and relaxed; straight-through Gumbel-softmax at temperature 1 by default.
        callbacks (`Sequence[TrainerCallback]`, *optional*):
            Callbacks to add.
        watch (`Callable`, *optional*):
            Called with the trainer before it trains.

    Returns:
        [`Pretraining`]: History, checkpoints and seconds.

    Raises:
        ValueError: if the processor predicts no frames, there is no reward, or one has no gradient to follow.
        TypeError: if the codec lets no gradient through.

    Example:

    ```python
    >>> import tempfile
    >>> from rlvr_world_hf import CompressiveTokenizer
    >>> from rlvr_world_hf.data import Episode, window_rows
    >>> from rlvr_world_hf.rewards import MAEReward
    >>> from rlvr_world_hf.training import build_policy
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0], [1.0], action_bins=8)
    >>> frames, actions = np.zeros((6, 3, 16, 16), np.uint8), np.zeros((6, 1), np.float32)
    >>> rows = window_rows([Episode(episode_id="0", frames=frames, actions=actions, fps=2.0)], horizon=2)
    >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    >>> model = build_policy(processor.layout, **sizes)
    >>> args = LikelihoodConfig(max_steps=2, eval_steps=2, batch_size=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = train_straight_through(model, processor, [MAEReward()], rows, rows, output_dir=folder, args=args)
    >>> [entry["step"] for entry in done.history if "eval_loss" in entry]
    [2]

    ```
    """
    refuse_without_gradient(rewards, predicts=processor.predicts)
    weights = [1.0] * len(rewards) if weights is None else list(weights)
    processor.codec.requires_grad_(False)
    names = dict.fromkeys((*processor.prompt_columns, "context", "actions", "reference", "reference_mask"))

    def make_trainer(callbacks: Sequence[TrainerCallback], **settings: Any) -> Trainer:
        return StraightThroughTrainer(
            model,
            TrainingArguments(**settings | {"remove_unused_columns": False}),
            processor=processor,
            rewards=rewards,
            weights=weights,
            relaxation=relaxation or Relaxation(),
            data_collator=_stacked,
            train_dataset=NumberedRows(train, [*names]),
            eval_dataset=NumberedRows(validation, [*names]),
            callbacks=list(callbacks),
        )

    further = [ProcessorBeside(processor), *callbacks]
    settings = args.complete_settings(output_dir=output_dir)
    how: dict[str, Any] = {"output_dir": output_dir, "args": args, "settings": settings}
    return train_by_likelihood(model, make_trainer, **how, callbacks=further, watch=watch)


def refuse_without_gradient(rewards: Sequence[Any], *, predicts: Sequence[str]) -> None:
    """
    Refuses a world or rewards whose gradient cannot be followed.

    Args:
        rewards (`Sequence`):
            The rewards.
        predicts (`Sequence[str]`):
            What the world's states are: `frames`, `sensors` or both; `text`.

    Raises:
        ValueError: if there are no frames, there is no reward, or one is not differentiable or reads no frames.

    Example:

    ```python
    >>> from rlvr_world_hf.rewards import RepetitionReward
    >>> refuse_without_gradient([RepetitionReward()], predicts=("frames",))
    Traceback (most recent call last):
    ...
    ValueError: Expected differentiable rewards of frames, ... got RepetitionReward; ...

    ```
    """
    if "frames" not in predicts:
        raise ValueError(
            f"Expected a world of frames, whose codec lets gradients through, got one of {' and '.join(predicts)}; "
            "take another recipe, or RL."
        )
    if not rewards:
        raise ValueError(
            "Expected rewards whose gradient is followed, such as ActionRecoveryReward with an inverse model, got "
            "none; add one. `rlvr-world inverse RECIPE` trains an inverse model."
        )
    without = [
        type(reward).__name__
        for reward in rewards
        if not getattr(reward, "differentiable", False) or reward.reads == "sensors"
    ]
    if without:
        raise ValueError(
            "Expected differentiable rewards of frames, such as MAEReward or ActionRecoveryReward, got "
            f"{', '.join(without)}; leave these to RL."
        )


def _stacked(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
