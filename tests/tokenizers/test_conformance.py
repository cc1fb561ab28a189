"""What every visual tokenizer of the room owes its caller, found by discovery: a new one is tested by being there."""

import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.modeling_utils import ModelMixin

import rlvr_world_hf.tokenizers


TINY: dict[str, Any] = {"block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 8}
SIZE = {"image_size": (16, 24)}
# Configurations each class is tested in; a class that is not listed is tested as it is made without arguments.
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "CompressiveTokenizer": {
        "square": TINY | {"image_size": (16, 16)},
        "wide": TINY | SIZE,
        "two context frames": TINY | SIZE | {"context_frames": 2},
        "patches of dynamics": TINY | {"image_size": (16, 32), "dynamics_patch_size": 2},
        "several codes a patch": TINY
        | {"image_size": (16, 32), "dynamics_patch_size": 2, "dynamics_codes_per_patch": 2},
        "one level": TINY | SIZE | {"block_out_channels": (16,)},
        "decode from codes": TINY | SIZE | {"decode_from": "codes"},
        "refined": TINY | SIZE | {"refinement_channels": 4},
        "decode from codes, refined": TINY | SIZE | {"decode_from": "codes", "refinement_channels": 4},
        "two context frames, decode from codes": TINY | SIZE | {"context_frames": 2, "decode_from": "codes"},
        "attention everywhere": TINY
        | SIZE
        | {"context_frames": 2, "encoder_conditioning": ["attention"] * 3, "decoder_conditioning": ["attention"] * 3},
        "as in the paper, small": {
            "image_size": (32, 64),
            "stem_patch_size": 1,
            "block_out_channels": (8, 8, 8, 16),
            "encoder_layers": 2,
            "decoder_layers": 3,
            "norm_num_groups": 4,
            "latent_channels": 8,
            "context_levels": (7, 5, 5, 5, 5),
            "dynamics_levels": (7, 5, 5, 5, 5),
            "dynamics_patch_size": 4,
            "encoder_conditioning": ("none", "none", "none", "attention", "attention"),
            "decoder_conditioning": ("attention", "none", "none", "none", "none"),
            "decode_from": "codes",
        },
    },
    "FrameTokenizer": {
        "square": TINY | {"image_size": (16, 16)},
        "wide": TINY | SIZE,
        "one level": TINY | SIZE | {"block_out_channels": (16,)},
        "without attention": TINY | SIZE | {"mid_attention": False},
        "as in the paper, small": {
            "image_size": (32, 64),
            "stem_patch_size": 1,
            "block_out_channels": (8, 8, 8, 16, 24),
            "layers_per_block": 2,
            "norm_num_groups": 4,
            "latent_channels": 8,
            "levels": (7, 5, 5, 5, 5),
        },
    },
}
STEPS = 3


def find_tokenizers() -> list[type[ModelMixin]]:
    names = [module.name for module in pkgutil.iter_modules(rlvr_world_hf.tokenizers.__path__)]
    modules = [import_module(f"rlvr_world_hf.tokenizers.{name}") for name in names if name.startswith("modeling_")]
    found = {
        thing
        for module in modules
        for thing in vars(module).values()
        if inspect.isclass(thing) and issubclass(thing, ModelMixin) and thing.__module__ == module.__name__
    }
    return sorted(found, key=lambda cls: cls.__name__)


def sees_context(codec: ModelMixin) -> bool:
    return codec.config.context_frames > 0


def parametrize(classes: list[type[ModelMixin]], *, first_case_only: bool = False) -> pytest.MarkDecorator:
    cases = [
        pytest.param((cls, arguments), id=f"{cls.__name__}, {case}")
        for cls in classes
        for case, arguments in [*CASES.get(cls.__name__, {"defaults": {}}).items()][: 1 if first_case_only else None]
    ]
    return pytest.mark.parametrize("codec", cases, indirect=True)


TOKENIZERS = find_tokenizers()
every_tokenizer = parametrize(TOKENIZERS)
every_class = parametrize(
    TOKENIZERS, first_case_only=True
)  # of what it has from the mixin of all, not of its settings
every_tokenizer_that_sees_context = parametrize([cls for cls in TOKENIZERS if sees_context(cls())])


@pytest.fixture
def codec(request: pytest.FixtureRequest) -> ModelMixin:
    tokenizer_class, arguments = request.param
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tokenizer_class(**arguments).eval()


