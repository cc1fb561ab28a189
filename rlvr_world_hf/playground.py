"""
What the demo does, without the interface: a start, clicked targets, and what simulator and models make of them.

    start     an episode's seed; the scripted policy of the data plays the first seconds, which give the first frames
    target    a click; the agent walks there in steps of at most `REACH`, one a frame interval, as in the training data
    play      the same actions for the true simulator and for each model, each model on its own predicted frames
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from PIL import Image, ImageDraw, ImageFont

from .data.pusht import MARGIN, REACH, WORLD_SIZE, Recording, record_policy, within_reach
from .pipeline import WorldModelPipeline
from .rewards.pixel import MAEReward


SIMULATOR = "simulator"
"""Name of the simulator's row beside those of the models."""

HUB = "hf://"
"""How a place on the Hub begins, so that no mistyped folder is looked for there."""

Target = tuple[float, float]
INK = (200, 30, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What simulator and models make of one start and its targets, over `S` steps."""

    targets: tuple[Target, ...]
    """The targets walked to, in world units; those beyond the last step are left out."""

    actions: np.ndarray
    """What was done, shape `(S, 2)`, float64 in world units: the same for all."""

    agent: np.ndarray
    """Where the agent stood at the start, shape `(2,)`, in world units."""

    frames: dict[str, np.ndarray]
    """For `simulator` and each model, shape `(1 + S, H, W, 3)`, uint8 RGB; the first is the start."""

    errors: dict[str, np.ndarray]
    """For each model, shape `(S,)`: mean absolute error against the simulator's frame, in [0, 1]; 0 is perfect."""


class Playground:
    """
    Rolls world models of PushT out beside the true simulator. It keeps nothing between calls, so one serves all users.

    A model predicts `horizon` steps at a time; the next ones go on from its own last frames. Prediction follows the
    multi-step prediction of RLVR-World ([paper](https://huggingface.co/papers/2505.13934), section 5.1), whose policy
    evaluation slides windows in the same way.

    Args:
        pipelines (`Mapping[str, WorldModelPipeline]`):
            The models by name, as in `base` and `rlvr`: of PushT, with frames and windows of the same form.
        horizon (`int`, *optional*, defaults to 4):
            Steps predicted from one window: those the models were trained on.
        max_steps (`int`, *optional*, defaults to 12):
            Steps of the longest play.
        scripted_steps (`int`, *optional*, defaults to 8):
            Steps of the scripted policy before the start, at least as many as give the first frames.

    Raises:
        `ValueError`: If there is no model, or the models are not of PushT or not of the same form.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0], fps=2.0)
    >>> sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **sizes))
    >>> playground = Playground({"rlvr": WorldModelPipeline(model, processor)}, max_steps=3)
    >>> play = playground.play(seed=0, targets=[(100.0, 100.0), (400.0, 100.0)])
    >>> play.frames["simulator"].shape, play.frames["rlvr"].shape, play.errors["rlvr"].shape
    ((4, 16, 16, 3), (4, 16, 16, 3), (3,))

    ```
    """

    def __init__(
        self,
        pipelines: Mapping[str, WorldModelPipeline],
        *,
        horizon: int = 4,
        max_steps: int = 12,
        scripted_steps: int = 8,
    ) -> None:
        if not pipelines or SIMULATOR in pipelines:
            raise ValueError(f"Expected models by name, none of them {SIMULATOR!r}, got {list(pipelines)}.")
        if min(horizon, max_steps, scripted_steps) < 1:
            raise ValueError(
                "Expected `horizon`, `max_steps` and `scripted_steps` to be at least 1, got "
                f"{horizon}, {max_steps} and {scripted_steps}."
            )
        self.pipelines = dict(pipelines)
        self.image_size, self.frame_interval, self.given, self.prompt_actions = _common_form(self.pipelines)
        self.horizon = horizon
        self.max_steps = max_steps
        self.scripted_steps = max(scripted_steps, self.given - 1)

    @classmethod
    def from_pretrained(
        cls,
        place: str | os.PathLike[str],
        *,
        names: Sequence[str] = ("base", "rlvr"),
        device: str | torch.device | None = None,
        horizon: int = 4,
        max_steps: int = 12,
    ) -> "Playground":
        """
        Load the checkpoints of a run.

        Args:
            place (`str` or `PathLike`):
                The run's output folder, with one folder a checkpoint; or `hf://owner/name`, which stands for the Hub
                repositories `owner/name-base` and `owner/name-rlvr`.
            names (`Sequence[str]`, *optional*, defaults to `("base", "rlvr")`):
                Checkpoints to load.
            device (`str` or `torch.device`, *optional*):
                Where to compute. Defaults to a CUDA device if there is one, else the CPU.
            horizon (`int`, *optional*, defaults to 4):
                As in the class.
            max_steps (`int`, *optional*, defaults to 12):
                As in the class.

        Returns:
            `Playground`: ready to play.

        Raises:
            `FileNotFoundError`: If a checkpoint is not there; nothing is downloaded that was not asked for by `hf://`.

        Example:

        ```python
        >>> Playground.from_pretrained("outputs/no-such-run")
        Traceback (most recent call last):
        ...
        FileNotFoundError: There is no checkpoint outputs/no-such-run/base. Run `make quickstart` first ...

        ```
        """
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        places = {name: _checkpoint(place, name) for name in names}
        pipelines = {name: WorldModelPipeline.from_pretrained(at, device=device) for name, at in places.items()}
        return cls(pipelines, horizon=horizon, max_steps=max_steps)

    def play(
        self, *, seed: int, targets: Iterable[Target] = (), temperature: float = 0.0, sampling_seed: int = 0
    ) -> Play:
        """
        Walk from a start to the targets, in the simulator and in each model.

        More targets leave the steps before them as they are. The actions are the simulator's: each step aims from
        where its agent is.

        Args:
            seed (`int`):
                The start: seed of an episode, not negative.
            targets (`Iterable[tuple[float, float]]`, *optional*):
                Where the agent is to go, one after the other: `(x, y)` in world units from the upper left corner. What
                is beyond the walls is taken to lie at them.
            temperature (`float`, *optional*, defaults to 0.0):
                Divides the logits of the models; 0 takes the likeliest token.
            sampling_seed (`int`, *optional*, defaults to 0):
                Seed of the models' noise.

        Returns:
            `Play`: frames, errors and what was done.
        """
        recording = record_policy(
            seed, length=self.scripted_steps, image_size=self.image_size, frame_interval=self.frame_interval
        )
        agent = recording.agent.copy()
        walked = self._walk(recording, targets)
        episode = recording.episode()
        recorded = (
            torch.from_numpy(np.stack([*episode.required_frames, recording.frame()])).float() / 255
        )  # (T, 3, H, W)
        given, reference = recorded[: self.scripted_steps + 1], recorded[self.scripted_steps + 1 :]
        frames, errors = {SIMULATOR: _as_images(recorded[self.scripted_steps :])}, {}
        for name, pipeline in self.pipelines.items():
            predicted = self._predict(
                pipeline, given[-self.given :], episode.actions, temperature=temperature, seed=sampling_seed
            )
            frames[name] = _as_images(torch.cat([given[-1:], predicted]))
            errors[name] = MAEReward().measure(predicted[None], reference[None])[0].numpy()
        return Play(
            targets=walked,
            actions=episode.actions[self.scripted_steps :],
            agent=agent,
            frames=frames,
            errors=errors,
        )

    def _walk(self, recording: Recording, targets: Iterable[Target]) -> tuple[Target, ...]:
        """Record the way to the targets, and return those that the steps were enough to set out for."""
        walked: list[Target] = []
        steps_left = self.max_steps
        for target in targets:
            if not steps_left:
                break
            waypoint = np.clip(np.asarray(target, dtype=np.float64), MARGIN, WORLD_SIZE - MARGIN)
            steps = max(1, math.ceil(np.linalg.norm(waypoint - recording.agent) / REACH))
            for _ in range(min(steps, steps_left)):
                recording.hold(within_reach(recording.agent, waypoint, REACH))
            steps_left -= min(steps, steps_left)
            walked.append((float(waypoint[0]), float(waypoint[1])))
        return tuple(walked)

    def _predict(
        self, pipeline: WorldModelPipeline, given: torch.Tensor, actions: np.ndarray, *, temperature: float, seed: int
    ) -> torch.Tensor:
        """Windows of `horizon` steps, each after the last frames of the one before: `(S, 3, H, W)` on the CPU."""
        frames = given  # (K + M, 3, H, W), then with what was predicted
        before = self.scripted_steps + 1  # actions up to the one at the start
        steps = len(actions) - self.scripted_steps
        for window, done in enumerate(range(0, steps, self.horizon)):
            ahead = min(self.horizon, steps - done)
            predicted = pipeline(
                frames[-self.given :],
                actions[before + done - self.prompt_actions : before + done + ahead - 1],
                horizon=ahead,
                temperature=temperature,
                seed=seed + window,
            )
            frames = torch.cat([frames, predicted[0].cpu()])
        return frames[len(given) :]


def enlarge(frames: np.ndarray, size: int) -> np.ndarray:
    """
    Repeat pixels, never smooth them.

    Args:
        frames (`numpy.ndarray` of shape `(..., H, W, 3)`):
            Frames; height and width divide `size`.
        size (`int`):
            Height and width to give them.

    Returns:
        `numpy.ndarray` of shape `(..., size, size, 3)`, of the same type.

    Raises:
        `ValueError`: If `size` is no multiple of height and width.
    """
    height, width = frames.shape[-3:-1]
    if size % height or size % width:
        raise ValueError(f"Expected `size` to be a multiple of {height} and {width}, got {size}.")
    return repeat(frames, "... h w c -> ... (h a) (w b) c", a=size // height, b=size // width)


def target_at(x: float, y: float, size: int) -> Target:
    """
    The point of the world that a pixel of a frame shows.

    Args:
        x (`float`):
            Column of the pixel, from the left, in `[0, size)`.
        y (`float`):
            Row of the pixel, from above, in `[0, size)`.
        size (`int`):
            Height and width of the frame as shown.

    Returns:
        `tuple[float, float]`: `(x, y)` in world units.

    Example:

    ```python
    >>> target_at(0, 255, 256)
    (1.0, 511.0)

    ```
    """
    return (x + 0.5) * WORLD_SIZE / size, (y + 0.5) * WORLD_SIZE / size


def draw_start(play: Play, size: int) -> np.ndarray:
    """
    The start frame with the way to go: a dot where each step aims, a number at each target.

    Args:
        play ([`Play`]):
            What was done.
        size (`int`):
            Height and width of the picture, a multiple of the frame's.

    Returns:
        `numpy.ndarray` of shape `(size, size, 3)`, uint8 RGB.
    """
    picture = Image.fromarray(enlarge(play.frames[SIMULATOR][0], size))
    draw, unit = ImageDraw.Draw(picture), size / WORLD_SIZE
    way = [(x * unit, y * unit) for x, y in (play.agent, *play.actions)]
    draw.line(way, fill=INK, width=round(3 * unit))
    for point in way[1:]:
        draw.circle(point, 5 * unit, fill=INK)
    font = ImageFont.load_default(size=18 * unit)
    for number, (x, y) in enumerate(play.targets, start=1):
        draw.circle((x * unit, y * unit), 14 * unit, fill=INK, outline="white", width=round(2 * unit))
        draw.text((x * unit, y * unit), str(number), fill="white", font=font, anchor="mm")
    return np.array(picture)


def _common_form(pipelines: Mapping[str, WorldModelPipeline]) -> tuple[int, float, int, int]:
    """Image size, frame interval, given frames and actions before the first predicted one, the same for all."""
    forms = {}
    for name, pipeline in pipelines.items():
        processor, layout = pipeline.processor, pipeline.processor.layout
        if processor.predicts != ("frames",):
            raise ValueError(f"{name!r} predicts {' and '.join(processor.predicts)}; give a model of frames alone.")
        height, width = processor.codec.config.image_size
        if layout.action_dims != 2 or not processor.fps or height != width or WORLD_SIZE % height:
            raise ValueError(
                f"{name!r} is no world model of PushT: expected square frames whose size divides {WORLD_SIZE:.0f}, a "
                f"frame rate and 2 action dimensions, got {height}x{width}, {processor.fps} and {layout.action_dims}."
            )
        forms[name] = (
            height,
            1 / processor.fps,
            layout.context_frames + layout.observed_steps,
            layout.prompt_actions,
        )
    if len(set(forms.values())) > 1:
        raise ValueError(
            "Expected models of one form, got (image size, seconds a frame, given frames, prompt actions) "
            f"{forms}; give checkpoints of the same run."
        )
    return next(iter(forms.values()))


def _checkpoint(place: str | os.PathLike[str], name: str) -> str | Path:
    if str(place).startswith(HUB):
        return f"{str(place).removeprefix(HUB)}-{name}"
    folder = Path(place) / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no checkpoint {folder}. Run `make quickstart` first (in a checkout; elsewhere `rlvr-world run "
            f"pusht/quickstart`), which makes outputs/quickstart; or give the output folder of another run of PushT, "
            f"or `{HUB}owner/name` for `owner/name-{name}` on the Hub."
        )
    return folder


def _as_images(frames: torch.Tensor) -> np.ndarray:
    """Frames `(T, 3, H, W)`, float in `[0, 1]`, as `(T, H, W, 3)`, uint8."""
    return rearrange((frames * 255).round().to(torch.uint8), "t c h w -> t h w c").numpy()
