"""A rollout's record is what the rest of the library reads."""

import dataclasses

import pytest
import torch

from rlvr_world_hf.rollouts.record import Rollout


def test_group_size_and_immutability() -> None:
    record = Rollout(
        prompt_ids=torch.zeros(2, 3),
        completion_ids=torch.zeros(8, 4),
        model_token_mask=torch.ones(4, dtype=torch.bool),
    )
    assert record.group_size == 4 and record.logprobs is None and record.predicted is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.predicted = torch.zeros(1)  # type: ignore[misc]
