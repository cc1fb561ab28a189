"""Codecs on a CUDA device that is not there: shapes, dtypes and devices as torch propagates them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from rlvr_world_hf.tokenizers import CompressiveTokenizer, FrameTokenizer


SIZES = {"image_size": (16, 16), "block_out_channels": (16, 16), "norm_num_groups": 4}
CODECS: dict[str, Callable[[], Any]] = {
    "compressive": lambda: CompressiveTokenizer(**SIZES),
    "local codes": lambda: CompressiveTokenizer(
        **SIZES, encoder_conditioning=["none"] * 3, dynamics_patch_size=2, local_codes=True
    ),
}


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def on_cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.dtype]:
    """A mode in which whatever is made has this dtype and is on a device that is not there."""
    # Which frames are equal, so that each is encoded once, cannot be known of tensors without values.
    for codec in (CompressiveTokenizer, FrameTokenizer):
        monkeypatch.setattr(codec, "_encode_once", lambda self, frames, encode: encode(frames))
    torch.set_default_dtype(request.param)
    with FakeTensorMode(), torch.device("cuda"), torch.no_grad():
        yield request.param
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("make", CODECS.values(), ids=list(CODECS))
def test_codes_and_frames_stay_on_the_device(make: Callable[[], Any], on_cuda: torch.dtype) -> None:
    codec = make().eval()
    context, frames = torch.rand(2, 1, 3, 16, 16), torch.rand(2, 3, 3, 16, 16)
    context_codes, codes = codec.encode_context(context), codec.encode(frames, context_frames=context)
    assert context_codes.device.type == codes.device.type == "cuda" and codes.dtype == torch.int64
    decoded = codec.decode(codes, context_frames=context)
    assert decoded.shape == frames.shape and decoded.device.type == "cuda" and decoded.dtype == on_cuda


def test_single_frames_stay_on_the_device(on_cuda: torch.dtype) -> None:
    codec, frames = FrameTokenizer(**SIZES).eval(), torch.rand(2, 3, 3, 16, 16)
    codes = codec.encode(frames)
    decoded = codec.decode(codes)
    assert codes.device.type == decoded.device.type == "cuda" and decoded.shape == frames.shape
