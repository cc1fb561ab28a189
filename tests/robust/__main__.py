"""`python -m tests.robust [SUBJECT ...]`: the campaign, written down; or some of its subjects, with `--write` also."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.robust.campaign import Place, Tally, subjects
from tests.robust.forks import Forks
from tests.robust.page import record_of, table_of, write_page


def main() -> int:
    found = subjects()
    parser = argparse.ArgumentParser(prog="python -m tests.robust", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(found)}; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--quick", action="store_true", help="only the part that `make test` runs")
    parser.add_argument("--write", action="store_true", help="write down what some subjects found, beside the others")
    parser.add_argument("--keep", action="store_true", help="keep the folder in which it works")
    asked = parser.parse_args()
    unknown = sorted(set(asked.subjects) - found.keys())
    if unknown:
        parser.error(f"no subject {', '.join(unknown)}; there are {', '.join(found)}")
    begun = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="rlvr_world_robust_"))
    (root / "forks").mkdir()
    forks = Forks(root / "forks")
    tallies: dict[str, Tally] = {}
    seconds: dict[str, float] = {}
    try:
        for name in asked.subjects or found:
            start = forks.computed() + time.process_time()
            tallies[name] = tally = Tally(say)
            place = Place(root / name, seed=asked.seed, is_quick=asked.quick, forks=forks)
            found[name].check(place, tally)
            seconds[name] = forks.computed() + time.process_time() - start
            shutil.rmtree(root / name, ignore_errors=True)
            counts = ", ".join(f"{count} {kind}" for kind, count in tally.counts().items())
            say(f"{name}: {counts} in {seconds[name]:.0f} s of computing")
            if asked.write or not (asked.subjects or asked.quick):
                write_page(record_of({name: tally}, seconds, seed=asked.seed))
            for reason, count in tally.skipped.items():
                say(f"  skipped {count}: {reason}")
    finally:
        forks.close()
        if not asked.keep:
            shutil.rmtree(root, ignore_errors=True)
    say(f"\n{table_of(record_of(tallies, seconds, seed=asked.seed))}\n\n{time.monotonic() - begun:.0f} s in all")
    return 1 if any(tally.faults for tally in tallies.values()) else 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
