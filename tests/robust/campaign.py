"""
What the subjects of the campaign share: a place to work in, finished runs to damage, and the count of what went wrong.

A subject is a file of this folder with a text `PROMISE`, one sentence of what it holds the library to, and a function
`check(place, tally)`. It is found by its file, runs alone by `python -m tests.robust SUBJECT`, and its cheapest part,
where `place.is_quick`, in `make test`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType

from tests.robust.forks import Command, Ended, Forks


CRASHED, HUNG, LOST, WRONG = KINDS = ("crashed", "hung", "lost", "wrong")
"""
What can go wrong: a raw traceback or a signal where a sentence or data was expected; longer than the stated time;
finished work deleted or a user's file changed; a value out of range, other weights after a resume, a damaged file
taken for a whole one, or a refusal that does not name what it refuses.
"""

PATIENCE = 40.0
"""Seconds of computing that a run of the debug recipe may take; it takes eight."""

RECIPE = "pusht/debug"
STAGES = ("collect", "tokenizer", "pretrain", "grpo", "control", "control_equal_prompts", "evaluate", "predict")
CHECKPOINTS = ("codec", "base", "control", "control_equal_prompts", "rlvr")
MINE = "A user's own file.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that went wrong."""

    kind: str
    """One of `KINDS`."""

    case: str
    """What was done."""

    what: str
    """What came of it."""


class Tally:
    """What came of a subject."""

    def __init__(self, say: Callable[[str], object] = str) -> None:
        self._say = say
        self.tried = 0
        self.faults: list[Fault] = []
        self.skipped: Counter[str] = Counter()

    def fault(self, kind: str, case: str, what: str) -> None:
        """Count a case that went wrong."""
        self.faults.append(Fault(kind=kind, case=case, what=" ".join(what.split())[:300]))
        self._say(f"  {kind}: {case}: {self.faults[-1].what}")

    def skip(self, reason: str, count: int = 1) -> None:
        """Count cases that cannot be tried here."""
        self.skipped[reason] += count

    def counts(self) -> dict[str, int]:
        """The numbers of its line in the table; a case counts once in a column."""
        of = {kind: len({fault.case for fault in self.faults if fault.kind == kind}) for kind in KINDS}
        return {"tried": self.tried, **of, "skipped": self.skipped.total()}

    def refused(self, case: str, ended: Ended | None, *, naming: tuple[str, ...] = (), code: int | None = 2) -> None:
        """Count a command that must end in a sentence with one of the words `naming`."""
        self.tried += 1
        if ended is None:
            self.fault(HUNG, case, "did not end in time")
        elif ended.crash:
            self.fault(CRASHED, case, ended.crash)
        elif ended.code == 0 or not ended.sentence or (code is not None and ended.code != code):
            self.fault(WRONG, case, f"exit code {ended.code}, said {ended.sentence or ended.text[-200:]!r}")
        elif naming and not any(word in ended.text for word in naming):
            self.fault(WRONG, case, f"names none of {', '.join(naming)}: {ended.sentence}")

    def succeeded(self, case: str, ended: Ended | None) -> bool:
        """Count a command that must end well; returns whether it did."""
        self.tried += 1
        if ended is None:
            self.fault(HUNG, case, "did not end in time")
        elif ended.code != 0:
            self.fault(CRASHED if ended.crash else WRONG, case, ended.crash or ended.sentence or ended.text[-200:])
        return ended is not None and ended.code == 0


