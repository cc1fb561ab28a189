from rlvr_world_hf.evaluation.conditions import beside
from rlvr_world_hf.evaluation.results import make_results, validate_results


def record(rows, **better):
    how = {"recipe": "r", "samples": 4, "training_seed": 0, "sampling_seeds": [0], "rewarded": ["mae"]}
    return make_results(rows, higher_is_better=better, **how)


def test_metrics_of_conditions_are_columns_with_their_direction():
    usual = record({"base": {"mae": [0.1]}, "base_best_sampling": {"mae": [0.05]}}, mae=False)
    fast = record({"base": {"mae": [0.3], "psnr": [20.0]}, "law": {"mae": [0.0]}}, mae=False, psnr=True)
    both = beside(usual, {"fast": fast})
    validate_results(both)
    assert {name: of["mean"] for name, of in both["rows"]["base"].items()} == {
        "mae": 0.1, "mae_fast": 0.3, "psnr_fast": 20.0
    }  # fmt: skip
    assert list(both["rows"]) == ["base", "base_best_sampling"] and "mae_fast" not in usual["rows"]["base"]
    assert both["higher_is_better"] == {"mae": False, "mae_fast": False, "psnr_fast": True}


def test_without_conditions_a_record_stays_what_it_is():
    usual = record({"base": {"mae": [0.1]}}, mae=False)
    assert beside(usual, {}) == usual
