import pytest

from rlvr_world_hf.evaluation.results import make_results, merge_results
from rlvr_world_hf.evaluation.table import best_row, format_number, markdown_table, provenance_line


@pytest.fixture
def results():
    rows = {
        "copy_last": {"mae": [0.02, 0.02], "psnr": [20.0, 20.0]},
        "tokenizer_floor": {"mae": [0.001, 0.001], "psnr": [40.0, 40.0]},
        "base": {"mae": [0.0144, 0.0146], "psnr": [28.0, 28.5], "agent_position_mae": [0.1, 0.2]},
        "rlvr": {"mae": [0.0135, 0.0136], "psnr": [29.0, 29.25]},
    }
    return make_results(
        rows,
        recipe="pusht/quickstart",
        samples=256,
        training_seed=3,
        sampling_seeds=[0, 1],
        rewarded=["mae"],
        higher_is_better={"mae": False, "psnr": True, "agent_position_mae": False},
    )


def test_table_shows_spread_and_bolds_the_best_rewarded_prediction(results):
    lines = markdown_table(results, metrics=["mae", "psnr", "agent_position_mae"]).splitlines()
    assert lines[0] == "| row | mae ↓ | psnr ↑ | agent_position_mae ↓ |"
    assert lines[2:6] == [
        "| copy_last | 0.02000 | 20.00 | - |",
        "| tokenizer_floor | 0.001000 | 40.00 | - |",
        "| base | 0.01450 ± 0.00014 | 28.25 ± 0.35 | 0.150 ± 0.071 |",
        "| rlvr | **0.013550 ± 0.000071** | 29.12 ± 0.18 | - |",
    ]


def test_a_still_picture_that_wins_is_bold(results):
    results["rows"]["copy_last"]["mae"] |= {"mean": 0.005, "values": [0.005, 0.005]}
    assert "| copy_last | **0.005000** |" in markdown_table(results)


def test_direction_decides_the_best(results):
    assert best_row(results, "psnr") == "rlvr"
    assert best_row(results, "agent_position_mae") == "base"
    assert best_row(results, "mae", rows=["tokenizer_floor"]) is None


def test_samples_of_the_law_do_not_compete_with_models(results):
    results["rows"]["law"] = {"mae": results["rows"]["tokenizer_floor"]["mae"]}
    assert best_row(results, "mae") == "rlvr" and "| law | 0.001000 |" in markdown_table(results)


def test_line_below_names_what_is_needed_to_repeat_it(results):
    line = provenance_line(results)
    for words in ("256 held-out windows", "over sampling seeds", "training seeds 3", "pusht/quickstart", "commit `"):
        assert words in line
    sampled = results | {"sampling": {"base": [{"temperature": 0.0}], "base_best_sampling": [{"temperature": 0.7}]}}
    assert "sampling seeds 0, 1 at temperature 0;" in provenance_line(sampled)
    assert "over training seeds" in provenance_line(merge_results([results, results | {"training_seeds": [4]}]))


def test_unknown_names_fail(results):
    with pytest.raises(ValueError, match="No metric \\['ssim'\\]"):
        markdown_table(results, metrics=["ssim"])
    with pytest.raises(ValueError, match="No row \\['rl'\\]"):
        markdown_table(results, rows=["rl"])


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (0.0, 0.0, "0.0"),
        (12.345, 3.0, "12.3 ± 3.0"),
        (123.0, 45.0, "123 ± 45"),
        (0.5, 1e-12, "0.5000"),  # two thread counts, not two seeds
        (0.0, 1e-12, "0.00000000 ± 0.00000000"),
    ],
)
def test_numbers_have_the_digits_their_spread_supports(mean, spread, text):
    assert format_number(mean, spread) == text
