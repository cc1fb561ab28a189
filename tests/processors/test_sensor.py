"""States become tokens and come back as bin centres; the layout knows where they stand; wrong inputs are named."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rlvr_world_hf.processors import SensorWorldModelProcessor
from rlvr_world_hf.processors.step_blocks import build_tokenizer
from rlvr_world_hf.processors.video import VideoWorldModelProcessor


LOW, HIGH = [0.0, -1.0, -8.0], [512.0, 1.0, 8.0]


@pytest.fixture
def sensors() -> SensorWorldModelProcessor:
    return SensorWorldModelProcessor.from_ranges(
        LOW, HIGH, [-2.0], [2.0], sensor_bins=64, action_bins=8, observed_steps=2, fps=5.0
    )


@pytest.fixture
def states() -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0)
    return {
        "context": numbers.uniform(LOW, HIGH, (2, 2, 3)).astype(np.float32),
        "reference": numbers.uniform(LOW, HIGH, (2, 4, 3)).astype(np.float32),
        "actions": numbers.uniform(-2, 2, (2, 6, 1)).astype(np.float32),
    }


def encode(processor: SensorWorldModelProcessor, states: dict) -> torch.Tensor:
    return processor.encode_completion(states["reference"], states["context"], states["actions"])


def test_decodes_what_it_encodes_to_within_half_a_bin(sensors: SensorWorldModelProcessor, states: dict) -> None:
    predicted = sensors.decode_state(encode(sensors, states), states["context"])
    assert predicted.shape == (2, 4, 3) and predicted.dtype == torch.float32
    half_bins = (torch.tensor(HIGH) - torch.tensor(LOW)) / 64 / 2
    assert ((predicted - torch.from_numpy(states["reference"])).abs() <= half_bins * (1 + 1e-5)).all()


def test_the_history_is_step_blocks_and_the_world_writes_the_actions(
    sensors: SensorWorldModelProcessor, states: dict
) -> None:
    layout = sensors.layout
    prompt, ids = sensors.encode_prompt(states["context"], states["actions"]), encode(sensors, states)
    assert prompt.shape == (2, layout.prompt_length) == (2, 8)
    mask, world = sensors.model_token_mask(4), sensors.world_tokens(states["actions"])
    assert mask.tolist() == [True, True, True, False] * 4
    assert (world[:, mask] == -1).all() and torch.equal(world[:, ~mask], ids[:, ~mask])
    actions = sensors.bins.encode(states["actions"])[..., 0] + layout.action_offset
    assert torch.equal(torch.cat([prompt, ids], dim=1)[:, 3::4], actions)
    ranges = sensors.token_ranges(4)
    assert ((ids >= ranges[:, 0]) & (ids < ranges[:, 1])).all()
    assert ranges[:4].tolist() == [[0, 64]] * 3 + [[64, 72]]


def test_labels_are_the_sensors_of_recorded_steps(sensors: SensorWorldModelProcessor, states: dict) -> None:
    mask = np.array([[True] * 4, [True, False, False, False]])
    encoded = sensors(**states, reference_mask=mask)
    assert encoded["input_ids"].shape == (2, 24)
    assert (encoded["labels"] != -100).sum(dim=1).tolist() == [12, 3]
    with pytest.raises(TypeError, match="context_states"):
        sensors(**states, context_states=states["context"])


def test_survives_save_and_load_without_a_codec(
    sensors: SensorWorldModelProcessor, states: dict, tmp_path: Path
) -> None:
    sensors.save_pretrained(tmp_path)
    assert not (tmp_path / "codec").exists()
    loaded = SensorWorldModelProcessor.from_pretrained(tmp_path)
    assert loaded.layout == sensors.layout and loaded.to_dict() == sensors.to_dict() and loaded.fps == 5.0
    assert torch.equal(encode(loaded, states), encode(sensors, states))


def test_tokenizer_has_a_word_for_each_bin(sensors: SensorWorldModelProcessor) -> None:
    ids = list(range(sensors.layout.vocabulary_size))
    assert sensors.tokenizer(sensors.tokenizer.decode(ids)).input_ids == ids
    assert sensors.batch_decode([[0, 63, 64]]) == ["<s0> <s63> <a0>"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": np.zeros((2, 1, 3))}, r"`context` of shape \(B, 2, 3\), got \(2, 1, 3\)"),
        ({"context": np.zeros((2, 2, 4))}, r"`context` of shape \(B, 2, 3\)"),
        ({"reference": np.zeros((1, 4, 3))}, r"`reference` of shape \(2, T, 3\), got \(1, 4, 3\)"),
        ({"reference": np.full((2, 4, 3), np.nan)}, "NaN at index"),
        ({"actions": np.zeros((1, 6, 1))}, "each of 2 contexts, got 1"),
    ],
)
def test_wrong_inputs_are_named(
    sensors: SensorWorldModelProcessor, states: dict, change: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        encode(sensors, states | change)


def test_wrong_completions_are_named(sensors: SensorWorldModelProcessor, states: dict) -> None:
    ids = encode(sensors, states)
    with pytest.raises(ValueError, match="3 completions of 2 contexts"):
        sensors.decode_state(torch.cat([ids, ids[:1]]), states["context"])
    ids[1, 4] = 64
    with pytest.raises(ValueError, match=r"Completion 1 has id 64 at position 4, where ids in \[0, 64\)"):
        sensors.decode_state(ids, states["context"])


def test_parts_must_fit(sensors: SensorWorldModelProcessor, processor: VideoWorldModelProcessor) -> None:
    with pytest.raises(ValueError, match=r"3 sensor dimensions, the ranges have \[2, 2\]"):
        SensorWorldModelProcessor(sensors.tokenizer, sensors.layout, LOW[:2], HIGH[:2], [-2.0], [2.0])
    with pytest.raises(ValueError, match="no visual tokenizer"):
        SensorWorldModelProcessor(
            build_tokenizer(processor.layout), processor.layout, [], [], [0.0, -1.0], [512.0, 1.0]
        )
