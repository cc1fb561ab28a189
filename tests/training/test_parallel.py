import torch

from rlvr_world_hf.training.parallel import average_gradients, is_first_process, process_part


def test_a_single_process_has_the_whole_batch_and_its_own_gradients() -> None:
    assert range(3)[process_part(3)] == range(3)
    assert is_first_process()
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    average_gradients([parameter])
    assert parameter.grad.tolist() == [1, 1]
