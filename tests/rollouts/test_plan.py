"""What a plan says of completions before they are sampled."""

import torch

from rlvr_world_hf.rollouts.plan import Plan


def test_the_world_writes_some_positions_of_steps() -> None:
    plan = Plan.of_steps(
        torch.tensor([[5, -1, 6, -1], [7, -1, 8, -1]]), torch.tensor([[0, 9], [2, 4], [0, 9], [3, 5]])
    )
    assert (plan.length, plan.positions, plan.end_ids) == (4, [1, 3], ())
    assert plan.ranges is not None and [plan.ranges[position] for position in plan.positions] == [(2, 4), (3, 5)]


def test_the_model_writes_all_of_a_text() -> None:
    plan = Plan(length=3, end_ids=(7, 9))
    assert plan.positions == [0, 1, 2] and plan.ranges is None
