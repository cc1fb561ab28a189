from pathlib import Path

import pytest

from rlvr_world_hf.evaluation.distinct import distinct_metrics
from rlvr_world_hf.rewards import (
    ActionRecoveryReward,
    EnergyScoreReward,
    FactF1Reward,
    FeatureDistanceReward,
    InverseDynamicsConfig,
    InverseDynamicsModel,
    LPIPSReward,
    MAEReward,
    SensorMAEReward,
)


def test_equal_ones_are_measured_once_whatever_changes_no_value() -> None:
    pairs = [
        (MAEReward(), MAEReward()),
        (LPIPSReward(), LPIPSReward(batch_size=4, trunk_path=Path("vgg16.pth"))),
        (FeatureDistanceReward(layers=[1, 2]), FeatureDistanceReward(layers=(1, 2), batch_size=8)),
        (EnergyScoreReward(), EnergyScoreReward(unbiased=False)),
        (ActionRecoveryReward("inverse"), ActionRecoveryReward("inverse", batch_size=8)),
        (SensorMAEReward(scale=[1, 2]), SensorMAEReward(scale=[1.0, 2.0])),
        (FactF1Reward(), FactF1Reward(processes=2)),
    ]
    every = [metric for pair in pairs for metric in pair]
    assert distinct_metrics(every) == [first for first, _ in pairs]
    assert distinct_metrics(every[::-1]) == [second for _, second in pairs[::-1]]


def test_two_that_differ_are_named_with_the_remedy() -> None:
    policy, judge = ActionRecoveryReward("outputs/inverse"), ActionRecoveryReward("outputs/judge")
    with pytest.raises(ValueError) as error:
        distinct_metrics([policy, MAEReward(), judge])
    assert (
        "two of the name `action_recovery_error`, which a table would hold in one column: "
        "ActionRecoveryReward(place='outputs/inverse') and ActionRecoveryReward(place='outputs/judge'); "
        "leave one of them out, or give one of them a `label`." in str(error.value)
    )
    labelled = [policy, ActionRecoveryReward("outputs/judge", label="judge")]
    assert distinct_metrics(labelled) == labelled
    with pytest.raises(ValueError, match=r"SensorMAEReward\(scale=None\) .*scale=\[2.0\]\); .* `name` in a subclass"):
        distinct_metrics([SensorMAEReward(), SensorMAEReward(scale=[2.0])])


def test_models_that_are_given_as_they_are_differ() -> None:
    config = InverseDynamicsConfig(action_low=[-1.0], action_high=[1.0], image_size=16, width=8)
    one, other = InverseDynamicsModel(config), InverseDynamicsModel(config)
    assert len(distinct_metrics([ActionRecoveryReward(one), ActionRecoveryReward(one)])) == 1
    with pytest.raises(ValueError, match="`action_recovery_error`.*model=InverseDynamicsModel"):
        distinct_metrics([ActionRecoveryReward(one), ActionRecoveryReward(other)])
