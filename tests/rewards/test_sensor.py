import pytest
import torch

from rlvr_world_hf.rewards import MAEReward, SensorAccuracyReward, SensorMAEReward, SensorMSEReward


REFERENCE = torch.tensor([[0.0, 0.0], [100.0, 1.0]])
PREDICTED = torch.tensor([[10.0, 0.0], [100.0, 0.0]])


def test_each_dimension_counts_in_its_own_scale() -> None:
    columns = {"predicted": [PREDICTED], "reference": [REFERENCE]}
    assert SensorMAEReward()(**columns) == [-11 / 4]
    assert SensorMAEReward(scale=[100, 2])(**columns) == pytest.approx([-(0.1 + 0.5) / 4])
    assert SensorMSEReward(scale=[100, 2])(**columns) == pytest.approx([-(0.01 + 0.25) / 4])
    assert SensorMSEReward(scale=[100, 2]).score_steps(**columns)[0].tolist() == pytest.approx([-0.005, -0.125])


def test_accuracy_is_the_share_within_the_tolerance() -> None:
    columns = {"predicted": [PREDICTED], "reference": [REFERENCE]}
    assert SensorAccuracyReward(scale=[100, 2])(**columns) == [0.5]
    assert SensorAccuracyReward(scale=[100, 2], tolerance=0.1)(**columns) == [0.75]
    assert SensorAccuracyReward(scale=[100, 2], tolerance=0.5)(**columns) == [1.0]


def test_beside_frames_it_reads_the_states() -> None:
    frames = torch.zeros(2, 3, 8, 8)
    columns = {
        "predicted": [frames + 0.5],
        "reference": [frames],
        "context": [frames],
        "predicted_states": [PREDICTED],
        "reference_states": [REFERENCE],
        "context_states": [REFERENCE],
    }
    assert SensorMAEReward()(**columns) == [-11 / 4]
    assert SensorMAEReward().score_steps(**columns).tolist() == [[-5.0, -0.5]]
    assert MAEReward()(**columns) == [-0.5]
    assert MAEReward().score_steps(**columns).tolist() == [[-0.5, -0.5]]


def test_errors_name_what_was_given() -> None:
    states = REFERENCE[None]
    with pytest.raises(ValueError, match=r"finite and above 0, got \[0.0\]"):
        SensorMAEReward(scale=[0.0])
    with pytest.raises(ValueError, match="`tolerance` above 0, got 0"):
        SensorAccuracyReward(tolerance=0)
    with pytest.raises(ValueError, match="scale for each of 2 dimensions"):
        SensorMSEReward(scale=[1.0]).metric(states, states)
    with pytest.raises(ValueError, match=r"`mae`: expected frames .* got states of shape \(1, 2, 2\)"):
        MAEReward().metric(states, states)
    with pytest.raises(ValueError, match=r"sensor states of shape \(B, S, P\), got \(1, 2, 3, 8, 8\)"):
        SensorMSEReward().metric(torch.zeros(1, 2, 3, 8, 8), torch.zeros(1, 2, 3, 8, 8))
