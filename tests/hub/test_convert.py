import json

import pytest
import torch
from safetensors.torch import save_file

from rlvr_world_hf.hub.convert import from_official, load_official_tokenizer, official_names, to_official
from rlvr_world_hf.tokenizers import CompressiveTokenizer, FrameTokenizer
from tests.official import COMPRESSIVE_CONFIG, FRAME_CONFIG, official_tokenizer


@pytest.fixture(params=["compressive", "frame"])
def official(request):
    return official_tokenizer(request.param)


def clip(tokenizer):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 3, *tokenizer.config.image_size, generator=generator)


def same(codes, others):
    pairs = zip(codes, others, strict=True) if isinstance(codes, tuple) else [(codes, others)]
    return all(torch.equal(one, other) for one, other in pairs)


def test_names_are_a_table_both_ways(official):
    config, weights = official
    tokenizer = from_official(config, weights, image_size=(64, 80))
    names = official_names(tokenizer)
    assert len(set(names.values())) == len(names) == len(weights)
    again = to_official(tokenizer)
    assert all(torch.equal(again[name], value) for name, value in weights.items())


@pytest.mark.parametrize("file", ["diffusion_pytorch_model.safetensors", "pytorch_model.bin", "model.pth"])
def test_a_folder_round_trips(official, tmp_path, file):
    config, weights = official
    (tmp_path / "config.json").write_text(json.dumps(config))
    (save_file if file.endswith("safetensors") else torch.save)(weights, tmp_path / file)
    loaded = load_official_tokenizer(tmp_path, image_size=(64, 80))
    assert not loaded.training
    loaded.save_pretrained(tmp_path / "ours")
    reloaded = type(loaded).from_pretrained(tmp_path / "ours")
    assert same(loaded.encode(clip(loaded)), reloaded.encode(clip(loaded)))


def test_a_whole_clip_is_coded_like_its_parts():
    tokenizer = from_official(*official_tokenizer("compressive"))
    video = clip(tokenizer)
    context_codes, codes = tokenizer.encode(video)
    assert torch.equal(context_codes, tokenizer.encode_context(video[:, :1]))
    assert torch.equal(codes, tokenizer.encode(video[:, 1:], context_frames=video[:, :1]))
    decoded = tokenizer.decode(context_codes, codes)
    assert decoded.shape == video.shape
    torch.testing.assert_close(decoded[:, 1:], tokenizer.decode(codes, context_codes=context_codes))
    raw = tokenizer.decode(context_codes, codes, clamp=False)
    assert raw.max() > 1 and torch.equal(raw.clamp(0, 1), decoded)


def test_frames_are_coded_on_a_grid():
    tokenizer = from_official(*official_tokenizer("frame"), image_size=(64, 80))
    codes = tokenizer.encode(clip(tokenizer))
    assert codes.shape[2:] == tokenizer.dynamics_grid
    rows = tokenizer.encode(clip(tokenizer), context_frames=clip(tokenizer)[:, :0])
    assert torch.equal(codes.flatten(2), rows)
    assert torch.equal(tokenizer.decode(codes), tokenizer.decode(rows))


def test_the_size_of_frames_is_told_by_the_positions():
    tokenizer = from_official(*official_tokenizer("compressive"))
    assert tuple(tokenizer.config.image_size) == (64, 80) and isinstance(tokenizer, CompressiveTokenizer)
    assert tokenizer.context_grid == (8, 10)


def test_what_does_not_fit_says_so(tmp_path):
    config, weights = official_tokenizer("compressive")
    name = "cond_encoder.conv_in.bias"
    with pytest.raises(ValueError, match=r"cond_encoder.conv_in.bias is missing instead of of shape \(8,\)"):
        from_official(config, {other: value for other, value in weights.items() if other != name})
    with pytest.raises(ValueError, match=r"of shape \(3,\) instead of"):
        from_official(config, weights | {name: torch.zeros(3)})
    with pytest.raises(ValueError, match="surplus is of shape .* instead of missing"):
        from_official(config, weights | {"surplus": torch.zeros(3)})
    with pytest.raises(ValueError, match="among 8, 10, 12, 14, 16, got 11"):
        from_official(config | {"vq_fsq_levels": 11}, weights)
    with pytest.raises(ValueError, match="q_pos_emb among the weights of a compressive tokenizer"):
        from_official(config, official_tokenizer("frame")[1])
    with pytest.raises(FileNotFoundError, match="Expected config.json and one of"):
        load_official_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="theirs has no other conditioning"):
        to_official(CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16)))


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(FRAME_CONFIG))
    torch.save({"weights": Exception}, tmp_path / "model.pth")
    with pytest.raises(Exception, match="[Ww]eights.only"):
        load_official_tokenizer(tmp_path)


def test_kinds_are_told_apart_by_their_configuration():
    assert "dyn_fsq_levels" in COMPRESSIVE_CONFIG and "dyn_fsq_levels" not in FRAME_CONFIG
    assert isinstance(from_official(*official_tokenizer("frame"), image_size=(64, 80)), FrameTokenizer)
