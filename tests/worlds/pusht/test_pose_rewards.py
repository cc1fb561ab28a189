import math
from typing import Any

import pytest
import torch

from rlvr_world_hf.planning.goal_cost import GoalCost
from rlvr_world_hf.worlds.pusht.pose import draw_block, pose_of_states
from rlvr_world_hf.worlds.pusht.pose_rewards import ANGLE_WEIGHT, BlockPoseReward


BLOCK = torch.tensor([142.8, 163.2, 183.6])[:, None, None] / 255
AGENT = torch.tensor([65, 105, 225])[:, None, None] / 255


def draw(x: float, y: float, degrees: float, *, agent: tuple[float, float] | None = (0.1, 0.1)) -> torch.Tensor:
    """A table with the block at a place and the agent at another, as fractions of the frame: `(3, 64, 64)`."""
    share = draw_block(torch.tensor([x, y, math.radians(degrees)]), 64)
    frame = 1 - share * (1 - BLOCK)
    if agent is not None:
        line = (torch.arange(64) + 0.5) / 64
        is_agent = (line - agent[0])[None] ** 2 + (line - agent[1])[:, None] ** 2 < (15 / 512) ** 2
        frame = torch.where(is_agent, AGENT, frame)
    return frame


def reward_of(predicted: torch.Tensor, reference: torch.Tensor, **settings: Any) -> float | None:
    return BlockPoseReward(**settings)(predicted=[predicted[None]], reference=[reference[None]])[0]


def test_place_and_angle_count_each_in_its_measure() -> None:
    truth = draw(0.5, 0.5, 30)
    assert reward_of(truth, truth) == 0
    assert reward_of(draw(0.6, 0.5, 30), truth) == pytest.approx(-0.1, abs=0.004)
    assert reward_of(draw(0.5, 0.5, 50), truth) == pytest.approx(-20 / 512, abs=0.004), "20 degrees are 20 units"
    assert reward_of(draw(0.5, 0.5, -150), truth) == pytest.approx(-ANGLE_WEIGHT, abs=0.01), (
        "the most an angle can be off"
    )
    assert reward_of(draw(0.6, 0.5, -150), truth, angle_weight=0) == pytest.approx(-0.1, abs=0.01)
    across = reward_of(draw(0.5, 0.5, 175), draw(0.5, 0.5, -175), angle_weight=1)
    assert across == pytest.approx(-10 / 180, abs=0.01), "angles meet at half a turn"


def test_a_frame_without_block_or_agent_gets_the_floor_and_never_nothing() -> None:
    truth = draw(0.5, 0.5, 30)
    assert reward_of(torch.ones(3, 64, 64), truth) == -1
    assert reward_of(draw(0.5, 0.5, 30, agent=None), truth) == -1
    assert reward_of(torch.zeros(3, 64, 64), truth) == -1
    without = draw(0.5, 0.5, 30, agent=None)
    assert reward_of(without, without) == 0, "an agent that the reference does not show is not asked for"
    assert reward_of(truth, torch.ones(3, 64, 64)) is None, "there is no pose to compare with"
    logged: dict[str, float] = {}
    both = torch.stack([truth, torch.ones(3, 64, 64)])
    BlockPoseReward()(predicted=[both], reference=[torch.stack([truth] * 2)], log_metric=logged.__setitem__)
    assert logged == {"parse_failure": 0.0, "block_not_found": 0.5}


def test_nothing_earns_more_by_leaving_the_block_out() -> None:
    """However wrong a block is: corner to corner, and upside down."""
    assert reward_of(draw(0.85, 0.85, 0), draw(0.15, 0.15, 180)) == -1


def test_steps_at_which_agent_and_block_touch_may_count_more() -> None:
    pose = pose_of_states(torch.tensor([0.0, 0.0, 256.0, 200.0, 1.0, 0.0]))
    x, y = pose[:2].tolist()
    beside, away = (256 / 512, (200 - 17) / 512), (0.1, 0.1)  # above the bar, and far from it
    for agent, expected in ((beside, -0.1), (away, -0.1 / 4)):
        truth, moved = draw(x, y, 0, agent=agent), draw(x + 0.1, y, 0, agent=away)
        assert reward_of(moved, truth, touch_weight=3) == pytest.approx(expected, abs=0.004)
        assert reward_of(moved, truth) == pytest.approx(-0.1, abs=0.004)
        assert reward_of(torch.ones(3, 64, 64), truth, touch_weight=3) == -1, "what is lost has the floor at any step"


def test_a_reference_is_read_once_for_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlvr_world_hf.worlds.pusht import pose_rewards

    seen: list[int] = []
    read = pose_rewards.read_pose
    monkeypatch.setattr(
        pose_rewards, "read_pose", lambda frames: seen.append(frames[..., 0, 0, 0].numel()) or read(frames)
    )
    truth = draw(0.5, 0.5, 30)[None]
    predicted = torch.stack([draw(0.5 + 0.01 * row, 0.5, 30)[None] for row in range(4)])
    reward = BlockPoseReward()
    values = reward.measure_groups(predicted[None], truth[None])[0, :, 0]
    assert sorted(seen) == [1, 4]
    seen.clear()
    lost = torch.cat([predicted, torch.ones(1, 1, 3, 64, 64)])
    assert reward.score_groups(lost[None], truth[None]).metrics["block_not_found"] == pytest.approx(0.2)
    assert sorted(seen) == [1, 5], "nor is a prediction read again to say whether it shows a block"
    torch.testing.assert_close(values, reward.metric(predicted, truth.expand(4, 1, 3, 64, 64)))


def test_it_is_a_planner_s_cost() -> None:
    goal = draw(0.5, 0.5, 30)
    plans = torch.stack([goal, draw(0.55, 0.5, 30), draw(0.7, 0.5, 90)])[:, None]
    costs = GoalCost(goal, {BlockPoseReward(): 1.0})(plans)
    assert costs[0] == 0 and costs.tolist() == sorted(costs.tolist())


def test_each_weight_has_its_name_and_is_a_weight() -> None:
    assert BlockPoseReward().name == "block_pose_error"
    assert BlockPoseReward(angle_weight=0, touch_weight=2, aggregation="last").name == (
        "block_pose_error_angle_0_touch_2_last"
    )
    for wrong in ({"angle_weight": -1.0}, {"touch_weight": math.inf}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            BlockPoseReward(**wrong)
