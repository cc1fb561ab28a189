import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_world_hf.findings.pieces import Pieces, digest_weights


class Measurement:
    """Counts how often it is made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> dict[str, Any]:
        self.made += 1
        return {"mae": 0.5 * self.made}


def test_a_piece_is_measured_once_and_says_how(tmp_path: Path) -> None:
    pieces, measure = Pieces(folder=tmp_path / "pieces"), Measurement()
    settings = {"windows": 8, "place": Path("a")}
    first = pieces.get("base", settings, measure)
    assert first["mae"] == 0.5 and first["settings"] == {"windows": 8, "place": "a"}
    assert {*first} == {"settings", "commit", "machine", "mae"}
    assert pieces.get("base", settings, measure) == first and measure.made == 1
    (file,) = (tmp_path / "pieces").iterdir()
    assert json.loads(file.read_text()) == first


def test_other_names_settings_and_parts_are_other_pieces(tmp_path: Path) -> None:
    pieces, measure = Pieces(folder=tmp_path), Measurement()
    pieces.get("base", {"windows": 8}, measure)
    pieces.get("base", {"windows": 9}, measure)
    pieces.get("rlvr", {"windows": 8}, measure)
    for part in ("7", "8"):
        pieces.get("base", {"windows": 8}, measure, part=part)
    assert measure.made == 5
    names = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.json")}
    digits = "695ebf282812d813"  # of the settings; pieces measured earlier are found by them
    assert {f"base-{digits}.json", f"rlvr-{digits}.json", f"base-{digits}/7.json", f"base-{digits}/8.json"} < names


def test_a_piece_without_settings_is_read_as_it_is(tmp_path: Path) -> None:
    earlier = {"distances": [1.0, None]}
    (tmp_path / "base-695ebf282812d813.json").write_text(json.dumps(earlier))
    measure = Measurement()
    assert Pieces(folder=tmp_path).get("base", {"windows": 8}, measure) == earlier and not measure.made


@pytest.mark.parametrize("value", [float("nan"), KeyboardInterrupt()])
def test_what_fails_leaves_no_piece(tmp_path: Path, value: Any) -> None:
    def measure() -> dict[str, Any]:
        if isinstance(value, BaseException):
            raise value
        return {"mae": value}

    with pytest.raises((ValueError, KeyboardInterrupt)):
        Pieces(folder=tmp_path).get("base", {}, measure)
    assert not list(tmp_path.rglob("*"))


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    (tmp_path / "codec").mkdir()
    for file in (tmp_path / "model.safetensors", tmp_path / "codec" / "model.safetensors"):
        before = digest_weights(tmp_path)
        file.write_bytes(b"one")
        one = digest_weights(tmp_path)
        file.write_bytes(b"two")
        assert len({before, one, digest_weights(tmp_path)}) == 3 and len(one) == 64


def test_a_raised_revision_is_measured_anew_and_the_earlier_piece_stays(tmp_path):
    settings = {"windows": 8}
    first = Pieces(folder=tmp_path).get("base", settings, lambda: {"mae": 0.5})
    raised = Pieces(folder=tmp_path, revision=2)
    assert raised.get("base", settings, lambda: {"mae": 0.25})["mae"] == 0.25
    assert raised.get("base", settings, lambda: {"mae": 0.0})["settings"] == {"revision": 2, "windows": 8}
    assert Pieces(folder=tmp_path).get("base", settings, lambda: {"mae": 0.0}) == first
