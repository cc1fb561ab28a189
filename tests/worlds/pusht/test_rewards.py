import pytest
import torch

from rlvr_world_hf.rewards import AgentPositionReward


AGENT = torch.tensor([65, 105, 225])[:, None, None] / 255


def draw_frame(x: int, y: int) -> torch.Tensor:
    frame = torch.ones(3, 64, 64)
    frame[:, y - 2 : y + 2, x - 2 : x + 2] = AGENT
    return frame


def test_the_error_is_the_mean_of_both_directions() -> None:
    reward = AgentPositionReward()
    error = reward.metric(draw_frame(20, 30)[None, None], draw_frame(24, 22)[None, None])
    assert error.item() == pytest.approx((4 + 8) / 2 / 64, abs=1e-6)


def test_a_lost_agent_has_error_one_and_is_counted() -> None:
    logged: dict[str, float] = {}
    reference = torch.stack([draw_frame(20, 30)] * 2)
    predicted = torch.stack([draw_frame(20, 30), torch.ones(3, 64, 64)])
    rewards = AgentPositionReward()(predicted=[predicted], reference=[reference], log_metric=logged.__setitem__)
    assert rewards == pytest.approx([-0.5], abs=1e-6)
    assert logged == {"parse_failure": 0.0, "agent_not_found": 0.5}


def test_a_reference_without_agent_is_left_out() -> None:
    empty = torch.ones(1, 3, 64, 64)
    assert AgentPositionReward()(predicted=[draw_frame(20, 30)[None]], reference=[empty]) == [None]
