"""
Steps of text games as the authors publish them: the Hub dataset `thuml/bytesized32-world-model-cot`.

RLVR-World (https://huggingface.co/papers/2505.13934, section 4.1) learns by likelihood from `generated_cot`, whose
answers were reasoned out by a larger model, and by RL from steps that change something and a share of those that do
not. States, prompts and answers are in the authors' own words.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import datasets

from ...data.folder import described
from ...data.transition import Transition
from .records import nothing_changes as nothing_changes  # a recipe's world is asked for these three
from .records import read_hub_rows
from .transfer import state_parts as state_parts
from .transfer import transfer_change as transfer_change


REPOSITORY = "thuml/bytesized32-world-model-cot"
"""Where the dataset is on the Hub."""

REASONED = "generated_cot"
"""File of reasoned answers."""

CHANGED, UNCHANGED, TEST = (
    "train_state_difference_gold",
    "train_state_difference_non_gold",
    "test_state_difference",
)
"""Files of steps: those for training that change something, those that do not, and those for the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTransitions:
    """
    The dataset, split for training. Its fields are keys of the collect stage.

    Raises:
        ValueError: if an argument is out of its range.

    Example:

    ```python
    >>> RecordedTransitions(folder=Path("nowhere"), unchanged=0).read()  # doctest: +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    ...
    FileNotFoundError: Expected nowhere/train_state_difference_gold.parquet; download thuml/bytesized32-world-model-cot
    from the Hub to nowhere.

    ```
    """

    world: ClassVar[str] = "ByteSized32 text games"
    """What it is, for cards."""

    source: ClassVar[str] = f"https://huggingface.co/datasets/{REPOSITORY} (for its terms see there)"
    """Where the data comes from, for cards."""

    has_conversations: ClassVar[bool] = True
    """Prompts are conversations, and not texts."""

    folder: Path | None = described(None, "Folder of the dataset's parquet files; from the Hub if not given.")
    """Folder of the dataset's parquet files; by default those that are read are downloaded from the Hub."""

    reasoned: bool = described(False, "Train on reasoned answers: for likelihood alone, they hold no states.")
    """Whether the training split is `generated_cot`. It holds no states, so that no reward can judge a completion."""

    unchanged: int = described(7278, "Steps that change nothing, among those to train on.")
    """Steps that change nothing in the training split: 7,278 in the authors' script for the binary reward, 1,000 for
    the task-specific one."""

    validation_share: float = described(0.05, "Share of the training rows that becomes the validation split.")
    """Share of the training rows that becomes the validation split, in (0, 1)."""

    seed: int = described(0, "Decides which steps that change nothing are kept, and what is for validation.")
    """Decides which steps that change nothing are kept, and what is for validation."""

    def __post_init__(self) -> None:
        if not 0 < self.validation_share < 1:
            raise ValueError(f"Expected `validation_share` in (0, 1), got {self.validation_share}.")
        if self.unchanged < 0:
            raise ValueError(f"Expected a number of `unchanged` steps, 0 or more, got {self.unchanged}.")

    @property
    def repo_id(self) -> str | None:
        """Dataset on the Hub that is read; `None` for a folder."""
        return REPOSITORY if self.folder is None else None

    def contents(self) -> Any:
        """What is read: the files, by name, or the name of the Hub's dataset."""
        if self.folder is None:
            return REPOSITORY
        return {file.name: file for file in sorted(self.folder.glob("*.parquet"))}

    def read(self) -> dict[str, list[Transition]]:
        """
        All transitions.

        Returns:
            `dict[str, list[Transition]]`: under `train`, `validation` and `test`.

        Raises:
            FileNotFoundError: if the folder lacks a file.
            ValueError: if fewer than two rows are there to train on, or a file has fewer unchanged steps than asked.
        """
        draw = random.Random(self.seed)
        if self.reasoned:
            rows = [_reasoned(row, f"{REASONED}/{number}") for number, row in enumerate(self._rows(REASONED))]
        else:
            others = list(self._steps(UNCHANGED)) if self.unchanged else []
            if len(others) < self.unchanged:
                raise ValueError(
                    f"Expected at most the {len(others)} steps of the file as `unchanged`, got {self.unchanged}."
                )
            rows = [*self._steps(CHANGED), *draw.sample(others, self.unchanged)]
        kept = len(rows) - max(1, round(self.validation_share * len(rows)))
        if kept < 1:
            raise ValueError(f"Expected at least two rows, one of them for validation, got {len(rows)}.")
        # Steps that change nothing stand last in the list; in this order they alone would be for validation.
        draw.shuffle(rows)
        return {"train": rows[:kept], "validation": rows[kept:], "test": list(self._steps(TEST))}

    def _steps(self, name: str) -> Iterator[Transition]:
        for number, step in enumerate(read_hub_rows(self._rows(name))):
            yield replace(step, transition_id=f"{name}/{number}")  # the rows of two files may have the same number

    def _rows(self, name: str) -> Iterator[dict[str, Any]]:
        if self.folder is None:
            return iter(datasets.load_dataset(REPOSITORY, data_files={"train": f"{name}.parquet"}, split="train"))
        file = self.folder / f"{name}.parquet"
        if not file.is_file():
            raise FileNotFoundError(f"Expected {file}; download {REPOSITORY} from the Hub to {self.folder}.")
        return iter(datasets.Dataset.from_parquet(str(file)))


def _reasoned(row: Mapping[str, Any], name: str) -> Transition:
    """A row whose `reward_model.ground_truth` is the whole answer; its state and action stand in its prompt alone."""
    prompt = row["prompt"]
    messages = [dict(message) for message in ([prompt] if isinstance(prompt, Mapping) else prompt)]
    answer = row["reward_model"]["ground_truth"]
    return Transition(
        transition_id=name,
        group=row.get("data_source") or REASONED,
        prompt=[{"role": message.get("role") or "user", "content": message["content"]} for message in messages],
        answer=answer,
        state="\n".join(message["content"] for message in messages),
        action="",
        next_state=answer,
        is_changed=True,
    )
