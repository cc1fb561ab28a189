import pytest
import torch

from rlvr_world_hf.tokenizers import FiniteScalarQuantizer


LEVELS = [[2], [3], [4, 3], [8, 5, 5, 5], [7, 5, 5, 5, 5]]
every_codebook = pytest.mark.parametrize("levels", LEVELS, ids=str)


@every_codebook
def test_every_index_has_its_own_values(levels: list[int]) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    indices = torch.arange(quantizer.codebook_size)
    values = quantizer.indices_to_values(indices)
    assert values.shape == (quantizer.codebook_size, len(levels)) and values.dtype == torch.float32
    assert values.unique(dim=0).shape == values.shape
    assert values.min() == -1 and values.max() <= 1
    assert torch.equal(quantizer.values_to_indices(values), indices)


@every_codebook
def test_any_latents_fall_on_the_grid_and_reach_all_of_it(levels: list[int]) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    latents = torch.randn(20_000, len(levels), generator=torch.Generator().manual_seed(0)) * 3
    values, indices = quantizer(latents)
    assert indices.dtype == torch.int64 and indices.shape == latents.shape[:-1]
    torch.testing.assert_close(values, quantizer.indices_to_values(indices), atol=1e-6, rtol=0)
    for channel, level in enumerate(levels):
        assert len(values[:, channel].round(decimals=4).unique()) == level


def test_the_gradient_goes_straight_through_the_rounding() -> None:
    quantizer = FiniteScalarQuantizer([8, 5])
    latents = torch.randn(16, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.arange(1.0, 33.0).view(16, 2)
    (quantizer(latents)[0] * weights).sum().backward()
    through_rounding, latents.grad = latents.grad, None
    (quantizer.bound(latents) / torch.tensor([4.0, 2.0]) * weights).sum().backward()
    torch.testing.assert_close(through_rounding, latents.grad)
    assert (through_rounding.abs() > 0).all()


def test_the_type_of_the_latents_is_kept_and_nothing_is_stored() -> None:
    quantizer = FiniteScalarQuantizer([8, 5])
    values, _ = quantizer(torch.zeros(3, 4, 2, dtype=torch.bfloat16))
    assert values.dtype == torch.bfloat16 and values.shape == (3, 4, 2)
    assert not quantizer.state_dict() and not list(quantizer.parameters())


@pytest.mark.parametrize("levels", [[], [1], [8, 1, 5], [0]])
def test_levels_below_two_are_refused(levels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"at least 2 levels in each, got levels=\["):
        FiniteScalarQuantizer(levels)


@every_codebook
def test_quantizing_by_name_is_the_call(levels: list[int]) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    latents = torch.randn(2, 5, len(levels), generator=torch.Generator().manual_seed(0))
    values, indices = quantizer.quantize(latents)
    assert indices.shape == (2, 5) and torch.equal(values, quantizer(latents)[0])
    assert torch.equal(quantizer.indices_to_values(indices), values)


@every_codebook
def test_weights_over_the_codebook_are_codes_with_gradients(levels: list[int]) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    indices = torch.tensor([0, quantizer.codebook_size - 1])
    weights = torch.nn.functional.one_hot(indices, quantizer.codebook_size).double().requires_grad_()
    values = quantizer.codes_to_values(weights)
    torch.testing.assert_close(values, quantizer.codes_to_values(indices))
    values[0].sum().backward()
    assert weights.grad is not None
    every = quantizer.indices_to_values(torch.arange(quantizer.codebook_size)).sum(dim=1)
    torch.testing.assert_close(weights.grad[0].float(), every)
    assert not weights.grad[1].any()
