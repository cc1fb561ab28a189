import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rlvr_world_hf.findings.rank_agreement import (
    STATISTICS,
    bootstrap_interval,
    gap,
    mean_maximum_rank_violation,
    pearson,
    spearman,
)


def test_pearson_by_hand() -> None:
    # Deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 * 2).
    assert pearson([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert pearson([0, 1], [0.2, 0.4]) == pytest.approx(1.0, abs=1e-15)
    assert pearson([0, 1], [0.4, 0.2]) == pytest.approx(-1.0, abs=1e-15)


def test_spearman_by_hand() -> None:
    # Without ties 1 - 6 sum(d^2) / (n (n^2 - 1)); ranks (1, 2, 3, 4) and (2, 1, 4, 3) have sum(d^2) = 4.
    assert spearman([0.1, 0.2, 0.3, 0.9], [0.5, 0.4, 0.8, 0.7]) == pytest.approx(1 - 6 * 4 / 60)
    # Ranks (1.5, 1.5, 3) and (1, 2, 3): deviations (-.5, -.5, 1) and (-1, 0, 1).
    assert spearman([0, 0, 1], [0, 0.5, 1]) == pytest.approx(1.5 / math.sqrt(1.5 * 2))


def test_rank_violation_by_hand() -> None:
    assert mean_maximum_rank_violation([0.1, 0.2, 0.9], [0.0, 0.5, 0.6]) == 0
    # Reversed: each policy's worst violation is that with the other end; (1 + 0.6 + 1) / 3.
    assert mean_maximum_rank_violation([0.0, 0.4, 1.0], [1.0, 0.5, 0.0]) == pytest.approx(2.6 / 3)
    # A tie in the model alone is a violation for the policy that is really worse.
    assert mean_maximum_rank_violation([0.2, 0.6], [0.5, 0.5]) == pytest.approx(0.4 / 2)
    # A tie in reality alone costs nothing.
    assert mean_maximum_rank_violation([0.5, 0.5], [0.2, 0.6]) == 0


def test_gap_by_hand() -> None:
    assert gap([0.0, 0.5, 1.0], [0.5, 0.5, 0.25]) == pytest.approx((0.5 + 0 + 0.75) / 3)
    assert gap([0.2, 0.8], [0.2, 0.8]) == 0


def test_it_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        real, in_model = rng.integers(0, 6, (2, 8)) / 5
        assert pearson(real, in_model) == pytest.approx(stats.pearsonr(real, in_model).statistic)
        assert spearman(real, in_model) == pytest.approx(stats.spearmanr(real, in_model).statistic)


def test_committed_values_come_out_again() -> None:
    path = Path(__file__).parents[2] / "docs" / "evidence" / "policy_evaluation.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    values = {(row["world"], row["policy"], row["measure"]): row["values"] for row in rows}
    policies = [policy for world, policy, _ in values if world == "simulator"]
    rates = {
        world: np.array([values[world, policy, "success"] for policy in policies]).T
        for world, *_ in values
        if " - " not in world
    }
    (real,) = rates.pop("simulator")
    assert set(rates) == {"base", "rlvr"} and len(policies) >= 8
    for world, runs in rates.items():
        measured = [name for name in STATISTICS if (world, None, name) in values]
        assert len(measured) >= 3
        for name, statistic in ((name, STATISTICS[name]) for name in measured):
            again = [statistic(real, in_model) for in_model in runs]
            assert again == pytest.approx(values[world, None, name], rel=1e-12), (world, name)


def test_what_has_no_order_has_no_correlation() -> None:
    assert math.isnan(pearson([0.5, 0.5], [0.1, 0.2])) and math.isnan(spearman([0.1, 0.2], [0.3, 0.3]))


@pytest.mark.parametrize("name", sorted(STATISTICS))
def test_what_cannot_be_compared_is_refused(name: str) -> None:
    measure = STATISTICS[name]
    for real, in_model in [([0.5], [0.5]), ([0.1, 0.2], [0.1, 0.2, 0.3]), ([[0.1], [0.2]], [[0.1], [0.2]])]:
        with pytest.raises(ValueError, match="one rate a policy"):
            measure(real, in_model)
    with pytest.raises(ValueError, match="finite"):
        measure([0.1, math.nan], [0.1, 0.2])


def test_interval_is_that_of_a_mean() -> None:
    outcomes = (np.arange(400) % 4 == 0).astype(float)
    found = bootstrap_interval(lambda drawn: outcomes[drawn].mean(), 400)
    spread = 1.96 * math.sqrt(0.25 * 0.75 / 400)
    assert found["value"] == 0.25 and found["undefined"] == 0
    assert found["low"] == pytest.approx(0.25 - spread, abs=0.01)
    assert found["high"] == pytest.approx(0.25 + spread, abs=0.01)
    assert found == bootstrap_interval(lambda drawn: outcomes[drawn].mean(), 400)
    assert found != bootstrap_interval(lambda drawn: outcomes[drawn].mean(), 400, seed=1)


def test_draws_without_a_value_are_left_out_and_counted() -> None:
    found = bootstrap_interval(lambda drawn: math.nan if 0 in drawn else 1.0, 2, resamples=1000)
    assert found["value"] is None and found["low"] == found["high"] == 1.0
    assert found["undefined"] == pytest.approx(0.75, abs=0.05)
    never = bootstrap_interval(lambda drawn: math.nan, 2, resamples=10)
    assert never == {"value": None, "low": None, "high": None, "undefined": 1.0}


def test_seeds_that_differ_widen_the_interval() -> None:
    outcomes = np.array([np.zeros(50), np.ones(50)])
    found = bootstrap_interval(lambda drawn: outcomes[:, drawn].mean(axis=1), 50, runs=2, resamples=400)
    assert (found["value"], found["low"], found["high"]) == (0.5, 0.0, 1.0)
    one = bootstrap_interval(lambda drawn: outcomes[:1, drawn].mean(axis=1), 50, resamples=10)
    assert one["low"] == one["high"] == 0


@pytest.mark.parametrize("settings", [{"episodes": 0}, {"runs": 0}, {"resamples": 0}, {"level": 1.0}, {"level": 0.0}])
def test_impossible_intervals_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="at least 1 episode"):
        bootstrap_interval(lambda drawn: 0.0, **{"episodes": 2, **settings})
