from typing import Any

import pytest
import torch

from rlvr_world_hf.tokenizers import CompressiveTokenizer
from rlvr_world_hf.tokenizers.frames import PIXELS_A_PIECE


def make_tokenizer(**changes: Any) -> CompressiveTokenizer:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"image_size": (16, 24), "block_out_channels": (8, 16), "norm_num_groups": 4}
    return CompressiveTokenizer(**(arguments | changes)).eval()


def make_local_tokenizer(**changes: Any) -> CompressiveTokenizer:
    """One whose codes differ before it is trained."""
    tokenizer = make_tokenizer(local_codes=True, encoder_conditioning=["none"] * 3, **changes)
    torch.nn.init.normal_(tokenizer.dynamics_in.weight, std=10.0)
    return tokenizer


def draw_clip(*, clips: int = 2, context_frames: int = 1, steps: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    clip = torch.rand(clips, context_frames + steps, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    return clip[:, :context_frames], clip[:, context_frames:]


@torch.no_grad()
def test_what_does_not_move_is_copied_from_the_last_context_frame() -> None:
    """The decoder adds to the context; where it adds nothing, the context passes unblurred, whatever the codes."""
    tokenizer = make_tokenizer(context_frames=2)
    torch.nn.init.zeros_(tokenizer.dynamics_decoder.conv_out.weight)
    torch.nn.init.zeros_(tokenizer.dynamics_decoder.conv_out.bias)
    context, later = draw_clip(context_frames=2)
    decoded = tokenizer.decode(tokenizer.encode(later, context_frames=context), context_frames=context)
    torch.testing.assert_close(decoded, context[:, -1:].expand_as(decoded))


@torch.no_grad()
def test_an_untrained_tokenizer_keeps_a_still_clip_better_than_one_that_draws_from_codes() -> None:
    context = torch.rand(2, 1, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    still = context.expand(-1, 3, -1, -1, -1)
    errors = {}
    for mode in ("frames", "codes"):
        tokenizer = make_tokenizer(decode_from=mode)
        decoded = tokenizer.decode(tokenizer.encode(still, context_frames=context), context_frames=context)
        errors[mode] = (decoded - still).abs().mean().item()
    assert errors["frames"] < 0.2 and errors["frames"] < errors["codes"]


@torch.no_grad()
@pytest.mark.parametrize("mode", ["frames", "codes"])
def test_the_context_can_be_given_as_frames_or_as_codes(mode: str) -> None:
    tokenizer = make_tokenizer(decode_from=mode)
    context, later = draw_clip()
    codes = tokenizer.encode(later, context_frames=context)
    context_codes = tokenizer.encode_context(context)
    of_codes = tokenizer.decode(codes, context_codes=context_codes)
    if mode == "codes":
        expected = tokenizer.decode(codes, context_frames=context)
    else:
        seen = tokenizer.decode_context(context_codes)[0].clamp(0, 1)
        expected = tokenizer.decode(codes, context_frames=seen)
    torch.testing.assert_close(of_codes, expected, atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["frames", "codes"])
def test_codes_and_frames_depend_on_the_context(mode: str) -> None:
    tokenizer = make_tokenizer(decode_from=mode)
    context, later = draw_clip()
    other = context.flip(0)
    codes = tokenizer.encode(later, context_frames=context)
    assert not torch.equal(tokenizer.encode(later, context_frames=other), codes)
    same, changed = (tokenizer.decode(codes, context_frames=frames) for frames in (context, other))
    assert (same - changed).abs().max() > 1e-3


@torch.no_grad()
def test_an_encoder_without_conditioning_codes_a_frame_alike_in_every_context() -> None:
    tokenizer = make_tokenizer(encoder_conditioning=["none"] * 3)
    context, later = draw_clip()
    codes = tokenizer.encode(later, context_frames=context)
    assert torch.equal(tokenizer.encode(later, context_frames=context.flip(0)), codes)
    assert torch.equal(tokenizer(later, context_frames=context)[2], codes), "as in training"
    assert len(codes.unique()) > 1


@torch.no_grad()
def test_all_context_frames_count_and_their_order_too() -> None:
    tokenizer = make_tokenizer(context_frames=2)
    context, later = draw_clip(context_frames=2)
    codes = tokenizer.encode(later, context_frames=context)
    assert not torch.equal(tokenizer.encode(later, context_frames=context.flip(1)), codes)


@torch.no_grad()
def test_a_group_that_shares_a_context_is_encoded_as_each_alone() -> None:
    tokenizer = make_tokenizer()
    context, _ = draw_clip()
    later = torch.rand(4, 3, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    shared = tokenizer.encode(later, context_frames=context)
    alone = tokenizer.encode(later, context_frames=context.repeat_interleave(2, dim=0))
    assert torch.equal(shared, alone)


def test_grids_and_codebooks_follow_from_the_configuration() -> None:
    tokenizer = make_tokenizer(
        image_size=(32, 64),
        stem_patch_size=2,
        dynamics_patch_size=2,
        context_levels=(8, 6, 5),
        dynamics_levels=(4, 4),
    )
    assert tokenizer.context_grid == (8, 16)
    assert tokenizer.dynamics_grid == (4, 8)
    assert tokenizer.context_codebook_size == 240
    assert tokenizer.dynamics_codebook_size == 16


@torch.no_grad()
def test_a_code_may_cover_an_oblong_patch() -> None:
    tokenizer = make_tokenizer(image_size=(16, 24), dynamics_patch_size=(2, 1))
    assert (tokenizer.context_grid, tokenizer.dynamics_grid) == ((2, 3), (1, 3))
    context, later = draw_clip()
    codes = tokenizer.encode(later, context_frames=context)
    assert codes.shape == (2, 3, 3)
    assert tokenizer.decode(codes, context_frames=context).shape == later.shape
    with pytest.raises(ValueError, match=r"divisible by \(8, 16\) .*, got \(16, 24\)"):
        make_tokenizer(dynamics_patch_size=(1, 2))


@torch.no_grad()
@pytest.mark.parametrize("decode_from", ["frames", "codes"])
def test_a_refinement_changes_little_before_training_and_later_frames_alone_after(decode_from: str) -> None:
    plain = make_tokenizer(decode_from=decode_from)
    refined = make_tokenizer(decode_from=decode_from, refinement_channels=6)
    assert refined.load_state_dict(plain.state_dict(), strict=False).unexpected_keys == []
    context, later = draw_clip()
    codes = plain.encode(later, context_frames=context)
    before = plain.decode(codes, context_frames=context, clamp=False)
    torch.testing.assert_close(refined.decode(codes, context_frames=context, clamp=False), before, atol=1e-3, rtol=0)
    torch.nn.init.ones_(refined.refinement.out.bias)
    torch.testing.assert_close(
        refined.decode(codes, context_frames=context, clamp=False), before + 1, atol=1e-3, rtol=0
    )
    frames, decoded_context, *_ = refined(later, context_frames=context)
    expected, expected_context, *_ = plain(later, context_frames=context)
    torch.testing.assert_close(frames, expected + 1, atol=1e-3, rtol=0)
    torch.testing.assert_close(decoded_context, expected_context)


@torch.no_grad()
def test_a_patch_may_have_several_codes_each_made_from_all_of_it() -> None:
    tokenizer = make_tokenizer(image_size=(16, 16), dynamics_patch_size=2, dynamics_codes_per_patch=3)
    assert tokenizer.dynamics_grid == (1, 3)
    clip = torch.rand(2, 3, 3, 16, 16)
    context, later = clip[:, :1], clip[:, 1:]
    codes = tokenizer.encode(later, context_frames=context)
    assert codes.shape == (2, 2, 3)
    frames = tokenizer.decode(codes, context_frames=context)
    for number in range(3):
        other = codes.clone()
        other[..., number] = (other[..., number] + 500) % tokenizer.dynamics_codebook_size
        changed = (tokenizer.decode(other, context_frames=context) - frames).abs().amax(dim=(0, 1, 2))
        assert (changed > 0).all()


@torch.no_grad()
@pytest.mark.parametrize(
    ("sizes", "rows", "columns"),
    [({}, slice(0, 8), slice(8, 16)), ({"dynamics_patch_size": (2, 1)}, slice(0, 16), slice(8, 16))],
)
def test_a_local_code_knows_its_own_patch_alone(sizes: dict[str, Any], rows: slice, columns: slice) -> None:
    """Pixels of a patch change its code, in each way, and no other code."""
    tokenizer = make_local_tokenizer(**sizes)
    context, later = draw_clip()
    codes = tokenizer.encode(later, context_frames=context).unflatten(2, tokenizer.dynamics_grid)
    changed = later.clone()
    changed[..., rows, columns] = 1 - changed[..., rows, columns]
    others = tokenizer.encode(changed, context_frames=context).unflatten(2, tokenizer.dynamics_grid)
    expected = torch.zeros(tokenizer.dynamics_grid, dtype=torch.bool)
    expected[0, 1] = True
    assert (codes != others).flatten(0, 1).any(dim=0).equal(expected)


@torch.no_grad()
def test_equal_patches_have_equal_local_codes_wherever_they_are() -> None:
    tokenizer = make_local_tokenizer()
    context, later = draw_clip()
    later[..., 8:, 16:] = later[..., :8, :8]
    codes = tokenizer.encode(later, context_frames=context).unflatten(2, (2, 3))
    assert (codes[..., 0, 1] != codes[..., 0, 0]).any()
    assert codes[..., 1, 2].equal(codes[..., 0, 0])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"local_codes": True}, "'none' for each stage with `local_codes`"),
        ({"image_size": (16, 20)}, r"divisible by 8 .*, got \(16, 20\); resize"),
        ({"dynamics_patch_size": 3}, "divisible by 24"),
        ({"dynamics_codes_per_patch": 0}, "`dynamics_codes_per_patch` of at least 1, got 0"),
        ({"decode_from": "pixels"}, "'frames' or 'codes', got 'pixels'"),
        ({"encoder_conditioning": ["none"]}, "`encoder_conditioning` to name 3 stages for 2 levels, got 1"),
        ({"decoder_conditioning": ["none"] * 4}, "`decoder_conditioning` to name 3 stages for 2 levels, got 4"),
        ({"encoder_conditioning": ["none", "none", "all"]}, "'attention' for each stage, got 'all'"),
        ({"context_levels": (8, 1)}, "at least 2 levels"),
    ],
)
def test_configurations_that_cannot_be_built_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make_tokenizer(**changes)


