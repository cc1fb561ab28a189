"""
Transitions of WebArena pages as the authors publish them: the Hub dataset `thuml/webarena-world-model-cot`.

RLVR-World (https://huggingface.co/papers/2505.13934) trains on half of the 14,000 transitions that were recorded for
https://huggingface.co/papers/2410.13232. A row holds what the authors' trainers read: `prompt`, the messages of a
conversation; `reward_model`, with the recorded change as `ground_truth`; `data_source`; and `question` and `answer`,
the texts of their likelihood training, where `answer` reasons before it answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets

from ...data.folder import described
from ...data.transition import Transition
from .change import PageChange, parse_page_change


REPOSITORY = "thuml/webarena-world-model-cot"
"""Where the dataset is on the Hub."""

SPLITS = ("train", "test")
"""Its splits, each a file `{split}.parquet`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTransitions:
    """
    The dataset, split for training. Its fields are keys of the collect stage.

    Example:

    ```python
    >>> RecordedTransitions(folder=Path("nowhere")).read()
    Traceback (most recent call last):
    ...
    FileNotFoundError: Expected nowhere/train.parquet; download thuml/webarena-world-model-cot from the Hub to nowhere.

    ```
    """

    world: ClassVar[str] = "WebArena pages"
    """What it is, for cards."""

    source: ClassVar[str] = f"https://huggingface.co/datasets/{REPOSITORY} (for its terms see there)"
    """Where the data comes from, for cards."""

    has_conversations: ClassVar[bool] = True
    """Prompts are conversations, and not texts."""

    folder: Path | None = described(None, "Folder of train.parquet and test.parquet; from the Hub if not given.")
    """Folder of `train.parquet` and `test.parquet`; by default they are downloaded from the Hub."""

    validation_share: float = described(0.01, "Share of the training file that becomes the validation split.")
    """Share of the training file, its last rows, that becomes the validation split, in (0, 1)."""

    @property
    def repo_id(self) -> str | None:
        """Dataset on the Hub that is read; `None` for a folder."""
        return REPOSITORY if self.folder is None else None

    def contents(self) -> Any:
        """What is read: the files, by name, or the name of the Hub's dataset."""
        if self.folder is None:
            return REPOSITORY
        files = [self.folder / f"{split}.parquet" for split in SPLITS]
        return {file.name: file for file in files if file.is_file()}

    def read(self) -> dict[str, list[Transition]]:
        """
        All transitions.

        Returns:
            `dict[str, list[Transition]]`: under `train`, `validation` and `test`.

        Raises:
            FileNotFoundError: if the folder lacks a file.
            ValueError: if a row lacks what is read of it, or too few are left to train on.
        """
        train, test = (list(read_transitions(split, folder=self.folder)) for split in SPLITS)
        kept = len(train) - max(1, round(self.validation_share * len(train)))
        if kept < 1:
            raise ValueError(
                f"Expected enough rows to train on beside {self.validation_share:.0%} for validation, got "
                f"{len(train)}; lower `validation_share`."
            )
        return {"train": train[:kept], "validation": train[kept:], "test": test}


def nothing_changes(state: str) -> str:
    """The answer that nothing changes; the same in each state."""
    return PageChange().text


def read_transitions(split: str, *, folder: str | Path | None = None) -> Iterator[Transition]:
    """
    Read a split of the dataset.

    Args:
        split (`str`):
            `"train"` or `"test"`.
        folder (`str` or `Path`, *optional*):
            Folder that holds `train.parquet` and `test.parquet`; by default they are downloaded from the Hub.

    Returns:
        `Iterator[Transition]`: in the order of the file; see [`row_transition`].

    Raises:
        ValueError: if there is no such split, or a row lacks what is read of it.
        FileNotFoundError: if the folder has no file of the split.

    Example:

    ```python
    >>> transitions = read_transitions("test")  # downloads nothing until it is asked for the first
    >>> next(read_transitions("test", folder="nowhere"))
    Traceback (most recent call last):
    ...
    FileNotFoundError: Expected nowhere/test.parquet; download thuml/webarena-world-model-cot from the Hub to nowhere.

    ```
    """
    if split not in SPLITS:
        raise ValueError(f"Expected `split` to be one of {', '.join(SPLITS)}, got {split!r}.")
    # A generator of its own, so that a wrong split is refused here and not at the first row.
    return _read(split, folder)


def _read(split: str, folder: str | Path | None) -> Iterator[Transition]:
    if folder is None:
        rows = datasets.load_dataset(REPOSITORY, data_files={split: f"{split}.parquet"}, split=split)
    else:
        file = Path(folder) / f"{split}.parquet"
        if not file.is_file():
            raise FileNotFoundError(f"Expected {file}; download {REPOSITORY} from the Hub to {folder}.")
        rows = datasets.Dataset.from_parquet(str(file))
    for number, row in enumerate(rows):
        yield row_transition(row, transition_id=f"{split}/{number}")


def row_transition(row: Mapping[str, Any], *, transition_id: str) -> Transition:
    r"""
    A row of the dataset as a transition.

    Page and action stand in the prompt alone: the state is the text of its messages, and the action is left empty.

    Args:
        row (`Mapping[str, Any]`):
            The row, with `prompt` (messages, or `question` in its place) and `reward_model`; `answer` and
            `data_source` are read if they are there.
        transition_id (`str`):
            Its name.

    Returns:
        `Transition`: the group is the data source; the answer is `answer` or, without it, the recorded change.

    Raises:
        ValueError: if the row has no prompt, or no recorded change with a section.

    Example:

    ```python
    >>> change = "New items:\n[3] link 'Undo'\n\nDeleted items:\nNone\n\nUpdated items:\nNone"
    >>> row = {"prompt": [{"role": "user", "content": "A page."}], "reward_model": {"ground_truth": change}}
    >>> row_transition(row, transition_id="test/0").is_changed
    True

    ```
    """
    # In a parquet file what a row lacks is None and not absent, hence `or`.
    messages = row.get("prompt") or ([{"role": "user", "content": row["question"]}] if row.get("question") else None)
    if not messages:
        raise ValueError(f"Row {transition_id!r}: expected `prompt` or `question`, got the columns {', '.join(row)}.")
    change = (row.get("reward_model") or {}).get("ground_truth") or ""
    return Transition(
        transition_id=transition_id,
        group=row.get("data_source") or "webarena",
        prompt=[{"role": message["role"], "content": message["content"]} for message in messages],
        answer=row.get("answer") or change,
        state="\n".join(message["content"] for message in messages),
        action="",
        next_state=change,
        is_changed=not parse_page_change(change).is_empty,
    )
