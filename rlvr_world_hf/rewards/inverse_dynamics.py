"""
An inverse dynamics model: which action led from one frame to the next.

    (frame, next frame) -> action        in the unit of the data, or a distribution over its bins

Where an action is a force, two frames do not show it, as they do not show the velocity before: there it is given the
frame before, too.

It is a small convolutional network over the frames, their differences and the place of each pixel. It is trained on
frames as the codec shows them, see `training/inverse_training.py`, as those are what a world model predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange, repeat
from torch import nn
from torch.nn.functional import cross_entropy, smooth_l1_loss
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from .base import as_frames


FOLDER = "inverse"
"""Folder of an inverse model, in a run's output and in a checkpoint of the world model that was rewarded by it."""

BEND = 0.1
"""Error, as a share of half an action's range, up to which the loss is quadratic."""


class InverseDynamicsConfig(PreTrainedConfig):
    """
    Sizes and ranges of an [`InverseDynamicsModel`].

    Args:
        action_low (`Sequence[float]` of length `A`, *optional*):
            Lowest value of each action dimension, in the unit of the data.
        action_high (`Sequence[float]` of length `A`, *optional*):
            Highest value of each.
        image_size (`int`, *optional*, defaults to 64):
            Height and width of a frame in pixels; a multiple of 8.
        width (`int`, *optional*, defaults to 32):
            Channels of the first convolution; later ones have up to four times as many.
        hidden_size (`int`, *optional*, defaults to 256):
            Width of the layer before the action.
        given_frames (`int`, *optional*, defaults to 1):
            Frames up to the action: 1, or 2 where an action changes a velocity, which one frame does not show.
        action_bins (`int`, *optional*, defaults to 0):
            Bins of each action dimension, evenly over its range, whose probabilities are predicted; 0 for the action
            itself.
        fps (`float`, *optional*):
            Frames a second of the training data, kept for its users.
        action_law (`str`, *optional*):
            What an action means, where the world has a choice; kept for its users.

    Raises:
        ValueError: if the ranges differ in length or are empty, or a size is out of range.

    Example:

    ```python
    >>> InverseDynamicsConfig(action_low=[0.0, 0.0], action_high=[512.0, 512.0]).action_dims
    2

    ```
    """

    model_type = "inverse_dynamics"

    def __init__(
        self,
        *,
        action_low: Sequence[float] = (-1.0,),
        action_high: Sequence[float] = (1.0,),
        image_size: int = 64,
        width: int = 32,
        hidden_size: int = 256,
        given_frames: int = 1,
        action_bins: int = 0,
        fps: float | None = None,
        action_law: str | None = None,
        **kwargs: Any,
    ) -> None:
        pairs = list(zip(action_low, action_high, strict=False))
        if not pairs or len(action_low) != len(action_high) or not all(low <= high for low, high in pairs):
            raise ValueError(
                "Expected `action_low` and `action_high` with one lowest and highest value an action dimension, got "
                f"{[*action_low]} and {[*action_high]}."
            )
        if image_size < 8 or image_size % 8 or min(width, hidden_size) < 8 or width % 8 or action_bins < 0:
            raise ValueError(
                "Expected an `image_size` and a `width` that are multiples of 8, a `hidden_size` of at least 8, and "
                f"`action_bins` of 0 or more, got {image_size}, {width}, {hidden_size} and {action_bins}."
            )
        if given_frames < 1:
            raise ValueError(f"Expected `given_frames` of at least 1, got {given_frames}.")
        self.action_low = [float(value) for value in action_low]
        self.action_high = [float(value) for value in action_high]
        self.image_size = image_size
        self.width = width
        self.hidden_size = hidden_size
        self.given_frames = given_frames
        self.action_bins = action_bins
        self.fps = fps
        self.action_law = action_law
        super().__init__(**kwargs)

    @property
    def action_dims(self) -> int:
        """Dimensions of an action, `A`."""
        return len(self.action_low)


@dataclass
class InverseDynamicsOutput(ModelOutput):
    """What an [`InverseDynamicsModel`] says of consecutive frames."""

    loss: torch.Tensor | None = None
    """Of the actions that were given as labels: the smooth absolute error in half ranges, or nats a dimension."""

    actions: torch.Tensor | None = None
    """`(B, A)`: in the unit of the data."""

    logits: torch.Tensor | None = None
    """`(B, A, bins)`, where the model has bins."""


