"""Ids, lengths and masks follow from the layout, and writing is the inverse of reading."""

import json
import re
from typing import Any

import pytest
import torch

from rlvr_world_hf.processors.layout import TokenLayout


def make_layout(**changes: Any) -> TokenLayout:
    sizes: dict[str, Any] = {
        "context_codebook_size": 50,
        "dynamics_codebook_size": 40,
        "context_grid": (4, 5),
        "dynamics_grid": (2, 3),
        "action_bins": 16,
        "action_dims": 2,
    }
    return TokenLayout(**(sizes | changes))


def test_official_recipe() -> None:
    layout = make_layout(
        context_codebook_size=4375,
        dynamics_codebook_size=4375,
        context_grid=(32, 40),
        dynamics_grid=(8, 10),
        action_bins=256,
        action_dims=13,
    )
    assert (layout.vocabulary_size, layout.bos_id, layout.eos_id) == (9008, 9006, 9007)
    assert (layout.prompt_length, layout.completion_length(7), layout.step_length) == (1373, 651, 93)
    assert int(layout.model_token_mask(7).sum()) == 7 * 80


def test_any_ids_can_be_clamped_to_a_completion() -> None:
    layout = make_layout()
    ids = torch.arange(layout.completion_length(3)).repeat(2, 1) % layout.vocabulary_size
    ids[0], ids[1, ::2] = 0, layout.vocabulary_size - 1
    clamped = layout.clamp_completion(ids)
    ranges = layout.token_ranges(3)
    assert ((clamped >= ranges[:, 0]) & (clamped < ranges[:, 1])).all()
    assert torch.equal(clamped[0], ranges[:, 0])
    is_valid = (ids >= ranges[:, 0]) & (ids < ranges[:, 1])
    assert torch.equal(clamped[is_valid], ids[is_valid]) and is_valid.any() and not is_valid.all()


def make_layout_without_context(**changes: Any) -> TokenLayout:
    sizes = {"context_frames": 0, "context_codebook_size": 0, "context_grid": (0, 0), "observed_steps": 3}
    return make_layout(**(sizes | changes))


def test_official_single_step_recipe() -> None:
    layout = make_layout_without_context(
        dynamics_codebook_size=4375, dynamics_grid=(16, 20), action_bins=256, action_dims=13, observed_steps=4
    )
    assert (layout.vocabulary_size, layout.action_offset, layout.bos_id, layout.eos_id) == (4633, 4375, 4631, 4632)
    assert (layout.prompt_length, layout.completion_length(1)) == (4 * (320 + 13), 333)
    assert int(layout.model_token_mask(1).sum()) == 320


def test_without_context_the_prompt_is_a_row_of_steps() -> None:
    layout = make_layout_without_context()
    codes, bins = torch.randint(0, 40, (5, 4, 6)), torch.randint(0, 16, (5, 4, 2))
    prompt = layout.write_prompt(torch.zeros(5, 0, 0), codes[:, :3], bins[:, :3])
    completion = layout.write_completion(codes[:, 3:], bins[:, 3:])
    assert prompt.shape == (5, layout.prompt_length) == (5, 24)
    assert torch.equal(layout.read_dynamics(torch.cat([prompt, completion], dim=1)), codes)
    labels = layout.labels(prompt, completion)
    assert torch.equal(labels[:, 24:30], codes[:, 3]) and (labels != -100).sum() == 5 * 6


@pytest.mark.parametrize(("context_frames", "observed_steps", "expected"), [(1, 0, 22), (3, 0, 62), (2, 1, 48)])
def test_prompt_length(context_frames: int, observed_steps: int, expected: int) -> None:
    layout = make_layout(context_frames=context_frames, observed_steps=observed_steps)
    observed = torch.zeros(1, observed_steps, 6) if observed_steps else None
    prompt = layout.write_prompt(
        torch.zeros(1, context_frames, 20), observed, torch.zeros(1, layout.prompt_actions, 2)
    )
    assert prompt.shape == (1, layout.prompt_length) == (1, expected)


@pytest.mark.parametrize("horizon", [1, 4])
def test_ranges_and_mask_agree_with_what_is_written(horizon: int) -> None:
    layout = make_layout()
    codes, bins = torch.randint(0, 40, (5, horizon, 6)), torch.randint(0, 16, (5, horizon, 2))
    ids = layout.write_completion(codes, bins)
    ranges, mask = layout.token_ranges(horizon), layout.model_token_mask(horizon)
    assert ids.shape[1] == layout.completion_length(horizon) == len(ranges) == len(mask)
    assert layout.horizon(ids.shape[1]) == horizon
    assert ((ids >= ranges[:, 0]) & (ids < ranges[:, 1])).all()
    assert (ids[:, mask] < 40).all() and (ids[:, ~mask] >= layout.action_offset).all()
    assert torch.equal(layout.read_dynamics(ids), codes)


