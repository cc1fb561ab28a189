"""Long data take no more memory than short ones: frames and tokens are read from their files as they are needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_ten_thousand_episodes_take_less_than_two_gigabytes(tmp_path: Path, repository: Path) -> None:
    """3.1 GB of frames and 2.6 GB of tokens, of which each alone would not fit."""
    environment = os.environ | {"RLVR_WORLD_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", "tests.long_world", str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, cwd=repository, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    most = json.loads(done.stdout.splitlines()[-1])
    assert all(megabytes < 2000 for megabytes in most.values()), most
