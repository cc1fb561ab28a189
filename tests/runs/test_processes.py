import pytest

from rlvr_world_hf.runs import processes as processes_module
from rlvr_world_hf.runs.processes import Processes


def test_a_single_process_has_nothing_to_part_from() -> None:
    Processes().part()


LAUNCHED = {"ACCELERATE_MIXED_PRECISION": "no"}


@pytest.mark.parametrize(
    ("environment", "warns"),
    [
        (LAUNCHED | {"MASTER_ADDR": "127.0.0.1"}, True),  # `accelerate launch --cpu --num_processes 2`
        (LAUNCHED, False),  # one process was asked for
        (LAUNCHED | {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "1"}, False),
        ({"MASTER_ADDR": "127.0.0.1"}, False),  # no launcher
    ],
)
def test_a_process_that_was_to_be_several_says_so_once(environment, warns, monkeypatch, caplog):
    for name in ("ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    processes_module._warn_of_missing_processes.cache_clear()
    Processes(), Processes()
    assert sum("ACCELERATE_USE_CPU" in message for message in caplog.messages) == warns


def test_a_single_process_has_all_batches_and_nobody_to_exchange_with():
    processes = Processes()
    assert processes.exchange(3) == [3]
    assert [*range(4)][processes.share.part] == [0, 1, 2, 3]
    with processes.first_before_others():
        assert processes.is_first
