import pytest
import torch

from rlvr_world_hf.evaluation.comparison import (
    choose_sampling,
    evaluate,
    evaluate_tokenizer,
    measure_checkpoint,
    measure_predictor,
)
from rlvr_world_hf.evaluation.draws import BestSampling, Draws
from rlvr_world_hf.evaluation.flicker import measure_flicker
from rlvr_world_hf.evaluation.predictions import (
    Predictions,
    Sampling,
    predict_copy_last,
    predict_tokenizer_floor,
    row_batches,
)
from rlvr_world_hf.evaluation.results import validate_results
from rlvr_world_hf.rewards.base import VerifiableReward
from rlvr_world_hf.rewards.energy import EnergyScoreReward
from rlvr_world_hf.rewards.pixel import MAEReward, PSNRReward
from rlvr_world_hf.rewards.sensor import SensorMSEReward
from tests.tiny import tiny_joint_processor, tiny_model, tiny_processor, tiny_rows, tiny_sensor_processor


PROCESSOR = tiny_processor()
ROWS = tiny_rows()
METRICS = [MAEReward(), MAEReward(pixels="moving"), PSNRReward()]
GRID = (Sampling(temperature=0.0), Sampling(temperature=2.0, top_k=3))


def evaluate_tiny(**changes):
    checkpoints = {name: (tiny_model(PROCESSOR, seed=seed), PROCESSOR) for seed, name in enumerate(("base", "rlvr"))}
    num_samples = changes.pop("num_samples", 1)
    settings = {
        "recipe": "pusht/debug",
        "rewarded": ["mae"],
        "training_seed": 5,
        "draws": Draws(sampling=Sampling(), seeds=(0, 1), num_samples=num_samples),
        "best_sampling": BestSampling(rows=tiny_rows(seed=1), checkpoints=("base", "rlvr"), grid=GRID),
        "metrics": METRICS,
    }
    return evaluate(checkpoints, ROWS, **settings | changes)


def test_a_tokenizer_alone_has_the_yardsticks_of_a_whole_table():
    alone = evaluate_tokenizer(PROCESSOR, ROWS, recipe="pusht/debug", training_seed=5, metrics=METRICS)
    validate_results(alone)
    rows = evaluate_tiny()["rows"]
    assert list(alone["rows"]) == ["copy_last", "tokenizer_floor"]
    assert alone["rows"]["tokenizer_floor"].pop("flicker")["mean"] == pytest.approx(
        measure_flicker(PROCESSOR.codec, ROWS), rel=1e-3
    )
    assert alone["higher_is_better"]["flicker"] is False
    for row, metrics in alone["rows"].items():
        assert {name: value["mean"] for name, value in metrics.items()} == {
            name: rows[row][name]["mean"] for name in metrics
        }


def test_table_has_yardsticks_checkpoints_and_best_sampling():
    results = evaluate_tiny(num_samples=2)
    validate_results(results)
    rows = ["copy_last", "tokenizer_floor", "base", "base_best_sampling", "rlvr", "rlvr_best_sampling"]
    assert list(results["rows"]) == rows
    assert results["samples"] == len(ROWS)
    assert (results["training_seeds"], results["sampling_seeds"]) == ([5], [0, 1])
    metrics = {"mae", "mae_moving", "psnr", "repetition_rate", "parse_failure"}
    assert set(results["rows"]["base"]) == metrics | {f"{name}_best_of_2" for name in ("mae", "mae_moving", "psnr")}
    assert results["higher_is_better"]["psnr_best_of_2"] is True
    assert results["higher_is_better"]["repetition_rate"] is False
    base = results["rows"]["base"]
    assert (
        base["mae_best_of_2"]["mean"] < base["mae"]["mean"] and base["psnr_best_of_2"]["mean"] > base["psnr"]["mean"]
    )
    assert base["mae"]["std"] > 0 == results["rows"]["copy_last"]["mae"]["std"]
    assert results["sampling"]["base"] == [{"temperature": 1.0, "top_k": 0, "top_p": 1.0}]
    assert results["sampling"]["base_best_sampling"][0] in [sampling.to_dict() for sampling in GRID]


