import json

import pytest
import yaml

from rlvr_world_hf.commands.cli import main
from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.findings import finding as finding_module
from rlvr_world_hf.findings import page as page_module
from rlvr_world_hf.findings.finding import load_finding, measure_finding
from rlvr_world_hf.rewards.inverse_dynamics import InverseDynamicsConfig, InverseDynamicsModel
from rlvr_world_hf.runs.locations import finding_names, finding_path, is_finding, recipe_path
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stage import find_stage, needed_stages, stage_that_makes
from tests.small_runs import SMALL


@pytest.mark.parametrize("name", finding_names())
def test_every_row_of_a_shipped_finding_is_a_recipe_that_can_run(name):
    finding = load_finding(name)
    assert finding.question.endswith("?") and len({*finding.seeds}) >= 3
    for row in finding.rows.values():
        recipe = load_recipe(finding.recipe, overrides={**finding.set, **row.set})
        for stage in needed_stages([stage_that_makes(row.checkpoint), "evaluate"]):
            find_stage(stage).read(recipe)
        if row.at and row.checkpoint == "control":
            earlier, section = recipe.sections["pretrain"], recipe.sections["control"]
            assert row.at % earlier["eval_steps"] == 0 and section["save_total_limit"] is None
            assert earlier["max_steps"] < row.at <= earlier["max_steps"] + section["max_steps"]
        elif row.at:
            section = recipe.sections[stage_that_makes(row.checkpoint)]
            assert row.at % section["save_steps"] == 0 and row.at < section["max_steps"]


@pytest.fixture
def small_finding(tmp_path):
    """A file of a finding of two rows that are trained and one that is not."""
    content = {
        "question": "Does it matter?",
        "recipe": "pusht/debug",
        "seeds": [0],
        "reason": "a test",
        "set": {**SMALL, "evaluate.best_sampling": []},
        "plot": {"metrics": ["mae"], "axis": "updates"},
        "rows": {
            "base": {"checkpoint": "base"},
            "RL 2": {"x": 2, "at": 2, "set": {"grpo.learning_rate": 0.5}},
            "RL 4": {"x": 4, "set": {"grpo.learning_rate": 0.5}},
            "as it is": {"x": 4, "series": "own"},
        },
    }
    file = tmp_path / "small.yaml"

    def write(**changed):
        file.write_text(yaml.safe_dump({**content, **changed}, sort_keys=False))
        return file

    return write


@pytest.fixture
def stages_run(monkeypatch):
    """Notes which stages were computed, and for which folder."""
    from rlvr_world_hf.runs.stage import Stage

    noted, work = [], Stage._run

    def note(self, recipe, progress, processes):
        noted.append((self.name, recipe.output_dir.name if "runs" not in recipe.output_dir.parts else "varied"))
        return work(self, recipe, progress, processes)

    monkeypatch.setattr(Stage, "_run", note)
    return noted


