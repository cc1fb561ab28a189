"""Finite scalar quantization of the official code: recorded cases of golden/README.md, section 3."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rlvr_world_hf.tokenizers import FiniteScalarQuantizer


BITS = (8, 10, 12, 14, 16)
KINDS = ("img", "seq", "ext")
TOLERANCE = 1e-6
every_codebook = pytest.mark.parametrize("bits", BITS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def recorded(recorded_numbers: Path) -> dict[str, np.ndarray]:
    return dict(np.load(recorded_numbers / "fsq.npz"))


def make_quantizer(recorded: dict[str, np.ndarray], bits: int) -> FiniteScalarQuantizer:
    return FiniteScalarQuantizer(recorded[f"{bits}_levels"].tolist())


def channels_last(array: np.ndarray, is_image: bool) -> torch.Tensor:
    """The official code takes and returns images channel-first; ours is channel-last throughout."""
    return torch.from_numpy(np.moveaxis(array, 1, -1) if is_image else array)


@every_codebook
@every_kind
def test_latents_become_the_recorded_ids_and_values(recorded, bits: int, kind: str) -> None:
    quantizer, is_image = make_quantizer(recorded, bits), kind == "img"
    latents = channels_last(recorded[f"{bits}_{kind}_z"], is_image)
    values, indices = quantizer(latents)
    assert np.array_equal(indices.numpy(), recorded[f"{bits}_{kind}_idx"])
    expected = channels_last(recorded[f"{bits}_{kind}_codes"], is_image)
    torch.testing.assert_close(values, expected, atol=TOLERANCE, rtol=0)
    bound = torch.from_numpy(recorded[f"{bits}_{kind}_bound"])
    torch.testing.assert_close(quantizer.bound(latents), bound, atol=TOLERANCE, rtol=0)


@every_codebook
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_ids_become_the_recorded_values_modulo_the_codebook(recorded, bits: int, dims: int) -> None:
    quantizer = make_quantizer(recorded, bits)
    indices = torch.from_numpy(recorded[f"{bits}_i{dims}"])
    expected = channels_last(recorded[f"{bits}_i{dims}_codes"], is_image=dims == 3)
    for multiple in (0, 1, 3):
        values = quantizer.indices_to_values(indices + multiple * quantizer.codebook_size)
        torch.testing.assert_close(values, expected, atol=TOLERANCE, rtol=0)
    assert torch.equal(quantizer.values_to_indices(expected), indices % quantizer.codebook_size)


@every_codebook
def test_the_basis_and_the_digits_are_the_recorded_ones(recorded, bits: int) -> None:
    quantizer = make_quantizer(recorded, bits)
    one_step = torch.eye(len(quantizer.levels)) / torch.tensor([level // 2 for level in quantizer.levels])
    lowest = quantizer.indices_to_values(torch.tensor(0))
    assert quantizer.values_to_indices(lowest + one_step).tolist() == recorded[f"{bits}_basis"].tolist()
    halves = torch.tensor([level // 2 for level in quantizer.levels])
    digits = quantizer.indices_to_values(torch.from_numpy(recorded[f"{bits}_i2"])) * halves + halves
    torch.testing.assert_close(digits.round().long(), torch.from_numpy(recorded[f"{bits}_i2_levels"]), rtol=0, atol=0)


def test_the_papers_codebooks_have_the_stated_sizes(recorded) -> None:
    assert make_quantizer(recorded, 12).codebook_size == 4375
    assert [make_quantizer(recorded, bits).codebook_size for bits in BITS] == [240, 1000, 4375, 15360, 64000]


@every_codebook
def test_autocast_changes_no_id(recorded, bits: int) -> None:
    quantizer = make_quantizer(recorded, bits)
    latents = torch.from_numpy(recorded[f"{bits}_seq_z"])
    with torch.autocast("cpu", torch.bfloat16):
        _, indices = quantizer(latents)
    assert np.array_equal(indices.numpy(), recorded[f"{bits}_seq_idx"])
