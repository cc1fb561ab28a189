"""A trainer's world model on the Hub: its card, its repository, and a push at each save."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import HubStrategy
from trl.trainer.utils import get_config_model_id

from ..hub.cards import CardSubject, card_text
from ..hub.push import push_world_model
from ..hub.terms import terms_of
from ..processors.base import WorldModelProcessor
from ..rewards.action_recovery import inverse_model_of
from ..rewards.inverse_dynamics import FOLDER as INVERSE


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
    "max_resampling_rounds",
    "seed",
)
"""Of the configuration, what a card tells; paths and tokens of the Hub are not among it."""

UNKNOWN_DATA = "Rows that were given to the trainer; where they are from, and under which license, was not recorded."
"""What a card says of data without a name."""


class PushAtEachSave(TrainerCallback):
    """
    Pushes the world model by `push` when a checkpoint was saved, if `args` ask for it.

    Transformers, which would upload its folder with pickled settings and without the codec, is kept from it: the
    `hub_strategy` of `args` becomes "end".
    """

    def __init__(self, args: TrainingArguments, push: Callable[..., Any]) -> None:
        self.is_on = args.push_to_hub and args.hub_strategy != HubStrategy.END
        self.push = push
        args.hub_strategy = HubStrategy.END

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Pushes."""
        if self.is_on:
            self.push(commit_message=f"Training in progress, step {state.global_step}")


def write_card(
    processor: WorldModelProcessor,
    args: Any,
    config: PretrainedConfig,
    *,
    repo_id: str,
    name: str | None,
    dataset: str | None,
    tags: list[str],
    horizon: int,
    rewards: Mapping[str, float],
) -> None:
    """
    Write the card of a world model whose results nobody has measured yet; one beside a `results.json` stays.

    It tells the settings `args`, rewards with their weights, and, by the model's `config`, what it was loaded from.
    """
    folder, start = Path(args.output_dir), get_config_model_id(config)
    if (folder / "results.json").exists():
        return
    subject = CardSubject(
        name=name or Path(repo_id).name,
        horizon=horizon,
        world=dataset or "recorded episodes",
        data=f"https://huggingface.co/datasets/{dataset}" if dataset else UNKNOWN_DATA,
        repo_id=repo_id,
        datasets=[dataset] if dataset else [],
        base_model=start if start and start.count("/") == 1 and not Path(start).exists() else None,
        tags=tags,
        terms=terms_of(config.model_type),
    )
    recipe: dict[str, Any] = {"rewards": [{"reward": reward, "weight": weight} for reward, weight in rewards.items()]}
    settings = {setting: getattr(args, setting) for setting in SETTINGS}
    recipe |= {setting: getattr(value, "value", value) for setting, value in settings.items()}
    card = card_text(processor, subject, recipe=recipe, recipe_title="Settings that differ between runs")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(card, encoding="utf-8")


def save_parts(folder: str | Path, processor: WorldModelProcessor, rewards: Sequence[Any]) -> None:
    """Save what belongs to a policy in its folder: the whole processor, and an inverse model among its rewards."""
    processor.save_pretrained(folder)
    if (inverse := inverse_model_of(rewards)) is not None:
        inverse.save_pretrained(Path(folder) / INVERSE)


def push(
    model: PreTrainedModel,
    processor: WorldModelProcessor,
    args: Any,
    *,
    commit_message: str | None,
    merge_adapter: bool,
    rewards: Sequence[Any] = (),
    token: str | None = None,
    revision: str | None = None,
    private: bool | None = None,
    blocking: bool | None = None,
) -> CommitInfo:
    """
    As [`push_world_model`]: where to is in `args` unless it is said; the upload is waited for. An inverse model among
    the `rewards` goes along.
    """
    folder = Path(args.output_dir)
    return push_world_model(
        model,
        processor,
        args.hub_model_id or folder.absolute().name,
        merge_adapter=merge_adapter,
        inverse_model=inverse_model_of(rewards),
        documents=[folder / name for name in ("README.md", "results.json") if (folder / name).is_file()],
        commit_message=commit_message or "End of training",
        token=args.hub_token if token is None else token,
        revision=args.hub_revision if revision is None else revision,
        private=args.hub_private_repo if private is None else private,
    )