def test_ranges_cover_the_vocabulary_without_overlap() -> None:
    layout = make_layout()
    context = layout.write_prompt(torch.tensor([[[0] * 19 + [49]]]), torch.zeros(1, 1, 6), torch.zeros(1, 1, 2))
    assert (int(context[0, 0]), int(context[0, 19])) == (40, 89)
    assert layout.token_ranges(1)[[0, -1]].tolist() == [[0, 40], [90, 106]]
    assert (layout.bos_id, layout.eos_id, layout.vocabulary_size) == (106, 107, 108)


@pytest.mark.parametrize("wrong", [40, -1])
def test_invalid_id_is_named(wrong: int) -> None:
    layout = make_layout()
    ids = layout.write_completion(torch.zeros(2, 2, 6), torch.zeros(2, 2, 2))
    ids[1, 9] = wrong
    with pytest.raises(ValueError, match=rf"Completion 1 has id {wrong} at position 9, where ids in \[0, 40\)"):
        layout.read_dynamics(ids)


def test_labels_leave_out_prompt_actions_and_padding() -> None:
    layout = make_layout()
    prompt = torch.ones(1, layout.prompt_length, dtype=torch.long)
    ids = layout.write_completion(torch.full((1, 2, 6), 7), torch.zeros(1, 2, 2))
    labels = layout.labels(prompt, ids, torch.tensor([[True, False]]))
    assert (labels[:, : layout.prompt_length] == -100).all()
    assert labels[0, layout.prompt_length :].tolist() == [7] * 6 + [-100] * 10
    assert (layout.labels(prompt, ids) == 7).sum() == 12


def test_layout_survives_json() -> None:
    for layout in (make_layout(context_frames=2), make_layout_without_context()):
        assert TokenLayout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout


@pytest.mark.parametrize(
    "change",
    [
        {"action_bins": 0},
        {"context_grid": (0, 4)},
        {"observed_steps": -1},
        {"context_frames": 0},
        {"context_frames": -1},
    ],
)
def test_impossible_size_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        make_layout(**change)


@pytest.mark.parametrize("change", [{"context_codebook_size": 50}, {"context_grid": (2, 2)}, {"observed_steps": 0}])
def test_context_codes_or_no_history_without_context_frames_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make_layout_without_context(**change)


@pytest.mark.parametrize("change", [{"action_bins": "many"}, {"action_bins": 1.5}, {"more": 1}, {"context_grid": 5}])
def test_fields_of_another_kind_are_refused(change: dict[str, Any]) -> None:
    fields = make_layout().to_dict() | change
    for given in (fields, None, [], {"action_bins": 2}):
        with pytest.raises(ValueError, match=rf"Expected as layout whole numbers .* got {re.escape(repr(given))}: "):
            TokenLayout.from_dict(given)  # type: ignore[arg-type]


def test_impossible_length_is_named() -> None:
    with pytest.raises(ValueError, match="whole step blocks of 8 tokens, got 9"):
        make_layout().horizon(9)
    with pytest.raises(ValueError, match="at least 1 step"):
        make_layout().completion_length(0)


def test_sensors_stand_between_codes_and_action() -> None:
    layout = make_layout(sensor_dims=3, sensor_bins=10)
    codes, sensors, bins = (torch.randint(0, high, (5, 2, size)) for high, size in ((40, 6), (10, 3), (16, 2)))
    ids, ranges, mask = (
        layout.write_completion(codes, bins, sensors),
        layout.token_ranges(2),
        layout.model_token_mask(2),
    )
    assert ids.shape[1] == layout.completion_length(2) == 22
    assert ((ids >= ranges[:, 0]) & (ids < ranges[:, 1])).all()
    assert ranges[[0, 6, 9]].tolist() == [[0, 40], [90, 100], [100, 116]]
    assert mask.tolist() == ([True] * 9 + [False] * 2) * 2
    assert torch.equal(layout.read_dynamics(ids), codes) and torch.equal(layout.read_sensors(ids), sensors)
    assert TokenLayout.from_dict(layout.to_dict()) == layout


def test_a_layout_without_sensors_says_nothing_of_them() -> None:
    assert not [name for name in make_layout().to_dict() if "sensor" in name]
    assert make_layout().action_offset == make_layout().sensor_offset == 90


def test_what_is_not_there_cannot_come_first() -> None:
    with pytest.raises(ValueError, match="`sensors_first` must be False without sensors"):
        make_layout(sensors_first=True)


def test_sensors_need_no_frames_but_steps() -> None:
    none = {"context_codebook_size": 0, "dynamics_codebook_size": 0, "context_grid": (0, 0), "dynamics_grid": (0, 0)}
    layout = make_layout(**none, context_frames=0, observed_steps=2, sensor_dims=3, sensor_bins=10)
    assert (layout.vocabulary_size, layout.prompt_length, layout.completion_length(4)) == (28, 10, 20)
    for change, name in (({"observed_steps": 0}, "observed_steps"), ({"sensor_bins": 0}, "sensor_bins")):
        with pytest.raises(ValueError, match=name):
            make_layout(**none, context_frames=0, sensor_dims=3, **({"sensor_bins": 10} | change))
    with pytest.raises(ValueError, match="dynamics_codebook_size"):
        make_layout(**none, context_frames=0)
