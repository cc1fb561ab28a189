import io

import pytest
import torch

from rlvr_world_hf.training.discriminator import Adversary, PatchDiscriminator, discriminator_loss


def draw_clip(brightness: float, *, seed: int = 0) -> torch.Tensor:
    return brightness * torch.rand(2, 4, 3, 16, 24, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("depth", "patches"), [(1, (8, 12)), (3, (2, 3)), (6, (1, 1))])
def test_each_patch_has_a_logit(depth: int, patches: tuple[int, int]) -> None:
    frames = draw_clip(1.0)[0]
    assert PatchDiscriminator(depth=depth, width=4)(frames).shape == (4, 1, *patches)


def test_channels_double_up_to_eight_times_the_first() -> None:
    discriminator = PatchDiscriminator(depth=6, width=4)
    assert [convolution.out_channels for convolution in discriminator.convolutions] == [4, 8, 16, 32, 32, 32]


@pytest.mark.parametrize("changes", [{"depth": 0}, {"width": 0}])
def test_an_empty_discriminator_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="`depth` and `width` of at least 1"):
        PatchDiscriminator(**changes)


def test_hinge_losses() -> None:
    recorded, reconstructed = torch.tensor([3.0, 0.0, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert discriminator_loss(recorded, reconstructed).item() == pytest.approx((0 + 1 + 2) / 3)
    assert discriminator_loss(torch.ones(2), -torch.ones(2)).item() == 0.0


def test_it_learns_to_tell_two_kinds_of_frames_apart() -> None:
    adversary = Adversary(depth=2, width=8, learning_rate=1e-2)
    losses = [adversary.update(draw_clip(1.0, seed=step), draw_clip(0.2, seed=step)) for step in range(60)]
    assert losses[0] > 0.8
    assert losses[-1] < 0.3
    assert adversary.loss(draw_clip(0.2, seed=99)) > adversary.loss(draw_clip(1.0, seed=98))


def test_the_tokenizers_loss_has_a_gradient_to_the_frames_alone() -> None:
    adversary = Adversary(depth=2, width=8)
    frames = draw_clip(1.0).requires_grad_()
    adversary.loss(frames).backward()
    assert frames.grad is not None and frames.grad.any()
    assert all(parameter.grad is None for parameter in adversary.discriminator.parameters())
    frames.grad = None
    adversary.update(draw_clip(1.0), frames * 1)
    assert frames.grad is None


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    def first_weights(seed: int) -> torch.Tensor:
        torch.rand(seed + 1)  # the state of the global generator does not matter
        return torch.cat(
            [value.flatten() for value in Adversary(depth=2, width=4, seed=seed).discriminator.parameters()]
        )

    before = torch.random.get_rng_state()
    Adversary(depth=2, width=4, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first_weights(0), first_weights(0))
    assert not torch.equal(first_weights(0), first_weights(1))


def test_its_state_is_all_it_needs_to_go_on() -> None:
    first, second = Adversary(depth=2, width=4, seed=0), Adversary(depth=2, width=4, seed=1)
    for step in range(3):
        first.update(draw_clip(1.0, seed=step), draw_clip(0.2, seed=step))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for step in range(3, 5):
        losses = [player.update(draw_clip(1.0, seed=step), draw_clip(0.2, seed=step)) for player in (first, second)]
        assert losses[0] == losses[1]
    ours, theirs = first.discriminator.state_dict(), second.discriminator.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
