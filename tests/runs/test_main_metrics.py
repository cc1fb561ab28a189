"""Where there is room for a few metrics, the rewarded ones come first, each once."""

from typing import Any

from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.runs.main_metrics import ALWAYS_SHOWN, main_metrics


def record(rewarded: list[str], *measured: str) -> Any:
    return {
        "rewarded": rewarded,
        "rows": {"base": dict.fromkeys(measured[:2], {}), "rlvr": dict.fromkeys(measured, {})},
    }


def test_rewarded_metrics_come_first_then_their_parts_then_a_few_others() -> None:
    results = record(["mae", "fact_f1"], "mse", "psnr", "fact_f1_unchanged", "mae", "mae_moving", "fact_f1")
    assert main_metrics(results) == ["mae", "fact_f1", "mae_moving", "fact_f1_unchanged", "psnr"]


def test_a_rewarded_metric_that_is_always_shown_stands_once() -> None:
    assert main_metrics(record(["ssim"], "psnr", "ssim")) == ["ssim", "psnr"]
    assert main_metrics(record([], "mse")) == []


def test_the_committed_results_have_most_of_them(repository: Any) -> None:
    shown = main_metrics(read_results(repository / "model_cards" / "pusht" / "results.json"))
    assert shown[:2] == ["mae", "mae_moving"] and len(set(shown) & set(ALWAYS_SHOWN)) >= 4
