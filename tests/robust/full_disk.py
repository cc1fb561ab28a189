"""Runs on a disk that is full, and then has room again."""

from tests.robust.campaign import Finished, Place, Tally, compare, leftovers
from tests.robust.mounts import CANNOT, mounted, resize


PROMISE = (
    "A full disk ends a run with a sentence that says so, whatever stage it hits, and nothing finished is lost: with "
    "room again, the same command ends with the same weights and numbers."
)

SIZES = ("24k", "160k", "700k", "1200k", "2200k")
"""Of the disk that holds the run's folder and the cache; a whole run needs more than all of them."""


def check(place: Place, tally: Tally) -> None:
    expected = place.finished.results()
    for size in SIZES[1:2] if place.is_quick else SIZES:
        with mounted(place.folder / size, size=size) as is_mounted:
            if not is_mounted:
                tally.skip(CANNOT)
                continue
            run = Finished(place.folder / size)
            ended = place.run(run.folder, run.cache)
            tally.refused(f"a disk of {size}", ended, naming=("No space left", "full", "room"))
            resize(run.place, "64m")
            case = f"room again on a disk of {size}"
            if place.is_quick:  # the rest of the run is tested elsewhere
                tally.succeeded(case, place.run(run.folder, run.cache, command="collect"))
            elif tally.succeeded(case, place.run(run.folder, run.cache)):
                compare(tally, case, run, expected)
                leftovers(tally, case, run.folder, run.cache)
