"""A cost whose least point is known."""

from collections.abc import Callable

import pytest
import torch

from rlvr_world_hf.planning.planner import ActionBox


TARGET = torch.tensor([[0.5, -3.0], [-0.25, 1.0], [0.0, 2.0]])
"""The best actions `(3, 2)`: all within the box."""


@pytest.fixture
def box() -> ActionBox:
    return ActionBox(low=(-1.0, -4.0), high=(1.0, 4.0))


@pytest.fixture
def quadratic() -> Callable[[torch.Tensor], torch.Tensor]:
    """The squared distance from `TARGET`, each dimension in the width of the box."""
    return lambda candidates: ((candidates - TARGET) / torch.tensor([2.0, 8.0])).square().sum(dim=(1, 2))


@pytest.fixture
def target() -> torch.Tensor:
    return TARGET
