"""A world model behind gymnasium's reset and step, so that any policy runs inside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from einops import rearrange
from gymnasium import spaces

from .sliding_window import SlidingWindow, advance
from .starts import State, read_start


Observation = np.ndarray | dict[str, np.ndarray]

StateCallable = Callable[[Any], Any]
"""
From a predicted state to a number: a frame `(3, H, W)`, float32 in `[0, 1]`, RGB; sensors `(P,)`, float32 in their
unit; or, where there are both, a `dict` of the two under `frame` and `sensors`. A `torch.Tensor` on the CPU.
"""

KINDS = {"frames": "frame", "sensors": "sensors"}
"""What one state of a kind is called."""


class WorldModelEnv(gymnasium.Env[Any, Any]):
    """
    An environment whose next state is what a world model predicts, as in the policy evaluation of RLVR-World
    ([paper](https://huggingface.co/papers/2505.13934)).

    Observations are those of gymnasium: a frame is `(H, W, 3)`, uint8 RGB; sensors are `(P,)`, float32 within the
    ranges of the processor (a start beyond them is observed at their end, which is how the model sees it); both are a
    mapping of `frame` and `sensors`. Actions are `(A,)`, float32 in the unit of the data and within the processor's
    ranges. Some learners want actions in [-1, 1]: [`gymnasium.wrappers.RescaleAction`] does it.

    The same seed gives the same episode: it decides the start and the noise of the model.

    Args:
        pipeline ([`WorldModelPipeline`]):
            World model of frames, sensors or both.
        starts (`Sequence`):
            Where episodes begin: [`~rlvr_world_hf.data.Episode`] records, whose first frames are given, or rows with
            `context` and `actions` as of [`~rlvr_world_hf.data.window_rows`]; a `datasets.Dataset` of rows, too.
        reward (`Callable`, *optional*):
            From the predicted state to a number; see `StateCallable`. 0 by default.
        termination (`Callable`, *optional*):
            From the predicted state to whether the episode ends there. It never does by default.
        max_steps (`int`, *optional*, defaults to 50):
            Steps after which an episode is truncated.
        horizon (`int`, *optional*, defaults to 4):
            Steps predicted in one window: those the model was trained on. Beyond them the window slides over predicted
            states.
        temperature (`float`, *optional*, defaults to 1.0):
            Divides the logits; 0 takes the likeliest token.
        top_k (`int`, *optional*, defaults to 0):
            Draw only from so many likeliest tokens; 0 for all.
        top_p (`float`, *optional*, defaults to 1.0):
            Draw only from the likeliest tokens that together have this probability.
        render_mode (`str`, *optional*):
            `"rgb_array"`: `render` returns the present frame.

    Raises:
        ValueError: if there are no starts, a number is out of range, or the world has no frames or sensors, or no
            actions.

    Example:

    ```python
    >>> from rlvr_world_hf import SensorWorldModelProcessor, WorldModelPipeline
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> processor = SensorWorldModelProcessor.from_ranges([0.0], [1.0], [-1.0], [1.0], sensor_bins=4, action_bins=4)
    >>> sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **sizes))
    >>> pipeline = WorldModelPipeline(model, processor)
    >>> env = WorldModelEnv(pipeline, [{"context": [[0.5]]}], reward=lambda state: state[0])
    >>> env.reset(seed=0)
    (array([0.5], dtype=float32), {'start': 0})
    >>> state, reward, terminated, truncated, info = env.step(np.array([0.25], np.float32))
    >>> state.shape, reward == float(state[0]), terminated, truncated
    ((1,), True, False, False)

    ```
    """

    def __init__(
        self,
        pipeline: Any,
        starts: Sequence[Any],
        *,
        reward: StateCallable | None = None,
        termination: StateCallable | None = None,
        max_steps: int = 50,
        horizon: int = 4,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        processor = pipeline.processor
        if not processor.fixed_length or not set(processor.predicts) <= set(KINDS):
            raise ValueError(
                f"Expected a world model of frames or sensors, got one that predicts {processor.predicts}; an answer "
                "of text is no state that a policy could be shown."
            )
        if not processor.layout.action_dims:
            raise ValueError("Expected a world with actions, got a processor with 0 action dimensions.")
        if not len(starts):
            raise ValueError("Expected at least one start, an `Episode` or a row with `context` and `actions`, got 0.")
        if min(max_steps, horizon) < 1:
            raise ValueError(f"Expected `max_steps` and `horizon` to be at least 1, got {max_steps} and {horizon}.")
        modes = ["rgb_array"] if "frames" in processor.predicts else []
        if render_mode is not None and render_mode not in modes:
            raise ValueError(f"Expected `render_mode` to be None or one of {modes}, got {render_mode!r}.")
        self.pipeline = pipeline
        self.starts = starts
        self.reward = reward
        self.termination = termination
        self.max_steps = max_steps
        self.horizon = horizon
        self.sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        self.metadata = {"render_modes": modes, "render_fps": processor.fps or 1}  # gymnasium's recorders need one
        self.render_mode = render_mode
        self.action_space = spaces.Box(
            np.array(processor.action_low, np.float32), np.array(processor.action_high, np.float32), dtype=np.float32
        )
        self.observation_space = _observation_space(processor)
        self.window: SlidingWindow | None = None
        self.steps = 0
        self.is_over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """
        Begin an episode.

        Args:
            seed (`int`, *optional*):
                Decides start and noise; without it they go on from the last seed.
            options (`dict`, *optional*):
                `{"start": i}` begins at `starts[i]`.

        Returns:
            `tuple`: observation, and `{"start": i}`.

        Raises:
            ValueError: for a start that does not fit the processor or is not there, or an unknown option.
        """
        super().reset(seed=seed)
        # Drawn even if a start is given, so that the same seed gives the same noise.
        index = int(self.np_random.integers(len(self.starts)))
        unknown = set(options or {}) - {"start"}
        if unknown:
            raise ValueError(f"Expected no options but `start`, got {sorted(unknown)}.")
        if options and "start" in options:
            index = int(options["start"])
            if not 0 <= index < len(self.starts):
                raise ValueError(f"Expected `start` in [0, {len(self.starts)}), got {index}.")
        start = read_start(self.starts[index], self.pipeline.processor)
        self.window = SlidingWindow(start, self.pipeline.processor, horizon=self.horizon, rng=self.np_random)
        self.steps, self.is_over = 0, False
        return self.observe(), {"start": index}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """
        Take one action.

        Args:
            action (`numpy.ndarray` of shape `(A,)`):
                In the unit of the data, within `action_space`.

        Returns:
            `tuple`: observation, reward, whether terminated, whether truncated, and an empty `dict`.

        Raises:
            ValueError: for an action of another shape, or beyond the ranges of the processor.
            gymnasium.error.ResetNeeded: before `reset`, or after the end of an episode.
        """
        checked = self.check_action(action)
        advance(self.pipeline, [self.running_window()], checked[None], **self.sampling)
        return self.arrive()

    def render(self) -> Any:
        """The present frame `(H, W, 3)`, uint8 RGB, where `render_mode` is `"rgb_array"`; else `None`."""
        return (
            None if self.render_mode is None else _as_image(self.running_window(may_be_over=True).present["context"])
        )

    def running_window(self, *, may_be_over: bool = False) -> SlidingWindow:
        """The window of the present episode; raises `gymnasium.error.ResetNeeded` where there is none."""
        if self.window is None or (self.is_over and not may_be_over):
            raise gymnasium.error.ResetNeeded(
                "Call `reset` first." if self.window is None else "The episode is over; call `reset` to begin another."
            )
        return self.window

    def check_action(self, action: Any) -> torch.Tensor:
        """`action` as a tensor `(A,)`, float32; refuses what the processor would put into its outermost bin."""
        low, high = self.action_space.low, self.action_space.high  # type: ignore[attr-defined]
        array = np.asarray(action, dtype=np.float32)
        if array.shape != low.shape:
            raise ValueError(f"Expected an action of shape {low.shape}, got {array.shape}.")
        if not ((array >= low) & (array <= high)).all():
            raise ValueError(
                f"Expected an action from {low.tolist()} to {high.tolist()}, got {array.tolist()}; clip it, or wrap "
                "the environment in `gymnasium.wrappers.ClipAction`."
            )
        return torch.from_numpy(array.copy())  # the caller may use its array again

    def arrive(self) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """What `step` returns once the window has been advanced."""
        self.steps += 1
        state = self._named(self.running_window().present)
        shown = next(iter(state.values())) if len(state) == 1 else state
        reward = 0.0 if self.reward is None else float(self.reward(shown))
        terminated = self.termination is not None and bool(self.termination(shown))
        truncated = self.steps >= self.max_steps
        self.is_over = terminated or truncated
        return self.observe(), reward, terminated, truncated, {}

    def observe(self) -> Observation:
        """The present state as an observation."""
        state = self._named(self.running_window(may_be_over=True).present)
        shown: dict[str, np.ndarray] = {}
        if "frame" in state:
            shown["frame"] = _as_image(state["frame"])
        if "sensors" in state:
            processor = self.pipeline.processor
            low, high = np.float32(processor.state_low), np.float32(processor.state_high)
            shown["sensors"] = np.clip(state["sensors"].numpy(), low, high)
        return next(iter(shown.values())) if len(shown) == 1 else shown

    def _named(self, state: State) -> dict[str, torch.Tensor]:
        return {KINDS[kind]: part for kind, part in zip(self.pipeline.processor.predicts, state.values(), strict=True)}


def _observation_space(processor: Any) -> spaces.Space[Any]:
    kinds: dict[str, spaces.Space[Any]] = {}
    if "frames" in processor.predicts:
        kinds["frame"] = spaces.Box(0, 255, (*processor.codec.config.image_size, 3), np.uint8)
    if "sensors" in processor.predicts:
        low, high = np.array(processor.state_low, np.float32), np.array(processor.state_high, np.float32)
        kinds["sensors"] = spaces.Box(low, high, dtype=np.float32)
    return next(iter(kinds.values())) if len(kinds) == 1 else spaces.Dict(kinds)


def _as_image(frame: torch.Tensor) -> np.ndarray:
    return rearrange((frame * 255).round().to(torch.uint8), "c h w -> h w c").numpy().copy()