def test_rows_share_what_they_do_not_change_and_an_interrupted_one_goes_on(
    cache, whole_run, small_finding, tmp_path, monkeypatch, stages_run
):
    finding, folder = load_finding(small_finding()), tmp_path / "out"
    measure = finding_module.measure_checkpoints

    def killed(recipe, checkpoints):
        if "RL 4" in checkpoints:
            raise KeyboardInterrupt
        return measure(recipe, checkpoints)

    monkeypatch.setattr(finding_module, "measure_checkpoints", killed)
    with pytest.raises(KeyboardInterrupt):
        measure_finding(finding, folder=folder, is_whole=False)
    trained = [name for name, _ in stages_run]
    assert trained.count("pretrain") == trained.count("grpo") == 1  # RL 2 is on the way of RL 4
    assert ("pretrain", "seed-0") in stages_run and ("grpo", "varied") in stages_run
    assert {file.name.split("-seed")[0] for file in (folder / "pieces").iterdir()} == {"base", "rl_2"}
    before = {file: file.read_bytes() for file in (folder / "pieces").iterdir()}

    monkeypatch.setattr(finding_module, "measure_checkpoints", measure)
    stages_run.clear()
    record = json.loads(measure_finding(finding, folder=folder, is_whole=False).read_text())
    assert stages_run == [("grpo", "seed-0")]  # "as it is"; the rest was there
    assert all(file.read_bytes() == content for file, content in before.items())
    assert list(record["rows"]) == ["copy_last", "tokenizer_floor", "base", "RL 2", "RL 4", "as it is"]
    assert record["training_seeds"] == [0] and record["reason"] == "a test" and record["n"] == 2
    assert record["settings"]["RL 2"]["set"]["grpo.learning_rate"] == 0.5
    assert (folder / "small.png").stat().st_size > 1000

    rows = record["rows"]
    whole = read_results(whole_run.output_dir / "results.json")["rows"]
    assert rows["as it is"]["mae"]["mean"] == pytest.approx(whole["rlvr"]["mae"]["mean"], rel=1e-6)
    assert rows["base"]["mae"]["mean"] == pytest.approx(whole["base"]["mae"]["mean"], rel=1e-6)
    assert all(len(summary["values"]) == 1 for of_row in rows.values() for summary in of_row.values()), "one a seed"
    differing = {rows[name]["mae"]["mean"] for name in ("base", "RL 2", "RL 4")}
    assert len(differing) == 3 and 0 < rows["RL 2"]["train_seconds"]["mean"] < rows["RL 4"]["train_seconds"]["mean"]


def test_the_checkpoints_of_another_finding_are_measured_in_another_way_where_they_lie(
    cache, whole_run, small_finding, tmp_path, stages_run
):
    varied = {"base": {"checkpoint": "base"}, "RL": {"set": {"grpo.learning_rate": 0.5}}}
    first = small_finding(rows=varied)
    measure_finding(load_finding(first), folder=tmp_path / "out" / "small", is_whole=False)
    assert ("grpo", "varied") in stages_run
    stages_run.clear()
    other = tmp_path / "elsewhere.yaml"
    conditions = {"still": {"policies": {"still": 1}}}
    content = {
        "question": "And there?",
        "rows_of": str(first),
        "set": {"evaluate.conditions": conditions},
        "plot": {"metrics": ["mae", "mae_still"]},
    }
    other.write_text(yaml.safe_dump(content))
    finding = load_finding(other)
    assert list(finding.rows) == ["base", "RL"] and finding.recipe == "pusht/debug" and finding.seeds == (0,)
    record = json.loads(measure_finding(finding, folder=tmp_path / "out" / "elsewhere", is_whole=False).read_text())
    assert stages_run == [], "nothing is trained again"
    assert list(record["rows"]) == ["copy_last", "recorded", "tokenizer_floor", "base", "RL"]
    assert record["rows"]["RL"]["mae_still"]["mean"] > 0 and record["settings"]["RL"]["set"]["evaluate.conditions"]
    other.write_text(yaml.safe_dump({**content, "rows": varied}))
    with pytest.raises(ValueError, match="expected `rows_of` without rows, which come of it"):
        load_finding(other)


def test_another_name_or_reward_is_measured_anew_and_not_trained(cache, small_finding, tmp_path, stages_run):
    small = {**SMALL, "evaluate.best_sampling": []}
    rewarded = {"grpo.rewards": [{"path": "rlvr_world_hf.rewards.MAEReward", "pixels": "moving"}]}
    measured = []
    for name, changed in (("base", {}), ("Base", {}), ("base", rewarded)):
        file = small_finding(rows={name: {"checkpoint": "base"}}, plot={"metrics": ["mae"]}, set={**small, **changed})
        record = json.loads(measure_finding(load_finding(file), folder=tmp_path / "out", is_whole=False).read_text())
        measured.append((record["rows"][name]["mae"]["mean"], record["rewarded"]))
    assert [name for name, _ in stages_run].count("pretrain") == 1
    assert measured[0] == measured[1] and measured[2] == (measured[0][0], ["mae_moving"])


