import pytest
import torch
from torch import distributed

from rlvr_world_hf.training.parallel import average_gradients, is_first_process, process_part, share_weights
from rlvr_world_hf.training.stopping import Asked


def test_a_single_process_has_the_whole_batch_and_its_own_gradients() -> None:
    assert range(3)[process_part(3)] == range(3)
    assert is_first_process()
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    average_gradients([parameter])
    assert parameter.grad.tolist() == [1, 1]


def test_a_build_of_torch_that_knows_of_no_other_processes_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_available", lambda: False)
    monkeypatch.delattr(distributed, "is_initialized")
    test_a_single_process_has_the_whole_batch_and_its_own_gradients()
    share_weights(torch.nn.Linear(2, 2))
    assert not Asked().by_any_process("cpu")
