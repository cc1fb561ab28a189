import json
import statistics

import pytest

from rlvr_world_hf.evaluation.results import (
    make_results,
    merge_results,
    read_results,
    summarize,
    validate_results,
    write_results,
)


def results_of(seed=0, *, base=(0.5, 0.75), **changes):
    settings = {
        "recipe": "pusht/debug",
        "samples": 8,
        "sampling_seeds": [0, 1],
        "rewarded": ["mae"],
        "higher_is_better": {"mae": False, "psnr": True},
        "sampling": {"base": {"temperature": 1.0, "top_k": 0, "top_p": 1.0}},
    }
    rows = {"copy_last": {"mae": [0.5, 0.5]}, "base": {"mae": list(base), "psnr": [20.0, 21.0]}}
    return make_results(rows, training_seed=seed, **settings | changes)


def test_record_has_the_keys_of_the_schema():
    results = results_of()
    assert set(results) == {
        "recipe", "commit", "machine", "versions", "samples", "training_seeds", "sampling_seeds", "rewarded",
        "higher_is_better", "rows", "spread", "sampling",
    }  # fmt: skip
    assert results["rows"]["base"]["mae"] == {
        "mean": 0.625,
        "std": statistics.stdev([0.5, 0.75]),
        "values": [0.5, 0.75],
    }
    assert results["spread"] == "sampling_seeds"
    assert results["sampling"]["base"] == [{"temperature": 1.0, "top_k": 0, "top_p": 1.0}]
    assert set(results["versions"]) >= {"python", "torch", "transformers"}


def test_single_value_has_no_spread():
    assert summarize([2.0]) == {"mean": 2.0, "std": 0.0, "values": [2.0]}


def test_metric_with_nothing_to_measure_is_left_out():
    assert set(results_of(base=(0.5, float("nan")))["rows"]["base"]) == {"psnr"}


def test_merging_takes_the_means_of_the_training_seeds():
    merged = merge_results([results_of(0), results_of(1, base=(0.25, 0.5)), results_of(2, base=(1.0, 1.0))])
    assert merged["training_seeds"] == [0, 1, 2]
    assert merged["sampling_seeds"] == [0, 1]
    assert merged["spread"] == "training_seeds"
    assert merged["rows"]["base"]["mae"] == summarize([0.625, 0.375, 1.0])
    assert merged["rows"]["copy_last"]["mae"]["std"] == 0
    assert len(merged["sampling"]["base"]) == 3
    validate_results(merged)


def test_merging_one_changes_nothing():
    assert merge_results([results_of()]) == results_of()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"recipe": "pusht/other"}, "'recipe' differs"),
        ({"samples": 9}, "'samples' differs"),
        ({"seed": 0}, "counts once"),
    ],
)
def test_merging_refuses_other_runs(other, words):
    with pytest.raises(ValueError, match=words):
        merge_results([results_of(0), results_of(**{"seed": 1} | other)])


def test_merging_nothing_fails():
    with pytest.raises(ValueError, match="at least one"):
        merge_results([])


def test_metric_missing_for_one_seed_is_dropped_with_a_warning(caplog):
    merged = merge_results([results_of(0), results_of(1, base=(float("nan"), 0.5))])
    assert set(merged["rows"]["base"]) == {"psnr"}
    assert "no mae" in caplog.text


def test_written_is_read_and_nothing_else_is_left(tmp_path):
    path = write_results(results_of(), tmp_path / "run" / "results.json")
    assert read_results(path) == results_of()
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_failed_write_keeps_the_old_file(tmp_path):
    path = write_results(results_of(), tmp_path / "results.json")
    with pytest.raises(ValueError, match="finite"):
        write_results(results_of() | {"rows": {"base": {"mae": {"mean": float("nan"), "std": 0, "values": []}}}}, path)
    assert read_results(path) == results_of()
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": "8"}, "'samples' of type"),
        ({"score": 1}, "unknown \\['score'\\]"),
        ({"higher_is_better": {"psnr": True}}, "\\['mae'\\] need true or false"),
        ({"higher_is_better": {"mae": False}}, "'psnr' needs true or false"),
        ({"spread": "luck"}, "got 'luck'"),
        ({"rows": {"base": {"mae": 0.5}}}, "base/mae must be of the form"),
        ({"rows": {"base": {"mae": summarize([0.5])}}}, "one value a seed, that is 2, got 1"),
        ({"rows": {"base": {"mae": summarize([0.5, 0.5]) | {"mean": 0.4}}}}, "mean 0.4, but its values have 0.5"),
    ],
)
def test_malformed_file_is_refused_by_name(tmp_path, change, words):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results_of() | change))
    with pytest.raises(ValueError, match=f"results.json holds no valid results: .*{words}"):
        read_results(path)


def test_cut_off_file_is_refused(tmp_path):
    path = write_results(results_of(), tmp_path / "results.json")
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match="holds no valid results"):
        read_results(path)


def test_missing_file_names_the_stage_that_writes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="rlvr-world evaluate"):
        read_results(tmp_path / "results.json")
