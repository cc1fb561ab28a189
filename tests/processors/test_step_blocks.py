"""What all processors of step blocks share; each one's own file tests it on its own states."""

import re
from pathlib import Path
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


def test_actions_are_written_as_a_matrix_times_them(tmp_path: Path) -> None:
    ranges: dict[str, Any] = {
        "state_low": [0.0],
        "state_high": [1.0],
        "action_low": [-1.0] * 2,
        "action_high": [1.0] * 2,
    }
    plain = SensorWorldModelProcessor.from_ranges(**ranges, action_bins=64)
    summed = SensorWorldModelProcessor.from_ranges(**ranges, action_bins=64, action_matrix=[[0.5, 0.0], [0.5, 0.5]])
    actions = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    written = torch.stack([actions[..., 0] / 2, actions.sum(dim=-1) / 2], dim=-1)
    states = torch.rand(4, 1, 1, generator=torch.Generator().manual_seed(1))
    assert torch.equal(summed.world_tokens(actions), plain.world_tokens(written))
    assert torch.equal(summed.encode_prompt(states, actions), plain.encode_prompt(states, written))
    assert not torch.equal(summed.world_tokens(actions), plain.world_tokens(actions))
    summed.save_pretrained(tmp_path)
    assert SensorWorldModelProcessor.from_pretrained(tmp_path).action_matrix == [[0.5, 0.0], [0.5, 0.5]]
    assert "action_matrix" not in plain.to_dict()


@pytest.mark.parametrize("matrix", [[[1.0, 0.0]], [[1.0], [0.0]], [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
def test_a_matrix_of_another_shape_is_refused(matrix: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"Expected `action_matrix` of shape \(2, 2\)"):
        SensorWorldModelProcessor.from_ranges([0.0], [1.0], [-1.0] * 2, [1.0] * 2, action_matrix=matrix)
