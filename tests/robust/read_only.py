"""Folders that cannot be written to."""

import shutil

from tests.robust.campaign import Finished, Place, Tally, compare
from tests.robust.mounts import CANNOT, make_read_only, mounted


PROMISE = (
    "A folder that cannot be written to is named in a sentence before anything is trained; a finished run in one is "
    "still read."
)


def check(place: Place, tally: Tally) -> None:
    finished = place.finished
    with mounted(place.folder / "disk", size="64m") as is_mounted:
        if not is_mounted:
            tally.skip(CANNOT, 2 if place.is_quick else 5)
            return
        run = Finished(place.folder / "disk" / "finished")
        shutil.copytree(finished.place, run.place, symlinks=True)
        make_read_only(place.folder / "disk")
        here, there = place.folder / "here", place.folder / "disk"
        ended = place.run(there / "new", here / "cache")
        tally.refused("a new run in a read-only folder", ended, naming=(str(there),))
        case = "a finished run in a read-only folder"
        if tally.succeeded(case, place.run(run.folder, run.cache)):
            compare(tally, case, run, finished.results())
        if place.is_quick:
            return
        ended = place.run(run.folder, run.cache, "--pretrain.learning_rate", "1e-5")
        tally.refused("another setting for a finished run in a read-only folder", ended, naming=(str(there),))
        ended = place.run(here / "new", there / "cache")
        tally.refused("a read-only cache", ended, naming=(str(there),))
        file = place.folder / "file"
        file.write_text("A file.\n")
        tally.refused("a file in place of the folder", place.run(file, here / "cache"), naming=(str(file),))
        tally.refused("a folder below a file", place.run(file / "run", here / "cache"), naming=(str(file),))
