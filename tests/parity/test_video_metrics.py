"""Metrics of the official code: recorded cases of golden/README.md, section 6 (tolerance 1e-5, psnr 1e-4)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rlvr_world_hf.rewards import LPIPSReward, MAEReward, MSEReward, PSNRReward, SSIMReward, VerifiableReward
from rlvr_world_hf.rewards.base import as_frames
from rlvr_world_hf.rewards.repetition import repeated_steps


REWARDS: list[VerifiableReward] = [MAEReward(), MSEReward(), PSNRReward(), SSIMReward()]
TOLERANCE = {"mae": 1e-5, "mse": 1e-5, "psnr": 1e-4, "ssim": 1e-5}
CASES = ["n1", "n1_identical", "n1_inverted", "n1_const", "n1_gray_vs_video"]


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "video_metrics.npz"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("row", range(4), ids=list(TOLERANCE))
def test_one_sample(recorded, case: str, row: int) -> None:
    reward = REWARDS[row]
    predicted, reference = (as_frames(recorded[f"{case}_{key}_u8"]) for key in ("pred", "gt"))
    steps = reward.measure(predicted, reference)
    assert np.abs(steps.numpy() - recorded[f"{case}_per_frame"][row]).max() < TOLERANCE[reward.name]
    mean = reward.metric(recorded[f"{case}_pred_u8"], recorded[f"{case}_gt_u8"]).mean().item()
    assert mean == pytest.approx(recorded[f"{case}_best"][row], abs=TOLERANCE[reward.name])


@pytest.mark.parametrize("row", range(4), ids=list(TOLERANCE))
def test_best_of_five_samples(recorded, row: int) -> None:
    reward = REWARDS[row]
    predicted, reference = recorded["n5_pred_u8"], np.tile(recorded["n5_gt_u8"], (5, 1, 1, 1, 1))
    steps = reward.measure(as_frames(predicted), as_frames(reference))
    assert np.abs(steps.numpy() - recorded["n5_per_frame"][row]).max() < TOLERANCE[reward.name]
    scores = reward.score(predicted, reference).view(5, 3)  # samples, items
    best = scores.amax(dim=0).mean().item() * (1 if reward.higher_is_better else -1)
    assert best == pytest.approx(recorded["n5_best"][row], abs=TOLERANCE[reward.name])
    assert scores.std(dim=0).mean().item() == pytest.approx(recorded["n5_std_std"][row], abs=TOLERANCE[reward.name])


def test_the_distance_is_taken_between_frames_scaled_to_plus_minus_one(recorded, monkeypatch) -> None:
    """The recorded column is a stand-in, mean |a - b| of LPIPS's inputs: it fixes what the network is given."""
    inputs: list[torch.Tensor] = []
    reward = LPIPSReward(net="squeeze", trunk="random")
    monkeypatch.setattr(reward.model.scaling_layer, "forward", lambda x: inputs.append(x) or x)
    predicted, reference = recorded["n1_pred_u8"], recorded["n1_gt_u8"]
    reward.metric(predicted, reference)
    distance = (inputs[0] - inputs[1]).abs().mean(dim=(1, 2, 3)).view(2, 7)
    assert np.abs(distance.numpy() - recorded["n1_per_frame"][4]).max() < 1e-5


def test_a_sequence_whose_last_step_repeats_the_one_before_counts_as_repeating(recorded) -> None:
    tokens = torch.from_numpy(recorded["rep_multi_tokens"])
    is_repeating = repeated_steps(tokens, tolerance=0)[:, -1]
    assert is_repeating.tolist() == recorded["rep_multi_is_repeating"].tolist()
    prompt = torch.from_numpy(recorded["rep_single_prompt_ids"])[:, -334:-14]  # the last context frame
    steps = torch.stack([prompt, torch.from_numpy(recorded["rep_single_pred_tokens"])[:, 0]], dim=1)
    assert repeated_steps(steps, tolerance=0)[:, 0].tolist() == recorded["rep_single_is_repeating"].tolist()
