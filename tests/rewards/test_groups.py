"""Groups of completions against one reference each: the same rewards as one by one, measured and converted once."""

from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from rlvr_world_hf.rewards import GroupScores, MAEReward, SensorMAEReward, VerifiableReward, base
from rlvr_world_hf.rewards.groups import Groups
from tests.rewards.test_conformance import REWARDS, draw_frame, draw_sensors, every_reward


NAN = torch.nan
NETWORKS = ("lpips", "feature_distance", "action_recovery")


def draw_groups(reward: VerifiableReward, size: int) -> dict[str, Any]:
    """Four groups of a size, of two steps of what the reward reads, with everything that may be missing."""
    if reward.reads == "sensors":
        reference = [torch.stack([draw_sensors(20 + 4 * row), draw_sensors(22 + 4 * row)]) for row in range(4)]
        context = [draw_sensors(30)[None]] * 4
    else:
        reference = [torch.stack([draw_frame(20 + 4 * row, 20), draw_frame(22 + 4 * row, 24)]) for row in range(4)]
        reference = [frames.mul(255).round().byte() for frames in reference]
        context = [draw_frame(30, 40)[None].mul(255).round().byte()] * 4
    states = [base.as_frames(recorded) for recorded in reference]
    predicted: list[list[Any]] = [[state.roll(1 + place, dims=-1) for place in range(size)] for state in states]
    predicted[0][0] = None
    predicted[2] = [None] * size
    mask = [torch.tensor(steps) for steps in ([True, True], [True, False], [True, True], [False, False])]
    done = {"actions": [torch.full((3, 2), 200.0 + row) for row in range(4)]} if reward.needs_actions else {}
    return {
        "predicted": predicted,
        "reference": [*reference[:2], reference[2] if size > 1 else None, reference[3]],
        "reference_mask": mask,
        "context": context,
        **done,
    }


def spread(groups: dict[str, Any]) -> dict[str, list[Any]]:
    """Columns of groups as TRL hands them over: one entry a completion, that of a group the same object."""
    size = len(groups["predicted"][0])
    columns = {name: [entry for entry in column for _ in range(size)] for name, column in groups.items()}
    return columns | {"predicted": [state for group in groups["predicted"] for state in group]}


@every_reward
@pytest.mark.parametrize("size", [1, 5])
def test_groups_get_what_their_completions_get_one_by_one(reward: VerifiableReward, size: int) -> None:
    groups = draw_groups(reward, size)
    scores = reward.score_groups(**groups)
    horizon = 2
    assert scores.rewards.shape == (4, size) and scores.steps.shape == (4, size, horizon)
    columns = spread(groups)
    rewards, steps = scores.rewards.flatten(), scores.steps.flatten(0, 1)
    for row in range(4 * size):
        alone = {name: [column[row]] for name, column in columns.items()}
        expected = reward(**alone)[0]
        assert rewards[row].item() == pytest.approx(NAN if expected is None else expected, abs=1e-5, nan_ok=True)
        by_step = reward.score_steps(**alone)
        expected_steps = by_step[0] if by_step.numel() else torch.full((horizon,), NAN)
        torch.testing.assert_close(steps[row], expected_steps, atol=1e-5, rtol=0, equal_nan=True)
        if alone["predicted"][0] is not None and alone["reference"][0] is not None:
            arrays = {name: column[0][None] for name, column in alone.items()}
            torch.testing.assert_close(rewards[row], reward.score(**arrays)[0], atol=1e-5, rtol=0, equal_nan=True)


@every_reward
def test_a_call_gives_the_same_rewards_steps_and_metrics(reward: VerifiableReward) -> None:
    groups = draw_groups(reward, 3)
    scores, columns = reward.score_groups(**groups), spread(groups)
    logged: dict[str, float] = {}
    called = [NAN if value is None else value for value in reward(log_metric=logged.__setitem__, **columns)]
    assert called == pytest.approx(scores.rewards.flatten().tolist(), abs=1e-6, nan_ok=True)
    torch.testing.assert_close(reward.score_steps(**columns), scores.steps.flatten(0, 1), equal_nan=True)
    assert scores.metrics == pytest.approx(logged, nan_ok=True)
    assert scores.metrics["parse_failure"] == pytest.approx(4 / 12)
    torch.testing.assert_close(scores.steps.nanmean(dim=2), scores.rewards, equal_nan=True)


