"""Frames and actions become tokens and come back; wrong inputs are named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rlvr_world_hf.processors.layout import TokenLayout
from rlvr_world_hf.processors.step_blocks import build_tokenizer
from rlvr_world_hf.processors.video import VideoWorldModelProcessor


def test_decodes_what_it_encodes(processor: VideoWorldModelProcessor, window: dict) -> None:
    ids = processor.encode_completion(window["reference"], window["context"], window["actions"])
    context, reference = (torch.from_numpy(window[name]) / 255 for name in ("context", "reference"))
    codes = processor.codec.encode(reference, context_frames=context)
    assert torch.equal(processor.layout.read_dynamics(ids), codes)
    predicted = processor.decode_state(ids, context)
    assert predicted.shape == reference.shape and predicted.dtype == torch.float32
    assert predicted.min() >= 0 and predicted.max() <= 1
    assert torch.equal(predicted, processor.codec.decode(codes, context_frames=context))


def test_ids_that_are_not_valid_are_refused_or_clamped(processor: VideoWorldModelProcessor, window: dict) -> None:
    layout = processor.layout
    ids = processor.encode_completion(window["reference"], window["context"], window["actions"])
    valid = processor.decode_state(ids, window["context"], parity=True)
    assert torch.equal(valid, processor.decode_state(ids, window["context"]))
    last, beyond = ids.clone(), ids.clone()
    last[:, 0], beyond[:, 0] = layout.dynamics_codebook_size - 1, layout.eos_id
    with pytest.raises(ValueError, match=f"id {layout.eos_id} at position 0"):
        processor.decode_state(beyond, window["context"])
    clamped = processor.decode_state(beyond, window["context"], parity=True)
    assert torch.equal(clamped, processor.decode_state(last, window["context"]))


def test_a_group_shares_its_context(processor: VideoWorldModelProcessor, window: dict) -> None:
    ids = processor.encode_completion(window["reference"], window["context"], window["actions"])
    grouped = processor.decode_state(ids.repeat_interleave(3, dim=0), window["context"])
    single = processor.decode_state(ids, window["context"])
    torch.testing.assert_close(grouped, single.repeat_interleave(3, dim=0))
    with pytest.raises(ValueError, match="3 completions of 2 contexts"):
        processor.decode_state(torch.cat([ids, ids[:1]]), window["context"])


def test_uint8_and_float_torch_and_numpy_agree(processor: VideoWorldModelProcessor, window: dict) -> None:
    context, actions = window["context"], window["actions"]
    expected = processor.encode_prompt(context, actions)
    assert expected.shape == (2, processor.layout.prompt_length)
    assert torch.equal(processor.encode_prompt(torch.from_numpy(context) / 255, torch.from_numpy(actions)), expected)
    assert torch.equal(processor.encode_prompt(context.astype(np.float64) / 255, actions), expected)
    context.setflags(write=False)
    assert torch.equal(processor.encode_prompt(context, actions), expected)


def test_world_writes_the_actions_after_the_prompts(processor: VideoWorldModelProcessor, window: dict) -> None:
    layout, actions = processor.layout, window["actions"]
    world = processor.world_tokens(actions)
    ids = processor.encode_completion(window["reference"], window["context"], actions)
    mask = processor.model_token_mask(3)
    assert (world[:, mask] == -1).all() and torch.equal(world[:, ~mask], ids[:, ~mask])
    bins = processor.bins.encode(actions) + layout.action_offset
    assert torch.equal(processor.encode_prompt(window["context"], actions)[:, -2:], bins[:, 0])
    assert torch.equal(ids[:, ~mask].reshape(2, 3, 2), bins[:, 1:])
    assert torch.equal(processor.world_tokens(actions, horizon=2), world[:, : 2 * layout.step_length])


def test_last_action_may_be_left_out(processor: VideoWorldModelProcessor, window: dict) -> None:
    shorter = processor.world_tokens(window["actions"][:, :-1], horizon=3)
    assert torch.equal(shorter[:, -2:], shorter[:, -2 - processor.layout.step_length : -processor.layout.step_length])
    with pytest.raises(ValueError, match=r"shape \(B, 4, 2\), got \(2, 2, 2\)"):
        processor.world_tokens(window["actions"][:, :-2], horizon=3)


def test_observed_steps_stand_in_the_prompt(
    make_processor: Callable[..., VideoWorldModelProcessor], window: dict
) -> None:
    processor = make_processor(observed_steps=1)
    context = np.concatenate([window["context"], window["reference"][:, :1]], axis=1)
    prompt = processor.encode_prompt(context, window["actions"])
    ids = processor.encode_completion(window["reference"][:, 1:], context, window["actions"])
    whole = make_processor().encode_completion(
        window["reference"], window["context"], window["actions"][:, [0, 0, 1, 2]]
    )  # the first action, of the context frame, is not in this prompt
    assert prompt.shape[1] == processor.layout.prompt_length
    assert torch.equal(torch.cat([prompt[:, processor.layout.context_length :], ids], dim=1), whole)
    assert processor.decode_state(ids, context).shape == (2, 2, 3, 16, 24)


def test_single_step_prediction_from_frames_that_are_coded_on_their_own(
    single_step_processor: VideoWorldModelProcessor, window: dict
) -> None:
    processor, layout = single_step_processor, single_step_processor.layout
    frames = np.concatenate([window["context"], window["reference"]], axis=1)
    context, reference, actions = frames[:, :2], frames[:, 2:3], window["actions"][:, :3]
    prompt = processor.encode_prompt(context, actions)
    completion = processor.encode_completion(reference, context, actions)
    assert (layout.prompt_length, layout.completion_length(1)) == (prompt.shape[1], completion.shape[1]) == (16, 8)
    codes = processor.codec.encode(torch.from_numpy(frames[:, :3]) / 255).flatten(2)
    assert torch.equal(layout.read_dynamics(torch.cat([prompt, completion], dim=1)), codes)
    bins = processor.bins.encode(actions) + layout.action_offset
    assert torch.equal(torch.cat([prompt, completion], dim=1).view(2, 3, 8)[..., 6:], bins)
    grouped = processor.decode_state(completion.repeat_interleave(3, dim=0), context)
    expected = processor.codec.decode(codes[:, 2:]).repeat_interleave(3, dim=0)
    torch.testing.assert_close(grouped, expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="0 context frames and 2 observed steps, got 3"):
        processor.encode_prompt(frames[:, :3], actions)


def test_call_gives_model_inputs(processor: VideoWorldModelProcessor, window: dict) -> None:
    prompt = processor(window["context"], window["actions"])
    mask = np.array([[True, True, True], [True, False, False]])
    whole = processor(window["context"], window["actions"], reference=window["reference"], reference_mask=mask)
    length = processor.layout.prompt_length
    assert torch.equal(whole["input_ids"][:, :length], prompt["input_ids"])
    kept = whole["labels"] != -100
    assert torch.equal(whole["labels"][kept], whole["input_ids"][kept])
    assert kept.sum(dim=1).tolist() == [3 * processor.layout.dynamics_length, processor.layout.dynamics_length]
    with pytest.raises(TypeError, match="padding"):
        processor(window["context"], window["actions"], padding=True)


@pytest.mark.parametrize(
    ("context", "error", "message"),
    [
        (torch.zeros(1, 3, 16, 24), ValueError, r"shape \(B, T, 3, 16, 24\), got \(1, 3, 16, 24\)"),
        (torch.zeros(2, 1, 3, 24, 16), ValueError, "resize the frames"),
        (torch.zeros(2, 2, 3, 16, 24), ValueError, "1 context frames and 0 observed steps, got 2"),
        (torch.full((2, 1, 3, 16, 24), 255.0), ValueError, "divide by 255"),
        (torch.full((2, 1, 3, 16, 24), torch.nan), ValueError, "drop NaN"),
        (torch.zeros(2, 1, 3, 16, 24, dtype=torch.int64), TypeError, "uint8 or float"),
        ([[0.0]], TypeError, "torch tensor or numpy array, got list"),
        (torch.zeros(3, 1, 3, 16, 24), ValueError, "each of 3 contexts, got 2"),
    ],
)
def test_wrong_frames_are_named(
    processor: VideoWorldModelProcessor, window: dict, context: torch.Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        processor.encode_prompt(context, window["actions"])


def test_wrong_actions_and_references_are_named(processor: VideoWorldModelProcessor, window: dict) -> None:
    context, actions = window["context"], window["actions"]
    with pytest.raises(ValueError, match=r"shape \(B, 1, 2\)"):
        processor.encode_prompt(context, actions[..., :1])
    with pytest.raises(ValueError, match="NaN at index"):
        processor.encode_prompt(context, np.full_like(actions, np.nan))
    with pytest.raises(ValueError, match="reference for each context, got 1 and 2"):
        processor.encode_completion(window["reference"][:1], context, actions)


def test_parts_must_fit(processor: VideoWorldModelProcessor) -> None:
    layout, parts = processor.layout.to_dict(), (processor.tokenizer, processor.codec)
    wrong = TokenLayout.from_dict(layout | {"dynamics_codebook_size": 3})
    with pytest.raises(ValueError, match="dynamics_codebook_size 3, the codec 1000"):
        VideoWorldModelProcessor(*parts, wrong, [0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="use `build_tokenizer`"):
        VideoWorldModelProcessor(build_tokenizer(wrong), processor.codec, layout, [0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="2 action dimensions, the ranges have 1"):
        VideoWorldModelProcessor(*parts, layout, [0.0], [1.0])


def test_tokenizer_reads_what_it_writes(processor: VideoWorldModelProcessor) -> None:
    tokenizer, layout = processor.tokenizer, processor.layout
    ids = list(range(layout.vocabulary_size))
    assert tokenizer(tokenizer.decode(ids)).input_ids == ids
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (layout.bos_id, layout.eos_id)
    assert tokenizer.pad_token_id == layout.eos_id
    assert processor.batch_decode([[0, layout.action_offset]]) == ["<d0> <a0>"]


@pytest.fixture
def joint(make_processor: Callable[..., VideoWorldModelProcessor]) -> VideoWorldModelProcessor:
    """Of frames and three sensors."""
    return make_processor(state_low=[0.0, -1.0, -1.0], state_high=[512.0, 1.0, 1.0], sensor_bins=64)


@pytest.fixture
def joint_window(window: dict) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(1)
    states = numbers.uniform((0, -1, -1), (512, 1, 1), (2, 4, 3)).astype(np.float32)
    return window | {"context_states": states[:, :1], "reference_states": states[:, 1:]}


def test_sensors_stand_beside_the_codes_and_come_back(
    joint: VideoWorldModelProcessor, processor: VideoWorldModelProcessor, window: dict, joint_window: dict
) -> None:
    prompt, ids = joint.encode_window(**joint_window)
    alone_prompt, alone = processor.encode_window(**window)
    layout, codes = joint.layout, processor.layout.dynamics_length
    blocks, alone_blocks = ids.reshape(2, 3, -1), alone.reshape(2, 3, -1)
    assert torch.equal(blocks[..., :codes], alone_blocks[..., :codes])
    assert torch.equal(
        blocks[..., -2:] - layout.action_offset, alone_blocks[..., -2:] - processor.layout.action_offset
    )
    assert prompt.shape[1] == layout.prompt_length == alone_prompt.shape[1] + 3
    assert torch.equal(prompt, joint.encode_prompt(**{name: joint_window[name] for name in joint.prompt_columns}))
    mask = joint.model_token_mask(3)
    assert int(mask.sum()) == 3 * (codes + 3) and torch.equal(
        joint.world_tokens(window["actions"])[:, ~mask], ids[:, ~mask]
    )
    decoded = joint.decode_state(ids, window["context"])
    assert torch.equal(decoded["predicted"], processor.decode_state(alone, window["context"]))
    half_bins = torch.tensor([512.0, 2.0, 2.0]) / 64 / 2
    errors = (decoded["predicted_states"] - torch.from_numpy(joint_window["reference_states"])).abs()
    assert decoded["predicted_states"].shape == (2, 3, 3) and (errors <= half_bins * (1 + 1e-5)).all()


def test_sensors_may_stand_before_the_codes(
    make_processor: Callable[..., VideoWorldModelProcessor], joint: VideoWorldModelProcessor, joint_window: dict,
    tmp_path: Path,
) -> None:  # fmt: skip
    ranges = {"state_low": joint.state_low, "state_high": joint.state_high, "sensor_bins": joint.layout.sensor_bins}
    first = make_processor(**ranges, sensors_first=True)
    prompt, ids = first.encode_window(**joint_window)
    _, beside = joint.encode_window(**joint_window)
    codes = joint.layout.dynamics_length
    blocks, others = ids.reshape(2, 3, -1), beside.reshape(2, 3, -1)
    assert torch.equal(blocks[..., :3], others[..., codes : codes + 3])
    assert torch.equal(blocks[..., 3 : 3 + codes], others[..., :codes])
    assert torch.equal(blocks[..., 3 + codes :], others[..., 3 + codes :])
    ranges_of_ids = first.token_ranges(3)
    assert ((ids >= ranges_of_ids[:, 0]) & (ids < ranges_of_ids[:, 1])).all()
    assert prompt.shape[1] == joint.layout.prompt_length
    decoded, expected = (world.decode_state(given, joint_window["context"])
                         for world, given in ((first, ids), (joint, beside)))  # fmt: skip
    assert all(torch.equal(decoded[name], expected[name]) for name in ("predicted", "predicted_states"))
    mask = first.model_token_mask(3)
    assert torch.equal(first.world_tokens(joint_window["actions"])[:, ~mask], ids[:, ~mask])
    first.save_pretrained(tmp_path)
    assert VideoWorldModelProcessor.from_pretrained(tmp_path).layout == first.layout != joint.layout
    assert "sensors_first" not in joint.layout.to_dict()


def test_sensors_survive_save_and_load(joint: VideoWorldModelProcessor, joint_window: dict, tmp_path: Path) -> None:
    joint.save_pretrained(tmp_path)
    loaded = VideoWorldModelProcessor.from_pretrained(tmp_path)
    assert loaded.layout == joint.layout and loaded.predicts == joint.predicts == ("frames", "sensors")
    assert torch.equal(loaded(**joint_window)["labels"], joint(**joint_window)["labels"])


def test_states_are_needed_by_a_world_of_sensors_and_refused_by_others(
    joint: VideoWorldModelProcessor, processor: VideoWorldModelProcessor, window: dict, joint_window: dict
) -> None:
    with pytest.raises(
        ValueError, match=r"`context_states` of shape \(B, 1, 3\), as this world has sensors, got none"
    ):
        joint.encode_window(**window)
    with pytest.raises(ValueError, match="no sensors, got `context_states`"):
        processor.encode_window(**joint_window)
    with pytest.raises(ValueError, match=r"`reference_states` of shape \(2, 3, 3\), got \(2, 2, 3\)"):
        joint.encode_window(**(joint_window | {"reference_states": joint_window["reference_states"][:, 1:]}))


def test_observed_steps_have_their_sensors(
    make_processor: Callable[..., VideoWorldModelProcessor], joint_window: dict
) -> None:
    ranges = {"state_low": [0.0, -1.0, -1.0], "state_high": [512.0, 1.0, 1.0], "sensor_bins": 64}
    processor = make_processor(observed_steps=1, **ranges)
    given = {
        name: np.concatenate([joint_window[name], joint_window[name.replace("context", "reference")][:, :1]], axis=1)
        for name in ("context", "context_states")
    }
    prompt = processor.encode_prompt(**given, actions=joint_window["actions"])
    codes = processor.layout.dynamics_length
    block = prompt[:, processor.layout.context_length :]
    assert block.shape[1] == codes + 3 + 2
    expected = make_processor(**ranges).encode_window(**joint_window)[1][:, codes : codes + 3]
    assert torch.equal(block[:, codes : codes + 3], expected), "those of the observed step, not of the context frame"
