import json
from pathlib import Path

import numpy as np
import pytest

from rlvr_world_hf import WorldModelPipeline
from rlvr_world_hf.findings.applications import policy_evaluation as policy_evaluation_module
from rlvr_world_hf.findings.applications.policy_evaluation import PolicyProtocol, agreement_rows, evaluate_policies
from rlvr_world_hf.findings.rank_agreement import gap, mean_maximum_rank_violation, pearson, spearman
from rlvr_world_hf.worlds.pusht.goal_policies import POLICIES
from tests.tiny import tiny_model, tiny_processor


PROTOCOL = PolicyProtocol(episodes=3, steps=2, horizon=1, nearest=20.0, farthest=400.0)
FEW = {name: POLICIES[name] for name in ("still", "random", "careful")}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("checkpoints")
    processor = tiny_processor(image_size=32)
    return {
        name: [
            WorldModelPipeline(tiny_model(processor, seed=seed), processor).save_pretrained(folder / f"{name}{seed}")
        ]
        for seed, name in enumerate(("base", "rlvr"))
    }


def evaluate(checkpoints, path, **settings):
    given = {"recipe": "pusht/debug", "training_seeds": [0], "reason": "a test", "protocol": PROTOCOL,
             "policies": FEW, "resamples": 20}  # fmt: skip
    return evaluate_policies(checkpoints, path, **{**given, **settings})


def test_the_record_says_what_was_measured(checkpoints, tmp_path) -> None:
    path = tmp_path / "evidence" / "policy_evaluation.json"
    record = evaluate(checkpoints, path, sampling_seeds=[0, 1])
    assert json.loads(path.read_text(encoding="utf-8")) == record
    assert {"finding", "recipe", "commit", "machine", "n", "training_seeds", "sampling_seeds", "rows"} <= set(record)
    assert (record["finding"], record["n"], record["reason"]) == ("policy_evaluation", 3, "a test")
    found = [(row["world"], row["policy"], row["measure"]) for row in record["rows"]]
    success = [(world, policy, "success") for world in ("simulator", "base", "rlvr") for policy in FEW]
    of_all = [
        (world, None, name)
        for world in ("base", "rlvr", "rlvr - base")
        for name in ("gap", "pearson", "spearman", "mmrv")
    ]
    assert found == success + of_all
    for row in record["rows"]:
        assert set(row) == {"world", "policy", "measure", "value", "low", "high", "undefined", "values"}
        assert len(row["values"]) == 1
        if row["measure"] == "success":
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert len(list((tmp_path / "evidence" / "policy_evaluation").glob("*.json"))) == 3 + 2 * 2 * 3


def test_an_interrupted_run_resumes(checkpoints, tmp_path, monkeypatch) -> None:
    path, played, play = tmp_path / "record.json", [], policy_evaluation_module.play

    def counted(world, make, scenes, *, steps):
        if len(played) == 5:
            raise KeyboardInterrupt
        played.append(make)
        return play(world, make, scenes, steps=steps)

    monkeypatch.setattr(policy_evaluation_module, "play", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(checkpoints, path)
    assert not path.exists() and len(list((tmp_path / "record").iterdir())) == 5
    monkeypatch.setattr(policy_evaluation_module, "play", play)
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "record").iterdir()}
    resumed = evaluate(checkpoints, path)
    assert all((tmp_path / "record" / name).stat().st_mtime_ns == time for name, time in kept.items())
    whole = evaluate(checkpoints, tmp_path / "whole.json")
    assert resumed["rows"] == whole["rows"]


def test_other_weights_or_settings_are_measured_anew_and_leave_the_others(checkpoints, tmp_path) -> None:
    path, pieces = tmp_path / "record.json", tmp_path / "pieces"
    base = {"base": checkpoints["base"]}

    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in pieces.iterdir()}

    first = evaluate(base, path, pieces=pieces)
    before = files()
    evaluate({"base": checkpoints["rlvr"]}, path, pieces=pieces)
    more = files()
    added = [file.name for file in more.keys() - before.keys()]
    assert len(added) == len(more) - len(before) > 0 and all(name.startswith("base") for name in added)
    other = PolicyProtocol(episodes=2, steps=2, horizon=1, nearest=20.0, farthest=400.0)
    assert evaluate(base, path, pieces=pieces, protocol=other)["n"] == 2
    everything = files()
    assert len(everything) == len(more) + len(before) and everything.items() >= more.items()
    assert evaluate(base, path, pieces=pieces) == first and files() == everything, "none was measured again"


