"""
PushT in play: a start, targets to walk to, and what simulator and models make of the same actions.

    start     an episode's seed; the scripted policy of the data plays the first seconds, which give the first frames
    plan      targets; the agent walks there in steps of at most `REACH`, one a frame interval, by the models' law of
              actions
    advance   the planned actions, or recorded ones, for the true simulator and each model on its own predicted frames
"""

import dataclasses
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from einops import rearrange

from ...pipeline import WorldModelPipeline
from ...playground.play import MAX_SAMPLES, MAX_SEED, METRICS, SIMULATOR, Plan, Play, Target, read_sampling
from ...playground.values import SHORT, read_whole
from ...processors.base import state_columns
from ...rewards.repetition import repeated_steps
from ...rollouts.sliding import window_after
from .form import common_form
from .policies import MARGIN, REACH, WORLD_SIZE, within_reach
from .simulator import Recording, record_policy


NUMBERS = (int, float, np.integer, np.floating)
"""Types of a target's coordinates."""


class Playground:
    """
    Rolls world models of PushT out beside the true simulator. It keeps nothing between calls, so one serves all users.

    A model predicts `horizon` steps from one window; the next window begins with its own last frames, as shown.
    Prediction follows the multi-step prediction of RLVR-World ([paper](https://huggingface.co/papers/2505.13934),
    section 5.1), whose policy evaluation slides windows in the same way.

    Args:
        pipelines (`Mapping[str, WorldModelPipeline]`):
            The models by name, as in `base` and `rlvr`: of PushT, with frames and windows of the same form.
        horizon (`int`, *optional*, defaults to 4):
            Steps predicted from one window: those the models were trained on.
        max_steps (`int`, *optional*, defaults to 12):
            Steps of the longest plan.
        max_total (`int`, *optional*, defaults to 120):
            Steps after which a play ends.
        scripted_steps (`int`, *optional*, defaults to 8):
            Steps of the scripted policy before the start; more if the models are given more frames.
        recorded_steps (`int`, *optional*, defaults to 24):
            Steps of the scripted policy after the start that can be replayed.

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
    >>> start = playground.start(seed=0)
    >>> plan = playground.plan(start, [(100.0, 100.0), (400.0, 100.0)])
    >>> for play in playground.advance(start, plan.actions, samples=2):
    ...     print(play.truth.shape, play.predicted["rlvr"].shape, play.metrics["rlvr"]["mae"].shape)
    (1, 16, 16, 3) (2, 1, 16, 16, 3) (2, 1)
    (2, 16, 16, 3) (2, 2, 16, 16, 3) (2, 2)
    (3, 16, 16, 3) (2, 3, 16, 16, 3) (2, 3)

    ```
    """

    def __init__(
        self,
        pipelines: Mapping[str, WorldModelPipeline],
        *,
        horizon: int = 4,
        max_steps: int = 12,
        max_total: int = 120,
        scripted_steps: int = 8,
        recorded_steps: int = 24,
    ) -> None:
        if not pipelines or SIMULATOR in pipelines:
            raise ValueError(f"Expected models by name, none of them {SIMULATOR!r}, got {list(pipelines)}.")
        if min(horizon, max_steps, max_total, scripted_steps) < 1:
            raise ValueError(
                "Expected `horizon`, `max_steps`, `max_total` and `scripted_steps` to be at least 1, got "
                f"{horizon}, {max_steps}, {max_total} and {scripted_steps}."
            )
        self.pipelines = dict(pipelines)
        self.form = common_form({name: pipeline.processor for name, pipeline in self.pipelines.items()})
        self.horizon = horizon
        self.max_steps = max_steps
        self.max_total = max_total
        self.scripted_steps = max(scripted_steps, self.form.given_frames - 1)
        self.recorded_steps = recorded_steps

    def start(self, seed: int) -> Play:
        """
        The start of a play: nothing is done yet.

        Args:
            seed (`int`):
                Seed of an episode, in `[0, MAX_SEED]`.

        Returns:
            `Play`: of no step.

        Raises:
            ValueError: If the seed is no whole number, or out of range.
        """
        seed = read_whole("start", seed, least=0, most=MAX_SEED)
        recording = self._record(seed, self.scripted_steps)
        still = np.zeros((0, self.form.image_size, self.form.image_size, 3), np.uint8)
        seen = self.form.see(recording)
        told = seen.get("context_states")
        none_yet = {} if told is None else dict.fromkeys(self.pipelines, told[None, :0])
        return Play(
            seed=seed,
            given=rearrange(seen["context"], "t c h w -> t h w c"),
            given_states=told,
            predicted_states=none_yet,
            before=recording.episode().actions.astype(np.float64),
            agent=recording.agent.copy(),
            actions=np.zeros((0, self.form.action_dims)),
            truth=still,
            predicted=dict.fromkeys(self.pipelines, still[None]),  # one sample of no step, which branches
            metrics={name: {metric.name: np.zeros((1, 0)) for metric in METRICS} for name in self.pipelines},
            repeated={name: np.zeros((1, 0), bool) for name in self.pipelines},
        )

    def plan(self, play: Play, targets: Iterable[Target]) -> Plan:
        """
        The way from the agent to targets, one after the other. Each step aims from where the agent then is.

        Args:
            play ([`Play`]):
                What was done so far.
            targets (`Iterable[tuple[float, float]]`):
                `(x, y)` in world units from the upper left corner. Targets beyond the walls are moved to the walls.

        Returns:
            [`Plan`]: of at most `max_steps` steps. A longer list of targets leaves the steps before them as they are.

        Raises:
            ValueError: If there is no list of targets, or one is no pair of finite numbers.
        """
        if isinstance(targets, str | Mapping) or not isinstance(targets, Iterable):
            raise ValueError(
                f"Expected `targets` to be a list of targets (x, y) in world units, got {SHORT.repr(targets)}; give "
                "[] for none."
            )
        recording = self._simulator(play)
        walked: list[Target] = []
        aims: list[np.ndarray] = []
        actions: list[np.ndarray] = []
        for target in targets:
            left = min(self.max_steps, self.max_total - play.steps) - len(actions)
            if left < 1:
                break
            waypoint = np.clip(_as_point(target), MARGIN, WORLD_SIZE - MARGIN)
            # A target where the agent already stands is a step of rest.
            steps = max(1, math.ceil(np.linalg.norm(waypoint - recording.agent) / REACH))
            for _ in range(min(steps, left)):
                aims.append(within_reach(recording.agent, waypoint, REACH))
                actions.append(recording.aim(aims[-1]))
                recording.act(actions[-1])
            walked.append((float(waypoint[0]), float(waypoint[1])))
        # Without a step the arrays are `(0,)`, and a plan's have two dimensions.
        return Plan(
            targets=tuple(walked),
            aims=np.array(aims).reshape(-1, 2),
            actions=np.array(actions, np.float64).reshape(-1, self.form.action_dims),
        )

    def recorded_actions(self, play: Play) -> np.ndarray:
        """
        The next recorded actions of the held-out episode.

        Args:
            play ([`Play`]):
                What was done so far; it says how many recorded actions were replayed already.

        Returns:
            `numpy.ndarray` of shape `(S, A)`, float64 in the unit of the data: at most `max_steps`, none where the
            recording or the play ends.
        """
        recorded = self._record(play.seed, self.scripted_steps + self.recorded_steps, frames=False)
        first = self.scripted_steps + play.replayed
        count = max(0, min(self.max_steps, self.max_total - play.steps))
        return recorded.episode().actions[first : first + count].astype(np.float64)

    def advance(
        self,
        play: Play,
        actions: np.ndarray,
        *,
        samples: int = 1,
        temperature: float = 0.0,
        sampling_seed: int = 0,
        replayed: bool = False,
    ) -> Iterator[Play]:
        """
        Do actions, in the simulator and in each model, which goes on from its own frames.

        Args:
            play ([`Play`]):
                What was done so far.
            actions (`numpy.ndarray` of shape `(S, A)`):
                What to do, by the models' law of actions; at most `max_steps`.
            samples (`int`, *optional*, defaults to 1):
                Predictions of each model, in `[1, MAX_SAMPLES]`. New ones branch off from those there are.
            temperature (`float`, *optional*, defaults to 0.0):
                Divides the logits of the models, in `[0, MAX_TEMPERATURE]`; 0 takes the likeliest token.
            sampling_seed (`int`, *optional*, defaults to 0):
                Seed of the models' noise, in `[0, MAX_SEED]`.
            replayed (`bool`, *optional*, defaults to `False`):
                Whether the actions are the recorded ones, which are then counted.

        Yields:
            [`Play`]: After each step.

        Raises:
            ValueError: If there are more steps than `max_steps`, or than the play has left, or a number is out of
                range.
        """
        how = read_sampling(samples=samples, temperature=temperature, sampling_seed=sampling_seed)
        read_whole("number of steps", len(actions), least=0, most=self.max_steps)
        read_whole("number of steps in all", play.steps + len(actions), least=0, most=self.max_total)
        recording, play = self._simulator(play), _branch(play, how["samples"])
        done = play.steps
        for step, action in enumerate(actions):
            if step % self.horizon == 0:
                done = play.steps  # a window begins with the frames as shown
            recording.act(action)
            play = dataclasses.replace(
                play,
                agent=recording.agent.copy(),
                actions=np.concatenate([play.actions, action[None]]),
                truth=np.concatenate([play.truth, rearrange(recording.frame(), "c h w -> 1 h w c")]),
                replayed=play.replayed + replayed,
            )
            predicted = {
                name: self._predict(
                    pipeline, name, play, done, temperature=how["temperature"], seed=how["sampling_seed"]
                )
                for name, pipeline in self.pipelines.items()
            }
            play = _with_predictions(play, predicted)
            yield play

    def _record(self, seed: int, length: int, *, frames: bool = True) -> Recording:
        """So many steps of the scripted policy."""
        return record_policy(
            seed,
            length=length,
            image_size=self.form.image_size,
            frame_interval=self.form.frame_interval,
            frames=frames,
            action_law=self.form.action_law,
        )

    def _simulator(self, play: Play) -> Recording:
        """The world after what was done, by doing it again."""
        recording = self._record(play.seed, self.scripted_steps, frames=False)
        for action in play.actions:
            recording.act(action)
        return recording

    def _predict(
        self, pipeline: WorldModelPipeline, name: str, play: Play, done: int, *, temperature: float, seed: int
    ) -> dict[str, np.ndarray]:
        """
        The frame that follows the last action, `(G, H, W, 3)`, uint8, and perhaps its state `(G, P)`: the last of the
        window that began after `done` steps, each sample's on its own frames.
        """
        window = window_after(pipeline.processor.layout, done, steps=play.steps - done)
        # Steps shown before are predicted again, and with the window's own seed come out the same.
        given = [np.concatenate([play.given, frames])[window.given] for frames in play.predicted[name]]
        told: dict[str, Any] = {}
        if play.given_states is not None:
            told["states"] = [
                np.concatenate([play.given_states, states])[window.given] for states in play.predicted_states[name]
            ]
        past = play.before[len(play.before) + 1 - self.form.prompt_actions :]
        actions = np.concatenate([past, play.actions])[window.actions]
        predicted = pipeline.predict_batch(
            given,
            [actions] * len(given),
            **told,
            horizon=window.steps,
            temperature=temperature,
            seed=seed + MAX_SAMPLES * window.done,  # `predict_batch` counts a seed a sample on from it
        )
        last = {of: states[:, 0, -1].cpu() for of, states in state_columns(predicted).items()}
        frames = rearrange((last.pop("predicted") * 255).round().to(torch.uint8), "g c h w -> g h w c").numpy()
        return {"predicted": frames, **{of: states.numpy() for of, states in last.items()}}


