import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlvr_world_hf.findings.attempts import (
    Comparison,
    Row,
    find_checkpoints,
    make_attempts,
    measure_agents,
    seed_of_start,
    summarize_rows,
    summarize_starts,
    values_by_start,
)
from rlvr_world_hf.findings.pieces import Pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Thrown:
    """An attempt of nothing."""

    score: float


class Game:
    """Makes attempts, and stops in the middle if told so."""

    def __init__(self, gain: float = 0.0) -> None:
        self.gain = gain
        self.starts: list[int] = []
        self.stop_at = -1

    def __call__(self, start: int) -> Thrown:
        if start == self.stop_at:
            raise KeyboardInterrupt
        self.starts.append(start)
        return Thrown(score=start + self.gain)


def rows(*games: Game, seed: int = 0) -> list[Row]:
    names = ["base", "base", "rlvr"]
    return [
        Row(name=name, settings={"seed": seed, "number": number}, try_start=game)
        for number, (name, game) in enumerate(zip(names, games, strict=True))
    ]


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    games, pieces = (Game(), Game(1.0), Game(2.0)), Pieces(folder=tmp_path)
    games[2].stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        make_attempts(rows(*games), [7, 8], pieces)
    games[2].stop_at = -1
    attempts = make_attempts(rows(*games), [7, 8], pieces)
    assert [game.starts for game in games] == [[7, 8]] * 3, "none was made twice"
    assert [[piece["score"] for piece in of_seed] for of_seed in attempts["base"]] == [[7.0, 8.0], [8.0, 9.0]]
    last = attempts["rlvr"][0][1]
    assert (last["start"], last["score"], last["settings"]) == (8, 10.0, {"seed": 0, "number": 2})
    make_attempts(rows(*games, seed=1), [7], pieces)
    assert games[0].starts == [7, 8, 7], "other settings, other attempts"


def test_an_attempt_of_an_earlier_version_is_found_and_not_made_again(tmp_path: Path) -> None:
    earlier = tmp_path / "base-252decf67044ec57" / "7.json"
    earlier.parent.mkdir()
    earlier.write_text(json.dumps({"start": 7, "commit": "a1", "machine": "m", "score": 0.5}))
    game = Game()
    row = Row(name="base", settings={"seed": 0, "number": 0}, try_start=game)
    assert make_attempts([row], [7], Pieces(folder=tmp_path))["base"][0][0]["score"] == 0.5 and not game.starts


def test_a_start_counts_once_whatever_the_number_of_training_seeds(tmp_path: Path) -> None:
    attempts = make_attempts(rows(Game(), Game(1.0), Game(2.0)), [7, 8], Pieces(folder=tmp_path))
    values = {name: values_by_start(of_seeds, lambda piece: {"score": piece["score"]})
              for name, of_seeds in attempts.items()}  # fmt: skip
    assert values["base"] == {"score": {7: [7.0, 8.0], 8: [8.0, 9.0]}}
    summed = summarize_rows({"base": values["base"]})
    assert summed["rows"]["base"]["score"]["values"] == [7.5, 8.5] and not summed["differences"]
    assert summed["rows"]["base"]["score"]["by_seed"] == [[7.0, 8.0], [8.0, 9.0]]


def test_differences_are_paired_by_start_and_seed() -> None:
    """What all rows have in common, good starts and good seeds, leaves no doubt in a difference."""
    base = {start: [float(start + seed) for seed in range(2)] for start in range(3)}
    rlvr, control = ({start: [value + gain for value in of_start] for start, of_start in base.items()}
                     for gain in (1.5, 1.0))  # fmt: skip
    rows = {"base": {"score": base}, "control": {"score": control}, "rlvr": {"score": rlvr}}
    summed = summarize_rows(rows)
    assert list(summed["differences"]) == ["rlvr - base", "rlvr - control"]
    for name, gain in (("rlvr - base", 1.5), ("rlvr - control", 0.5)):
        found = summed["differences"][name]["score"]
        assert (found["mean"], found["low"], found["high"], found["n"]) == (gain, gain, gain, 3)
    assert summed["rows"]["base"]["score"]["low"] < 1.5 < summed["rows"]["base"]["score"]["high"]


def test_all_agents_try_the_same_starts_with_the_same_seeds(tmp_path: Path) -> None:
    for run, seed in (("a", 4), ("b", 5)):
        for name in ("base", "rlvr"):
            (tmp_path / run / name).mkdir(parents=True)
            (tmp_path / run / name / "model.safetensors").write_text(f"{run} {name}")
        (tmp_path / run / "results.json").write_text(json.dumps({"recipe": "nothing/debug", "training_seeds": [seed]}))
    asked: list[tuple[str, int, int]] = []

    def agent(name: str, gain: float) -> Callable[[int, int], float]:
        def decide(world: int, seed: int) -> float:
            asked.append((name, world, seed))
            return gain

        return decide

    comparison = Comparison(
        finding="throws",
        begin=lambda start: start,
        attempt=lambda world, decides: Thrown(score=world + decides),
        without_model={"random": agent("random", 0.0)},
        with_model=lambda checkpoint: agent(checkpoint.name, 2.0 if checkpoint.name == "rlvr" else 1.0),
        with_true_world={"world": agent("world", 3.0)},
        metrics_of=lambda piece: {"score": piece["score"]},
        protocol={"throws": 1},
    )
    runs = [tmp_path / "a", tmp_path / "b"]
    path, attempts = measure_agents(comparison, runs, folder=tmp_path / "out", starts=2, first_start=10)
    record: dict[str, Any] = json.loads(path.read_text())
    assert [*record["rows"]] == [*attempts] == ["random", "base", "rlvr", "world"] and path.name == "throws.json"
    assert [len(of_seeds) for of_seeds in attempts.values()] == [1, 2, 2, 1]
    assert record["rows"]["world"]["score"]["values"] == [13.0, 14.0]
    assert record["differences"]["rlvr - base"]["score"]["values"] == [1.0, 1.0]
    assert (record["recipe"], record["training_seeds"], record["sampling_seeds"]) == ("nothing/debug", [4, 5], [0])
    assert record["reason"].startswith("2 training seed(s)") and record["protocol"] == {"throws": 1}
    assert len(asked) == 6 * 2 and len({(world, seed) for _, world, seed in asked}) == 2
    measure_agents(comparison, runs, folder=tmp_path / "out", starts=2, first_start=10)
    assert len(asked) == 6 * 2, "all pieces are there"
    assert [len(set(of_runs)) for of_runs in record["weights"].values()] == [2, 2]


def test_a_summary_has_an_interval() -> None:
    summary = summarize_starts(np.array([[0.0, 1.0, 1.0, 0.0]]))
    assert summary["mean"] == 0.5 and summary["n"] == 4 and summary["low"] < 0.5 < summary["high"]
    assert summarize_starts(np.zeros((1, 0))) == {}


def test_seeds_differ_between_starts() -> None:
    assert len({seed_of_start(seed, start) for seed in range(3) for start in range(3)}) == 9


def test_checkpoints_must_be_there(tmp_path: Path) -> None:
    for name in ("base", "rlvr"):
        (tmp_path / "run" / name).mkdir(parents=True)
    assert find_checkpoints([tmp_path / "run"], 1)["rlvr"] == [tmp_path / "run" / "rlvr"]
    with pytest.raises(FileNotFoundError, match="no checkpoint .*other/base"):
        find_checkpoints([tmp_path / "other"], 1)
    with pytest.raises(ValueError, match="at least one run and one start"):
        find_checkpoints([], 1)
