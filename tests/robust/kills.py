"""Runs that are killed at seeded moments, in every stage, and resumed."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.robust.campaign import (
    HUNG,
    PATIENCE,
    RECIPE,
    STAGES,
    WRONG,
    Finished,
    Place,
    Tally,
    compare,
    leftovers,
)


PROMISE = (
    "A run that is killed at any moment goes on with the same command, and ends with the weights and numbers of one "
    "that was not killed, bit for bit."
)

ROUNDS = 3
"""Runs that are killed once in every stage."""

WORDS = ("--tokenizer.save_steps", "5")
"""Without it, the tokenizer of the debug recipe is done before it saves anything to resume from."""

BEGINS = re.compile(r"^(\w+): (?:running|resuming) in ", re.MULTILINE)


def check(place: Place, tally: Tally) -> None:
    if place.is_quick:
        run = Finished(place.folder / "killed")
        _kill_through(place, tally, run, ("pretrain",), place.finished.results(), command="pretrain")
        return
    expected = _unkilled(place.folder / "unkilled")
    killed_in: set[str] = set()
    for number in range(ROUNDS):
        killed_in |= _kill_through(place, tally, Finished(place.folder / f"killed-{number}"), STAGES, expected)
    for stage in set(STAGES) - killed_in:
        tally.fault(WRONG, f"kills in {stage}", f"the moment was missed {ROUNDS} times")


def _unkilled(folder: Path) -> dict[str, str]:
    """Results of a run in an ordinary process, not forked from one that imported the library before."""
    run = Finished(folder)
    code = "import sys; from rlvr_world_hf.commands.cli import main; sys.exit(main())"
    root = str(Path(__file__).resolve().parents[2])
    settings = {"RLVR_WORLD_CACHE": str(run.cache), "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, "run", RECIPE, "--output_dir", str(run.folder), *WORDS]
    subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True, timeout=4 * PATIENCE)
    return run.results()


def _kill_through(
    place: Place,
    tally: Tally,
    run: Finished,
    stages: tuple[str, ...],
    expected: dict[str, str],
    *,
    command: str = "run",
) -> set[str]:
    """
    Kill a run in each of some stages, resume it each time, and compare its end with the expected one; returns the
    stages in which it was killed. A short stage may be over before: that kill is one in the next.
    """
    only = () if command == "run" else ("codec", "base")
    done = []
    for stage in stages:
        tally.tried += 1
        done.append(_kill_in(place, run, stage, command=command))
    case = f"{run.place.name}: kills in {', '.join(done)}"
    ended = place.run(run.folder, run.cache, *WORDS, command=command)
    if ended is None:
        tally.fault(HUNG, case, "the resumed run did not end")
    elif ended.code:
        tally.fault("crashed" if ended.crash else WRONG, case, ended.crash or ended.sentence or ended.text[-200:])
    else:
        compare(tally, case, run, expected, only=only)
        leftovers(tally, case, run.folder, run.cache)
    return set(done)


def _kill_in(place: Place, run: Finished, stage: str, *, command: str) -> str:
    """Kill a run at a moment of a stage; returns the stage in which it was killed."""
    killed = place.start(run.folder, run.cache, *WORDS, command=command)
    end = time.monotonic() + PATIENCE
    begun = None
    # At most a second: so long does the shortest stage take; a stage that has ended by then is resumed, not killed.
    delay = place.random.uniform(0.0, 0.6)
    while time.monotonic() < end and not killed.poll():
        found = BEGINS.findall(killed.text())
        if found and found[-1] == stage and begun is None:
            begun = time.monotonic()
        # At the first sight of the next stage, the moment has passed.
        if begun is not None and (time.monotonic() - begun >= delay or found[-1] != stage):
            break
        time.sleep(0.005)
    killed.kill()
    ended = killed.wait(PATIENCE)
    found = BEGINS.findall(ended.text if ended else "")
    return found[-1] if found else "no stage"
