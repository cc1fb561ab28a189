"""What all processors of step blocks share; each one's own file tests it on its own states."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.processors import StepBlockProcessor, TokenLayout
from rlvr_world_hf.processors.sensor import SensorWorldModelProcessor
from rlvr_world_hf.processors.step_blocks import build_tokenizer, to_tensor
from rlvr_world_hf.processors.video import VideoWorldModelProcessor


def test_video_and_sensor_worlds_differ_in_what_they_encode_only() -> None:
    shared = ("horizon", "labels", "world_tokens", "token_ranges", "model_token_mask", "encode_completion", "__call__")
    for kind in (VideoWorldModelProcessor, SensorWorldModelProcessor):
        assert all(getattr(kind, name) is getattr(StepBlockProcessor, name) for name in shared)


def test_words_stand_in_the_order_of_their_ids() -> None:
    layout = TokenLayout(
        context_codebook_size=2, dynamics_codebook_size=2, context_grid=(1, 1), dynamics_grid=(1, 1), action_bins=2,
        action_dims=1, sensor_dims=1, sensor_bins=2,
    )  # fmt: skip
    words = build_tokenizer(layout).decode(list(range(layout.vocabulary_size)))
    assert words == "<d0> <d1> <c0> <c1> <s0> <s1> <a0> <a1> <bos> <eos>"


@pytest.mark.parametrize("name", ["state_low", "state_high", "action_low", "action_high"])
@pytest.mark.parametrize("given", [["a"], 3, [None]])
def test_ranges_that_are_no_numbers_are_named(name: str, given: Any) -> None:
    layout = SensorWorldModelProcessor.from_ranges([0.0], [1.0], [0.0], [1.0]).layout
    ranges: dict[str, Any] = dict.fromkeys(("state_low", "action_low"), [0.0])
    ranges |= dict.fromkeys(("state_high", "action_high"), [1.0]) | {name: given}
    told = f"Expected as `{name}` one number for each dimension, got {re.escape(repr(given))}; give"
    with pytest.raises(ValueError, match=told):
        SensorWorldModelProcessor(build_tokenizer(layout), layout, **ranges)


def test_arrays_nobody_may_write_to_are_copied() -> None:
    array = np.zeros(3, np.float32)
    array.setflags(write=False)
    assert torch.equal(to_tensor(array, "states"), torch.zeros(3))
    with pytest.raises(TypeError, match="`states` as a torch tensor or numpy array, got list"):
        to_tensor([0.0], "states")  # type: ignore[arg-type]
