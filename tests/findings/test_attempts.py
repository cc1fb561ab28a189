from dataclasses import dataclass
from pathlib import Path

import pytest

from rlvr_world_hf.findings.attempts import (
    Row,
    digest_weights,
    evidence_record,
    find_checkpoints,
    make_attempts,
    mean_by_start,
    seed_of_start,
    summarize_starts,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thrown:
    """An attempt of nothing."""

    score: float


class Game:
    """Makes attempts, and stops in the middle if told so."""

    def __init__(self, gain: float = 0.0) -> None:
        self.gain = gain
        self.played: list[int] = []
        self.stop_at = -1

    def __call__(self, start: int) -> Thrown:
        if start == self.stop_at:
            raise KeyboardInterrupt
        self.played.append(start)
        return Thrown(score=start + self.gain)


def rows(*games: Game, seed: int = 0) -> list[Row]:
    names = ["base", "base", "rlvr"]
    return [
        Row(name=name, settings={"seed": seed, "number": number}, try_start=game)
        for number, (name, game) in enumerate(zip(names, games, strict=True))
    ]


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    games = Game(), Game(1.0), Game(2.0)
    games[2].stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        make_attempts(rows(*games), [7, 8], tmp_path)
    games[2].stop_at = -1
    of_rows = make_attempts(rows(*games), [7, 8], tmp_path)
    assert [game.played for game in games] == [[7, 8]] * 3, "none was made twice"
    assert [[piece["score"] for piece in of_seed] for of_seed in of_rows["base"]] == [[7.0, 8.0], [8.0, 9.0]]
    assert of_rows["rlvr"][0][1] | {"commit": "", "machine": ""} == {
        "start": 8,
        "score": 10.0,
        "commit": "",
        "machine": "",
    }
    make_attempts(rows(*games, seed=1), [7], tmp_path)
    assert games[0].played == [7, 8, 7], "other settings, other attempts"


def test_a_start_counts_once_whatever_the_number_of_training_seeds(tmp_path: Path) -> None:
    of_rows = make_attempts(rows(Game(), Game(1.0), Game(2.0)), [7, 8], tmp_path)
    measured = {
        name: mean_by_start(pieces, lambda piece: {"score": piece["score"]}) for name, pieces in of_rows.items()
    }
    assert measured["base"] == {"score": {7: 7.5, 8: 8.5}}
    record = evidence_record("nothing", ["a", "b"], of_rows, measured, seed=0, starts=2, protocol={"decisions": 1})
    wanted = {"finding", "recipe", "commit", "machine", "n", "training_seeds", "sampling_seeds", "rows"}
    assert wanted <= record.keys() and "2 training seed(s)" in record["reason"]
    assert record["rows"]["base"]["score"]["values"] == [7.5, 8.5]
    assert record["differences"]["rlvr - base"]["score"]["mean"] == 1.5
    assert record["differences"]["rlvr - base"]["score"]["low"] == 1.5


def test_a_summary_has_an_interval() -> None:
    summary = summarize_starts([0.0, 1.0, 1.0, 0.0])
    assert summary["mean"] == 0.5 and summary["n"] == 4 and summary["low"] < 0.5 < summary["high"]
    assert summarize_starts([]) == {}


def test_seeds_and_weights_are_told_apart(tmp_path: Path) -> None:
    assert len({seed_of_start(seed, start) for seed in range(3) for start in range(3)}) == 9
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = digest_weights(tmp_path)
    weights.write_bytes(b"two")
    assert digest_weights(tmp_path) != first


def test_checkpoints_must_be_there(tmp_path: Path) -> None:
    for name in ("base", "rlvr"):
        (tmp_path / "run" / name).mkdir(parents=True)
    assert find_checkpoints([tmp_path / "run"], 1)["rlvr"] == [tmp_path / "run" / "rlvr"]
    with pytest.raises(FileNotFoundError, match="no checkpoint .*other/base"):
        find_checkpoints([tmp_path / "other"], 1)
    with pytest.raises(ValueError, match="at least one run and one start"):
        find_checkpoints([], 1)