def test_one_checkpoint_is_measured_as_in_the_table():
    table = evaluate_tiny(
        draws=Draws(sampling=Sampling(temperature=0.0), seeds=(0,)), metrics=None, best_sampling=None,
        rewarded=[PSNRReward(), MAEReward(pixels="moving")],
    )["rows"]  # fmt: skip
    for seed, name in enumerate(("base", "rlvr")):
        rewards = [PSNRReward(), MAEReward(pixels="moving")]
        found = measure_checkpoint(tiny_model(PROCESSOR, seed=seed), PROCESSOR, ROWS, rewarded=rewards)
        assert found == {metric: value["mean"] for metric, value in table[name].items()}
        of_groups = {"metrics": [EnergyScoreReward()], "rewarded": [*rewards, EnergyScoreReward()]}
        beside = measure_checkpoint(tiny_model(PROCESSOR, seed=seed), PROCESSOR, ROWS, **of_groups)
        assert beside == found, "of one prediction alone it would be a distance"
    assert table["base"]["mae"]["mean"] != table["rlvr"]["mae"]["mean"]


def test_numbers_do_not_depend_on_the_batch():
    one, other = evaluate_tiny(batch_size=2)["rows"], evaluate_tiny(batch_size=64)["rows"]
    for row in one:
        for metric in one[row]:
            assert one[row][metric]["values"] == pytest.approx(other[row][metric]["values"], rel=1e-5, abs=1e-7)


def test_without_validation_rows_nothing_is_chosen():
    assert list(evaluate_tiny(best_sampling=None)["rows"]) == ["copy_last", "tokenizer_floor", "base", "rlvr"]


def test_copy_last_is_measured_on_recorded_steps_only():
    values = measure_predictor(predict_copy_last, ROWS, metrics=[MAEReward()], batch_size=3)
    rows = [{name: torch.as_tensor(row[name]) for name in ("context", "reference", "reference_mask")} for row in ROWS]
    errors = [
        (row["reference"][row["reference_mask"]].float() - row["context"][-1].float()).abs().mean() / 255
        for row in rows
    ]
    assert values["mae"] == pytest.approx([torch.stack(errors).mean().item()], rel=1e-5)


@pytest.mark.parametrize("reward", [MAEReward(), PSNRReward()])
def test_chosen_sampling_is_the_best_of_the_grid(reward, monkeypatch):
    from rlvr_world_hf.evaluation import comparison

    quality = {0.0: 1.0, 0.5: 3.0, 1.0: 2.0}

    def measured(predict, rows, **settings):
        value = quality[predict.keywords["sampling"].temperature]
        return {reward.name: [value if reward.higher_is_better else -value]}

    monkeypatch.setattr(comparison, "measure_predictor", measured)
    grid = [Sampling(temperature=temperature) for temperature in quality]
    chosen = choose_sampling(tiny_model(PROCESSOR), PROCESSOR, ROWS, metric=reward, grid=grid)
    assert chosen.temperature == 0.5


def test_own_reward_is_measured_beside_the_metrics():
    class BrightnessReward(VerifiableReward):
        name, higher_is_better, best, floor = "brightness_error", False, 0.0, 1.0

        def measure(self, predicted, reference, *, context=None):
            return (predicted.mean(dim=(-3, -2, -1)) - reference.mean(dim=(-3, -2, -1))).abs()

    results = evaluate_tiny(rewarded=[MAEReward(), BrightnessReward()], best_sampling=None)
    assert results["rewarded"] == ["mae", "brightness_error"]
    assert 0 < results["rows"]["base"]["brightness_error"]["mean"] < 1


