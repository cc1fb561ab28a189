import pytest

from rlvr_world_hf.runs.named_parts import build_metrics, build_rewards


def test_rewards_are_imported_by_path_with_their_weights_and_settings():
    entries = [
        {"path": "rlvr_world_hf.rewards.MAEReward", "weight": 0.5, "pixels": "moving"},
        {"path": "rlvr_world_hf.rewards.PSNRReward"},
    ]
    rewards, weights = build_rewards(entries)
    assert [reward.name for reward in rewards] == ["mae_moving", "psnr"]
    assert weights == [0.5, 1.0]


def test_a_recipe_says_how_steps_are_aggregated_and_what_repetition_costs():
    entries = [
        {"path": "rlvr_world_hf.rewards.MAEReward", "aggregation": "last"},
        {"path": "rlvr_world_hf.rewards.AgentPositionReward", "aggregation": "discounted", "discount": 0.5},
        {"path": "rlvr_world_hf.rewards.RepetitionReward", "weight": 0.1},
    ]
    rewards, weights = build_rewards(entries)
    assert [reward.name for reward in rewards] == ["mae_last", "agent_position_mae_discounted_0.5", "repetition_rate"]
    assert weights == [1.0, 1.0, 0.1]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"path": "rlvr_world_hf.rewards.MAEReward", "pixel": "all"}, "unknown key 'pixel'.*'pixels'"),
        ({"path": "rlvr_world_hf.rewards.NoReward"}, "NoReward"),
        ({"path": "no_such_module.Reward"}, "no_such_module"),
        ({"path": "MAEReward"}, "MAEReward"),
        ({"weight": 1.0}, "path"),
    ],
)
def test_what_cannot_be_built_fails_naming_it(entry, expected):
    with pytest.raises(ValueError, match=expected):
        build_rewards([entry])


def test_no_reward_fails():
    with pytest.raises(ValueError, match="at least one reward"):
        build_rewards([])


@pytest.mark.parametrize("weight", [float("nan"), ".nan", "nan", float("inf"), "heavy"])
def test_a_weight_that_is_no_finite_number_fails(weight):
    with pytest.raises((ValueError, TypeError), match="grpo.rewards.weight: expected"):
        build_rewards([{"path": "rlvr_world_hf.rewards.MAEReward", "weight": weight}])


def test_metrics_are_rewards_by_path() -> None:
    (metric,) = build_metrics([{"path": "rlvr_world_hf.rewards.AgentPositionReward"}], where="evaluate.metrics")
    assert metric.name == "agent_position_mae"
    with pytest.raises(ValueError, match="evaluate.metrics: expected `path`"):
        build_metrics([{"path": "nowhere.Metric"}], where="evaluate.metrics")
