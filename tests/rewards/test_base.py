import numpy as np
import pytest
import torch

from rlvr_world_hf.rewards import MAEReward, PSNRReward, SensorMAEReward, SensorMSEReward, VerifiableReward
from rlvr_world_hf.rewards.base import AGGREGATIONS, as_frames, mean_over_steps


def test_a_reward_that_does_not_say_what_it_measures_is_refused() -> None:
    with pytest.raises(TypeError, match="best, floor"):

        class Unnamed(VerifiableReward):
            name, higher_is_better = "unnamed", True

            def measure(self, predicted, reference, *, context=None):
                return torch.zeros(predicted.shape[:2])


def test_it_takes_all_that_trl_hands_over() -> None:
    frames = [torch.zeros(2, 3, 8, 8)]
    rewards = MAEReward()(
        prompts=[[1, 2]],
        completions=["1 2"],
        completion_ids=[[1, 2]],
        trainer_state=None,
        log_extra=lambda column, values: None,
        log_metric=lambda name, value: None,
        predicted=frames,
        reference=frames,
        episode=["a"],
        start=[0],
        actions=[np.zeros((2, 2), np.float32)],
    )
    assert rewards == [0.0]


def test_references_may_be_uint8_arrays_that_nobody_may_write_to() -> None:
    reference = np.full((2, 3, 8, 8), 51, np.uint8)
    reference.flags.writeable = False
    expected = pytest.approx([-0.2], abs=1e-6)
    assert MAEReward()(predicted=[torch.zeros(2, 3, 8, 8)], reference=[reference]) == expected
    assert MAEReward()(predicted=torch.zeros(1, 2, 3, 8, 8), reference=reference[None]) == expected
    assert MAEReward()(predicted=[reference * 0], reference=[reference]) == expected


