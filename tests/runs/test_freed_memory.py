import subprocess
import sys

import pytest

from rlvr_world_hf.runs.freed_memory import SET_BY_USERS, keep_freed_memory


COUNT = """
import resource, sys
import torch
from rlvr_world_hf.runs.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(32):
    torch.ones(2**24)  # 64 MiB; where it settles depends on small blocks between
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="how glibc gives memory back")
def test_what_was_freed_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SET_BY_USERS:
        monkeypatch.delenv(name, raising=False)
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", COUNT, word], capture_output=True, text=True, check=True).stdout)
        for word in ("give", "keep")
    )
    assert kept < given_back / 10


@pytest.mark.parametrize("name", SET_BY_USERS)
def test_what_users_chose_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert keep_freed_memory() is False
