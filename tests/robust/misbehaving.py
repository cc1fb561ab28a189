"""Commands that go wrong in every way there is, to see that each is noticed; imports nothing that takes time."""

import os
import signal
import sys
import time


def misbehave(what: str, said: str = "") -> int:
    """In a fork: end in some way, or not at all."""
    if what == "raise":
        raise RuntimeError("a bug")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "sleep":
        time.sleep(60)
    sys.stderr.write(f"{said}\n")
    return int(what)
