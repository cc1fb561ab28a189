"""
Random changes of colour and crop. All frames of a clip get the same change, so that motion stays as it was.

The default colour intervals are those of RLVR-World's training script for the RT-1 transformer
(https://github.com/thuml/RLVR-World), which does not crop.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAugmentation:
    """
    Draws brightness, contrast, saturation, hue and a resized crop once per clip.

    Each is drawn uniformly from its interval, but the crop's width by height log-uniformly.

    Example:

    ```python
    >>> clip = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    >>> augmentation = ClipAugmentation(crop_scale=(0.8, 1.0))
    >>> changed = augmentation(clip, seed=[0, 7])
    >>> changed.shape, changed.dtype, bool((changed != clip).any())
    ((5, 3, 16, 16), dtype('uint8'), True)
    >>> bool((changed == augmentation(clip, seed=[0, 7])).all())
    True

    ```
    """

    brightness: Interval = (0.9, 1.1)
    """Factor of the brightness; 1 changes nothing."""

    contrast: Interval = (0.9, 1.1)
    """Factor of the contrast; 1 changes nothing."""

    saturation: Interval = (0.9, 1.1)
    """Factor of the saturation; 1 changes nothing."""

    hue: Interval = (-0.05, 0.05)
    """Shift of the hue in whole turns of the colour circle, within [-0.5, 0.5]; 0 changes nothing."""

    crop_scale: Interval = (1.0, 1.0)
    """Share of the frame's area that is cropped and resized to the full size, within (0, 1]; 1 crops nothing."""

    crop_ratio: Interval = (1.0, 1.0)
    """Width by height of the crop, relative to that of the frame."""

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: If an interval is out of range.
        """
        bounds = {"hue": (-0.5, 0.5), "crop_scale": (0.0, 1.0)}
        for name in (one.name for one in fields(self)):
            low, high = getattr(self, name)
            least, greatest = bounds.get(name, (0.0, float("inf")))
            above = low > 0 if name.startswith("crop") else low >= least
            if not (above and low <= high <= greatest):
                raise ValueError(
                    f"Expected `{name}` as [lowest, highest] within {least:g} and {greatest:g}, got {[low, high]}."
                )

    def __call__(self, clip: np.ndarray, *, seed: list[int]) -> np.ndarray:
        """
        Change a clip.

        Args:
            clip (`np.ndarray` of shape `(T, 3, H, W)`):
                Frames, uint8 RGB.
            seed (`list[int]`):
                Seed of the draw.

        Returns:
            `np.ndarray` of the same shape: The changed frames, uint8 RGB.
        """
        import torch
        from torchvision.transforms import v2

        *_, height, width = clip.shape
        # torchvision takes the ratio of the crop itself; with ours, 1 keeps the shape of any frame.
        low, high = (ratio * width / height for ratio in self.crop_ratio)
        change = v2.Compose(
            [
                v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue),
                v2.RandomResizedCrop((height, width), scale=self.crop_scale, ratio=(low, high), antialias=True),
            ]
        )
        # torchvision draws from torch's global generator, whose state is restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) % 2**63)
            # A copy, as torch warns of read-only arrays, which stored episodes are.
            changed: np.ndarray = change(torch.from_numpy(np.array(clip))).numpy()
        return changed
