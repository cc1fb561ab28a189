import signal

import pytest

from rlvr_world_hf.workers import worker_pool


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_workers_are_deaf_to_ctrl_c_and_this_process_is_not(start: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    with worker_pool(1, start=start) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before is not signal.SIG_IGN
