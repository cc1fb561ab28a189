from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.evaluation.sharing import Share
from rlvr_world_hf.hub import load_world_model
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stages.evaluate import evaluate, measure_checkpoints, measured_names


def test_the_table_has_all_rows_and_the_origin_of_its_numbers(whole_run):
    results = read_results(whole_run.output_dir / "results.json")
    assert list(results["rows"]) == [
        "copy_last",
        "tokenizer_floor",
        "base",
        "base_best_sampling",
        "control",
        "control_equal_prompts",
        "rlvr",
    ]
    assert results["recipe"] == "pusht/debug"
    assert results["rewarded"] == ["mae"]
    assert results["samples"] == 2
    assert (results["training_seeds"], results["sampling_seeds"]) == ([0], [0, 1])
    assert {"agent_position_mae", "agent_not_found"} <= results["rows"]["rlvr"].keys()


def test_rejection_is_off_unless_asked_for_and_changes_no_more_than_the_sampling(whole_run, small_recipe):
    def measured(**changed):
        settings = {"evaluate.best_sampling": [], **changed}
        recipe = small_recipe(whole_run.output_dir, **settings)
        return measure_checkpoints(recipe, {"base": load_world_model(whole_run.output_dir / "base")})

    off = read_results(whole_run.output_dir / "results.json")
    explicit = measured(**{"evaluate.reject_repetition": 0})
    assert explicit["rows"]["base"] == off["rows"]["base"] and explicit["sampling"]["base"] == off["sampling"]["base"]
    rejecting = measured(**{"evaluate.reject_repetition": 3})
    assert rejecting["sampling"]["base"][0]["reject_repetition"] == 3
    assert rejecting["rows"]["copy_last"] == off["rows"]["copy_last"]


def test_rejection_of_the_likeliest_tokens_is_refused_when_the_recipe_is_read(small_recipe, tmp_path):
    recipe = small_recipe(tmp_path, **{"evaluate.temperature": 0, "evaluate.reject_repetition": 4})
    with pytest.raises(ValueError, match="a temperature above 0"):
        evaluate.read(recipe)


def test_processes_that_share_the_batches_measure_what_one_does(whole_run, small_recipe):
    recipe = small_recipe(whole_run.output_dir, **{"evaluate.batch_size": 2})  # a row a batch
    given, everyone = [None, None], Barrier(2)
    bases = [load_world_model(whole_run.output_dir / "base") for _ in range(3)]  # not by threads: that is not safe

    def measured(process):
        exchanged = []

        def exchange(own):
            everyone.wait(60)  # until the values before these are read
            given[process] = own
            everyone.wait(60)
            exchanged.append(own)
            return list(given)

        share = Share(process=process, processes=2, exchange=exchange)
        return measure_checkpoints(recipe, {"base": bases[process]}, share=share), exchanged

    with ThreadPoolExecutor(2) as threads:
        (first, exchanged), (second, _) = threads.map(measured, range(2))
    alone = measure_checkpoints(recipe, {"base": bases[2]})
    assert first == second == alone
    assert {len(own) for own in exchanged} == {1}  # of two batches


def test_checkpoints_are_measured_under_other_conditions_too(whole_run, small_recipe):
    changed = {"still": {"policies": {"still": 1}}, "dim": {"colours": "dim"}}
    recipe = small_recipe(whole_run.output_dir, **{"evaluate.conditions": changed, "evaluate.best_sampling": []})
    assert evaluate.fingerprint(recipe) != evaluate.fingerprint(whole_run)
    evaluate.try_settings(recipe)
    results = measure_checkpoints(recipe, {"base": load_world_model(whole_run.output_dir / "base")})
    rows, usual = results["rows"], read_results(whole_run.output_dir / "results.json")["rows"]
    assert list(rows) == ["copy_last", "tokenizer_floor", "recorded", "base"]
    assert rows["copy_last"]["mae_still"]["mean"] < 1e-3 < rows["copy_last"]["mae_dim"]["mean"]
    assert rows["copy_last"]["mae_dim"]["mean"] == pytest.approx(0.75 * usual["copy_last"]["mae"]["mean"], rel=0.05)
    assert all(rows["recorded"][name]["mean"] == 0 for name in ("mae", "mae_still", "mae_dim"))
    assert rows["base"]["mae"] == usual["base"]["mae"] and rows["base"]["mae_dim"] != rows["base"]["mae"]
    assert {name for name in measured_names(recipe) if name.startswith("mae_")} >= {"mae_still", "mae_moving_dim"}
    assert results["higher_is_better"]["psnr_still"] is True


def test_without_conditions_a_table_is_the_one_of_before(whole_run, small_recipe):
    asked = small_recipe(whole_run.output_dir, **{"evaluate.conditions": {}})
    assert evaluate.fingerprint(asked) == evaluate.fingerprint(whole_run)


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ({"fast": {"reahc": 3}}, "evaluate.conditions.fast: collect refuses the keys: .*reahc"),
        ({"moving": {"reach": 100}}, r"evaluate.conditions: .* got \['mae_moving'.* twice; rename"),
        ({"very fast": {"reach": 3}}, r"evaluate.conditions: expected names of letters.* got \['very fast'\]"),
    ],
)
def test_conditions_that_cannot_be_recorded_are_refused(conditions, told, small_recipe, tmp_path):
    with pytest.raises(ValueError, match=told):
        evaluate.try_settings(small_recipe(tmp_path, **{"evaluate.conditions": conditions}))


def test_worlds_of_text_have_no_conditions(tmp_path):
    keys = {"output_dir": str(tmp_path), "evaluate.conditions": {"long": {"length": 9}}}
    with pytest.raises(ValueError, match="evaluate.conditions: expected none in a world of text, got long"):
        evaluate.try_settings(load_recipe("textworld/debug", overrides=keys))


def test_all_processes_of_a_launch_evaluate():
    assert evaluate.shares_processes