def draw_clips(codec: ModelMixin, *, clips: int = 2, steps: int = STEPS) -> tuple[torch.Tensor, dict[str, Any]]:
    """Frames to code, and the context that goes with them: no frames, where the tokenizer sees no context."""
    generator = torch.Generator().manual_seed(1)
    size = (3, *codec.config.image_size)
    frames = torch.rand(clips, steps, *size, generator=generator)
    return frames, {"context_frames": torch.rand(clips, codec.config.context_frames, *size, generator=generator)}


def draw_codes(codec: ModelMixin, *, clips: int) -> torch.Tensor:
    rows, columns = codec.dynamics_grid
    generator = torch.Generator().manual_seed(2)
    return torch.randint(codec.dynamics_codebook_size, (clips, STEPS, rows * columns), generator=generator)


def assert_codes(codes: torch.Tensor, shape: tuple[int, ...], codebook_size: int) -> None:
    assert codes.shape == shape and codes.dtype == torch.int64
    assert (codes >= 0).all() and (codes < codebook_size).all()


def test_the_room_is_found() -> None:
    assert {"CompressiveTokenizer", "FrameTokenizer"} <= {cls.__name__ for cls in TOKENIZERS}
    assert set(CASES) <= {cls.__name__ for cls in TOKENIZERS}


@every_tokenizer
@torch.no_grad()
def test_frames_become_codes_and_codes_frames_of_the_declared_shapes(codec: ModelMixin) -> None:
    frames, context = draw_clips(codec)
    rows, columns = codec.dynamics_grid
    codes = codec.encode(frames, **context)
    assert_codes(codes, (2, STEPS, rows * columns), codec.dynamics_codebook_size)
    decoded = codec.decode(codes, **context)
    assert decoded.shape == frames.shape and decoded.dtype == torch.float32
    assert decoded.min() >= 0 and decoded.max() <= 1 and decoded.isfinite().all()
    rows, columns = codec.context_grid
    codes = codec.encode_context(context["context_frames"])
    assert_codes(codes, (2, codec.config.context_frames, rows * columns), codec.context_codebook_size)


@every_tokenizer
def test_without_a_context_all_sizes_of_one_are_zero_and_with_one_none_is(codec: ModelMixin) -> None:
    sizes = [codec.context_codebook_size, *codec.context_grid]
    assert all(size > 0 for size in sizes) if sees_context(codec) else sizes == [0, 0, 0]


@every_tokenizer
@torch.no_grad()
def test_training_reconstructs_the_frames_before_the_later_ones_too(codec: ModelMixin) -> None:
    """What `train_tokenizer` asks of every tokenizer, also of one without a context of its own."""
    size = (3, *codec.config.image_size)
    before = torch.rand(2, max(1, codec.config.context_frames), *size, generator=torch.Generator().manual_seed(4))
    frames, _ = draw_clips(codec)
    decoded, decoded_before, codes, codes_before = codec(frames, context_frames=before)
    assert (decoded.shape, decoded_before.shape) == (frames.shape, before.shape)
    assert codes.shape[:2] == (2, STEPS) and codes_before.shape[:2] == before.shape[:2]
    if not sees_context(codec):
        other, other_before, *_ = codec(before, context_frames=frames)
        torch.testing.assert_close(other, decoded_before, atol=1e-5, rtol=0)
        torch.testing.assert_close(other_before, decoded, atol=1e-5, rtol=0)


@every_tokenizer
@torch.no_grad()
def test_any_codes_can_be_decoded(codec: ModelMixin) -> None:
    """A world model may write any code at any place."""
    frames, context = draw_clips(codec)
    decoded = codec.decode(draw_codes(codec, clips=2), **context)
    assert decoded.shape == frames.shape
    assert decoded.min() >= 0 and decoded.max() <= 1


@every_class
def test_weights_over_the_codebook_are_decoded_as_the_codes_and_let_gradients_through(codec: ModelMixin) -> None:
    codec.requires_grad_(False)
    (_, context), codes = draw_clips(codec, clips=1), draw_codes(codec, clips=1)
    weights = torch.nn.functional.one_hot(codes, codec.dynamics_codebook_size).float().requires_grad_()
    frames = codec.decode(weights, **context)
    torch.testing.assert_close(frames, codec.decode(codes, **context), atol=1e-5, rtol=0)
    frames.square().sum().backward()
    assert weights.grad is not None and weights.grad.abs().amax(dim=-1).all(), "of every code"


