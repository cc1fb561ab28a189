"""
What the stages of a run need of a kind of world.

A stage fixes the order of the work and what is kept; a kind does the work for its states. Kinds find stages by name
(`find_stage`), as stages import them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from ...evaluation.results import Results
from ...evaluation.sharing import ALONE, Share
from ..progress import cache_folder
from ..recipe import Recipe
from ..stage import StageRun, find_stage
from ..world import is_recorded, world_source


SPLITS = {"train": 0, "validation": 1_000_000, "test": 2_000_000}
"""The splits, and the offset of each one's first seed, so that the size of one split does not change the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodParts:
    """Arguments of a kind's likelihood training."""

    train: Callable[..., Any]
    """`training.pretrain`, or `training.language.finetune` with its processor."""

    model: Any
    """The policy to train, with an adapter if the recipe asks for one."""

    tokens: Mapping[str, Any]
    """Split -> its rows as tokens, of training and validation."""

    settings: Mapping[str, Any]
    """Further arguments of `train` that only this kind has."""


class WorldKind(ABC):
    """
    One kind of world, bound to a recipe.

    Args:
        recipe (`Recipe`):
            The recipe. A method that reads the output of a stage needs that stage to be finished.

    Example:

    ```python
    >>> from rlvr_world_hf.runs.kinds import kind_of
    >>> from rlvr_world_hf.runs.recipe import load_recipe
    >>> kind_of(load_recipe("pusht/quickstart")).settings("evaluate").windows
    512

    ```
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def settings(self, stage: str) -> Any:
        """The settings of a stage of the recipe."""
        return find_stage(stage).read(self.recipe)

    # What the preflight asks: each raises a ValueError, or a FileNotFoundError, where the stage would fail.

    fixed_length: bool
    """Whether completions have fixed lengths."""

    @abstractmethod
    def states(self) -> tuple[str, ...]:
        """Kinds of states that rewards compare: `frames`, `sensors` or both; `text`."""

    @abstractmethod
    def measured(self, rewards: Sequence[Any], metrics: Sequence[Any]) -> list[Any]:
        """The metrics that evaluation measures, given the recipe's rewards and further ones, each once."""

    @abstractmethod
    def try_tokenizer(self, settings: Any) -> None:
        """Build what the tokenizer stage builds, and look for what it loads."""

    @abstractmethod
    def try_start(self, settings: Any) -> None:
        """Build the policy without its numbers, or look for the one that the recipe starts from."""

    def try_few_shot(self, count: int) -> None:
        """Refuse examples in prompts where there can be none, or fewer, as far as that is known."""
        raise ValueError(
            "evaluate.few_shot: expected 0 without a language model that pretrain.start_from names, got "
            f"{count}; leave it out."
        )

    def try_reasons(self) -> None:
        """Refuse reasons where no program writes them."""
        raise ValueError(
            "pretrain.reasons: expected 0 in a world whose module has no `write_reason`, or whose prompts are "
            "conversations; leave it out, and `reasons_everywhere`."
        )

    def try_nearest(self) -> None:
        """Refuse a row of the nearest training state where states are no texts."""
        raise ValueError("evaluate.nearest: expected false in a world of frames or sensors, got true; leave it out.")

    def try_conditions(self, conditions: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse conditions that cannot be recorded, each a name and keys of collect."""
        raise ValueError(
            f"evaluate.conditions: expected none in a world of text, got {', '.join(conditions)}; leave them out."
        )

    @abstractmethod
    def training_settings(self) -> Mapping[str, Any]:
        """Fields of `likelihood_arguments` that the kind's likelihood training sets, unless a recipe does."""

    # Data: the stage collect, and all stages that read its output.

    def recorded(self) -> Any:
        """The source of data recorded elsewhere; `None` for a world that the run records."""
        source = world_source(self.recipe)
        if not is_recorded(source):
            return None
        return source(**self.settings("collect").arguments, **self.needs())

    def stored(self, split: str) -> Any:
        """Episodes, or rows of transitions, of one split, whole."""
        return self.load(self.folder(split))

    def folder(self, split: str) -> Path:
        """Where one split is stored, once it is."""
        collected = find_stage("collect").progress(self.recipe)
        folder = cache_folder("episodes", collected.fingerprint) / split
        if not folder.is_dir():  # recorded while the cache was elsewhere
            made = [Path(name) for name in collected.record().get("outputs", {})]
            folder = next((place for place in made if place.name == split and place.is_dir()), folder)
        return folder

    def rows(self, split: str, *, count: int = 0) -> datasets.Dataset:
        """
        Rows of one split, cut as the recipe says, see [`window_rows`]; of text, its transitions.

        Args:
            split (`str`):
                `train`, `validation` or `test`.
            count (`int`, *optional*, defaults to 0):
                Number of rows to take, spread evenly over the split; 0 for all.

        Returns:
            `datasets.Dataset`: the rows.
        """
        return evenly(self.cut(self.stored(split), split), count)

    @abstractmethod
    def needs(self) -> dict[str, Any]:
        """Arguments of a recorded source that follow from the recipe and are not keys of it."""

    @abstractmethod
    def contents(self) -> Any:
        """What recorded data consist of, each file as its path; `None` for a world that the run records."""

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """The episodes or transitions in the folder of a split."""

    @abstractmethod
    def cut(self, stored: Any, split: str) -> datasets.Dataset:
        """Rows made of the stored episodes or transitions of a split."""

    @abstractmethod
    def write_recorded(self, recorded: Any, folder: Path) -> None:
        """Sort recorded data into splits, below a folder."""

    @abstractmethod
    def record(self, seeds: Mapping[str, Sequence[int]], folder: Path) -> None:
        """Record one episode or game for each seed of each split, below a folder."""

    # Training: the stages tokenizer, pretrain and control.

    @abstractmethod
    def tokenizer_keys(self) -> Callable[..., Any]:
        """What the tokenizer stage forwards its other keys to; imported on use."""

    @abstractmethod
    def tokenizer_source(self) -> str:
        """Identifies the tokenizer, or what its training starts from."""

    @abstractmethod
    def train_tokenizer(self, run: StageRun) -> list[Path]:
        """Train the tokenizer if the recipe asks for one of its own; returns what was written."""

    @abstractmethod
    def likelihood_arguments(self) -> Callable[..., Any]:
        """What the pretrain stage forwards its other keys to; imported on use."""

    @abstractmethod
    def start_identity(self) -> Any:
        """Identifies the weights that likelihood training starts from; `None` for a fresh policy."""

    @abstractmethod
    def start(self, run: StageRun) -> tuple[Any, Any]:
        """Processor and model that likelihood training starts from."""

    @abstractmethod
    def restart(self, model: Any, processor: Any) -> Any:
        """The model whose training control continues, given the saved `base`."""

    @abstractmethod
    def likelihood_parts(self, run: StageRun, model: Any, processor: Any, settings: Any) -> LikelihoodParts:
        """The model and the tokens of likelihood training."""

    def adapted_base(self, device: Any) -> Any:
        """The policy that likelihood training kept, with its adapter apart, for RL to go on with."""
        raise NotImplementedError("`grpo.continue_adapter` is refused for frames and sensors.")

    def keep_beside(self, run: StageRun, model: Any) -> list[Path]:
        """Write what likelihood training leaves beside its checkpoint; returns what was written."""
        return []

    # Results: the stages evaluate and predict.

    @abstractmethod
    def evaluate(
        self,
        settings: Any,
        checkpoints: Mapping[str, tuple[Any, Any]],
        rewards: list[Any],
        metrics: list[Any],
        *,
        share: Share = ALONE,
    ) -> Results:
        """
        Measure checkpoints, row -> model and processor, and the baselines of the kind on the test split; `share` gives
        the batches of this process.
        """

    @abstractmethod
    def measure(
        self, model: Any, processor: Any, rewards: list[Any], metrics: list[Any], *, count: int
    ) -> dict[str, float]:
        """Measure a policy on some validation windows, by its likeliest predictions: metric -> mean."""

    @abstractmethod
    def show(self, model: Any, processor: Any, folder: Path, *, count: int) -> dict[str, Path]:
        """Draw likeliest predictions of some validation situations beside the truth: what a file shows -> the file."""

    @abstractmethod
    def draw(self, run: StageRun, pipelines: Mapping[str, Any]) -> list[Path]:
        """Show what pipelines, checkpoint -> pipeline, predict on the test split; returns what was written."""


def evenly(rows: datasets.Dataset, count: int) -> datasets.Dataset:
    """
    Some rows, spread evenly over all.

    Args:
        rows (`datasets.Dataset`):
            The rows.
        count (`int`):
            Number of rows to take; 0 for all.

    Returns:
        `datasets.Dataset`: these rows; all if there are fewer.
    """
    if count == 0 or count >= len(rows):
        return rows
    return rows.select([index * len(rows) // count for index in range(count)])
