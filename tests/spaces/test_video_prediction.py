"""The metric of videos gives the numbers of the rewards, and those of the official code."""

from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import torch

from rlvr_world_hf.rewards import MAEReward, MSEReward, PSNRReward, SSIMReward


NOISE = torch.rand(2, 2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
PREDICTED, RECORDED = NOISE[0], NOISE[1]


@pytest.fixture
def metric() -> Any:
    return evaluate.load(str(Path(__file__).resolve().parents[2] / "spaces" / "video_prediction"))


@pytest.mark.parametrize("form", [lambda videos: videos, lambda videos: list(videos.numpy())], ids=["tensor", "list"])
def test_numbers_are_those_of_the_rewards(metric: Any, form: Any) -> None:
    found = metric.compute(predictions=form(PREDICTED), references=form(RECORDED))
    rewards = [MAEReward(), MSEReward(), PSNRReward(), SSIMReward()]
    assert found == {
        reward.name: pytest.approx(reward.metric(PREDICTED, RECORDED).mean().item(), abs=1e-6) for reward in rewards
    }


def test_a_tensor_does_not_go_through_arrow(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric, "add_batch", None)
    assert metric.compute(predictions=RECORDED, references=RECORDED, metrics=["mae"]) == {"mae": 0.0}


def test_it_agrees_with_the_official_code(metric: Any, golden: Path) -> None:
    recorded = np.load(golden / "video_metrics.npz")
    predicted, reference = (torch.from_numpy(recorded[f"n1_{key}_u8"]) for key in ("pred", "gt"))
    found = metric.compute(predictions=predicted, references=reference)
    assert list(found) == ["mae", "mse", "psnr", "ssim"]
    assert list(found.values()) == pytest.approx(recorded["n1_best"][:4].tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("predicted", "recorded", "said"),
    [
        ([PREDICTED[0].numpy(), PREDICTED[1, :2].numpy()], list(RECORDED.numpy()), "videos of one shape"),
        (list(PREDICTED.numpy()), list(RECORDED[..., :8, :8].numpy()), "one shape"),
        (PREDICTED * 255, RECORDED, "divide bytes by 255"),
        (PREDICTED - 1, RECORDED, r"values in \[0, 1\]"),
        (PREDICTED, RECORDED * torch.nan, r"values in \[0, 1\]"),
        (PREDICTED.movedim(2, -1), RECORDED.movedim(2, -1), r"\(B, S, 3, H, W\)"),
        (PREDICTED[..., :8, :8], RECORDED[..., :8, :8], "11x11"),
        (list(PREDICTED.numpy()), list(RECORDED[:1].numpy()), "Mismatch in the number"),
        ([], [], r"\(B, S, 3, H, W\)"),
    ],
)
def test_wrong_input_is_explained_and_forgotten(metric: Any, predicted: Any, recorded: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        metric.compute(predictions=predicted, references=recorded)
    right = metric.compute(predictions=list(RECORDED.numpy()), references=list(RECORDED.numpy()), metrics=["psnr"])
    assert right["psnr"] == pytest.approx(80.0)


def test_unknown_metrics_and_missing_weights_are_explained(
    metric: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="mae, mse, psnr, ssim, lpips, got fvd"):
        metric.compute(predictions=PREDICTED, references=RECORDED, metrics=["mae", "fvd"])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="never downloaded automatically"):
        metric.compute(predictions=PREDICTED, references=RECORDED, metrics=["lpips"])