def test_what_a_reward_diagnoses_is_a_mean_over_what_can_be_compared() -> None:
    class Dark(MAEReward):
        def diagnose(self, predicted, reference):
            return {"darker": (predicted.mean(dim=(2, 3, 4)) < reference.mean(dim=(2, 3, 4))).float()}

    predicted = [[torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)], [torch.zeros(2, 3, 8, 8), None]]
    reference = torch.full((2, 2, 3, 8, 8), 127, dtype=torch.uint8)
    assert Dark().score_groups(predicted, reference).metrics == {
        "parse_failure": 0.25,
        "darker": pytest.approx(2 / 3),
    }


class Counting(MAEReward):
    """Says how many completions it measured at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.measured: list[int] = []

    def measure(self, predicted, reference, *, context=None):
        assert predicted.shape == reference.shape and reference.is_contiguous()
        self.measured.append(len(predicted))
        return super().measure(predicted, reference, context=context)


@pytest.mark.parametrize(
    ("groups", "size", "measured"),
    [(5, 16, [32, 32, 16]), (3, 20, [20, 20, 20]), (2, 70, [32, 32, 6, 32, 32, 6]), (40, 1, [32, 8])],
)
def test_each_completion_is_measured_once(groups: int, size: int, measured: list[int]) -> None:
    reward = Counting()
    predicted = torch.rand(groups, size, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    reference = [torch.full((1, 3, 4, 4), 5 * row, dtype=torch.uint8) for row in range(groups)]
    scores = reward.score_groups(predicted, reference)
    assert reward.measured == measured
    errors = (predicted - torch.stack(reference).float()[:, None] / 255).abs().mean(dim=(3, 4, 5))
    torch.testing.assert_close(scores.steps, -errors)
    torch.testing.assert_close(scores.rewards, -errors[:, :, 0])
    reward.measured.clear()
    reward(**spread({"predicted": predicted, "reference": reference}))
    assert reward.measured == measured, "successive rows with the same objects are a group"


def test_groups_that_lack_predictions_are_measured_without_them() -> None:
    reward, state = Counting(), torch.zeros(1, 3, 4, 4)
    reward.score_groups([[state] * 3, [state, None, state], [None] * 3, [state] * 3], [state] * 4)
    assert sorted(reward.measured) == [2, 3, 3] and len(reward.measured) == 3


@pytest.mark.parametrize("size", [1, 16, 70])
def test_references_become_float_once_a_group(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    converted: list[int] = []
    as_frames = base.as_frames

    def count_bytes(frames):
        converted.append(len(frames) if frames.dtype == torch.uint8 else 0)
        return as_frames(frames)

    monkeypatch.setattr(base, "as_frames", count_bytes)
    groups = {
        "predicted": torch.zeros(4, size, 1, 3, 4, 4),
        "reference": list(torch.zeros(4, 1, 3, 4, 4, dtype=torch.uint8)),
    }
    MAEReward().score_groups(**groups)
    assert sum(converted) == 4
    for measure in (MAEReward().score_steps, MAEReward()):
        converted.clear()
        measure(**spread(groups))
        assert sum(converted) == 4


class Moves(TorchDispatchMode):
    """Keeps the dtype and size of what crosses devices."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[tuple[torch.dtype, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and result.device != args[0].device:
            self.moved.append((args[0].dtype, args[0].numel()))
        return result


@pytest.mark.parametrize(
    "reward",
    # Fake tensors have no values: LPIPS looks up equal frames, other networks have weights, and what is diagnosed is
    # reported as a number.
    [r for r in REWARDS if r.reads != "sensors" and not r.diagnoses and not r.name.startswith(NETWORKS)],
    ids=lambda reward: reward.name,
)
def test_references_move_as_bytes(monkeypatch: pytest.MonkeyPatch, reward: VerifiableReward) -> None:
    monkeypatch.setattr(type(reward), "_refuse_infinite", lambda *arguments: None)  # asks for a value
    once = torch.zeros(1, 2, 3, 64, 64)
    reward(predicted=once, reference=once, context=once)  # constants are kept as numbers, and made by values
    with FakeTensorMode(), Moves() as moves:
        frames = torch.empty(4, 2, 3, 64, 64, dtype=torch.uint8)
        scores = reward.score_groups(
            torch.empty(4, 16, 2, 3, 64, 64, dtype=torch.uint8, device="cuda"),
            frames,
            reference_mask=torch.ones(4, 2, dtype=torch.bool),
            context=frames[:, :1],
        )
    assert scores.rewards.device.type == scores.steps.device.type == "cuda"
    assert scores.rewards.shape == (4, 16) and scores.steps.shape == (4, 16, 2)
    states = [(dtype, count) for dtype, count in moves.moved if count >= frames[0, 0].numel()]
    assert {dtype for dtype, _ in states} == {torch.uint8}
    assert sum(count for _, count in states) == frames.numel() + frames[:, :1].numel(), "each of them once a group"


