"""The cheapest part of each subject of `make test-robust`, and what its page says."""

import json
from pathlib import Path

import pytest

from tests.robust.campaign import KINDS, Place, Tally, subjects
from tests.robust.command_line import wrong_value
from tests.robust.forks import Forks
from tests.robust.page import PAGE, RECORD, table_of


SUBJECTS = subjects()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("robust")


def test_subjects_are_found() -> None:
    assert {"kills", "damaged_files", "fuzzed_answers", "hostile_checkpoints", "endpoints"} <= SUBJECTS.keys()


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_cheapest_part_finds_nothing_wrong(name: str, root: Path, forks: Forks) -> None:
    tally = Tally()
    SUBJECTS[name].check(Place(root / name, seed=0, is_quick=True, forks=forks), tally)
    assert not tally.faults, "\n".join(f"{fault.kind}: {fault.case}: {fault.what}" for fault in tally.faults)
    assert tally.tried or tally.skipped


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        pytest.param(["raise"], None, "crashed", id="a traceback"),
        pytest.param(["kill"], None, "crashed", id="a signal"),
        pytest.param(["sleep"], None, "hung", id="no end"),
        pytest.param(["0"], 2, "wrong", id="accepted"),
        pytest.param(["2"], 2, "wrong", id="refused without a sentence"),
        pytest.param(["2", "rlvr-world: no."], 2, "wrong", id="refused without the name"),
        pytest.param(["2", "rlvr-world: no such key 'a'."], 2, None, id="refused by name"),
    ],
)
def test_what_goes_wrong_is_counted(words: list[str], code: int | None, kind: str | None, forks: Forks) -> None:
    tally = Tally()
    ended = forks.run(*words, call="tests.robust.misbehaving:misbehave", patience=0.2)
    tally.refused("a case", ended, naming=("'a'",), code=code)
    assert tally.counts() == {"tried": 1, **{name: int(name == kind) for name in KINDS}, "skipped": 0}


def test_words_that_a_type_refuses() -> None:
    assert wrong_value(int) == wrong_value(float | None) == wrong_value(list[int]) == "no-such-value"
    assert wrong_value(str) is wrong_value(Path) is wrong_value(int | str) is None


def test_the_page_names_every_promise_and_has_the_table_of_the_record() -> None:
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    for name, subject in SUBJECTS.items():
        assert " ".join(subject.PROMISE.split()) in page, f"{name}: docs/reliability.md must have: {subject.PROMISE}"
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record.keys() == SUBJECTS.keys(), "run `make test-robust`"
    assert all({*of} >= {"commit", "machine", "seed", "seconds", "faults", "reasons"} for of in record.values())
    assert " ".join(table_of(record).split()) in page, f"docs/reliability.md must have:\n{table_of(record)}"
