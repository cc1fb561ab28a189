"""
Groups of completions: those of one prompt, which share its reference. How they are read from columns, in which parts
they are measured, and what a reward gives for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, TypeGuard

import numpy as np
import torch


Frames = torch.Tensor | np.ndarray
Column = Sequence[Any] | Frames
Place = tuple[str, int]
"""Name of an episode, and the index in it of the first frame that was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScores:
    """
    What one reward gives for `B` groups of `G` completions; all of it follows from one measurement.

    Example:

    ```python
    >>> import torch
    >>> from rlvr_world_hf.rewards import MAEReward
    >>> reference = torch.zeros(1, 2, 3, 8, 8)  # one group, two steps
    >>> levels = torch.tensor([[0.0, 0.5], [0.25, 0.25]]).view(1, 2, 2, 1, 1, 1)  # of its two predictions
    >>> scores = MAEReward().score_groups(levels.expand(1, 2, 2, 3, 8, 8), reference)
    >>> scores.rewards, scores.metrics
    (tensor([[-0.2500, -0.2500]]), {'parse_failure': 0.0})
    >>> scores.steps
    tensor([[[ 0.0000, -0.5000],
             [-0.2500, -0.2500]]])

    ```
    """

    rewards: torch.Tensor
    """`(B, G)`, float32, on the device of the predictions: higher is better. An unreadable prediction has the signed
    `floor`; nan where there is no reference, or nothing in it to measure."""

    steps: torch.Tensor
    """`(B, G, S)`, in the same form: the reward of each step times its weight, so that the mean of those that are not
    nan is `rewards`. An unreadable prediction has the signed `floor`, times the weight, at every step."""

    metrics: dict[str, float]
    """To report: `parse_failure`, the rate of unreadable predictions among those with a reference, and the mean of
    each metric that the reward diagnoses. Empty where no group has a reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some groups, or a part of one, as tensors whose memory is their own."""

    rows: list[int]
    """Row numbers of the `K * n` completions, those of a group one after another."""

    groups: list[int]
    """Numbers of the `K` groups."""

    size: int
    """`n`, completions of each group."""

    predicted: torch.Tensor
    """`(K * n, S, ...)`."""

    reference: torch.Tensor
    """`(K, S, ...)`."""

    reference_mask: torch.Tensor | None
    """`(K, S)`: False where the reference is padding."""

    context: torch.Tensor | None
    """`(K, C, ...)`: the `C` states that were given."""

    actions: torch.Tensor | None
    """`(K, L, A)`: what was done, where a reward asks for it."""

    places: list[Place] | None
    """`K` places, where a reward asks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """A batch of completions one after another, with one reference a group."""

    predicted: Column
    """`N` predictions; `None` where one could not be read."""

    members: list[range]
    """The rows of each of the `B` groups."""

    reference: Column
    """`B` references; `None` where there is nothing to compare with."""

    reference_mask: Column | None
    """`B` masks."""

    context: Column | None
    """`B` contexts."""

    actions: Column | None = None
    """`B` sequences of actions."""

    places: Sequence[Place] | None = None
    """Where each of the `B` groups is from."""

    @classmethod
    def of_columns(
        cls,
        predicted: Column,
        reference: Column,
        reference_mask: Column | None,
        context: Column | None,
        actions: Column | None = None,
        places: Sequence[Place] | None = None,
        *,
        by_content: bool = False,
    ) -> Groups:
        """
        Groups of columns with one entry a completion: successive rows that hold the same objects are one group; where
        no two do and `by_content` is set, successive rows that hold equal ones.
        """
        columns = [column for column in (reference, reference_mask, context, actions) if column is not None]
        # The rows of an array are other objects each time they are read.
        is_told = not any(_is_array(column) for column in columns)
        rows = range(len(predicted))
        starts = [row for row in rows if not (is_told and row and _are_repeated(columns, row))]
        if by_content and len(starts) == len(rows):
            starts = [row for row in rows if not (row and _are_equal(columns, row))]
        members = [range(start, end) for start, end in pairwise([*starts, len(predicted)])]
        return cls(
            predicted=predicted,
            members=members,
            reference=_entries(reference, starts),
            reference_mask=None if reference_mask is None else _entries(reference_mask, starts),
            context=None if context is None else _entries(context, starts),
            actions=None if actions is None else _entries(actions, starts),
            places=None if places is None else [places[row] for row in starts],
        )

    @classmethod
    def of_nested(
        cls,
        predicted: Column,
        reference: Column,
        reference_mask: Column | None,
        context: Column | None,
        actions: Column | None = None,
        places: Sequence[Place] | None = None,
    ) -> Groups:
        """Groups of predictions in a tensor or in sequences of sequences, each group with one reference."""
        size = len(predicted[0]) if len(predicted) else 0
        members = [range(group * size, (group + 1) * size) for group in range(len(predicted))]
        if _is_array(predicted):
            flat: Column = predicted.reshape(len(predicted) * size, *predicted.shape[2:])
        else:
            flat = [state for group in predicted for state in group]
        return cls(
            predicted=flat,
            members=members,
            reference=reference,
            reference_mask=reference_mask,
            context=context,
            actions=actions,
            places=places,
        )

    @property
    def horizon(self) -> int:
        """Steps of a reference; 0 where there is none."""
        return next((len(state) for state in self.reference if state is not None), 0)

    @property
    def scorable(self) -> list[int]:
        """Rows of completions whose group has a reference."""
        pairs = zip(self.members, self.reference, strict=True)
        return [row for rows, recorded in pairs if recorded is not None for row in rows]

    @property
    def unreadable(self) -> list[int]:
        """Those of them whose prediction could not be read."""
        return [] if _is_array(self.predicted) else [row for row in self.scorable if self.predicted[row] is None]

    def parts(self, *, largest: int, whole: bool) -> Iterator[Part]:
        """
        What can be compared, in parts of one size a group.

        Args:
            largest (`int`):
                Completions in a part. A larger group is cut.
            whole (`bool`):
                Whether a group larger than this stays in one piece.

        Yields:
            `Part`: unreadable predictions are left out, so groups may differ in size.
        """
        unreadable = set(self.unreadable)
        pieces: list[tuple[int, list[int]]] = []
        for group, (members, recorded) in enumerate(zip(self.members, self.reference, strict=True)):
            readable = [] if recorded is None else [row for row in members if row not in unreadable]
            size = len(readable) if whole and readable else largest
            pieces += [(group, readable[start : start + size]) for start in range(0, len(readable), size)]
        for size, alike in groupby(pieces, key=lambda piece: len(piece[1])):
            of_size, count = list(alike), max(largest // size, 1)
            for start in range(0, len(of_size), count):
                taken = of_size[start : start + count]
                groups, rows = [group for group, _ in taken], [row for _, of_group in taken for row in of_group]
                yield Part(
                    rows=rows,
                    groups=groups,
                    size=size,
                    predicted=_take(self.predicted, rows),
                    reference=_take(self.reference, groups),
                    reference_mask=None if self.reference_mask is None else _take(self.reference_mask, groups),
                    context=None if self.context is None else _take(self.context, groups),
                    actions=None if self.actions is None else _take(self.actions, groups),
                    places=None if self.places is None else [self.places[group] for group in groups],
                )


def as_tensor(array: Any) -> torch.Tensor:
    """Shares memory if possible. Read-only arrays are copied, as torch warns of them."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        array = array.copy()
    try:
        return torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"Expected a state as an array of numbers, got {type(array).__name__}: {error}.") from error


def _is_array(column: Column) -> TypeGuard[Frames]:
    return isinstance(column, (torch.Tensor, np.ndarray))


def _are_repeated(columns: list[Column], row: int) -> bool:
    """Whether a row holds the objects of the row before."""
    return all(column[row] is column[row - 1] for column in columns)


def _are_equal(columns: list[Column], row: int) -> bool:
    """Whether a row holds what the row before does, as other objects."""
    pairs = [(column[row], column[row - 1]) for column in columns]
    return all(
        one is other or (one is not None and other is not None and _hold_the_same(as_tensor(one), as_tensor(other)))
        for one, other in pairs
    )


def _hold_the_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether all numbers are equal, nan as well, which padding may hold."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _entries(column: Column, rows: list[int]) -> Column:
    return column if len(rows) == len(column) else [column[row] for row in rows]


def _take(column: Column, rows: list[int]) -> torch.Tensor:
    """Rows of a column as one tensor. It is a copy, as a metric of a user may compute in place."""
    if _is_array(column):
        first, end = rows[0], rows[-1] + 1
        return as_tensor(column[first:end]).clone() if rows == list(range(first, end)) else as_tensor(column[rows])
    return torch.stack([as_tensor(column[row]) for row in rows])
