import dataclasses

import numpy as np
import pytest
import torch
from einops import rearrange

from rlvr_world_hf.evaluation import metrics as metrics_module
from rlvr_world_hf.evaluation.metrics import (
    measure,
    measure_steps,
    metric_of,
    metrics_of_processor,
    standard_metrics,
    summarize_predictions,
)
from rlvr_world_hf.evaluation.predictions import Predictions, RowBatch
from rlvr_world_hf.rewards.base import VerifiableReward
from rlvr_world_hf.rewards.energy import EnergyScoreReward
from rlvr_world_hf.rewards.pixel import MAEReward, MSEReward, PSNRReward, SSIMReward
from rlvr_world_hf.rewards.repetition import RepetitionReward
from rlvr_world_hf.rewards.sensor import SensorAccuracyReward, SensorMAEReward, SensorMSEReward
from tests.tiny import tiny_joint_processor, tiny_sensor_processor


PIXEL = (MAEReward(), MSEReward(), PSNRReward(), SSIMReward())


def batch_of(reference, *, mask=None, context=None):
    rows, steps = reference.shape[:2]
    return RowBatch(
        indices=list(range(rows)),
        context=reference[:, :1] if context is None else context,
        actions=torch.zeros(rows, steps + 1, 2),
        reference=reference,
        reference_mask=torch.ones(rows, steps, dtype=torch.bool) if mask is None else mask,
    )


def predictions_of(predicted, *, readable=None):
    shape = predicted.shape[:2]
    return Predictions(
        predicted=predicted, readable=torch.ones(shape, dtype=torch.bool) if readable is None else readable
    )