class Place:
    """Where a subject works: an empty folder of its own, seeded numbers, and processes to run commands in."""

    def __init__(self, folder: Path, *, seed: int, is_quick: bool, forks: Forks | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.seed = seed
        self.is_quick = is_quick
        self.random = Random(f"{seed} {folder.name}")
        self._forks = forks
        self._owned: list[Forks] = []

    @cached_property
    def forks(self) -> Forks:
        """The process that commands are forked from."""
        if self._forks is None:
            (self.folder / "forks").mkdir()
            self._owned.append(Forks(self.folder / "forks"))
            return self._owned[0]
        return self._forks

    def close(self) -> None:
        """End the process that commands are forked from."""
        for forks in self._owned:
            forks.close()

    def start(self, folder: Path, cache: Path, *words: str, command: str = "run") -> Command:
        """Start the debug recipe, or one stage of it."""
        given = (command, RECIPE, "--output_dir", str(folder), *words)
        return self.forks.start(*given, environment={"RLVR_WORLD_CACHE": str(cache)})

    def run(
        self, folder: Path, cache: Path, *words: str, command: str = "run", patience: float = PATIENCE
    ) -> Ended | None:
        """Run the debug recipe, or one stage of it, to its end."""
        return self.start(folder, cache, *words, command=command).wait(patience)

    @cached_property
    def finished(self) -> Finished:
        """A finished run of the debug recipe, never changed; subjects copy it."""
        run = Finished(self.folder.parent / "finished")
        if not run.folder.exists():
            ended = self.run(run.folder, run.cache)
            assert ended is not None and ended.code == 0, f"the debug recipe itself fails: {ended and ended.text}"
        return run


class Finished:
    """A run with its cache, in one folder that can be copied."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = place / "run"
        self.cache = place / "cache"

    @contextmanager
    def copied(self, place: Path) -> Iterator[Finished]:
        """A copy, deleted afterwards. Episodes and tokens are found by the same names there."""
        shutil.copytree(self.place, place, symlinks=True)
        try:
            yield Finished(place)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    @cached_property
    def files(self) -> list[Path]:
        """All files of run and cache that hold something, each once, relative to the place; locks hold nothing."""
        found = (path for path in self.place.rglob("[!.]*") if path.is_file() and not path.is_symlink())
        return sorted({path.resolve().relative_to(self.place.resolve()) for path in found})

    @cached_property
    def made(self) -> set[Path]:
        """Those of the files that the run is for: what is found in its folder without its stages, links followed."""
        entries = (entry for entry in self.folder.iterdir() if entry.name != "stages")
        found = (path for entry in entries for path in ([entry] if entry.is_file() else entry.resolve().rglob("*")))
        return {path.resolve().relative_to(self.place.resolve()) for path in found if path.is_file()}

    def stage_folder(self, name: str) -> Path:
        """The folder with the records of a stage, in either layout."""
        return next((self.folder / "stages" / name).rglob("started.json")).parent

    def results(self, only: tuple[str, ...] = ()) -> dict[str, str]:
        """Digests of the final weights, and of the numbers measured with them; or only of some checkpoints."""
        found = {}
        for name in only or CHECKPOINTS:
            for path in sorted((self.folder / name).rglob("*.safetensors")):
                found[str(path.relative_to(self.folder))] = digest(path)
        if only:
            return found
        rows = json.loads((self.folder / "results.json").read_text(encoding="utf-8"))["rows"]
        return {**found, "results.json": json.dumps(rows, sort_keys=True)}

    def plant(self) -> dict[Path, str]:
        """Put files of a user's own beside the run's; returns them."""
        stage = self.folder / "stages"
        places = [self.folder, stage, *(path.parent for path in stage.rglob("started.json"))]
        for place in places:
            (place / "notes-of-mine.txt").write_text(MINE)
        return {place / "notes-of-mine.txt": MINE for place in places}


def digest(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def lost(tally: Tally, case: str, planted: dict[Path, str]) -> None:
    """Count a user's files that are gone or changed."""
    for path, text in planted.items():
        if not path.is_file() or path.read_text() != text:
            tally.fault(LOST, case, f"a user's file is gone or changed: {path.parent.name}/{path.name}")


def leftovers(tally: Tally, case: str, *places: Path) -> None:
    """Count hidden drafts that nobody will clean up."""
    for place in places:
        for path in place.rglob("*"):
            if path.name.endswith(".draft") or (path.name.startswith(".") and path.is_dir()):
                tally.fault(WRONG, case, f"a draft is left: {path.relative_to(place)}")


def compare(tally: Tally, case: str, run: Finished, expected: dict[str, str], *, only: tuple[str, ...] = ()) -> None:
    """Count a run whose weights or numbers, or `only` those of some checkpoints, differ in a bit from the expected."""
    try:
        found = run.results(only)
    except (OSError, ValueError, KeyError, TypeError) as error:
        tally.fault(WRONG, case, f"ended well without whole results: {type(error).__name__}: {error}")
        return
    asked = {name: value for name, value in expected.items() if not only or name.split("/")[0] in only}
    differing = sorted(name for name in asked.keys() | found.keys() if asked.get(name) != found.get(name))
    if differing:
        tally.fault(WRONG, case, f"ended well, but other than expected: {', '.join(differing)}")


def subjects() -> dict[str, ModuleType]:
    """The subjects by their names: the files of this folder that have a `check`."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        names = {getattr(node, "name", "") for node in ast.parse(path.read_text(encoding="utf-8")).body}
        if "check" in names:
            found[path.stem] = import_module(f"tests.robust.{path.stem}")
    return found
