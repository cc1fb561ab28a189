"""A trainer's world model on the Hub: its card, its repository, and a push at each save."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import HubStrategy

from ..hub.cards import CardSubject, card_text
from ..hub.push import push_world_model
from ..processors.base import WorldModelProcessor


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


class PushAtEachSave(TrainerCallback):
    """
    Pushes the world model when a checkpoint was saved, in place of transformers, which would upload its folder with
    pickled settings and without the codec.

    Args:
        args ([`~transformers.TrainingArguments`]):
            Settings of the trainer; their `hub_strategy` becomes "end", so that transformers pushes nothing itself.
        push (`Callable`):
            [`WorldModelGRPOTrainer.push_to_hub`].
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
    *,
    repo_id: str,
    name: str | None,
    dataset: str | None,
    tags: list[str],
    horizon: int,
    rewards: Mapping[str, float],
    start: str | None,
) -> None:
    """
    Write the card of a world model whose results nobody has measured yet; one beside a `results.json` stays.

    Args:
        processor ([`WorldModelProcessor`]):
            Of the model.
        args ([`WorldModelGRPOConfig`]):
            Of its training; `README.md` goes to its `output_dir`.
        repo_id (`str`):
            Repository that it goes to.
        name (`str`, *optional*):
            Title; by default the last part of `repo_id`.
        dataset (`str`, *optional*):
            Dataset on the Hub that the rows are from.
        tags (`list[str]`):
            Tags.
        horizon (`int`):
            Steps of a prediction in the card's code.
        rewards (`Mapping[str, float]`):
            Names of the rewards and their weights.
        start (`str`, *optional*):
            Folder or repository that the model was loaded from.
    """
    folder = Path(args.output_dir)
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
    )
    recipe: dict[str, Any] = {"rewards": [{"reward": reward, "weight": weight} for reward, weight in rewards.items()]}
    settings = {setting: getattr(args, setting) for setting in SETTINGS}
    recipe |= {setting: getattr(value, "value", value) for setting, value in settings.items()}
    card = card_text(processor, subject, recipe=recipe, recipe_title="Settings that differ between runs")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(card, encoding="utf-8")


def push(
    model: PreTrainedModel,
    processor: WorldModelProcessor,
    args: Any,
    *,
    commit_message: str | None,
    merge_adapter: bool,
    token: str | None = None,
    revision: str | None = None,
    private: bool | None = None,
    blocking: bool | None = None,
) -> CommitInfo:
    """
    Upload the whole world model: policy, processor, codec, card and results, in one commit.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The policy, out of its wrappers.
        processor ([`WorldModelProcessor`]):
            Its processor.
        args ([`WorldModelGRPOConfig`]):
            Where to, unless it is said here; the folder with card and results.
        commit_message (`str`, *optional*):
            Title of the commit.
        merge_adapter (`bool`):
            Whether an adapter is merged, or kept apart with its base beside it.
        token (`str`, *optional*):
            Hub token with write permission; `args.hub_token` by default.
        revision (`str`, *optional*):
            Branch; `args.hub_revision` by default.
        private (`bool`, *optional*):
            Whether a repository that is made is private; `args.hub_private_repo` by default.
        blocking (`bool`, *optional*):
            Accepted as in transformers; the upload is always waited for.

    Returns:
        [`~huggingface_hub.CommitInfo`]: the commit.
    """
    folder = Path(args.output_dir)
    return push_world_model(
        model,
        processor,
        args.hub_model_id or folder.absolute().name,
        merge_adapter=merge_adapter,
        documents=[folder / name for name in ("README.md", "results.json") if (folder / name).is_file()],
        commit_message=commit_message or "End of training",
        token=args.hub_token if token is None else token,
        revision=args.hub_revision if revision is None else revision,
        private=args.hub_private_repo if private is None else private,
    )
