import numpy as np
import pytest
import torch

from rlvr_world_hf.rewards import MAEReward, VerifiableReward
from rlvr_world_hf.rewards.base import as_frames, mean_over_steps


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


def test_only_unreadable_predictions_need_no_decoder() -> None:
    logged: dict[str, float] = {}
    rewards = MAEReward()(predicted=[None, None], reference=[np.zeros(1)] * 2, log_metric=logged.__setitem__)
    assert rewards == [-1.0, -1.0]
    assert logged == {"parse_failure": 1.0}


def test_the_mean_leaves_out_padding_and_steps_with_nothing_to_measure() -> None:
    steps = torch.tensor([[1.0, torch.nan, 3.0], [torch.nan] * 3])
    mean = mean_over_steps(steps, np.array([[True, True, False], [True, True, True]]))
    assert mean[0] == 1 and mean[1].isnan()


def test_large_batches_are_measured_in_parts() -> None:
    levels = torch.linspace(0, 1, 70)
    predicted: list[torch.Tensor | None] = [torch.full((1, 3, 4, 4), level) for level in levels.tolist()]
    predicted[40] = None
    rewards = MAEReward()(predicted=predicted, reference=torch.zeros(70, 1, 3, 4, 4))
    expected = (-levels).tolist()
    expected[40] = -1.0
    assert rewards == pytest.approx(expected, abs=1e-6)
