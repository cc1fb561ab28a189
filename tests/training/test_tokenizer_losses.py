import pytest
import torch

from rlvr_world_hf.rewards import LPIPSReward
from rlvr_world_hf.rewards.perceptual import load_lpips
from rlvr_world_hf.training.discriminator import Adversary
from rlvr_world_hf.training.tokenizer_losses import (
    Reconstruction,
    TokenizerLoss,
    perceptual_distance,
    reconstruction_errors,
)


def draw_batch(*, steps: int = 2, context_frames: int = 2) -> Reconstruction:
    """Noise whose left half does not move, and a reconstruction of it with other noise."""
    generator = torch.Generator().manual_seed(0)
    context = torch.rand(2, context_frames, 3, 32, 32, generator=generator)
    later = torch.rand(2, steps, 3, 32, 32, generator=generator)
    later[..., :16] = context[:, -1:, ..., :16]
    return Reconstruction(
        later=later,
        context=context,
        decoded=torch.rand(later.shape, generator=generator).requires_grad_(),
        decoded_context=torch.rand(context.shape, generator=generator).requires_grad_(),
    )


def perfect(batch: Reconstruction) -> Reconstruction:
    return Reconstruction(later=batch.later, context=batch.context, decoded=batch.later, decoded_context=batch.context)


def test_errors_are_means_over_all_and_over_moving_pixels() -> None:
    batch = draw_batch()
    errors = {name: value.item() for name, value in reconstruction_errors(batch).items()}
    difference = (batch.decoded - batch.later).abs().mean(dim=2)  # (B, S, H, W)
    moves = ((batch.later - batch.context[:, -1:]).abs() > 0.05).any(dim=2)
    assert errors["mae"] == pytest.approx(difference.mean().item(), rel=1e-5)
    assert errors["mae_moving"] == pytest.approx(difference[moves].mean().item(), rel=1e-5)
    assert errors["moving"] == pytest.approx(moves.float().mean().item()) and 0.4 < errors["moving"] <= 0.5
    assert errors["mae_context"] == pytest.approx(
        (batch.decoded_context - batch.context).abs().mean().item(), rel=1e-5
    )


def test_a_still_clip_has_no_moving_error() -> None:
    context = torch.rand(1, 1, 3, 4, 4)
    still = Reconstruction(later=context, context=context, decoded=context + 0.1, decoded_context=context)
    assert reconstruction_errors(still)["mae_moving"] == 0


def test_the_loss_weights_moving_pixels_and_the_context() -> None:
    batch = draw_batch()
    errors = reconstruction_errors(batch)
    loss = TokenizerLoss(moving_weight=4.0, context_weight=0.5)(batch)
    by_pixel = (batch.decoded - batch.later).abs().mean(dim=2)
    moves = ((batch.later - batch.context[:, -1:]).abs() > 0.05).any(dim=2)
    expected = (by_pixel * (1 + 4.0 * moves)).mean() + 0.5 * errors["mae_context"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert TokenizerLoss(moving_weight=4.0, context_weight=0.5)(perfect(batch)).item() == 0


def test_the_perceptual_distance_is_the_mean_of_the_metric() -> None:
    batch = draw_batch()
    model = load_lpips("squeeze", trunk="random")
    metric = LPIPSReward(net="squeeze", trunk="random").measure(batch.decoded.detach(), batch.later)
    distance = perceptual_distance(model, batch.decoded, batch.later)
    assert distance.item() == pytest.approx(metric.mean().item(), rel=1e-4)
    assert perceptual_distance(model, batch.later, batch.later).item() == 0


def test_the_perceptual_gradient_reaches_the_frames_and_is_finite_where_nothing_is_seen() -> None:
    batch = draw_batch()
    model = load_lpips("squeeze", trunk="random")
    loss = TokenizerLoss(moving_weight=0.0, context_weight=0.5, perceptual_weight=1.0, perceptual=model)
    plain = TokenizerLoss(moving_weight=0.0, context_weight=0.5)
    expected = perceptual_distance(model, batch.decoded, batch.later)
    expected = expected + 0.5 * perceptual_distance(model, batch.decoded_context, batch.context)
    assert (loss(batch) - plain(batch)).item() == pytest.approx(expected.item(), rel=1e-4)
    (loss(batch) - plain(batch)).backward()
    assert batch.decoded.grad.any() and batch.decoded_context.grad.any()
    # The middle of the trunk's input range: all its features are 0, where a norm has no slope.
    unseen = ((model.scaling_layer.shift + 1) / 2).expand(1, 1, 3, 32, 32).clone().requires_grad_()
    perceptual_distance(model, unseen, batch.later[:1, :1]).backward()
    assert unseen.grad.isfinite().all()


def test_the_adversary_takes_part_when_it_is_given() -> None:
    batch = draw_batch()
    adversary = Adversary(depth=2, width=4)
    loss = TokenizerLoss(moving_weight=4.0, context_weight=0.5, adversarial_weight=0.1)
    with torch.no_grad():
        for _ in range(30):  # power iterations, until the spectral norms stand still
            adversary.loss(batch.decoded)
    judged = adversary.loss(batch.decoded) + 0.5 * adversary.loss(batch.decoded_context)
    assert (loss(batch, adversary) - loss(batch)).item() == pytest.approx(0.1 * judged.item(), abs=1e-4)
    adversary.loss(batch.decoded).backward()
    assert batch.decoded.grad.any()
