import pytest

from rlvr_world_hf.evaluation.results import summarize
from rlvr_world_hf.findings.table import finding_table


ORIGIN = {
    "n": 96, "recipe": "pusht/quickstart", "commit": "0123456789abcdef-dirty + fedcba9876543210",
    "training_seeds": [0, 1, 2], "sampling_seeds": [0],
}  # fmt: skip


@pytest.mark.parametrize("metrics", [["mae", "mae_best_of", "psnr"], ["mae_best_of"]])
def test_rows_over_training_seeds_with_every_number_of_best_of_n(metrics):
    rows = {
        "copy_last": {"mae": summarize([0.5])},
        "base": {"mae": summarize([0.1, 0.3]), "mae_best_of_2": summarize([0.1]), "mae_best_of_10": summarize([0.05])},
    }
    lines = finding_table({**ORIGIN, "rows": rows}, metrics=metrics).splitlines()
    assert lines[0] == "| row | mae | mae_best_of_2 | mae_best_of_10 |"
    assert lines[2:4] == ["| copy_last | 0.5000 | - | - |", "| base | 0.20 ± 0.14 | 0.1000 | 0.05000 |"]
    assert lines[5] == (
        "96 samples; training seeds 0, 1, 2; sampling seeds 0; recipe `pusht/quickstart`; commit "
        "`0123456789-dirty + fedcba9876`. Measured on changes that were not committed."
    )


def test_rows_over_starts_and_a_reason():
    rows = {"base": {"success": {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8}}, "random": {"success": {}}}
    text = finding_table({**ORIGIN, "rows": rows, "reason": "one seed was asked for."}, metrics=["success"])
    assert "| base | 0.500 (0.250 to 0.750) |\n| random | - |" in text
    assert text.endswith("One seed was asked for.\n")


def test_worlds_that_are_compared():
    row = {"world": "base", "policy": None, "value": 0.5, "low": 0.25, "high": 0.75}
    rows = [
        {**row, "measure": "pearson"},
        {**row, "measure": "mmrv", "value": None},
        {**row, "world": "simulator", "measure": "success", "policy": "still"},
    ]
    text = finding_table({**ORIGIN, "rows": rows}, metrics=[])
    assert text.startswith(
        "| world | pearson | mmrv |\n|---|---|---|\n| base | 0.500 (0.250 to 0.750) | - |\n\n96 samples"
    )