def test_decoding_needs_a_context_that_fits() -> None:
    tokenizer = make_tokenizer()
    context, later = draw_clip()
    codes = tokenizer.encode(later, context_frames=context)
    with pytest.raises(ValueError, match="`context_frames` or `context_codes` .* got neither"):
        tokenizer.decode(codes)
    with pytest.raises(ValueError, match="the 2 items of `codes` to be a multiple of 3 contexts"):
        tokenizer.decode(codes, context_frames=context[[0, 1, 0]])
    with pytest.raises(ValueError, match=r"`context_frames` of shape \(B, 1, 3, 16, 24\), got \(2, 3, 3, 16, 24\)"):
        tokenizer.decode(codes, context_frames=later)
    with pytest.raises(ValueError, match=r"`context_frames` of shape \(B, 1, 3, 16, 24\)"):
        tokenizer.encode_context(later)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["frames", "codes"])
def test_a_batch_in_pieces_gives_what_one_pass_gives(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer(decode_from=mode)
    context, later = draw_clip(clips=5)
    group = torch.arange(5).repeat_interleave(2)
    seen: list[int] = []
    hook = tokenizer.dynamics_decoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))

    def run() -> list[torch.Tensor]:
        seen.clear()
        codes = tokenizer.encode(later, context_frames=context)
        context_codes = tokenizer.encode_context(context)
        decoded = tokenizer.decode(codes[group], context_frames=context)
        return [codes, context_codes, decoded, tokenizer.decode(codes[group], context_codes=context_codes)]

    whole = run()
    assert seen == [30, 30]
    monkeypatch.setitem(PIXELS_A_PIECE, "cpu", 2 * 2 * 3 * 16 * 24)  # two contexts with their groups
    in_pieces = run()
    hook.remove()
    assert seen == [12, 12, 6] * 2
    for one, other in zip(whole, in_pieces, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