class Crowding(VerifiableReward):
    """How near a prediction is to the others of its group: a reward that alone says nothing."""

    name, higher_is_better, best, floor, needs_group = "distance_to_others", True, 1.0, -0.5, True

    def measure(self, predicted, reference, *, context=None):
        return torch.zeros(predicted.shape[:2])

    def measure_groups(self, predicted, reference, *, context=None):
        assert len(reference) == len(predicted) and reference.shape[1:] == predicted.shape[2:]
        distances = (predicted[:, :, None] - predicted[:, None]).abs().mean(dim=(-3, -2, -1))
        return distances.sum(dim=2) / max(predicted.shape[1] - 1, 1)


def levels(*values: float | None) -> list[torch.Tensor | None]:
    return [None if value is None else torch.full((2, 3, 4, 4), value) for value in values]


def test_a_reward_may_look_at_its_group() -> None:
    reference = list(torch.zeros(4, 2, 3, 4, 4))
    predicted = [levels(0, 0.5, 1), levels(0.25, 0.25, None), levels(None, 0.75, None), levels(1, 0.75, 1)]
    columns = {"predicted": predicted, "reference": [*reference[:3], None]}
    scores = Crowding().score_groups(**columns)
    expected = torch.tensor([[0.75, 0.5, 0.75], [0, 0, -0.5], [-0.5, 0, -0.5], [NAN, NAN, NAN]])
    torch.testing.assert_close(scores.rewards, expected, equal_nan=True)
    torch.testing.assert_close(scores.steps, expected[..., None].expand(4, 3, 2), equal_nan=True)
    assert scores.metrics == {"parse_failure": pytest.approx(3 / 9)}
    called = [NAN if value is None else value for value in Crowding()(**spread(columns))]
    assert called == pytest.approx(expected.flatten().tolist(), nan_ok=True)


def test_a_group_that_must_be_whole_is_never_cut() -> None:
    values = torch.rand(3, 70, generator=torch.Generator().manual_seed(0))
    predicted = values.view(3, 70, 1, 1, 1, 1).expand(3, 70, 1, 3, 4, 4)
    expected = (values[:, :, None] - values[:, None]).abs().sum(dim=2) / 69
    scores = Crowding().score_groups(predicted, torch.zeros(3, 1, 3, 4, 4))
    torch.testing.assert_close(scores.rewards, expected)


def test_columns_that_do_not_tell_the_groups_are_refused() -> None:
    states = torch.linspace(0, 1, 6).view(6, 1, 1, 1, 1).expand(6, 2, 3, 4, 4)
    same = [states[0]] * 3 + [states[1]] * 3
    assert Crowding()(predicted=states, reference=same) == pytest.approx([0.3, 0.2, 0.3] * 2)
    copies = [state.clone() for state in same]
    assert Crowding()(predicted=states, reference=copies) == pytest.approx([0.3, 0.2, 0.3] * 2), "equal ones tell, too"
    padded = [torch.cat([state[:1], state[1:] * NAN]) for state in same]
    masks = [torch.tensor([True, False]) for _ in same]
    expected = Crowding()(predicted=states, reference=[padded[0]] * 3 + [padded[3]] * 3, reference_mask=[masks[0]] * 6)
    assert Crowding()(predicted=states, reference=padded, reference_mask=masks) == expected, "so do nan in padding"
    longer = [*padded[:2], torch.cat([padded[2], padded[2]]), *padded[3:]]
    assert len(Groups.of_columns(states, longer, None, None, by_content=True).members) == 3, "shapes must be the same"
    for reference, sizes in ((states, "[1]"), (list(states), "[1]"), (same[1:] + [states[2]], "[1, 2, 3]")):
        with pytest.raises(ValueError) as error:
            Crowding()(predicted=states, reference=reference)
        assert f"got groups of {sizes}" in str(error.value) and "call `score_groups`" in str(error.value)
        with pytest.raises(ValueError, match="whole groups"):
            Crowding().score_steps(predicted=states, reference=reference)
    assert MAEReward()(predicted=states, reference=states) == [0.0] * 6, "only such a reward needs to know"


