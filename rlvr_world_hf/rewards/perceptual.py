r"""
LPIPS, the distance of two frames as a pretrained network sees them (Zhang et al. 2018,
https://huggingface.co/papers/1801.03924, equation 1):

    d(x, y) = \sum_l \frac{1}{H_l W_l} \sum_{hw} \| w_l \odot (\hat f^l_{hw}(x) - \hat f^l_{hw}(y)) \|_2^2

with f^l the features of a layer of the trunk, of unit length over channels, and w_l the linear heads that come in the
`lpips` package. The trunk's weights are torchvision's; they are read from disk and never downloaded.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import nn
from torch.nn.functional import interpolate

from .base import DISCOUNT
from .pixel import PixelReward


if TYPE_CHECKING:
    from lpips import LPIPS


TRUNKS = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}
"""Name of each trunk in torchvision, by its name in `lpips`."""


class LPIPSReward(PixelReward):
    """
    Minus LPIPS: in (-inf, 0]; 0 is perfect. The perceptual part of the paper's video reward, which uses VGG.

    The authors compute features under bf16 autocast in training and in float32 in evaluation; here both are float32.
    The model is built at the first use and is not pickled.

    Args:
        net (`str`, *optional*, defaults to `"vgg"`):
            Trunk: `"vgg"`, `"alex"` or `"squeeze"`. Their distances differ, so the metric's name is `lpips` with VGG
            only, `lpips_alex` or `lpips_squeeze` with another.
        trunk_path (`str` or `Path`, *optional*):
            File with torchvision's weights of the trunk, `.pth` or `.safetensors`. By default torchvision's own file
            name in torch hub's cache.
        trunk (`str`, *optional*, defaults to `"pretrained"`):
            `"random"` draws the trunk's weights from `seed`, for machines without the file. The values are then not
            LPIPS, and the metric's name ends in `_random`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of a random trunk. Any but the default becomes part of the name, as in `lpips_random_1`.
        batch_size (`int`, *optional*, defaults to `32`):
            Frames at a time, which bounds the memory. A reference frame's features are computed once for its group.
        pixels (`str`, *optional*, defaults to `"all"`):
            `"all"` or `"moving"`; see [`PixelReward`]. For moving pixels, the distances of each layer are upsampled
            to the frame's size, as in the package's spatial mode.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Raises:
        ValueError: if `net` or `trunk` is none of the above; at the first use, if the file is not that trunk's.
        FileNotFoundError: at the first use, if the trunk's file is not there; it says where to get it.

    Example:

    ```python
    >>> import torch
    >>> frames = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> reward = LPIPSReward(net="squeeze", trunk="random")  # without weights, to show the call
    >>> reward(predicted=[frames], reference=[frames])
    [0.0]

    ```
    """

    name, higher_is_better, best, floor = "lpips", False, 0.0, 1.0
    changes_no_value = ("batch_size", "trunk_path")  # every file of a trunk has the same weights

    def __init__(
        self,
        *,
        net: str = "vgg",
        trunk_path: str | Path | None = None,
        trunk: str = "pretrained",
        seed: int = 0,
        batch_size: int = 32,
        pixels: str = "all",
        aggregation: str = "mean",
        discount: float = DISCOUNT,
    ) -> None:
        if net not in TRUNKS:
            raise ValueError(f"Expected `net` to be one of {', '.join(TRUNKS)}, got {net!r}.")
        if trunk not in ("pretrained", "random"):
            raise ValueError(f'Expected `trunk` to be "pretrained" or "random", got {trunk!r}.')
        if net != "vgg":
            self.name = f"{self.name}_{net}"
        if trunk == "random":
            self.name = f"{self.name}_random" + (f"_{seed}" if seed else "")
        super().__init__(pixels=pixels, aggregation=aggregation, discount=discount)
        self.net = net
        self.trunk_path = trunk_path
        self.trunk = trunk
        self.seed = seed
        self.batch_size = batch_size
        self._model: LPIPS | None = None

    def check_files(self) -> None:
        """Raise now what the first use would raise if the trunk's file is not there."""
        if self.trunk == "pretrained":
            find_trunk(self.net, trunk_path=self.trunk_path)

    @property
    def model(self) -> LPIPS:
        """The `lpips.LPIPS` module in evaluation mode, without gradients of its own; built at the first use."""
        if self._model is None:
            self._model = load_lpips(self.net, trunk_path=self.trunk_path, trunk=self.trunk, seed=self.seed)
        return self._model

    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]."""
        mask = self.mask(reference, context)
        model = self.model.to(predicted.device)
        states, references = (rearrange(x, "b s c h w -> (b s) c h w").float() for x in (predicted, reference))
        masks = None if mask is None else rearrange(mask, "b s h w -> (b s) h w")
        # The completions of a group have one reference, whose features are computed once.
        first = _first_of_equals(reference)
        distances = []
        for start in range(0, len(states), self.batch_size):
            rows = slice(start, start + self.batch_size)
            different, place = first[rows].unique(return_inverse=True)
            reference_features = [layer[place] for layer in lpips_features(model, references[different])]
            maps = layer_distances(model, lpips_features(model, states[rows]), reference_features)
            distances.append(_sum_over_layers(maps, None if masks is None else masks[rows]))
        return rearrange(torch.cat(distances), "(b s) -> b s", b=len(predicted))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}


def find_trunk(net: str, *, trunk_path: str | Path | None = None) -> Path:
    """
    The file with a trunk's weights.

    Args:
        net (`str`):
            `"vgg"`, `"alex"` or `"squeeze"`.
        trunk_path (`str` or `Path`, *optional*):
            Explicit file. By default the file of torchvision's own name in torch hub's cache.

    Returns:
        `Path`: of a file that exists.

    Raises:
        FileNotFoundError: if it does not; names the file, where to get it and where to put it.

    Example:

    ```python
    >>> find_trunk("vgg", trunk_path="nowhere.pth")
    Traceback (most recent call last):
    ...
    FileNotFoundError: LPIPS needs the trunk `vgg16` at nowhere.pth, which does not exist; ...

    ```
    """
    from torchvision.models import get_model_weights

    name = TRUNKS[net]
    weights = get_model_weights(name)["IMAGENET1K_V1"]
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name if trunk_path is None else trunk_path
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"LPIPS needs the trunk `{name}` at {path}, which does not exist; it is never downloaded "
            f"automatically. With a network, `torchvision.models.{name}(weights={weights.name!r})` puts the file "
            f"{weights.url} into torch hub's cache; copy it to the path above, or pass its own path as `trunk_path`."
        )
    return path


def load_lpips(net: str, *, trunk_path: str | Path | None = None, trunk: str = "pretrained", seed: int = 0) -> LPIPS:
    """
    Build `lpips.LPIPS` from files on this machine.

    The package's constructor downloads the trunk or draws all its weights at random, including a classifier of 120
    million weights that LPIPS does not use. So the module is built on the meta device and filled in here.

    Args:
        net (`str`):
            See [`LPIPSReward`].
        trunk_path (`str` or `Path`, *optional*):
            See [`LPIPSReward`].
        trunk (`str`, *optional*, defaults to `"pretrained"`):
            See [`LPIPSReward`].
        seed (`int`, *optional*, defaults to `0`):
            See [`LPIPSReward`].

    Returns:
        `lpips.LPIPS`: in evaluation mode, float32, frozen.

    Raises:
        FileNotFoundError: see [`find_trunk`].
        ValueError: if the file does not hold torchvision's weights of that trunk.
    """
    import lpips

    path = find_trunk(net, trunk_path=trunk_path) if trunk == "pretrained" else None
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # torchvision of `pretrained`, torch of copies to meta: both intended
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    # Its numbers stand in the package's code and in no file: made anew, outside of the meta device.
    model.scaling_layer = lpips.ScalingLayer()
    heads = Path(lpips.__file__).parent / "weights" / f"v{model.version}" / f"{net}.pth"
    state = {name: value for name, value in _read_weights(heads).items() if name.startswith("lin")}
    if path is None:
        state |= _random_trunk(model.net, seed)
    else:
        state |= _trunk_of_file(path, model.net, TRUNKS[net])
    # The package lists each head twice: as `lin0` and as `lins.0`.
    state |= {name.replace("lin", "lins.", 1): value for name, value in state.items() if name.startswith("lin")}
    model.load_state_dict(state | model.scaling_layer.state_dict(prefix="scaling_layer."), assign=True)
    return model.to(dtype=torch.float32, memory_format=torch.channels_last).eval().requires_grad_(False)


def lpips_features(model: LPIPS, frames: torch.Tensor) -> list[torch.Tensor]:
    """
    Features of frames. They depend on nothing else, so those of one reference serve its whole group.

    Args:
        model (`lpips.LPIPS`):
            See [`load_lpips`].
        frames (`torch.Tensor` of shape `(N, 3, H, W)`):
            Float32 in `[0, 1]`, RGB; with one channel, grey.

    Returns:
        `list[torch.Tensor]`: one entry a layer, of shape `(N, C_l, H_l, W_l)`, of unit length over channels.

    Raises:
        ValueError: if the frames are too small for the trunk, or neither RGB nor grey.
    """
    if frames.shape[-3] not in (1, 3):
        raise ValueError(
            f"Expected RGB or grey frames for LPIPS, got {frames.shape[-3]} channels; keep three, or use "
            "another metric."
        )
    if min(frames.shape[-2:]) < 32:
        raise ValueError(
            f"Expected frames of at least 32x32 pixels for LPIPS, got {frames.shape[-2]}x{frames.shape[-1]}; enlarge "
            "them or use another metric."
        )
    # LPIPS takes values in [-1, 1].
    layers = model.net(model.scaling_layer(2 * frames - 1))
    # The gradient of this norm is 0 where all channels are 0; that of a square root of a sum would be nan.
    return [layer / (torch.linalg.vector_norm(layer, dim=1, keepdim=True) + 1e-10) for layer in layers]


def layer_distances(model: LPIPS, predicted: list[torch.Tensor], reference: list[torch.Tensor]) -> list[torch.Tensor]:
    """
    Weighted squared distances of two lists of [`lpips_features`].

    Args:
        model (`lpips.LPIPS`):
            See [`load_lpips`].
        predicted (`list[torch.Tensor]`):
            Features of the predicted frames.
        reference (`list[torch.Tensor]`):
            Features of the recorded frames.

    Returns:
        `list[torch.Tensor]`: one entry a layer, of shape `(N, 1, H_l, W_l)`.
    """
    pairs = zip(model.lins, predicted, reference, strict=True)
    return [head((x - y).square_()) for head, x, y in pairs]


def _first_of_equals(states: torch.Tensor) -> torch.Tensor:
    """For each frame of states `(B, S, 3, H, W)`, the index `(B * S,)` of the first equal one: same for a group."""
    # TRL hands over a group's completions one after another: equal references are neighbours.
    starts = torch.ones(len(states), dtype=torch.bool, device=states.device)
    starts[1:] = (states[1:] != states[:-1]).flatten(1).any(dim=1)
    first = starts.nonzero()[:, 0][starts.cumsum(dim=0) - 1]
    steps = torch.arange(states.shape[1], device=states.device)
    return rearrange(first[:, None] * states.shape[1] + steps, "b s -> (b s)")


def _sum_over_layers(maps: list[torch.Tensor], mask: torch.Tensor | None) -> torch.Tensor:
    """Distance of each frame, `(N,)`: over all pixels, or over those of the mask `(N, H, W)`, nan if it is empty."""
    if mask is None:
        return torch.stack([layer.mean(dim=(1, 2, 3)) for layer in maps]).sum(dim=0)
    enlarge = partial(interpolate, size=mask.shape[-2:], mode="bilinear", align_corners=False)
    total = torch.stack([enlarge(layer)[:, 0] for layer in maps]).sum(dim=0)  # (N, H, W)
    count = mask.sum(dim=(1, 2))
    mean = (total * mask).sum(dim=(1, 2)) / count.clamp(min=1)
    return mean.masked_fill(count == 0, torch.nan)  # not 0 / 0, whose gradient is nan, too


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _trunk_of_file(path: Path, trunk: nn.Module, name: str) -> dict[str, torch.Tensor]:
    weights = _read_weights(path)
    needed = {_torchvision_name(key): parameter.shape for key, parameter in trunk.state_dict().items()}
    wrong = [key for key, shape in needed.items() if getattr(weights.get(key), "shape", None) != shape]
    if wrong:
        raise ValueError(
            f"Expected torchvision's weights of `{name}` in {path}, got a file in which {len(wrong)} of "
            f"{len(needed)} entries are missing or of another shape, such as {wrong[0]!r}; pass the file of that "
            "trunk, or set `net` to the trunk of this file."
        )
    return {f"net.{key}": weights[_torchvision_name(key)] for key in trunk.state_dict()}


def _torchvision_name(name: str) -> str:
    """The package slices torchvision's `features` but keeps the numbers: `slice2.5.bias` is `features.5.bias`."""
    return f"features.{name.partition('.')[2]}"


def _random_trunk(trunk: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, parameter in trunk.state_dict().items():
        value = torch.zeros(parameter.shape)
        state[f"net.{name}"] = nn.init.kaiming_normal_(value, generator=generator) if value.ndim > 1 else value
    return state
