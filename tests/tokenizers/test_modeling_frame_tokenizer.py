from typing import Any

import pytest
import torch

from rlvr_world_hf.tokenizers import FrameTokenizer
from rlvr_world_hf.tokenizers.frames import PIXELS_A_PIECE


def make_tokenizer(**changes: Any) -> FrameTokenizer:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"image_size": (16, 24), "block_out_channels": (8, 16), "norm_num_groups": 4}
    return FrameTokenizer(**(arguments | changes)).eval()


def draw_clip(*, clips: int = 2, frames: int = 3) -> torch.Tensor:
    return torch.rand(clips, frames, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def test_grid_and_codebook_follow_from_the_configuration() -> None:
    tokenizer = make_tokenizer(image_size=(32, 64), stem_patch_size=2, levels=(8, 6, 5))
    assert tokenizer.dynamics_grid == (8, 16)
    assert tokenizer.dynamics_codebook_size == 240


def test_the_resolution_is_doubled_after_every_level_of_the_decoder_but_the_first() -> None:
    decoder = make_tokenizer(stem_patch_size=2, block_out_channels=(8, 12, 16)).decoder
    doubled = [block.upsamplers is not None for block in decoder.up_blocks]
    widths = [block.resnets[-1].conv2.out_channels for block in decoder.up_blocks]
    assert doubled == [False, True, True] and widths == [12, 8, 8]


def test_attention_is_optional() -> None:
    names = [name for name, _ in make_tokenizer().named_parameters() if "attentions" in name]
    assert any(name.startswith("encoder") for name in names) and any(name.startswith("decoder") for name in names)
    assert not [name for name, _ in make_tokenizer(mid_attention=False).named_parameters() if "attentions" in name]


@torch.no_grad()
def test_context_frames_are_not_read() -> None:
    tokenizer, clip = make_tokenizer(), draw_clip()
    codes = tokenizer.encode(clip)
    for context in (clip[:, :0], clip[:1, :1]):
        assert torch.equal(tokenizer.encode(clip, context_frames=context), codes.flatten(2))
        assert torch.equal(tokenizer.decode(codes, context_frames=context), tokenizer.decode(codes))


@torch.no_grad()
def test_equal_frames_of_overlapping_windows_are_coded_once() -> None:
    tokenizer, episode = make_tokenizer(), draw_clip(clips=1, frames=5)[0]
    windows = torch.stack([episode[start : start + 3] for start in range(3)])
    seen: list[int] = []
    hook = tokenizer.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    codes = tokenizer.encode(windows)
    hook.remove()
    assert seen == [5]
    assert torch.equal(codes[0, 2], codes[2, 0]) and not torch.equal(codes[0, 0], codes[0, 1])
    assert torch.equal(codes.flatten(2), tokenizer(windows)[2]), "in the order of the windows"


@torch.no_grad()
def test_a_batch_in_pieces_gives_what_one_pass_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, clip = make_tokenizer(), draw_clip(clips=5)
    codes, decoded = tokenizer.encode(clip), tokenizer.decode(tokenizer.encode(clip))
    seen: list[int] = []
    hooks = [
        network.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
        for network in (tokenizer.encoder, tokenizer.decoder)
    ]
    monkeypatch.setitem(PIXELS_A_PIECE, "cpu", 2 * 3 * 16 * 24)  # two items of three frames
    assert torch.equal(tokenizer.encode(clip), codes)
    torch.testing.assert_close(tokenizer.decode(codes), decoded, atol=1e-6, rtol=0)
    for hook in hooks:
        hook.remove()
    assert seen == [6, 6, 3] + [6, 6, 3]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_size": (16, 20)}, r"divisible by 8 .*, got \(16, 20\); resize"),
        ({"context_frames": 1}, "`context_frames` to be 0.*got 1; give the frames before as observed steps"),
        ({"levels": (8, 1)}, "at least 2 levels"),
    ],
)
def test_configurations_that_cannot_be_built_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make_tokenizer(**changes)


def test_context_frames_have_no_codes() -> None:
    with pytest.raises(ValueError, match=r"`context_frames` of shape \(B, 0, 3, 16, 24\), got \(2, 1, 3, 16, 24\)"):
        make_tokenizer().encode_context(draw_clip(frames=1))