def test_a_mask_or_context_of_another_object_begins_another_group() -> None:
    states, other = [torch.zeros(2, 3, 4, 4)] * 4, [torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)]
    groups = Groups.of_columns(states, states, None, [other[0], other[0], other[1], other[1]])
    assert groups.members == [range(2), range(2, 4)] and len(groups.reference) == len(groups.context or ()) == 2
    assert Groups.of_columns(states, states, None, None).members == [range(4)]
    assert Groups.of_columns(states, states, torch.ones(4, 2), None).members == [
        range(row, row + 1) for row in range(4)
    ]


def test_a_reward_that_needs_groups_measures_them() -> None:
    with pytest.raises(TypeError, match="`Blind` says that it needs whole groups"):

        class Blind(MAEReward):
            needs_group = True


def test_a_metric_that_computes_in_place_changes_nothing_of_the_caller() -> None:
    class InPlace(MAEReward):
        def measure(self, predicted, reference, *, context=None):
            reference.neg_()
            return predicted.add_(reference).abs_().mean(dim=(2, 3, 4))

    predicted = torch.rand(3, 4, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    reference = torch.rand(3, 2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    before = predicted.clone(), reference.clone()
    for size in (1, 4):
        expected = MAEReward().score_groups(predicted[:, :size], reference).rewards
        torch.testing.assert_close(InPlace().score_groups(predicted[:, :size], reference).rewards, expected)
    assert torch.equal(predicted, before[0]) and torch.equal(reference, before[1])


def test_predictions_may_be_one_tensor_or_arrays() -> None:
    predicted = torch.rand(2, 3, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    reference = np.random.default_rng(0).integers(0, 256, (2, 2, 3, 8, 8), dtype=np.uint8)
    reference.flags.writeable = False
    expected = MAEReward().score_groups(predicted, reference)
    for same in (list(predicted), [list(group) for group in predicted], predicted.numpy()):
        scores = MAEReward().score_groups(same, list(reference))
        assert torch.equal(scores.rewards, expected.rewards) and torch.equal(scores.steps, expected.steps)
    halves = MAEReward().score_groups(predicted.bfloat16(), reference)
    assert halves.rewards.dtype == halves.steps.dtype == torch.float32
    assert MAEReward().score_groups(predicted.double(), reference).rewards.dtype == torch.float32


def test_without_anything_to_score_there_are_no_metrics() -> None:
    nothing = MAEReward().score_groups([[torch.zeros(1, 3, 4, 4), None]], [None])
    assert nothing.rewards.isnan().all() and nothing.rewards.shape == (1, 2)
    assert nothing.steps.shape == (1, 2, 0) and nothing.metrics == {}
    empty = MAEReward().score_groups([], [])
    assert isinstance(empty, GroupScores) and empty.rewards.shape == (0, 0)


def test_sensors_beside_frames_are_chosen_from_the_columns() -> None:
    frames, states = torch.zeros(2, 3, 2, 3, 8, 8), torch.ones(2, 3, 2, 5)
    columns = {
        "predicted": frames,
        "reference": frames[:, 0],
        "context": frames[:, 0, :1],
        "reference_mask": [torch.tensor([True, False])] * 2,
        "predicted_states": states,
        "reference_states": states[:, 0] * 3,
        "context_states": states[:, 0, :1],
        "fps": [2.0, 2.0],
    }
    of_frames, of_sensors = MAEReward().choose_columns(columns), SensorMAEReward().choose_columns(columns)
    assert list(of_frames) == list(of_sensors) == ["predicted", "reference", "reference_mask", "context"]
    assert of_frames["context"] is columns["context"] and of_sensors["context"] is columns["context_states"]
    assert MAEReward().score_groups(**of_frames).rewards.tolist() == [[0.0] * 3] * 2
    assert SensorMAEReward().score_groups(**of_sensors).rewards.tolist() == [[-2.0] * 3] * 2
    alone = {"predicted": states, "reference": states[:, 0] * 3}
    assert SensorMAEReward().choose_columns(alone) == alone, "in a world of sensors they are what is predicted"
    with pytest.raises(ValueError, match="add reference_states"):
        SensorMAEReward().choose_columns({"predicted": frames, "reference": frames, "predicted_states": states})


class WhereReward(VerifiableReward):
    """Tells where a row is from; of the whole group, as a measure of a world's law."""

    name, higher_is_better, best, floor, needs_place = "where", True, 100.0, -1.0, True

    def measure(self, predicted, reference, *, context=None, places=()):
        assert len(places) == len(predicted)
        values = [10.0 * int(episode) + start for episode, start in places]
        return torch.tensor(values)[:, None].expand(-1, predicted.shape[1])


@pytest.mark.parametrize("needs_group", [False, True])
def test_a_reward_may_ask_where_a_row_is_from(needs_group: bool) -> None:
    kind = {"needs_group": needs_group, "measure_groups": lambda self, *states, **given: self._each(*states, **given)}
    reward = type("Where", (WhereReward,), {**kind, "_each": VerifiableReward.measure_groups})()
    states, recorded = torch.zeros(3, 4, 2, 3, 8, 8), [torch.zeros(2, 3, 8, 8) for _ in range(3)]
    places = [("7", 1), ("7", 2), ("8", 0)]
    expected = torch.tensor([71.0, 72.0, 80.0])
    rewards = reward.score_groups(states, recorded, places=places).rewards
    assert torch.equal(rewards, expected[:, None].expand(3, 4))
    gaps = [[None, *group[1:]] if row == 1 else list(group) for row, group in enumerate(states)]
    assert reward.score_groups(gaps, recorded, places=places).rewards[:, 1].tolist() == expected.tolist()
    assert torch.equal(reward.metric(states[:, 0], torch.stack(recorded), places=places), expected)
    columns = {"predicted": states.flatten(0, 1), "reference": [state for state in recorded for _ in range(4)]}
    of_rows = {"episode": [name for name, _ in places for _ in range(4)]}
    of_rows["start"] = torch.tensor([start for _, start in places for _ in range(4)])
    assert reward(**columns, **of_rows) == expected.repeat_interleave(4).tolist()
    with pytest.raises(ValueError, match="expected the columns `episode` and `start`.*rows of `window_rows`"):
        reward(**columns)
    with pytest.raises(ValueError, match="expected `places`, the episode of each row.* got None"):
        reward.score_groups(states, recorded)
    with pytest.raises(ValueError, match="one entry a group .*'places': 2"):
        reward.score_groups(states, recorded, places=places[:2])


def test_errors_name_what_was_given() -> None:
    class Flat(MAEReward):
        def measure_groups(self, predicted, reference, *, context=None):
            return torch.zeros(len(predicted) * predicted.shape[1], predicted.shape[2])

    class Short(MAEReward):
        def measure(self, predicted, reference, *, context=None):
            return torch.zeros(len(predicted), 3)

    states = torch.zeros(2, 3, 2, 3, 8, 8)
    with pytest.raises(ValueError, match="one value for each of 2 steps, got 3; return nan"):
        Short().score_groups(states, states[:, 0])
    with pytest.raises(ValueError, match="one entry a group .*'predicted': 2, 'reference': 1"):
        MAEReward().score_groups(states, states[:1, 0])
    with pytest.raises(ValueError, match=r"groups of one size, got \[2, 3\]"):
        MAEReward().score_groups([states[0], states[1, :2]], states[:, 0])
    with pytest.raises(ValueError, match=r"one shape, got \(6, 2, 3, 8, 8\) and \(6, 1, 3, 8, 8\)"):
        MAEReward().score_groups(states, states[:, 0, :1])
    with pytest.raises(ValueError, match="expected finite predicted states"):
        MAEReward().score_groups(states * NAN, states[:, 0])
    with pytest.raises(ValueError, match=r"B, G = 2, 3 where groups are measured, got \(6, 2\)"):
        Flat().score_groups(states, states[:, 0])
