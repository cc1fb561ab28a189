from rlvr_world_hf.evaluation.results import read_results


def test_the_table_has_all_rows_and_the_origin_of_its_numbers(whole_run):
    results = read_results(whole_run.output_dir / "results.json")
    assert list(results["rows"]) == [
        "copy_last",
        "tokenizer_floor",
        "base",
        "base_best_sampling",
        "control",
        "rlvr",
    ]
    assert results["recipe"] == "pusht/debug"
    assert results["rewarded"] == ["mae"]
    assert results["samples"] == 2
    assert (results["training_seeds"], results["sampling_seeds"]) == ([0], [0, 1])
    assert {"agent_position_mae", "agent_not_found"} <= results["rows"]["rlvr"].keys()
