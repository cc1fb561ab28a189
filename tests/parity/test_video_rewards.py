"""Rewards of the official code: recorded cases of golden/README.md, section 7 (tolerance 1e-5)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rlvr_world_hf.rewards import MAEReward, MSEReward, PSNRReward, SSIMReward, VerifiableReward


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(golden / "video_reward.npz").items()}


class Perceptual(VerifiableReward):
    """Stands for LPIPS, which enters with weight 1: its values are recorded."""

    name, higher_is_better, best, floor = "perceptual", False, 0.0, 1.0
    reads = "sensors"  # so that recorded numbers can stand for states

    def measure(self, predicted, reference, *, context=None):
        return predicted


AGGREGATIONS = {"mean": "mean", "last": "last", "discounted": "discount"}
"""Our name of an aggregation of the steps, and the official one."""


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("kind", [MAEReward, MSEReward], ids=["mae", "mse"])
def test_multi_step_rewards_are_aggregated_over_the_horizon(
    recorded, kind: type[MAEReward | MSEReward], aggregation: str
) -> None:
    reward = kind(aggregation=aggregation)
    predicted = recorded["msp_decoded_pixels"][:, 1:].clamp(0, 1)  # the decoder's first frame is the context
    reference = recorded["msp_real_pixels"][:, 2:].repeat_interleave(4, dim=0)  # prompts of 4 samples each
    steps = reward.measure(predicted, reference)
    assert torch.allclose(steps, recorded[f"msp_{kind.name}_recon"], atol=1e-5)
    rewards = torch.tensor(reward(predicted=list(predicted), reference=list(reference)))
    perceptual = Perceptual(aggregation=aggregation).score(recorded["msp_perceptual"], recorded["msp_perceptual"])
    expected = recorded[f"msp_{kind.name}_{AGGREGATIONS[aggregation]}_reward"]
    assert torch.allclose(rewards + perceptual, expected, atol=1e-5)
    by_step = reward.score_steps(predicted=list(predicted), reference=list(reference))
    assert torch.allclose(by_step.mean(dim=1) + perceptual, expected, atol=1e-5)


@pytest.mark.parametrize(
    "reward", [MAEReward(), MSEReward(), PSNRReward(), SSIMReward()], ids=["mae", "mse", "psnr", "ssim"]
)
def test_single_step_rewards(recorded, reward: VerifiableReward) -> None:
    predicted = recorded["single_decoded_pixels"].clamp(0, 1).unsqueeze(1)
    reference = recorded["single_real_pixels"][:, -1:].repeat_interleave(4, dim=0)
    rewards = torch.tensor(reward(predicted=predicted, reference=reference))
    tolerance = 1e-4 if reward.name == "psnr" else 1e-5
    assert torch.allclose(rewards, recorded[f"single_{reward.name}_only_reward"], atol=tolerance)
    assert torch.allclose(rewards, -recorded[f"single_term_{reward.name}"], atol=tolerance)


def test_single_step_rewards_are_summed_with_their_weights(recorded) -> None:
    predicted = recorded["single_decoded_pixels"].clamp(0, 1).unsqueeze(1)
    reference = recorded["single_real_pixels"][:, -1:].repeat_interleave(4, dim=0)
    weights = {MAEReward(): 2, MSEReward(): 10, SSIMReward(): 0.3, PSNRReward(): 0.01}
    total = -0.5 * recorded["single_perceptual"]
    for reward, weight in weights.items():
        total = total + weight * reward.score(predicted, reference)
    assert torch.allclose(total, recorded["single_weighted_all_reward"], atol=1e-5)
