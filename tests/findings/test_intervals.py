import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlvr_world_hf.findings.intervals import bootstrap_interval, crossed_interval


EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"


def test_it_is_about_two_standard_errors() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 200)
    low, high = bootstrap_interval(values.tolist())
    error = values.std(ddof=1) / np.sqrt(200)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    narrow = bootstrap_interval(values.tolist(), level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_the_seed_decides_and_equal_values_leave_nothing_open() -> None:
    values = [0.0, 1.0, 1.0, 4.0]
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval([0.5, 0.5]) == bootstrap_interval([0.5]) == (0.5, 0.5)


def summaries(record: Any) -> Iterator[dict[str, Any]]:
    """What `summarize_starts` wrote, wherever it stands in a record."""
    if isinstance(record, dict):
        if {"low", "high", "values"} <= set(record):
            yield record
        for part in record.values():
            yield from summaries(part)


@pytest.mark.parametrize("name", ["planning", "planning_text", "planning_web"])
def test_committed_intervals_come_out_again(name: str) -> None:
    found = list(summaries(json.loads((EVIDENCE / f"{name}.json").read_text(encoding="utf-8"))))
    assert len(found) >= 20
    for summary in found:
        again = crossed_interval(summary.get("by_seed", [summary["values"]]))
        assert again == pytest.approx((summary["low"], summary["high"]), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("values", [[], [float("nan")], [[1.0]]])
def test_values_are_finite_numbers(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one finite number"):
        bootstrap_interval(values)
    with pytest.raises(ValueError, match=r"a level in \(0, 1\)"):
        bootstrap_interval([1.0], level=1.0)


def test_seeds_and_starts_add_their_variances() -> None:
    """Of independent effects the squared errors of the two means add up; the bootstrap of K seeds has (K - 1) / K."""
    rng = np.random.default_rng(0)
    seeds, starts = rng.normal(0, 1.0, 30), rng.normal(0, 3.0, 100)
    values = seeds[:, None] + starts
    low, high = crossed_interval(values.tolist())
    error = np.sqrt(seeds.var() / 30 + starts.var() / 100)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.1 * error)
    assert crossed_interval(values.tolist(), seed=1) != (low, high) == crossed_interval(values.tolist())
    assert crossed_interval(values[:1].tolist()) == bootstrap_interval(values[0].tolist())


def test_all_seeds_tried_the_same_starts() -> None:
    with pytest.raises(ValueError, match=r"the same starts of each training seed, got \[2, 1\]"):
        crossed_interval([[0.0, 1.0], [0.0]])
    with pytest.raises(ValueError, match="at least one finite number"):
        crossed_interval([[0.0], [float("nan")]])