def _as_point(target: Any) -> np.ndarray:
    is_list = isinstance(target, list | tuple) or (isinstance(target, np.ndarray) and target.ndim == 1)
    values: list[Any] = list(target) if is_list else []
    numbers: list[Any] = [x for x in values if isinstance(x, NUMBERS) and not isinstance(x, bool)]
    # Compared, as a whole number may be too long for a float; NaN is not within, either.
    finite = [x for x in numbers if abs(x) <= sys.float_info.max]
    if len(values) != 2 or len(finite) != 2:
        raise ValueError(
            f"Expected a target as two numbers (x, y) in world units, got {SHORT.repr(target)}; give it as "
            f"[x, y], from 0 to {WORLD_SIZE:g}."
        )
    return np.asarray(values, dtype=np.float64)


def _branch(play: Play, samples: int) -> Play:
    """The play with `samples` samples: the first of those it has; if it has fewer, they are repeated."""

    def of(values: np.ndarray) -> np.ndarray:
        return values[np.arange(samples) % len(values)]

    return dataclasses.replace(
        play,
        predicted={name: of(frames) for name, frames in play.predicted.items()},
        predicted_states={name: of(states) for name, states in play.predicted_states.items()},
        metrics={name: {metric: of(x) for metric, x in metrics.items()} for name, metrics in play.metrics.items()},
        repeated={name: of(flags) for name, flags in play.repeated.items()},
    )