class InverseDynamicsModel(PreTrainedModel):
    """
    Reads the action that led to a frame from the one before, or those before.

    Args:
        config ([`InverseDynamicsConfig`]):
            Its sizes and ranges.

    Example:

    ```python
    >>> import torch
    >>> config = InverseDynamicsConfig(action_low=[0.0, 0.0], action_high=[512.0, 512.0], image_size=16, width=8)
    >>> model = InverseDynamicsModel(config).eval()
    >>> with torch.no_grad():
    ...     model(torch.rand(4, 2, 3, 16, 16)).actions.shape
    torch.Size([4, 2])

    ```
    """

    config_class = InverseDynamicsConfig
    base_model_prefix = "inverse_dynamics"
    main_input_name = "frames"

    def __init__(self, config: InverseDynamicsConfig) -> None:
        super().__init__(config)
        widths = [config.width, 2 * config.width, 4 * config.width]
        layers: list[nn.Module] = []
        views = 3 * (2 * config.given_frames + 1) + 2  # frames, their differences, places
        for channels, wider in zip([views, *widths], widths, strict=False):
            layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.GroupNorm(8, wider), nn.SiLU()]
            layers += [nn.Conv2d(wider, wider, 3, padding=1), nn.GroupNorm(8, wider), nn.SiLU()]
        # Few channels before places are mixed: where something is must not be lost, and there are many places.
        narrow = 8
        self.trunk = nn.Sequential(*layers, nn.Conv2d(widths[-1], narrow, 1), nn.SiLU())
        places = (config.image_size // 8) ** 2
        outputs = config.action_dims * max(config.action_bins, 1)
        self.head = nn.Sequential(
            nn.Linear(narrow * places, config.hidden_size), nn.SiLU(), nn.Linear(config.hidden_size, outputs)
        )
        self.post_init()

    def forward(self, frames: torch.Tensor, labels: torch.Tensor | None = None, **_: Any) -> InverseDynamicsOutput:
        """
        Actions between the last two of consecutive frames.

        Args:
            frames (`torch.Tensor` of shape `(B, given_frames + 1, 3, H, W)`):
                A frame, those before it if they are to be given, and the next one, float in `[0, 1]` or uint8, RGB.
            labels (`torch.Tensor` of shape `(B, A)`, *optional*):
                What was done, in the unit of the data; for the loss.

        Returns:
            [`InverseDynamicsOutput`]: actions, logits where there are bins, and the loss.

        Raises:
            ValueError: if frames or labels have another shape.
        """
        size, count = self.config.image_size, self.config.given_frames + 1
        if frames.ndim != 5 or tuple(frames.shape[1:]) != (count, 3, size, size):
            raise ValueError(
                f"Expected consecutive frames of shape (B, {count}, 3, {size}, {size}), got {tuple(frames.shape)}; "
                "use an inverse model that was trained on so many frames of this size."
            )
        shown = as_frames(frames).to(self.dtype)
        views = rearrange(torch.cat([shown, shown.diff(dim=1)], dim=1), "b t c h w -> b (t c) h w")
        line = torch.linspace(-1, 1, size, device=frames.device, dtype=self.dtype)
        places = repeat(torch.stack(torch.meshgrid(line, line, indexing="ij")), "c h w -> b c h w", b=len(frames))
        features = self.trunk(torch.cat([views, places], dim=1))
        raw = self.head(features.flatten(1)).float()
        low, half = self._ranges(raw)
        logits = None
        if self.config.action_bins:
            logits = rearrange(raw, "b (a bins) -> b a bins", a=self.config.action_dims)
            centres = (torch.arange(self.config.action_bins, device=raw.device) + 0.5) / self.config.action_bins
            actions = low + 2 * half * (logits.softmax(dim=2) @ centres)
        else:
            actions = low + half * (1 + raw)
        loss = None
        if labels is not None:
            done = self._checked(labels).float()
            if logits is None:
                loss = smooth_l1_loss(raw, (done - low) / half.clamp(min=1e-6) - 1, beta=BEND)
            else:
                loss = cross_entropy(rearrange(logits, "b a bins -> (b a) bins"), self._bins(done).flatten())
        return InverseDynamicsOutput(loss=loss, actions=actions, logits=logits)

    def log_probs(self, frames: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """
        Log-probability of actions, by their bins.

        Args:
            frames (`torch.Tensor` of shape `(B, given_frames + 1, 3, H, W)`):
                As of [`forward`].
            actions (`torch.Tensor` of shape `(B, A)`):
                What was done, in the unit of the data; beyond the range, that of the outermost bin.

        Returns:
            `torch.Tensor` of shape `(B,)`: mean over the dimensions, in nats.

        Raises:
            ValueError: if the model has no bins, or shapes do not fit.
        """
        if not self.config.action_bins:
            raise ValueError(
                "Expected an inverse model with bins, which has probabilities, got one that reads the action itself; "
                "train one with `action_bins`, or leave `score` at 'distance'."
            )
        logits = self(frames).logits
        chosen = logits.log_softmax(dim=2).gather(2, self._bins(self._checked(actions).float())[..., None])
        return chosen[..., 0].mean(dim=1)

    def _ranges(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Lowest value, and half of the range, of each action dimension."""
        low, high = (like.new_tensor(values) for values in (self.config.action_low, self.config.action_high))
        return low, (high - low) / 2

    def _bins(self, actions: torch.Tensor) -> torch.Tensor:
        low, half = self._ranges(actions)
        share = (actions - low) / (2 * half).clamp(min=1e-6)
        return (share * self.config.action_bins).long().clamp(0, self.config.action_bins - 1)

    def _checked(self, actions: torch.Tensor) -> torch.Tensor:
        if actions.ndim != 2 or actions.shape[1] != self.config.action_dims:
            raise ValueError(
                f"Expected actions of {self.config.action_dims} dimensions, which the inverse model reads, got shape "
                f"{tuple(actions.shape)}; use an inverse model that was trained on such actions."
            )
        return actions


def find_inverse_model(place: str | Path) -> Path | None:
    """
    The folder of an inverse model.

    Args:
        place (`str` or `Path`):
            Its folder, or that of a run or of a world model that was saved with it.

    Returns:
        `Path`: the folder with its `config.json`; `None` for what is no folder on this machine.

    Raises:
        FileNotFoundError: if there is a folder without an inverse model.

    Example:

    ```python
    >>> import tempfile
    >>> find_inverse_model(tempfile.mkdtemp())  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    FileNotFoundError: Expected an inverse model in ..., got a folder without one; `rlvr-world inverse RECIPE` ...

    ```
    """
    folder = Path(place)
    if not folder.is_dir():
        return None
    for candidate in (folder / FOLDER, folder):
        file = candidate / "config.json"
        if file.is_file() and f'"{InverseDynamicsConfig.model_type}"' in file.read_text(encoding="utf-8"):
            return candidate
    raise FileNotFoundError(
        f"Expected an inverse model in {folder}, got a folder without one; `rlvr-world inverse RECIPE` trains one "
        f"into `{FOLDER}` of its run's folder."
    )


def locate_inverse_model(place: str | Path) -> dict[str, Any]:
    """
    Where an inverse model lies; of a Hub id, its settings are asked for.

    Args:
        place (`str` or `Path`):
            As of [`load_inverse_model`].

    Returns:
        `dict[str, Any]`: arguments of `from_pretrained`.

    Raises:
        FileNotFoundError: if it is nowhere.

    Example:

    ```python
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run:
    ...     InverseDynamicsConfig().save_pretrained(f"{run}/{FOLDER}")
    ...     locate_inverse_model(run)["pretrained_model_name_or_path"].name
    'inverse'

    ```
    """
    if (folder := find_inverse_model(place)) is not None:
        return {"pretrained_model_name_or_path": folder}
    where = _repository_part(str(place))
    if where is None:
        raise FileNotFoundError(
            f"Expected an inverse model at {place}, a folder or a Hub id, got none; `rlvr-world inverse RECIPE` "
            f"trains one into `{FOLDER}` of its run's folder."
        )
    return {"pretrained_model_name_or_path": str(place), **where}


def load_inverse_model(place: str | Path) -> InverseDynamicsModel:
    """
    Load an inverse model, all of whose weights are there.

    Args:
        place (`str` or `Path`):
            As of [`find_inverse_model`]; or a Hub id, `owner/name`, of an inverse model, or of a world model that was
            pushed with one.

    Returns:
        `InverseDynamicsModel`: float32, on the CPU, in evaluation mode, frozen.

    Raises:
        FileNotFoundError: if it is nowhere.
        ValueError: if weights are missing.

    Example:

    ```python
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run:
    ...     InverseDynamicsModel(InverseDynamicsConfig(image_size=8, width=8)).save_pretrained(f"{run}/{FOLDER}")
    ...     load_inverse_model(run).config.action_dims
    1

    ```
    """
    source = locate_inverse_model(place)
    model, report = InverseDynamicsModel.from_pretrained(
        **source, dtype=torch.float32, output_loading_info=True, use_safetensors=True
    )
    lost = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if lost:
        raise ValueError(
            f"Expected all weights of the inverse model in {place}, got a file without {len(lost)} of them, such as "
            f"{lost[0]!r}; save or download it again."
        )
    return model.eval().requires_grad_(False)


def _repository_part(repo_id: str) -> dict[str, Any] | None:
    """Where in a repository its inverse model lies, as arguments of `from_pretrained`; `None` if nowhere."""
    for where in ({"subfolder": FOLDER}, {}):
        try:
            settings, _ = InverseDynamicsConfig.get_config_dict(repo_id, **where)
        except OSError:  # of transformers, for what is not there
            continue
        if settings.get("model_type") == InverseDynamicsConfig.model_type:
            return where
    return None


AutoConfig.register(InverseDynamicsConfig.model_type, InverseDynamicsConfig)
AutoModel.register(InverseDynamicsConfig, InverseDynamicsModel)