def test_half_precision_is_measured_in_float32() -> None:
    frames = torch.rand(1, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert MAEReward().metric(frames, frames.float()).dtype == torch.float32


def test_errors_name_what_was_given() -> None:
    reward, frames = MAEReward(), torch.zeros(1, 2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 8, 8\) and \(1, 3, 3, 8, 8\)"):
        reward.metric(frames, torch.zeros(1, 3, 3, 8, 8))
    with pytest.raises(ValueError, match="'predicted': 1, 'reference': 2"):
        reward(predicted=frames, reference=frames.repeat(2, 1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"column `reference`.*\(1, 3, 8, 8\), \(2, 3, 8, 8\)"):
        reward(predicted=[frames[0]] * 2, reference=[frames[0], frames[0, :1]])
    with pytest.raises(ValueError, match="finite"):
        reward.metric(frames * torch.nan, frames)
    with pytest.raises(TypeError, match="int64"):
        as_frames(torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("reward", [MAEReward(), PSNRReward()], ids=["mae", "psnr"])
def test_floats_beyond_a_frame_s_range_are_refused(reward: VerifiableReward) -> None:
    frames = torch.zeros(1, 2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"expected `predicted` frames in \[0, 1\], got values from 0 to 3; scale"):
        reward(predicted=frames + 3 * torch.eye(8), reference=frames)
    with pytest.raises(ValueError, match=r"`reference` frames in \[0, 1\], got values from -0.5 to -0.5"):
        reward.metric(frames, frames - 0.5)
    with pytest.raises(ValueError, match="in .0, 1.|finite"):
        reward.metric(frames + torch.inf, frames)


def test_what_rounding_adds_to_a_frame_is_taken_away() -> None:
    frames = torch.zeros(1, 2, 3, 8, 8)
    assert MAEReward()(predicted=frames + 1.0005, reference=frames) == [-1.0], "no less than the floor"
    assert MAEReward()(predicted=frames - 0.0005, reference=frames) == [0.0]


def test_only_unreadable_predictions_need_no_decoder() -> None:
    logged: dict[str, float] = {}
    rewards = MAEReward()(predicted=[None, None], reference=[np.zeros(1)] * 2, log_metric=logged.__setitem__)
    assert rewards == [-1.0, -1.0]
    assert logged == {"parse_failure": 1.0}


def test_the_mean_leaves_out_padding_and_steps_with_nothing_to_measure() -> None:
    steps = torch.tensor([[1.0, torch.nan, 3.0], [torch.nan] * 3])
    mean = mean_over_steps(steps, np.array([[True, True, False], [True, True, True]]))
    assert mean[0] == 1 and mean[1].isnan()


class Level(VerifiableReward):
    """The mean of a frame, as metric; a subclass without a constructor, as a user writes it."""

    name, higher_is_better, best, floor = "level", True, 1.0, 0.0

    def measure(self, predicted, reference, *, context=None):
        return predicted.mean(dim=(2, 3, 4)).masked_fill(predicted.mean(dim=(2, 3, 4)) == 0, torch.nan)


LEVELS = torch.tensor([[1.0, 0.5, 0.25], [0.0, 0.5, 0.25], [0.5, 0.25, 0.0]]).view(3, 3, 1, 1, 1).expand(3, 3, 3, 8, 8)


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("mean", [1.75 / 3, 0.75 / 2, 0.75 / 2]),
        ("last", [0.25, 0.25, 0.25]),
        ("discounted", [(1 + 0.45 + 0.81 / 4) / 2.71, (0.45 + 0.81 / 4) / 1.71, (0.5 + 0.9 / 4) / 1.9]),
    ],
)
def test_steps_are_aggregated_where_there_is_something_to_measure(aggregation: str, expected: list[float]) -> None:
    reward = Level(aggregation=aggregation)
    assert reward(predicted=LEVELS, reference=LEVELS) == pytest.approx(expected)


def test_the_last_step_is_the_last_recorded_one() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    assert Level(aggregation="last")(predicted=LEVELS, reference=LEVELS, reference_mask=mask) == [0.5, 0.25, None]


def test_the_discount_can_be_chosen() -> None:
    reward = Level(aggregation="discounted", discount=0.5)
    assert reward.name == "level_discounted_0.5"
    assert reward(predicted=LEVELS[:1], reference=LEVELS[:1]) == pytest.approx([(1 + 0.25 + 0.0625) / 1.75])


def test_each_aggregation_has_its_name() -> None:
    names = [Level(aggregation=aggregation).name for aggregation in AGGREGATIONS]
    assert names == ["level", "level_last", "level_discounted"] and Level.name == "level"
    assert MAEReward(pixels="moving", aggregation="last").name == "mae_moving_last"


def test_a_constructor_that_does_not_call_the_base_takes_the_mean() -> None:
    class Shifted(Level):
        def __init__(self, shift: float) -> None:
            self.shift = shift

    assert Shifted(0.1)(predicted=LEVELS, reference=LEVELS) == Level()(predicted=LEVELS, reference=LEVELS)


def test_the_steps_of_an_aggregate_come_with_their_weights() -> None:
    steps = Level(aggregation="last").score_steps(predicted=LEVELS, reference=LEVELS)
    nan = torch.nan
    expected = torch.tensor([[0.0, 0.0, 0.75], [nan, 0.0, 0.5], [0.0, 0.5, nan]])
    torch.testing.assert_close(steps, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"aggregation": "sum"}, "mean, last, discounted, got 'sum'"),
        ({"aggregation": "discounted", "discount": 0.0}, r"in \(0, 1\], got 0.0"),
        ({"aggregation": "discounted", "discount": 1.1}, r"in \(0, 1\], got 1.1"),
        ({"aggregation": "last", "discount": 0.5}, "no meaning for `aggregation='last'`"),
    ],
)
def test_aggregations_that_are_none_are_refused(settings, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        MAEReward(**settings)


def test_large_batches_are_measured_in_parts() -> None:
    levels = torch.linspace(0, 1, 70)
    predicted: list[torch.Tensor | None] = [torch.full((1, 3, 4, 4), level) for level in levels.tolist()]
    predicted[40] = None
    rewards = MAEReward()(predicted=predicted, reference=torch.zeros(70, 1, 3, 4, 4))
    expected = (-levels).tolist()
    expected[40] = -1.0
    assert rewards == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("reward", [SensorMSEReward(), SensorMAEReward()])
def test_an_error_too_large_for_a_number_is_refused(reward) -> None:
    reference = torch.zeros(1, 2, 4)
    predicted = reference.clone()
    predicted[0, 0, 0], reference[0, 0, 0] = 3e38, -3e38
    with pytest.raises(ValueError, match=f"`{reward.name}`: expected predicted states whose error is a number"):
        reward(predicted=predicted, reference=reference)


def test_a_state_that_is_no_array_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match="Expected a state as an array of numbers, got str"):
        MAEReward()(predicted=["a"], reference=[torch.zeros(1, 3, 8, 8)])
