"""Uniform bins: edges, values beyond them, and the way back."""

from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.processors.bins import UniformBins


BINS = UniformBins(low=[0.0, -1.0], high=[512.0, 1.0], bins=4)


def test_edges_and_beyond() -> None:
    values = [[0.0, -1.0], [127.9, -0.51], [128.0, -0.49], [512.0, 1.0], [-9.0, 5.0]]
    assert BINS.encode(values).tolist() == [[0, 0], [0, 0], [1, 1], [3, 3], [0, 3]]


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, list])
def test_takes_arrays_tensors_and_lists(kind: Any) -> None:
    ids = BINS.encode(kind([[300.0, 0.9]]))
    assert ids.dtype == torch.long and ids.tolist() == [[2, 3]]


def test_decode_is_within_half_a_bin() -> None:
    values = torch.rand(3, 50, 2) * torch.tensor([512.0, 2.0]) - torch.tensor([0.0, 1.0])
    back = BINS.decode(BINS.encode(values))
    assert ((back - values).abs() <= torch.tensor([64.0, 0.25]) + 1e-4).all()
    assert torch.equal(BINS.encode(back), BINS.encode(values))


def test_nan_is_named() -> None:
    with pytest.raises(ValueError, match=r"NaN at index \[1, 0\]"):
        BINS.encode([[0.0, 0.0], [float("nan"), 0.0]])


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ValueError, match=r"2 dimensions last, got shape \(3,\)"):
        BINS.encode([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"bins in \[0, 4\), got 0 to 4"):
        BINS.decode(torch.tensor([0, 4]))


@pytest.mark.parametrize(
    "settings",
    [
        {"low": [0.0], "high": [1.0, 2.0], "bins": 4},
        {"low": [1.0], "high": [0.0], "bins": 4},
        {"low": [float("nan")], "high": [0.0], "bins": 4},
        {"low": [0.0], "high": [1.0], "bins": 0},
    ],
)
def test_impossible_ranges_raise(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        UniformBins(**settings)