def _with_predictions(play: Play, predicted: Mapping[str, Mapping[str, np.ndarray]]) -> Play:
    """The play with what each model predicted in one more step, its frame measured against the simulator's."""
    metrics, repeated = {}, {}
    for name, of_model in predicted.items():
        frames = of_model["predicted"]
        last = np.concatenate([play.predicted[name][:, -1:], frames[:, None]], axis=1)  # (G, 1 or 2, H, W, 3)
        states = _as_states(last)
        reference = _as_states(play.truth[None, -1:]).expand_as(states[:, -1:])
        metrics[name] = {
            metric.name: np.concatenate(
                [play.metrics[name][metric.name], metric.measure(states[:, -1:], reference).double().numpy()], axis=1
            )
            for metric in METRICS
        }
        # The first predicted frame has no predicted one before it.
        same = repeated_steps(states).numpy() if last.shape[1] == 2 else np.zeros((len(frames), 1), bool)
        repeated[name] = np.concatenate([play.repeated[name], same], axis=1)

    def joined(before: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
        return {name: np.concatenate([x, predicted[name][kind][:, None]], axis=1) for name, x in before.items()}

    return dataclasses.replace(
        play,
        predicted=joined(play.predicted, "predicted"),
        predicted_states=joined(play.predicted_states, "predicted_states"),
        metrics=metrics,
        repeated=repeated,
    )


def _as_states(frames: np.ndarray) -> torch.Tensor:
    """Frames `(G, S, H, W, 3)`, uint8, as `(G, S, 3, H, W)`, float in `[0, 1]`."""
    return rearrange(torch.from_numpy(frames), "g s h w c -> g s c h w").float() / 255
