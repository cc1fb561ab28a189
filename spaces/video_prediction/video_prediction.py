"""How near predicted frames are to the recorded ones, as an `evaluate` metric."""

import datasets
import evaluate
import torch

from rlvr_world_hf.rewards import LPIPSReward, MAEReward, MSEReward, PSNRReward, SSIMReward


DESCRIPTION = """\
Errors and similarities of predicted videos, frame by frame: MAE, MSE, PSNR, SSIM and, on request, LPIPS. The numbers
are those of the verifiable rewards of RLVR-World (https://huggingface.co/papers/2505.13934, section 5), with which it
was trained.
"""

INPUTS = """
Args:
    predictions (`list` of arrays of shape `(S, 3, H, W)`, or `torch.Tensor` of shape `(B, S, 3, H, W)`): predicted
        frames, RGB in [0, 1]; a tensor may be uint8. A list goes through Arrow, number by number; a tensor is measured
        as it is, on its device, which is much less work.
    references (as `predictions`): recorded frames.
    metrics (`list` of `str`, *optional*, defaults to `["mae", "mse", "psnr", "ssim"]`): what to measure; `"lpips"` too
        if its trunk is in torch hub's cache, as nothing is downloaded.

Returns:
    `dict[str, float]`: for each metric its mean over frames and videos. `mae`, `mse` and `lpips` are better when
    lower, `psnr` (in dB, at most 80) and `ssim` (at most 1) when higher.

Raises:
    ValueError: if the videos are not of one shape, have values outside of [0, 1], or are too small for SSIM; if a
        metric is unknown.

Examples:

    >>> import torch
    >>> metric = evaluate.load("spaces/video_prediction")
    >>> recorded = torch.zeros(2, 4, 3, 16, 16)
    >>> found = metric.compute(predictions=recorded + 0.5, references=recorded)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'mae': 0.5, 'mse': 0.25, 'psnr': 6.021, 'ssim': 0.0}
    >>> metric.compute(predictions=list((recorded + 0.5).numpy()), references=list(recorded.numpy()), metrics=["mae"])
    {'mae': 0.5}
"""

REWARDS = {"mae": MAEReward, "mse": MSEReward, "psnr": PSNRReward, "ssim": SSIMReward, "lpips": LPIPSReward}
STANDARD = ("mae", "mse", "psnr", "ssim")


class VideoPrediction(evaluate.Metric):
    __doc__ = DESCRIPTION + INPUTS

    def _info(self):
        video = datasets.Value("float32")
        for _ in range(4):
            video = datasets.List(video)
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": video, "references": video}),
            reference_urls=["https://huggingface.co/papers/2505.13934"],
        )

    def compute(self, *, predictions=None, references=None, **options):
        """Measures tensors as they are, and what else there is as any metric does."""
        if isinstance(predictions, torch.Tensor) and isinstance(references, torch.Tensor):
            return self._compute(predictions, references, **options)
        return super().compute(predictions=predictions, references=references, **options)

    def _compute(self, predictions, references, metrics=STANDARD):
        unknown = [name for name in metrics if name not in REWARDS]
        if unknown:
            raise ValueError(f"Expected metrics among {', '.join(REWARDS)}, got {', '.join(unknown)}.")
        predicted, recorded = (_frames(videos) for videos in (predictions, references))
        rewards = {name: REWARDS[name]() for name in metrics}
        return {name: reward.metric(predicted, recorded).nanmean().item() for name, reward in rewards.items()}


def _frames(videos):
    try:
        frames = videos if isinstance(videos, torch.Tensor) else torch.tensor(videos)
    except ValueError as error:
        raise ValueError(f"Expected videos of one shape (S, 3, H, W), got several; cut them: {error}") from error
    if frames.ndim != 5 or frames.shape[2] != 3:
        raise ValueError(f"Expected frames as (B, S, 3, H, W), RGB, got {tuple(frames.shape)}; move the axes.")
    if frames.is_floating_point() and not ((frames >= 0) & (frames <= 1)).all():
        raise ValueError(
            f"Expected values in [0, 1], got {frames.min():g} to {frames.max():g}; divide bytes by 255, or give them "
            "as a uint8 tensor, and clip what lies outside."
        )
    return frames
