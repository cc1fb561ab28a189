"""Rows in groups: each is read once for all completions of its group, and a group stays in one update."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from einops import rearrange
from trl.trainer.utils import RepeatSampler

from ..rollouts.text import seed_of


Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedRows:
    """
    The rows of a batch of rollouts that this process samples from, each once.

    Example:

    ```python
    >>> groups = GroupedRows.of([{"x": 1}] * 4 + [{"x": 2}] * 4, group_size=4, process=1)
    >>> groups.rows, groups.samples, groups.first
    ([{'x': 1}, {'x': 2}], 4, 8)

    ```
    """

    rows: Rows
    """One a group, or, of a group that several processes share, one a part of it."""
    samples: int
    """Completions of each row in this process."""
    first: int
    """Index of this process's first completion among those of all processes."""
    group_size: int
    """Completions of a row in all processes, `G`."""

    @classmethod
    def of(cls, inputs: Rows, *, group_size: int, process: int) -> "GroupedRows":
        """Of what TRL hands over, a row a completion, those of a group together; each process has as many."""
        samples = math.gcd(len(inputs), group_size)
        rows = [{name: _as_tensor(value) for name, value in row.items()} for row in inputs[::samples]]
        return cls(rows=rows, samples=samples, first=process * len(inputs), group_size=group_size)

    def __len__(self) -> int:
        """Completions of this process."""
        return len(self.rows) * self.samples

    def columns(self, *names: str) -> dict[str, torch.Tensor]:
        """Columns of the rows, each as one tensor with a row an entry."""
        return {name: torch.stack([row[name] for row in self.rows]) for name in names}

    def once_a_completion(self) -> Rows:
        """Copies of the rows, one a completion; what they hold is shared."""
        return [{**row} for row in self.rows for _ in range(self.samples)]

    def seeds(self, *place: int) -> list[int]:
        """Of each row: a seed of its group at a place in the run, the same for any number of processes."""
        return [seed_of(*place, index - index % self.group_size) for index in self._indices]

    @property
    def ids(self) -> list[tuple[int, int]]:
        """Of each completion: the number of its group among those of all processes, and its place in the group."""
        return [divmod(index, self.group_size) for index in range(self.first, self.first + len(self))]

    @property
    def skipped(self) -> list[int]:
        """Of each row: completions of its group that other processes sample before this one's."""
        return [index % self.group_size for index in self._indices]

    @property
    def _indices(self) -> range:
        """Of each row: index of its first completion here among those of all processes."""
        return range(self.first, self.first + len(self), self.samples)


class GroupSampler(RepeatSampler):
    """TRL's sampler, whose order depends on the epoch, and not on how many epochs this process has seen."""

    @classmethod
    def of(cls, sampler: RepeatSampler) -> "GroupSampler":
        """A sampler of the same settings; raises `ValueError` if there are too few rows for one batch of rollouts."""
        if len(sampler.data_source) < sampler.batch_size:
            raise ValueError(
                f"Expected at least {sampler.batch_size} rows, as many as a batch of rollouts has prompts, got "
                f"{len(sampler.data_source)}; give more, or lower `per_device_train_batch_size`, "
                "`gradient_accumulation_steps` or `updates_per_generation`."
            )
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        return cls(**{name: getattr(sampler, name) for name in names})

    def set_epoch(self, epoch: int) -> None:
        """Called when an epoch begins."""
        if self.shuffle:
            self.generator.manual_seed(self.seed + epoch)


class RowsReadOnce(torch.utils.data.Dataset):
    """
    A dataset that reads each of a batch's rows once, and a batch that is asked for again not at all.

    TRL's sampler asks for a row once a completion, and for a batch of rollouts once an update.
    """

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


def read_once(dataset: Any) -> Any:
    """A dataset, or several by name, as [`RowsReadOnce`]; streams, and what is read once already, stay as they are."""
    if isinstance(dataset, dict):
        return {name: read_once(part) for name, part in dataset.items()}
    return RowsReadOnce(dataset) if isinstance(dataset, Dataset) else dataset


def update_order(num_rows: int, updates: int, group_size: int) -> torch.Tensor:
    """
    Every U-th group goes to the same one of U updates, so that an update is the same for any number of processes.

    Example:

    ```python
    >>> update_order(8, 2, 2).tolist()
    [0, 1, 4, 5, 2, 3, 6, 7]

    ```
    """
    rows = torch.arange(num_rows)
    if num_rows % (updates * group_size):  # there are not as many whole groups for each
        return rows
    return rearrange(rows, "(B U G) -> (U B G)", U=updates, G=group_size)


def _as_tensor(value: Any) -> Any:
    return torch.tensor(value) if isinstance(value, np.ndarray) else value
