import numpy as np
import pytest

from rlvr_world_hf.findings.reliability import split_half_reliability


def test_it_is_the_share_of_variance_that_is_no_noise() -> None:
    """Of normal values it is var(true) / (var(true) + var(noise) / n), but for ranks in place of values."""
    rng = np.random.default_rng(0)
    true, samples = rng.normal(0, 1, 300), 40
    for noise, expected in ((2.0, 1 / (1 + 4 / samples)), (8.0, 1 / (1 + 64 / samples))):
        measured = true[:, None] + rng.normal(0, noise, (300, samples))
        found = split_half_reliability(lambda drawn, of=measured: of[:, drawn].mean(axis=1), samples, splits=40)
        assert found["mean"] == pytest.approx(expected, abs=0.06)
        assert found["low"] <= found["mean"] <= found["high"] <= 1 and found["n"] == samples


def test_by_hand() -> None:
    """Both halves put three checkpoints alike, or the other way round."""
    alike = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    assert split_half_reliability(lambda drawn: alike[:, drawn].mean(axis=1), 2)["mean"] == pytest.approx(1)
    against = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    assert split_half_reliability(lambda drawn: against[:, drawn].mean(axis=1), 2)["mean"] == pytest.approx(-1)
    half = np.array([[1.0, 1.0], [2.0, 3.0], [3.0, 2.0]])  # Spearman .5
    assert split_half_reliability(lambda drawn: half[:, drawn].mean(axis=1), 2)["mean"] == pytest.approx(2 / 3)


def test_what_tells_nothing_apart_has_none() -> None:
    assert split_half_reliability(lambda drawn: np.zeros(4), 10) == {}
    assert split_half_reliability(lambda drawn: np.array([1.0, np.nan]), 10) == {}


@pytest.mark.parametrize("settings", [{"samples": 1}, {"splits": 0}, {"level": 1.0}])
def test_wrong_settings_are_named(settings: dict) -> None:
    with pytest.raises(ValueError, match="at least 2 samples to halve"):
        split_half_reliability(lambda drawn: drawn, **{"samples": 4, **settings})