@pytest.mark.slow
def test_repetition_compares_rejection_and_penalty(cache, tmp_path, stages_run):
    small = {**SMALL, "recipe": "pusht/debug", "seeds": [0], "windows.horizon": 3, "evaluate.best_sampling": []}
    finding = load_finding("repetition", overrides=small)
    record = json.loads(measure_finding(finding, folder=tmp_path / "out", is_whole=False).read_text())
    rows = record["rows"]
    trained_rows = ["base", "base, rejection", "rlvr", "rlvr, MAE alone", "rlvr, penalty"]
    assert list(rows) == ["copy_last", "tokenizer_floor", *trained_rows]
    trained = [name for name, _ in stages_run]
    assert trained.count("pretrain") == 1 and trained.count("grpo") == 2
    assert all({*finding.plot["metrics"]} <= row.keys() for row in rows.values())
    assert rows["copy_last"]["repetition_rate"]["mean"] == 1.0
    assert rows["base, rejection"]["repetition_rate"]["mean"] <= rows["base"]["repetition_rate"]["mean"]
    assert record["settings"]["base, rejection"]["set"]["evaluate.reject_repetition"] > 1
    assert record["rewarded"] == ["mae"] and record["higher_is_better"]["repetition_rate"] is False
    assert (tmp_path / "out" / "repetition.png").stat().st_size > 1000


@pytest.mark.slow
def test_beyond_pixels_compares_rl_with_gradients_under_other_actions(cache, tmp_path, monkeypatch, stages_run):
    """Rows of each kind, without what needs larger frames or the extra `perceptual`."""
    monkeypatch.chdir(tmp_path)
    ranges = {"action_low": [-1.0] * 10, "action_high": [1.0] * 10}
    for name in ("pusht-inverse", "pusht-judge"):
        config = InverseDynamicsConfig(image_size=16, width=8, hidden_size=8, action_law="relative", **ranges)
        InverseDynamicsModel(config).save_pretrained(tmp_path / "outputs" / name / "inverse")
    content = yaml.safe_load(finding_path("beyond_pixels").read_text())
    kept = ("base", "control", "action", "energy score", "gradients, action")
    content["rows"] = {name: row for name, row in content["rows"].items() if name in kept}
    content["plot"]["metrics"].remove("feature_distance")
    metrics = [entry for entry in content["set"]["evaluate.metrics"] if "FeatureDistance" not in entry["path"]]
    small = {**SMALL, "evaluate.metrics": metrics, "evaluate.num_samples": 2, "evaluate.best_sampling": []}
    small |= {"straight_through.max_steps": 2, "straight_through.eval_steps": 1, "straight_through.batch_size": 4}
    content |= {"recipe": "pusht/debug", "seeds": [0], "reason": "a test", "set": {**content["set"], **small}}
    file = tmp_path / "beyond.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    record = json.loads(measure_finding(load_finding(file), folder=tmp_path / "out", is_whole=False).read_text())
    rows = record["rows"]
    assert list(rows) == ["copy_last", "recorded", "tokenizer_floor", *kept]
    assert all({*content["plot"]["metrics"]} <= rows[name].keys() for name in kept)
    trained = [name for name, _ in stages_run]
    assert trained.count("pretrain") == 1 and trained.count("straight_through") == 1
    judged = [f"action_recovery_error_judge{end}" for end in ("", "_shuffled", "_off_expert")]
    assert len({rows["recorded"][name]["mean"] for name in judged}) == 3, "other actions, other frames"
    assert rows["recorded"]["mae_shuffled"]["mean"] == 0 < rows["gradients, action"]["mae_shuffled"]["mean"]


