import os

import pytest

from rlvr_world_hf.evaluation.provenance import machine
from rlvr_world_hf.rewards.cores import usable_cores


def test_cores_are_counted_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5}, raising=False)
    assert usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7 and "7 cores" in machine()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1 and "1 core," in machine()
