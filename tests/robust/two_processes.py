"""Two commands on one folder, or on one cache, at the same time."""

import time

from tests.robust.campaign import PATIENCE, WRONG, Finished, Place, Tally, compare, leftovers
from tests.robust.forks import Command


PROMISE = (
    "A second command on a folder that is in use is told which process uses it, and changes nothing; two runs may "
    "share a cache; a folder left by a killed run is free."
)


def check(place: Place, tally: Tally) -> None:
    expected = place.finished.results()
    of, only = ("pretrain", ("codec", "base")) if place.is_quick else ("run", ())
    for moment in ("tokenizer",) if place.is_quick else ("collect", "tokenizer", "grpo", "evaluate"):
        run = Finished(place.folder / f"shared-in-{moment}")
        first = place.start(run.folder, run.cache, command=of)
        _wait_for(first, f"{moment}: running in")
        case = f"a second command during {moment}"
        second = place.run(run.folder, run.cache, patience=20.0)
        tally.refused(case, second, naming=(str(first.pid),))
        if not place.is_quick:
            alone = place.start(run.folder, run.cache, command="predict").wait(20.0)
            tally.refused(f"a stage alone during {moment}", alone, naming=(str(first.pid),))
        ended = first.wait(PATIENCE)
        if tally.succeeded(f"the first command, {case}", ended):
            compare(tally, f"the first command, {case}", run, expected, only=only)
            leftovers(tally, f"the first command, {case}", run.folder, run.cache)
    if place.is_quick:
        return
    cache = place.folder / "cache"
    runs = [Finished(place.folder / name) for name in ("one", "other")]
    commands = [place.start(run.folder, cache) for run in runs]
    for run, command in zip(runs, commands, strict=True):
        case = f"{run.place.name} of two runs with one cache"
        if tally.succeeded(case, command.wait(2 * PATIENCE)):
            compare(tally, case, run, expected)
    run = Finished(place.folder / "left")
    first = place.start(run.folder, run.cache)
    if not _wait_for(first, "pretrain: running in"):
        tally.fault(WRONG, "a folder left by a killed run", "pretrain did not begin")
    first.kill()
    first.wait(PATIENCE)
    case = "a folder left by a killed run"
    if tally.succeeded(case, place.run(run.folder, run.cache)):
        compare(tally, case, run, expected)


def _wait_for(command: Command, words: str) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not command.poll():
        if words in command.text():
            return True
        time.sleep(0.005)
    return False
