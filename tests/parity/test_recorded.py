"""The recorded numbers in the repository are those of the official code, byte for byte, and no more than a few."""

from pathlib import Path


def test_they_are_the_golden_ones(recorded_numbers: Path, golden: Path) -> None:
    files = [file for file in recorded_numbers.iterdir() if file.suffix in (".npz", ".json")]
    assert len(files) == 4
    for file in files:
        assert file.read_bytes() == (golden / file.name).read_bytes(), file.name
    assert sum(file.stat().st_size for file in files) < 200_000