@pytest.fixture
def frames():
    return torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_standard_metrics_leave_lpips_out_without_its_trunk(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    names = [metric.name for metric in standard_metrics()]
    pixel = ["mae", "mae_moving", "mse", "mse_moving", "psnr", "psnr_moving", "ssim", "ssim_moving"]
    assert names == pixel
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        standard_metrics(trunk_path=tmp_path / "nowhere.pth")


def test_standard_metrics_have_lpips_with_its_trunk(monkeypatch, tmp_path):
    monkeypatch.setattr(metrics_module, "find_trunk", lambda net, trunk_path: tmp_path)
    assert {"lpips", "lpips_moving"} <= {metric.name for metric in standard_metrics()}


def test_padding_does_not_count(frames):
    predicted = frames[:, None].clone()
    predicted[:, :, 1:] = 1 - predicted[:, :, 1:]
    mask = torch.tensor([[True, False, False]] * 2)
    assert measure(predictions_of(predicted), batch_of(frames, mask=mask), PIXEL)["mae"].tolist() == [[0.0], [0.0]]


def test_unreadable_gets_the_floor_and_counts_as_parse_failure(frames):
    readable = torch.tensor([[True], [False]])
    values = measure(predictions_of(frames[:, None], readable=readable), batch_of(frames), PIXEL)
    assert values["mae"].tolist() == [[0.0], [MAEReward.floor]]
    assert values["ssim"][1].item() == SSIMReward.floor
    assert values["parse_failure"].tolist() == [[0.0], [1.0]]


def test_still_predictions_repeat(frames):
    predicted = torch.stack([frames, frames[:, :1].expand_as(frames)], dim=1)  # (2, 2, 3, 3, 16, 16)
    assert measure(predictions_of(predicted), batch_of(frames), [])["repetition_rate"].tolist() == [[0.0, 1.0]] * 2


def test_a_rewarded_repetition_rate_is_the_one_of_every_table(frames):
    still = frames[:, :1].expand_as(frames)[:, None]
    predictions = Predictions(predicted=still, readable=torch.tensor([[True], [False]]))

    class MeasuredTwice(RepetitionReward):
        def measure(self, predicted, reference, *, context=None):
            raise AssertionError("the rate of the table is the same")

    usual, rewarded = (measure(predictions, batch_of(frames), metrics) for metrics in ([], [MeasuredTwice()]))
    torch.testing.assert_close(rewarded, usual, equal_nan=True)
    assert usual["repetition_rate"][0].item() == 1.0 and usual["repetition_rate"][1].isnan()
    last = measure(predictions, batch_of(frames), [RepetitionReward(aggregation="last")])
    assert last["repetition_rate_last"].tolist() == [[1.0], [1.0]]


def test_windows_in_which_nothing_moves_are_left_out_of_moving_metrics(frames):
    still = frames[:, :1].expand_as(frames).clone()
    still[1, 2] = 1 - still[1, 2]
    values = measure(predictions_of(still[:, None] * 0.5), batch_of(still), [MAEReward(pixels="moving")])
    assert values["mae_moving"].isnan().tolist() == [[True], [False]]
    summary = summarize_predictions(values, num_samples=1, best_of={})
    assert summary["mae_moving"] == pytest.approx([values["mae_moving"][1].item()])


def test_diagnoses_of_a_metric_are_reported_beside_it(frames):
    class Stillness(VerifiableReward):
        name, higher_is_better, best, floor = "stillness", True, 1.0, 0.0

        def measure(self, predicted, reference, *, context=None):
            return torch.ones(predicted.shape[:2])

        def diagnose(self, predicted, reference):
            return {"oddness": torch.full(predicted.shape[:2], 0.25)}

    values = measure(predictions_of(frames[:, None]), batch_of(frames), [Stillness()])
    assert values["stillness"].tolist() == [[1.0], [1.0]]
    assert values["oddness"].tolist() == [[0.25], [0.25]]


def test_best_of_is_chosen_by_each_metric_and_row_on_its_own():
    values = {
        "mae": torch.tensor([[1.0, 3.0, 5.0, 6.0], [4.0, 2.0, 7.0, 8.0]]),
        "psnr": torch.tensor([[1.0, 3.0] * 2] * 2),
    }
    summary = summarize_predictions(values, num_samples=2, best_of={"mae": False, "psnr": True})
    assert summary == {
        "mae": [2.5, 6.5],
        "mae_best_of_2": [1.5, 6.0],
        "psnr": [2.0, 2.0],
        "psnr_best_of_2": [3.0, 3.0],
    }
    assert metric_of("mae_best_of_2") == "mae"


@pytest.mark.parametrize("case", ["n1", "n1_identical", "n1_inverted", "n1_const", "n1_gray_vs_video", "n5"])
def test_official_video_metrics_are_reproduced(golden, case):
    """Mean over frames for one sample, best of N for several: the recorded numbers of the authors' evaluation."""
    with np.load(golden / "video_metrics.npz") as recorded:
        reference = torch.from_numpy(recorded[f"{case}_gt_u8"]) / 255
        predicted = torch.from_numpy(recorded[f"{case}_pred_u8"]) / 255
        expected = recorded[f"{case}_best"]
    samples = len(predicted) // len(reference)
    predicted = rearrange(predicted, "(j b) s c h w -> b j s c h w", j=samples)  # theirs are sample-major
    values = measure(predictions_of(predicted), batch_of(reference), PIXEL)
    best_of = {metric.name: metric.higher_is_better for metric in PIXEL}
    summary = summarize_predictions(values, num_samples=samples, best_of=best_of)
    suffix = "" if samples == 1 else f"_best_of_{samples}"
    measured = [summary[f"{metric.name}{suffix}"][0] for metric in PIXEL]
    np.testing.assert_allclose(measured, expected[:4], rtol=1e-5, atol=1e-4)


def test_sensors_are_measured_in_the_scale_of_the_reward_or_in_their_ranges():
    processor = tiny_sensor_processor()
    assert [(metric.name, metric.scale) for metric in metrics_of_processor(processor)] == [
        (name, [2.0, 2.0, 2.0]) for name in ("sensor_mae", "sensor_mse", "sensor_accuracy")
    ]
    own = SensorAccuracyReward(scale=[1, 1, 4])
    metrics = metrics_of_processor(processor, rewarded=["mae", own])
    assert {tuple(metric.scale) for metric in metrics} == {(1, 1, 4)} and metrics[2] is own
    near = SensorAccuracyReward(scale=[1, 1, 4], tolerance=0.1)  # a column of its own beside the usual one
    metrics = metrics_of_processor(processor, rewarded=[near])
    assert [(metric.name, metric.scale) for metric in (metrics[2], near)] == [
        ("sensor_accuracy", [1, 1, 4]),
        ("sensor_accuracy_0.1", [1, 1, 4]),
    ]
    names = [metric.name for metric in metrics_of_processor(tiny_joint_processor())]
    assert names[0] == "mae" and names[-3:] == ["sensor_mae", "sensor_mse", "sensor_accuracy"]


def test_frames_and_sensors_are_measured_by_their_own_metrics(frames):
    states = torch.zeros(2, 3, 4)
    batch = batch_of(frames)
    batch = dataclasses.replace(batch, context_states=states[:, :1], reference_states=states)
    predicted = dataclasses.replace(predictions_of(frames[:, None]), predicted_states=states[:, None] + 0.5)
    values = measure(predicted, batch, [MAEReward(), SensorMAEReward(), SensorMSEReward()])
    assert values["mae"].tolist() == [[0.0]] * 2
    assert values["sensor_mae"].tolist() == [[0.5]] * 2 and values["sensor_mse"].tolist() == [[0.25]] * 2
    with pytest.raises(ValueError, match="need rows with `context_states` and `reference_states`"):
        measure(predicted, batch_of(frames), [])


def test_best_of_every_number_that_divides_the_samples():
    values = {"mae": torch.tensor([[4.0, 3.0, 2.0, 1.0, 9.0, 8.0]]), "psnr": torch.tensor([[1.0, 2, 3, 4, 5, 6]])}
    summary = summarize_predictions(values, num_samples=6, best_of={"mae": False})
    assert summary == {
        "mae": [4.5],
        "mae_best_of_2": [(3.0 + 1.0 + 8.0) / 3],
        "mae_best_of_3": [(2.0 + 1.0) / 2],
        "mae_best_of_6": [1.0],
        "psnr": [3.5],
    }


def test_steps_have_the_mean_that_predictions_have(frames):
    predicted = torch.rand(2, 2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    predicted[0, 1, 1] = predicted[0, 1, 0]
    batch = batch_of(frames, mask=torch.tensor([[True, True, True], [True, True, False]]))
    metrics = [MAEReward(), MSEReward(pixels="moving")]
    steps = measure_steps(predictions_of(predicted), batch, metrics)
    whole = measure(predictions_of(predicted), batch, metrics)
    assert set(steps) == set(whole) - {"parse_failure"}
    for name in ("mae", "mse_moving"):
        assert steps[name].shape == (2, 2, 3)
        torch.testing.assert_close(steps[name].nanmean(dim=-1), whole[name])
    assert steps["mae"].isnan().nonzero().tolist() == [[1, 0, 2], [1, 1, 2]]
    expected = (predicted[1, 0, 1] - frames[1, 1]).abs().mean()
    torch.testing.assert_close(steps["mae"][1, 0, 1], expected)
    assert steps["repetition_rate"][0].tolist() == [[0, 0, 0], [0, 1, 0]]


def test_the_first_step_may_repeat_what_was_given(frames):
    batch = batch_of(frames)
    still = batch.context[:, None, -1:].expand(-1, 1, 3, -1, -1, -1)
    assert measure_steps(predictions_of(still), batch, [])["repetition_rate"].min() == 1


def test_steps_of_frames_and_sensors_are_measured_by_their_own_metrics(frames):
    states = torch.zeros(2, 3, 2)
    batch = dataclasses.replace(batch_of(frames), context_states=states[:, :1], reference_states=states)
    predictions = dataclasses.replace(predictions_of(frames[:, None]), predicted_states=states[:, None] + 0.5)
    steps = measure_steps(predictions, batch, [MAEReward(), SensorMAEReward()])
    assert steps["mae"].max() == 0 and steps["sensor_mae"].unique().tolist() == [0.5]


class DistanceReward(VerifiableReward):
    """How far a prediction is from the others of its row, at each step."""

    name, higher_is_better, best, floor, needs_group = "distance", True, 1.0, 0.0, True

    def measure(self, predicted, reference, *, context=None):
        return torch.zeros(predicted.shape[:2])

    def measure_groups(self, predicted, reference, *, context=None, **further):
        distances = (predicted[:, :, None] - predicted[:, None]).abs().mean(dim=(-3, -2, -1))
        return distances.sum(dim=2) / max(predicted.shape[1] - 1, 1)


def test_a_metric_of_groups_compares_the_predictions_of_a_row_at_each_step(frames):
    """One of all steps together has no value of a step; each prediction's own distance would not be one."""
    predicted = torch.rand(2, 2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    batch = batch_of(frames, mask=torch.tensor([[True, True, True], [True, True, False]]))
    metrics = [DistanceReward(), EnergyScoreReward()]
    steps = measure_steps(predictions_of(predicted), batch, metrics)
    assert set(steps) == {"distance", "repetition_rate"}
    apart = (predicted[:, 0] - predicted[:, 1]).abs().mean(dim=(-3, -2, -1))
    torch.testing.assert_close(steps["distance"][0, 0], apart[0])
    assert torch.equal(steps["distance"][:, 0].nan_to_num(), steps["distance"][:, 1].nan_to_num())
    whole = measure(predictions_of(predicted), batch, metrics)
    torch.testing.assert_close(steps["distance"].nanmean(dim=-1), whole["distance"])


def test_a_metric_of_groups_compares_the_predictions_of_a_row() -> None:
    """Its mean is the row's energy score; a single prediction has its distance, what cannot be read the floor."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 2, 3, 8, 8, generator=generator)
    batch = RowBatch(
        indices=[0, 1],
        context=frames[:, :1],
        actions=frames[:, :, 0, 0, :2],
        reference=frames,
        reference_mask=torch.tensor([[True, True], [True, False]]),
    )
    predicted = torch.rand(2, 4, 2, 3, 8, 8, generator=generator)
    energy = EnergyScoreReward()
    readable = torch.ones(2, 4, dtype=torch.bool)
    values = measure(Predictions(predicted=predicted, readable=readable), batch, [energy, MAEReward()])
    for row, steps in ((0, 2), (1, 1)):
        every = torch.cat([predicted[row, :, :steps], frames[row, None, :steps]]).flatten(1)
        apart = torch.cdist(every, every)
        score = apart[:4, 4].mean() - apart[:4, :4].sum() / 24
        assert values["energy_score"][row].mean().item() == pytest.approx(score.item(), rel=1e-4)
    readable[0, 1] = False
    lost = measure(Predictions(predicted=predicted, readable=readable), batch, [energy])["energy_score"]
    assert lost[0, 1].item() == pytest.approx(energy.floor_of(frames[0])) and (lost[0, [0, 2, 3]] < 50).all()
    alone = measure(Predictions(predicted=predicted[:, :1], readable=readable[:, :1]), batch, [energy])["energy_score"]
    torch.testing.assert_close(alone[0, 0], (predicted[0, 0] - frames[0]).flatten().norm())