def test_every_seed_has_an_energy_score_of_its_own():
    """Of its predictions alone: its share of the score of all would be another number."""
    drawn = torch.rand(len(ROWS), 8, 3, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    drawn[:, 4:] *= 0.5  # so that the seeds differ

    def predict(batch):
        readable = torch.ones(len(batch.indices), 8, dtype=torch.bool)
        return Predictions(predicted=drawn[batch.indices], readable=readable)

    how = {"metrics": [EnergyScoreReward()], "sampling_seeds": (0, 1), "num_samples": 4}
    found = measure_predictor(predict, ROWS, **how)["energy_score"]
    every = next(row_batches(ROWS, size=len(ROWS)))
    expected = []
    for seed in (0, 1):
        scores = []
        for row in range(len(ROWS)):
            known = every.reference_mask[row]
            points = [*drawn[row, seed * 4 : (seed + 1) * 4, known], every.reference[row, known]]
            apart = torch.cdist(*[torch.stack(points).flatten(1)] * 2)
            scores.append(apart[:4, 4].mean() - apart[:4, :4].sum() / (2 * 4 * 3))
        expected.append(torch.stack(scores).mean().item())
    assert found == pytest.approx(expected, rel=1e-4)


def test_predictions_that_are_compared_must_be_several():
    with pytest.raises(ValueError, match="`num_samples`: expected 2 or more for `energy_score`, .*got 1; raise it"):
        evaluate_tiny(metrics=[*METRICS, EnergyScoreReward()])
    rows = evaluate_tiny(metrics=[*METRICS, EnergyScoreReward()], num_samples=2, best_sampling=None)["rows"]
    assert rows["base"]["energy_score"]["std"] > 0 == rows["copy_last"]["energy_score"]["std"]


def test_what_cannot_be_reported_fails_before_any_work():
    with pytest.raises(ValueError, match="\\['lpips'\\] must be measured"):
        evaluate_tiny(rewarded=["lpips"])
    with pytest.raises(ValueError, match=r"two of the name `mae`.* MAEReward\(\) and Other\(\)"):
        evaluate_tiny(rewarded=[type("Other", (MAEReward,), {})()])
    with pytest.raises(ValueError, match="needs checkpoints and rows"):
        evaluate({}, ROWS, recipe="r", rewarded=["mae"])


@pytest.mark.parametrize("make", [tiny_sensor_processor, tiny_joint_processor], ids=["sensors", "video and sensors"])
def test_sensors_have_rows_and_metrics_of_their_own(make):
    processor = make()
    rows = tiny_rows(predicts=processor.predicts)
    results = evaluate(
        {"base": (tiny_model(processor), processor)},
        rows,
        recipe="pusht/sensor",
        rewarded=[SensorMSEReward(scale=[1, 1, 4])],
    )
    validate_results(results)
    assert list(results["rows"]) == ["copy_last", "tokenizer_floor", "base"] and results["rewarded"] == ["sensor_mse"]
    sensors = {"sensor_mae", "sensor_mse", "sensor_accuracy"}
    rates = {"repetition_rate", "parse_failure"}
    measured = set(results["rows"]["base"])
    assert measured == sensors | rates if make is tiny_sensor_processor else {"mae", *sensors, *rates} < measured
    assert results["rows"]["copy_last"]["repetition_rate"]["mean"] == 1.0
    floor, base = results["rows"]["tokenizer_floor"], results["rows"]["base"]
    half_bin = 1 / 16
    assert floor["sensor_mae"]["mean"] <= half_bin * (1 + 1 + 1 / 4) / 3 < base["sensor_mae"]["mean"]
    assert results["higher_is_better"]["sensor_accuracy"] is True


def test_copy_last_and_floor_are_of_the_recorded_states():
    processor = tiny_joint_processor()
    rows = tiny_rows(predicts=processor.predicts)
    batch = next(row_batches(rows, size=2))
    copied = predict_copy_last(batch)
    assert torch.equal(copied.predicted_states[:, 0, 2], batch.context_states[:, -1])
    floor = predict_tokenizer_floor(batch, processor=processor)
    assert (floor.predicted_states[:, 0] - batch.reference_states).abs().max() <= 1 / 16 * (1 + 1e-5)


def test_the_truth_is_a_row_where_it_is_asked_for():
    rows = evaluate_tiny(with_recorded=True, best_sampling=None)["rows"]
    assert list(rows) == ["copy_last", "tokenizer_floor", "recorded", "base", "rlvr"]
    assert rows["recorded"]["mae"]["mean"] == 0 and rows["recorded"]["psnr"]["mean"] == pytest.approx(80)
    assert "recorded" not in evaluate_tiny(best_sampling=None)["rows"]