@every_tokenizer
@torch.no_grad()
def test_different_codes_make_different_frames(codec: ModelMixin) -> None:
    frames, context = draw_clips(codec)
    codes = codec.encode(frames, **context)
    other = (codes + codec.dynamics_codebook_size // 2) % codec.dynamics_codebook_size
    difference = (codec.decode(other, **context) - codec.decode(codes, **context)).abs()
    assert (difference.amax(dim=(2, 3, 4)) > 1e-4).all()


@every_tokenizer
@torch.no_grad()
def test_a_saved_tokenizer_is_the_same_tokenizer(codec: ModelMixin, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    loaded = type(codec).from_pretrained(tmp_path).eval()
    frames, context = draw_clips(codec)
    codes = codec.encode(frames, **context)
    assert torch.equal(loaded.encode(frames, **context), codes)
    assert torch.equal(loaded.decode(codes, **context), codec.decode(codes, **context))
    assert loaded.dynamics_grid == codec.dynamics_grid
    assert loaded.dynamics_codebook_size == codec.dynamics_codebook_size


@every_tokenizer
@torch.no_grad()
def test_each_frame_is_coded_for_itself(codec: ModelMixin) -> None:
    frames, context = draw_clips(codec)
    alone = [codec.encode(frames[:, step : step + 1], **context) for step in range(STEPS)]
    assert (torch.cat(alone, dim=1) == codec.encode(frames, **context)).float().mean() > 0.99
    codes = codec.encode(frames, **context)
    decoded = [codec.decode(codes[:, step : step + 1], **context) for step in range(STEPS)]
    torch.testing.assert_close(torch.cat(decoded, dim=1), codec.decode(codes, **context), atol=1e-5, rtol=0)


@every_tokenizer_that_sees_context
@torch.no_grad()
def test_a_group_that_shares_a_context_is_decoded_as_each_alone(codec: ModelMixin) -> None:
    """Item b of `B` uses context `b // (B // B0)`, as a group of rollouts of one prompt does."""
    _, context = draw_clips(codec)
    codes = draw_codes(codec, clips=6)
    shared = codec.decode(codes, **context)
    for item in range(6):
        of_item = {name: value[item // 3].unsqueeze(0) for name, value in context.items()}
        alone = codec.decode(codes[item : item + 1], **of_item)
        torch.testing.assert_close(shared[item : item + 1], alone, atol=1e-5, rtol=0)


@every_tokenizer
@torch.no_grad()
def test_training_computes_what_encode_and_decode_compute(codec: ModelMixin) -> None:
    frames, context = draw_clips(codec)
    decoded, *_ = codec(frames, **context)
    codes = codec.encode(frames, **context)
    torch.testing.assert_close(decoded.clamp(0, 1), codec.decode(codes, **context), atol=1e-5, rtol=0)


@every_tokenizer
def test_the_gradient_reaches_every_parameter(codec: ModelMixin) -> None:
    frames, context = draw_clips(codec)
    outputs = [output for output in codec(frames, **context) if output.is_floating_point() and output.numel()]
    generator = torch.Generator().manual_seed(3)
    weighted = [output * torch.rand(output.shape, generator=generator) for output in outputs]
    torch.stack([output.mean() for output in weighted]).sum().backward()
    without = [
        name for name, value in codec.named_parameters() if value.grad is None or not value.grad.isfinite().all()
    ]
    # Attention does not depend on the bias of its keys: it adds the same to all of a query's scores.
    still = [name for name, value in codec.named_parameters() if value.grad is not None and not value.grad.any()]
    assert not without
    assert not [name for name in still if not name.endswith("to_k.bias")]


@every_tokenizer
@torch.no_grad()
def test_half_precision_keeps_shapes_and_range(codec: ModelMixin) -> None:
    codec = codec.to(torch.bfloat16)
    frames, context = draw_clips(codec)
    decoded = codec.decode(codec.encode(frames, **context), **context)
    assert decoded.shape == frames.shape
    assert decoded.min() >= 0 and decoded.max() <= 1


@every_class
def test_frames_of_another_size_or_type_are_refused(codec: ModelMixin) -> None:
    frames, context = draw_clips(codec)
    height, width = codec.config.image_size
    with pytest.raises(ValueError, match=rf"`frames` of shape \(B, T, 3, {height}, {width}\), got .*; resize"):
        codec.encode(frames[..., :-1], **context)
    with pytest.raises(TypeError, match=r"floats in \[0, 1\], got torch.uint8; divide"):
        codec.encode((frames * 255).to(torch.uint8), **context)
