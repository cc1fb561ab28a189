"""
What every reward on text shares: reading a completion, the floor for unreadable answers, TRL's call, processes.

A subclass has one pure method, `measure`, of one answer and its row. It raises [`UnreadableAnswerError`] for an answer
that its world cannot read, which gets the floor and counts as `parse_failure`. Any other exception is a bug and is not
caught.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from ..states.answer import UnreadableAnswerError
from ..workers import worker_pool
from .cores import usable_cores


Completion = str | Sequence[Mapping[str, str]]

FEW = 64
"""With fewer completions than this, other processes cost more time than they save."""


class TextReward(ABC):
    """
    A metric on answers in text, signed so that higher is better.

    The same object is a reward for TRL, which calls it with the columns of a dataset, and a measure for evaluation,
    which reads [`~TextReward.metric`]. Instances can be pickled.

    Args:
        processes (`int`, *optional*, defaults to 1):
            Processes that score a large batch; 0 for one per core.

    Attributes:
        name (`str`):
            Name of the unsigned metric in tables, and of the reward in logs.
        higher_is_better (`bool`):
            Direction of the unsigned metric.
        best (`float`):
            Value of the unsigned metric for the recorded answer.
        floor (`float`):
            Value of the unsigned metric that an unreadable answer gets.
        columns (`tuple[str, ...]`):
            Columns of a row that it reads, all `str`.
        changes_no_value (`tuple[str, ...]`):
            Settings in which two rewards of one name may differ, as they change no value; `processes` by default. A
            table refuses two of one name that differ in others.

    Raises:
        ValueError: if `processes` is negative.
        TypeError: when a subclass that measures leaves one of the five attributes out.

    Example:

    ```python
    >>> class SameAnswerReward(TextReward):
    ...     name, higher_is_better, best, floor, columns = "same_answer", True, 1.0, 0.0, ("ground_truth",)
    ...
    ...     def measure(self, completion, *, ground_truth):
    ...         if not completion:
    ...             raise UnreadableAnswerError("Expected an answer, got nothing.")
    ...         return float(completion == ground_truth)
    >>> SameAnswerReward()(completions=["open", "shut", ""], ground_truth=["open"] * 3)
    [1.0, 0.0, 0.0]

    ```
    """

    name: str
    higher_is_better: bool
    best: float
    floor: float
    columns: tuple[str, ...]
    changes_no_value: tuple[str, ...] = ("processes",)

    def __init__(self, *, processes: int = 1) -> None:
        if processes < 0:
            raise ValueError(f"Expected `processes` to be 0 or more, got {processes}.")
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        missing = [key for key in ("name", "higher_is_better", "best", "floor", "columns") if not hasattr(cls, key)]
        if missing and not getattr(cls.measure, "__isabstractmethod__", False):
            raise TypeError(
                f"`{cls.__name__}` has a `measure` but not all class attributes of a reward; set {', '.join(missing)}."
            )

    def __getstate__(self) -> dict[str, Any]:
        # A pool cannot be pickled, and the reward is sent to the processes of its own.
        return {**self.__dict__, "_pool": None}

    @property
    def __name__(self) -> str:
        # TRL logs a reward under this name, which a plain object lacks.
        return self.name

    @abstractmethod
    def measure(self, completion: str, *args: Any, **row: Any) -> float | None:
        """
        The unsigned metric of one answer.

        Args:
            completion (`str`):
                What the model wrote, reasoning and special tokens included.
            row (`dict[str, str]`):
                The columns that the reward reads.

        Returns:
            `float`: the metric; `None` where the recorded state leaves nothing to measure.

        Raises:
            UnreadableAnswerError: if the answer cannot be read.
        """

    def metric(self, completions: Sequence[Completion], **columns: Sequence[Any]) -> tuple[list[float], list[bool]]:
        """
        The unsigned metric of each answer, and whether it could be read.

        Args:
            completions (`Sequence` of `str` or of messages):
                What the model wrote; of a conversation, the last message.
            columns (`dict[str, Sequence]`):
                Columns of the rows, one entry a completion; those it does not read are ignored.

        Returns:
            `tuple[list[float], list[bool]]`: the values, with the floor for an unreadable answer and nan where there
            is nothing to measure; and whether each answer was readable.

        Raises:
            ValueError: if a column that it reads is missing, or differs in length.
            TypeError: if a completion is neither a text nor messages of which the last one has a text.
        """
        rows = self._rows(completions, columns)
        if self.processes == 1 or len(rows) < FEW:
            measured = _measure_some(self, rows)
        else:
            workers = self.processes or usable_cores()
            if self._pool is None:
                self._pool = worker_pool(workers, start="forkserver")
            # Four parts a process: answers differ in how long they take.
            size = math.ceil(len(rows) / (4 * workers))
            parts = [rows[start : start + size] for start in range(0, len(rows), size)]
            measured = [pair for part in self._pool.map(partial(_measure_some, self), parts) for pair in part]
        values, readable = zip(*measured, strict=True) if measured else ((), ())
        return list(values), list(readable)

    def __call__(
        self,
        completions: Sequence[Completion],
        *,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """
        The rewards of a batch, as TRL's trainers ask for them: one entry a completion in every column.

        Args:
            completions (`Sequence` of `str` or of messages):
                What the model wrote.
            log_metric (`Callable`, *optional*):
                Called with `parse_failure`, the rate of unreadable answers.
            columns (`dict[str, Any]`):
                Columns of the rows; those it does not read are ignored.

        Returns:
            `list[float | None]`: higher is better; the signed floor for an unreadable answer; `None`, which TRL leaves
            out, where there is nothing to measure.

        Raises:
            ValueError, TypeError: as [`~TextReward.metric`].
        """
        values, readable = self.metric(completions, **columns)
        if log_metric is not None and readable:
            log_metric("parse_failure", 1 - sum(readable) / len(readable))
        sign = 1 if self.higher_is_better else -1
        # TRL leaves out a reward of `None`.
        return [None if math.isnan(value) else sign * value for value in values]

    def _rows(self, completions: Sequence[Completion], columns: Mapping[str, Any]) -> list[dict[str, str]]:
        missing = [name for name in self.columns if columns.get(name) is None]
        if missing:
            raise ValueError(
                f"`{self.name}`: expected the columns {', '.join(self.columns)}, got none named {', '.join(missing)}."
            )
        read = {"completion": [self._text(completion) for completion in completions]}
        read |= {name: columns[name] for name in self.columns}
        lengths = {name: len(column) for name, column in read.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"`{self.name}`: expected one entry a completion in every column, got {lengths}.")
        return [dict(zip(read, values, strict=True)) for values in zip(*read.values(), strict=True)]

    def _text(self, completion: Any) -> str:
        last = completion[-1] if isinstance(completion, Sequence) and completion else None
        text = last.get("content") if isinstance(last, Mapping) else completion
        if not isinstance(text, str):
            raise TypeError(
                f"`{self.name}`: expected each completion as `str`, or as messages of which the last one has a `str` "
                f"as `content`, got {type(completion).__name__} {completion!r:.80}; decode it to text first."
            )
        return text


def _measure_some(reward: TextReward, rows: list[dict[str, str]]) -> list[tuple[float, bool]]:
    measured = []
    for row in rows:
        try:
            value = reward.measure(**row)
        except UnreadableAnswerError:
            measured.append((reward.floor, False))
        else:
            measured.append((math.nan if value is None else value, True))
    return measured
