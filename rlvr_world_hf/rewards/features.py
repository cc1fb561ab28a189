r"""
Distance of two frames as a pretrained vision model sees them, at several depths:

    d(x, y) = \frac{1}{L} \sum_l \frac{1}{P_l} \sum_p \| \hat f^l_p(x) - \hat f^l_p(y) \|_2^2

with f^l_p the features of a depth at a place, of unit length over channels: LPIPS (Zhang et al. 2018,
https://huggingface.co/papers/1801.03924, equation 1) without the heads that were fitted to judgements of people, and
with the mean over depths in place of the sum. DINO-WM (https://huggingface.co/papers/2411.04983) plans by the distance
of such features of the last state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange

from .backbones import EMBEDDED, Backbone, find_backbone, load_backbone
from .base import DISCOUNT, VerifiableReward


class FeatureDistanceReward(VerifiableReward):
    """
    Minus the distance of features: in [-4, 0]; 0 is perfect.

    By default the features are those of EfficientNet-Lite0, trained on ImageNet, whose weights come with the extra
    `perceptual`. Any other vision model of timm or transformers will do, such as DINOv2, from a folder or from the
    Hub's cache; nothing is downloaded. The model is built at the first use and is not pickled.

    As a planner's cost it is DINO-WM's with `aggregation="last"` and a folder of DINOv2.

    It sees textures and shapes more than places: an object that is small to the backbone may be lost at little cost.
    A model trained on photographs knows nothing of what matters in a drawn world.

    Args:
        backbone (`str`, *optional*, defaults to `"efficientnet_lite0"`):
            The embedded one; a folder with `config.json` and weights; or a Hub id whose files are in the cache,
            without an owner timm's. The metric's name is `feature_distance`, with another backbone
            `feature_distance_<its name>`.
        layers (`Sequence[int]`, *optional*):
            Depths; see [`~rlvr_world_hf.rewards.backbones.load_backbone`]. They become part of the name, as in
            `feature_distance_layers_1_-1`.
        size (`int`, *optional*):
            Height and width to which frames are resized before; as they are by default. A transformer of large
            patches, such as DINOv2's of 14 pixels, sees little of a frame of 64; 224 is what most were trained with.
            It becomes part of the name, as in `feature_distance_size_224`.
        batch_size (`int`, *optional*, defaults to `64`):
            Frames at a time, which bounds the memory. A reference frame's features are computed once for its group.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Raises:
        ValueError: if `size` or `batch_size` is below 1; at the first use, if the backbone is no vision model, lacks
            weights or layers, or frames are too small for it.
        FileNotFoundError: at the first use, if the backbone is not on this machine; it says where to get it.

    Example:

    ```python
    >>> import tempfile
    >>> import torch
    >>> from transformers import ResNetConfig, ResNetModel
    >>> tiny = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic"))
    >>> frames = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tiny.save_pretrained(folder)
    ...     FeatureDistanceReward(folder)(predicted=[frames], reference=[frames])
    [0.0]

    ```
    """

    name, higher_is_better, best, floor = "feature_distance", False, 0.0, 4.0  # of opposite vectors of unit length
    differentiable = True

    def __init__(
        self,
        backbone: str = EMBEDDED,
        *,
        layers: Sequence[int] | None = None,
        size: int | None = None,
        batch_size: int = 64,
        aggregation: str = "mean",
        discount: float = DISCOUNT,
    ) -> None:
        for name, value in (("size", size), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"Expected `{name}` of at least 1, got {value!r}.")
        if backbone != EMBEDDED:
            self.name = f"{self.name}_{Path(str(backbone)).name}"
        if layers is not None:
            self.name = "_".join([self.name, "layers", *map(str, layers)])
        if size is not None:
            self.name = f"{self.name}_size_{size}"
        super().__init__(aggregation=aggregation, discount=discount)
        self.backbone = str(backbone)
        self.layers = None if layers is None else [*layers]
        self.size = size
        self.batch_size = batch_size
        self._model: Backbone | None = None

    def check_files(self) -> None:
        """Raise now what the first use would raise if the backbone is not there."""
        find_backbone(self.backbone)

    @property
    def model(self) -> Backbone:
        """The backbone, in evaluation mode and frozen; built at the first use."""
        if self._model is None:
            self._model = load_backbone(self.backbone, layers=self.layers, size=self.size)
        return self._model

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]."""
        return self.measure_groups(predicted[:, None], reference)[:, 0]

    def measure_groups(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        **further: torch.Tensor,
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure_groups`]; features of a reference are computed once for its group."""
        groups, size, steps = predicted.shape[:3]
        states = rearrange(predicted, "b g s c h w -> (b g s) c h w").float()
        recorded = self._features(rearrange(reference, "b s c h w -> (b s) c h w").float())
        of_reference = torch.arange(groups * steps, device=states.device).view(groups, 1, steps)
        of_reference = of_reference.expand(groups, size, steps).flatten()
        distances = []
        for start in range(0, len(states), self.batch_size):
            rows = slice(start, start + self.batch_size)
            pairs = zip(self._features(states[rows]), recorded, strict=True)
            of_depths = [(x - y[of_reference[rows]]).square_().sum(dim=2).mean(dim=1) for x, y in pairs]
            distances.append(torch.stack(of_depths).mean(dim=0))
        return torch.cat(distances).view(groups, size, steps)

    def _features(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Features of unit length, `(N, P_l, C_l)` a depth."""
        model = self.model.to(frames.device)
        pieces = [model(piece) for piece in frames.split(self.batch_size)]
        depths = [torch.cat(depth) for depth in zip(*pieces, strict=True)]
        return [depth / (torch.linalg.vector_norm(depth, dim=2, keepdim=True) + 1e-10) for depth in depths]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}
