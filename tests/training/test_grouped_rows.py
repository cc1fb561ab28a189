from typing import Any

import datasets
import numpy as np
import pytest
import torch
from trl.trainer.utils import RepeatSampler

from rlvr_world_hf.training.grouped_rows import GroupedRows, GroupSampler, RowsReadOnce, read_once, update_order


def handed_over(prompts: int, group_size: int) -> list[dict[str, Any]]:
    """Rows as TRL hands them over: one a completion, those of a group together."""
    return [{"x": np.array([float(row)])} for row in range(prompts) for _ in range(group_size)]


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 6])
def test_seeds_and_places_are_the_same_for_any_number_of_processes(processes: int) -> None:
    inputs, noise = handed_over(3, 4), {}
    share = len(inputs) // processes
    for process in range(processes):
        part = inputs[process * share : (process + 1) * share]
        groups = GroupedRows.of(part, group_size=4, process=process)
        assert len(groups) == share and len(groups.once_a_completion()) == share
        for row, seed, before in zip(groups.rows, groups.seeds(7, 1), groups.skipped, strict=True):
            for sample in range(before, before + groups.samples):
                noise[row["x"].item(), sample] = seed
    whole = GroupedRows.of(inputs, group_size=4, process=0)
    expected = {(float(row), sample): seed for row, seed in enumerate(whole.seeds(7, 1)) for sample in range(4)}
    assert noise == expected and len({*expected.values()}) == 3


def test_columns_hold_each_row_once() -> None:
    groups = GroupedRows.of(handed_over(3, 4), group_size=4, process=0)
    assert torch.equal(groups.columns("x")["x"], torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64))
    first, second = groups.once_a_completion()[:2]
    assert first is not second and first["x"] is second["x"]


def test_a_batchs_rows_are_read_once() -> None:
    read: list[int] = []

    def transform(batch: dict[str, list[int]]) -> dict[str, list[int]]:
        read.extend(batch["x"])
        return batch

    rows = RowsReadOnce(datasets.Dataset.from_dict({"x": [0, 1, 2]}).with_transform(transform))
    assert [row["x"] for row in rows.__getitems__([2, 2, 0, 0])] == [2, 2, 0, 0] and read == [2, 0]
    assert rows.__getitems__([2, 2, 0, 0])[0]["x"] == 2 and read == [2, 0], "the same batch again is not read"
    assert len(rows) == 3 and rows[1] == {"x": 1}


def test_maps_alone_are_wrapped_and_once() -> None:
    rows = datasets.Dataset.from_dict({"x": [0, 1]})
    wrapped = read_once({"a": rows, "b": rows.to_iterable_dataset()})
    assert isinstance(wrapped["a"], RowsReadOnce) and isinstance(wrapped["b"], datasets.IterableDataset)
    assert read_once(wrapped["a"]) is wrapped["a"] and read_once(None) is None


def test_an_update_has_the_same_groups_in_one_process_as_in_two() -> None:
    alone = update_order(16, 2, 2).unflatten(0, (2, -1))
    halves = [update_order(8, 2, 2).unflatten(0, (2, -1)) + start for start in (0, 8)]
    for update in range(2):
        together = torch.cat([half[update] for half in halves])
        assert sorted(together.tolist()) == sorted(alone[update].tolist())
    assert update_order(6, 2, 2).tolist() == list(range(6)), "not as many whole groups for each"


def test_the_order_depends_on_the_epoch_and_not_on_those_before() -> None:
    def sampler() -> GroupSampler:
        return GroupSampler.of(RepeatSampler(range(8), mini_repeat_count=2, batch_size=2, seed=5))

    resumed, going_on = sampler(), sampler()
    orders = []
    for epoch in range(3):
        going_on.set_epoch(epoch)
        orders.append(list(going_on))
    resumed.set_epoch(2)
    assert list(resumed) == orders[2] and len({*map(tuple, orders)}) == 3


def test_too_few_rows_for_a_batch_of_rollouts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 4 rows, .* got 3; give more, or lower `per_device_train"):
        GroupSampler.of(RepeatSampler(range(3), mini_repeat_count=2, batch_size=4))
