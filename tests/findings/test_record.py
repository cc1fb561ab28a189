import json
from pathlib import Path

from rlvr_world_hf.findings.record import finding_record, reason_for_few, recipe_and_seeds


def test_what_is_empty_is_left_out_and_what_is_unknown_is_named() -> None:
    shared = {"recipe": "pusht/debug", "n": 2, "training_seeds": (0, 1), "sampling_seeds": (3,)}
    measured = [{"commit": "a1", "machine": "m"}, {}, {"commit": "a1", "machine": "n"}]
    record = finding_record("credit", measured=measured, **shared)
    assert record == {
        "finding": "credit", "recipe": "pusht/debug", "commit": "a1 + unknown", "machine": "m + unknown + n", "n": 2,
        "training_seeds": [0, 1], "sampling_seeds": [3],
    }  # fmt: skip
    more = finding_record("credit", measured=measured, reason="few", protocol={"frames": 3}, **shared)
    assert more == {**record, "reason": "few", "protocol": {"frames": 3}}
    json.dumps(more)


def test_three_seeds_need_no_reason() -> None:
    assert not reason_for_few([0, 1, 2]) and "2 training seed(s)" in reason_for_few([0, 1])


def test_recipes_and_seeds_are_those_of_the_results(tmp_path: Path) -> None:
    for name, seed in (("a", 4), ("b", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"recipe": "pusht/debug", "training_seeds": [seed]}))
    assert recipe_and_seeds([tmp_path / "a", tmp_path / "b"]) == ("pusht/debug", [4, 5])
    assert recipe_and_seeds([tmp_path / "b", tmp_path / "none"]) == ("pusht/debug + unknown", [5, 1])
