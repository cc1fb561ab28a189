import subprocess
import sys

import pytest

from rlvr_world_hf.runs.lock import RunInUseError, locked


HOLDS = """
import sys, time
from pathlib import Path
from rlvr_world_hf.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_run_and_a_killed_one_holds_nothing(tmp_path):
    words = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(RunInUseError, match=rf"process {holder.pid} on .*, since .*; wait for it"),
            locked(tmp_path),
        ):
            pass
        holder.kill()
    with locked(tmp_path):
        pass


def test_an_error_frees_the_run(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "new"):
        raise KeyboardInterrupt
    with locked(tmp_path / "new"):
        pass