def test_a_whole_finding_renews_the_evidence_of_a_checkout(small_finding, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(page_module, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setattr(finding_module, "is_checkout", lambda: True)
    file = small_finding(rows={"base": {"checkpoint": "base"}}, plot={"metrics": ["mae"]})
    for is_whole in (False, True):
        measure_finding(load_finding(file), folder=tmp_path / "out", is_whole=is_whole)
        assert (tmp_path / "checkout" / "docs" / "evidence" / "small.json").exists() == is_whole


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": {}}, "expected `rows`"),
        ({"rows": {"a": {"checkpoint": "best"}}}, "checkpoints among base, control, rlvr, straight_through, got best"),
        ({"rows": {"a": {"sett": {}}}}, "sett"),
        ({"reason": ""}, "expected 3 seeds, or a `reason`"),
        ({"questoin": "?"}, "questoin"),
        ({"seeds": []}, r"expected training seeds, each once, got \[\]"),
        ({"seeds": [0, 0, 1]}, r"expected training seeds, each once, got \[0, 0, 1\]"),
        ({"plot": {}}, r"plot\.metrics: expected a list of metrics, got None"),
        ({"plot": {"metrics": "mae"}}, r"plot\.metrics: expected a list of metrics, got 'mae'"),
        ({"plot": {"metrics": ["maee"]}}, r"plot\.metrics: .*got 'maee'; did you mean 'mae'"),
        ({"plot": {"metrics": ["mae_best_of"]}}, r"plot\.metrics: .*got 'mae_best_of'"),  # of a single sample
        ({"plot": {"metrics": ["mae"], "axes": "updates"}}, r"plot: unknown key 'axes'.*'axis'"),
        ({"plot": {"metrics": ["mae"], "gains_over": "bsae"}}, r"plot\.gains_over: .*got 'bsae'; did you mean 'base'"),
        (
            {"plot": {"metrics": ["mae"], "log_axis": True}, "rows": {"a": {"x": 0.0}}},
            r"plot\.log_axis: expected rows with an `x` above 0, got 0\.0",
        ),
    ],
)
def test_a_finding_with_a_mistake_is_refused_before_anything_runs(small_finding, changed, message):
    with pytest.raises(ValueError, match=message):
        load_finding(small_finding(**changed))


def test_a_setting_of_any_row_is_tried_before_any_is_trained(small_finding, tmp_path, capsys):
    rows = {"base": {"checkpoint": "base"}, "G 3": {"set": {"grpo.num_generations": 3}}}
    file, folder = small_finding(rows=rows), tmp_path / "out"
    with pytest.raises(ValueError, match="small: G 3: grpo: .*divisible by num_generations"):
        measure_finding(load_finding(file), folder=folder, is_whole=False)
    assert main(["reproduce", str(file), "--output_dir", str(folder)]) == 2
    assert "small: G 3: grpo" in capsys.readouterr().err and not folder.exists()


def test_fewer_seeds_that_were_asked_for_are_named_in_the_record():
    assert load_finding("group_size", overrides={"seeds": [0]}).reason == "1 training seed(s) were asked for"
    assert not load_finding("group_size", overrides={"seeds": [3, 4, 5]}).reason


def test_the_command_takes_a_finding_of_ones_own(small_finding, tmp_path, cache, capsys, monkeypatch):
    monkeypatch.setattr(finding_module, "is_checkout", lambda: False)
    file = small_finding(rows={"base": {"checkpoint": "base"}}, plot={"metrics": ["mae"]})
    assert main(["reproduce", str(file), "--output_dir", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "small.json").read_text())
    assert (
        record["rows"]["base"]["mae"]["mean"] > 0 and str(tmp_path / "out" / "small.json") in capsys.readouterr().out
    )
    assert not is_finding(str(recipe_path("pusht/debug")))


def test_the_command_reads_findings_by_name_and_refuses_unknown_keys(capsys):
    assert main(["reproduce", "group_size", "--grpo.learning_rat", "1"]) == 2
    assert "learning_rate" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="Did you mean 'group_size'"):
        load_finding("grup_size")