def test_rows_by_hand() -> None:
    real = np.array([[[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]], float)  # rates 0, 0.5, 1
    base = np.array([[[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]], [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]], float)
    rows = agreement_rows(
        {"simulator": real, "base": base, "rlvr": np.concatenate([real, real])},
        ["poor", "fair", "good"],
        training_seeds=2,
        resamples=50,
    )
    by = {(row["world"], row["policy"] or row["measure"]): row for row in rows}
    assert [by["simulator", name]["value"] for name in ("poor", "fair", "good")] == [0, 0.5, 1]
    assert by["base", "fair"]["value"] == 0.625 and by["base", "fair"]["values"] == [1.0, 0.25]
    rates = [[0, 1, 0.25], [0, 0.25, 0.75]]
    statistics = {"gap": gap, "pearson": pearson, "spearman": spearman, "mmrv": mean_maximum_rank_violation}
    for name, statistic in statistics.items():
        expected = [statistic([0, 0.5, 1], of_run) for of_run in rates]
        assert by["base", name]["values"] == pytest.approx(expected)
        assert by["base", name]["value"] == pytest.approx(np.mean(expected))
        best = 0.0 if name in ("mmrv", "gap") else 1.0
        assert by["rlvr", name]["value"] == best
        assert by["rlvr - base", name]["value"] == pytest.approx(best - np.mean(expected))
    assert by["rlvr", "mmrv"]["low"] == by["rlvr", "mmrv"]["high"] == 0


def test_intervals_are_over_training_seeds_too() -> None:
    """Each seed alone leaves no doubt, as all episodes are alike; the two differ."""
    real = np.array([[[0.0] * 4, [1.0] * 4]])
    seeds = np.array([[[0.0] * 4, [1.0] * 4], [[0.0] * 4, [0.5] * 4]])
    rows = agreement_rows({"simulator": real, "base": seeds}, ["a", "b"], training_seeds=2, resamples=200)
    found = next(row for row in rows if row["measure"] == "gap")
    assert (found["value"], found["low"], found["high"]) == (0.125, 0.0, 0.25) and found["values"] == [0.0, 0.25]


def test_a_block_that_is_turned_away_or_gone_is_no_success() -> None:
    strict = PolicyProtocol(tolerance=32.0, turn=20.0)
    ends = [(30.0, 10.0), (40.0, 10.0), (30.0, 30.0), (None, None)]
    found = [policy_evaluation_module._is_success(*end, strict) for end in ends]
    assert found == [True, False, False, False]
    assert policy_evaluation_module._is_success(30.0, 179.0, PolicyProtocol())


def test_no_agreement_where_nothing_differs() -> None:
    real = np.array([[[0, 1], [1, 1]]], float)
    rows = agreement_rows({"simulator": real, "base": np.zeros((1, 2, 2))}, ["a", "b"], training_seeds=1, resamples=10)
    row = next(row for row in rows if row["measure"] == "pearson")
    assert row["value"] is None and row["values"] == [None] and row["undefined"] == 1
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training_seeds": [0, 1]}, "a checkpoint of 'base' for each training seed"),
        ({"reason": None}, "Expected 3 training seeds, got 1"),
        ({"policies": {"still": POLICIES["still"]}}, "at least 2 policies"),
    ],
)
def test_impossible_evaluations_are_refused(checkpoints, tmp_path, changes, words) -> None:
    with pytest.raises(ValueError, match=words):
        evaluate(checkpoints, tmp_path / "record.json", **changes)
    assert not list(tmp_path.iterdir())


def test_checkpoints_must_be_there_and_of_one_form(checkpoints, tmp_path) -> None:
    with pytest.raises(ValueError, match="none of them 'simulator'"):
        evaluate({"simulator": checkpoints["base"]}, tmp_path / "record.json")
    with pytest.raises(FileNotFoundError):
        evaluate({"base": [tmp_path / "nowhere"]}, tmp_path / "record.json")
    processor = tiny_processor(image_size=64)
    larger = WorldModelPipeline(tiny_model(processor), processor).save_pretrained(tmp_path / "larger")
    with pytest.raises(ValueError, match=r"models of one form, got .* and '.*larger' with image_size 32 and 64"):
        evaluate({**checkpoints, "larger": [larger]}, tmp_path / "record.json")
