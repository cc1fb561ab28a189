r"""
Planning with stable-worldmodel 0.1.1 (https://github.com/galilai-group/stable-worldmodel): its solvers run on our
checkpoints, in its worlds.

A solver asks its model what candidates cost, for `E` worlds at once (its protocol `Costable`):

    cost_{en} = GoalCost(\hat{s}_1, ..., \hat{s}_H),   \hat{s}_t ~ p(s_t | frames of world e, a_{en1}, ..., a_{ent})

    candidates  (E, N, H, B * A)    what may be done: at each step of the model a block of `B` actions of the world
    pixels      (E, N, T, h, w, 3)  what is seen, oldest first, the same for all candidates of a world
    goal        (E, N, 1, h, w, 3)  what is to be reached

Its worlds show the present frame alone; [`HistoryPolicy`] hands over those before it, too, a block apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pymunk
import torch

from ..data.array_files import resize_frames
from ..pipeline import WorldModelPipeline
from ..planning.goal_cost import GoalCost
from ..planning.imagination import ImaginedCost
from ..rewards.base import ROUNDING, VerifiableReward


if find_spec("stable_worldmodel") is None:
    raise ImportError("stable-worldmodel is missing: install it with `pip install 'rlvr-world-hf[swm]'`.")


def _on_collision(space: pymunk.Space, first: int, second: int, *, post_solve: Callable[..., None]) -> None:
    """What pymunk 7 calls so, by pymunk 6, which gym-pusht asks for."""
    space.add_collision_handler(first, second).post_solve = post_solve


# Its worlds are written for pymunk 7.
if not hasattr(pymunk.Space, "on_collision"):
    pymunk.Space.on_collision = _on_collision  # type: ignore[attr-defined]


class WorldModelCost:
    """
    A world model as the model of stable-worldmodel's solvers, except those that need gradients: tokens have none.

    Let its worlds draw 512 pixels: `World("swm/PushT-v1", image_shape=(512, 512), resolution=512, ...)`. Averaged over
    areas, these are the frames that models of PushT saw in training; what it makes smaller itself differs a little.

    Args:
        pipeline ([`WorldModelPipeline`]):
            A world model of frames, which may be told states beside them, such as the agent's position. One of PushT
            speaks the relative law; an action of 0.5 s is an `action_block` of 5.
        rewards (`Mapping[VerifiableReward, float]`):
            Rewards and their weights, as of a [`GoalCost`], whose goal is what the world shows as `goal`.
        states (`str`, *optional*, defaults to `"proprio"`):
            Where the model is told states: the entry that begins with them, in the unit of the data. Leave it out of
            the policy's `process`.
        normalization (`tuple` of two `Sequence[float]` of length 3, *optional*):
            Mean and standard deviation of each colour, if the policy's `transform` normalizes frames; it is undone.
        to_actions (`Callable`, *optional*):
            Turns candidates `(N, H, D)` into actions `(N, H, A)` in the unit of the data, if the policy's `process`
            normalizes actions; by default candidates are actions.
        window (`int`, *optional*):
            Most steps predicted at once, for example those of training; beyond them the window slides. By default all
            steps are predicted at once.
        temperature (`float`, *optional*, defaults to 0.0):
            As of [`ImaginedCost`].
        seed (`int`, *optional*, defaults to 0):
            Seed of the noise, where the temperature is above 0.

    Raises:
        ValueError: If the model predicts no frames, or speaks the absolute law.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, MAEReward, VideoWorldModelProcessor
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [-1.0] * 10, [1.0] * 10, action_law="relative")
    >>> sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **sizes))
    >>> cost = WorldModelCost(WorldModelPipeline(model, processor), {MAEReward(): 1.0})
    >>> shown = torch.full((2, 4, 1, 64, 64, 3), 255, dtype=torch.uint8)  # two worlds, four candidates
    >>> cost.get_cost({"pixels": shown, "goal": shown}, torch.zeros(2, 4, 3, 10)).shape
    torch.Size([2, 4])

    ```
    """

    def __init__(
        self,
        pipeline: WorldModelPipeline,
        rewards: Mapping[VerifiableReward, float],
        *,
        states: str = "proprio",
        normalization: tuple[Sequence[float], Sequence[float]] | None = None,
        to_actions: Callable[[torch.Tensor], torch.Tensor] | None = None,
        window: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        predicts = pipeline.processor.predicts
        if "frames" not in predicts:
            raise ValueError(
                "Expected a world model of frames, alone or with states, got one that predicts "
                f"{' and '.join(predicts)}; plan with `rlvr_world_hf.planning` in its world."
            )
        if pipeline.processor.action_law == "absolute":
            raise ValueError(
                "Expected a world model of relative actions, as those of stable-worldmodel's worlds are, got one of "
                "the absolute law; give a checkpoint of a recipe with `collect.action_law: relative`."
            )
        self.pipeline = pipeline
        self.layout = pipeline.processor.layout
        self.rewards = dict(rewards)
        self.states = states
        self.normalization = normalization
        self.to_actions = to_actions
        self.settings: dict[str, Any] = {"window": window, "temperature": temperature, "seed": seed}

    @property
    def given_frames(self) -> int:
        """Frames that the model is given, the present one included."""
        return self.layout.context_frames + self.layout.observed_steps

    @property
    def is_told_states(self) -> bool:
        """Whether the model is given states beside the frames."""
        return "sensors" in self.pipeline.processor.predicts

    def get_cost(self, info_dict: Mapping[str, Any], action_candidates: torch.Tensor) -> torch.Tensor:
        """
        What candidates cost, as solvers ask it.

        Args:
            info_dict (`Mapping[str, Any]`):
                What the worlds show, repeated for each candidate: `pixels` `(E, N, T, h, w, 3)`, uint8, or float
                `(E, N, T, 3, h, w)`, of which the last frames are taken; `goal`, of which the last one is. Where the
                model is told states, also `proprio` `(E, N, T, P)`, and `goal_proprio`, if a reward reads it. Where it
                observes more than one step, `past_actions` `(E, N, T - 1, A)`.
            action_candidates (`torch.Tensor` of shape `(E, N, H, D)`):
                What may be done. A number beyond the range of the model's actions counts as the end of the range.

        Returns:
            `torch.Tensor` of shape `(E, N)`: float32; lower is better.

        Raises:
            ValueError: If what the model needs is missing or does not fit it, or gradients are asked for.
        """
        if action_candidates.ndim != 4 or action_candidates.requires_grad:
            given = "some with gradients" if action_candidates.requires_grad else tuple(action_candidates.shape)
            raise ValueError(
                f"Expected candidates (E, N, H, D) without gradients, got {given}; take a solver that compares costs, "
                "such as `CEMSolver`, `ICEMSolver` or `MPPISolver`."
            )
        # Solvers ask in inference mode, and what the model keeps between two calls must be of use outside of it.
        with torch.inference_mode(False), torch.no_grad():
            candidates = action_candidates.clone().cpu().float()
            costs = [self._objective(info_dict, world)(self._actions(one)) for world, one in enumerate(candidates)]
            return torch.stack(costs).to(action_candidates.device, torch.float32)

    def criterion(self, info_dict: Mapping[str, Any], action_candidates: torch.Tensor) -> torch.Tensor:
        """The same as [`get_cost`], by the other name that `Costable` has for it."""
        return self.get_cost(info_dict, action_candidates)

    def _actions(self, candidates: torch.Tensor) -> torch.Tensor:
        """The candidates of a world `(N, H, D)` as actions `(N, H, A)` in the model's range."""
        actions = candidates if self.to_actions is None else self.to_actions(candidates)
        if actions.shape[-1] != self.layout.action_dims:
            raise ValueError(
                f"Expected candidates of {self.layout.action_dims} numbers a step, as the model's actions have, got "
                f"{actions.shape[-1]}; let `action_block` times the numbers of the world's action be as many."
            )
        low, high = self.pipeline.processor.action_low, self.pipeline.processor.action_high
        return actions.clamp(torch.tensor(low), torch.tensor(high))

    def _objective(self, info: Mapping[str, Any], world: int) -> ImaginedCost:
        """What candidates cost in one of the worlds."""
        frames = self._frames(self._last(info, "pixels", world, count=self.given_frames))
        seen: dict[str, Any] = {"predicted": frames}
        goal: dict[str, Any] = {"predicted": self._frames(self._last(info, "goal", world))[0]}
        states = past_actions = None
        if self.is_told_states:
            dims = self.layout.sensor_dims
            states = self._last(info, self.states, world, count=self.given_frames)[:, :dims]
            if f"goal_{self.states}" in info:
                seen["predicted_states"] = states
                goal["predicted_states"] = self._last(info, f"goal_{self.states}", world)[0, :dims]
        if self.layout.prompt_actions > 1:
            past_actions = self._last(info, "past_actions", world, count=self.layout.prompt_actions - 1)
        cost = GoalCost(goal, self.rewards, context=seen)
        return ImaginedCost(self.pipeline, frames, cost, states=states, past_actions=past_actions, **self.settings)

    def _last(self, info: Mapping[str, Any], name: str, world: int, *, count: int = 1) -> np.ndarray:
        """The last `count` of what a world shows `(T, ...)`; numbers other than pixels are float32."""
        # All candidates are shown the same.
        shown = torch.as_tensor(_entry(info, name)[world][0]).cpu().numpy()
        if len(shown) < count:
            raise ValueError(
                f"Expected the last {count} of `{name}`, as the model is given {self.given_frames} frames, got "
                f"{len(shown)}; wrap the policy, as in `HistoryPolicy(WorldModelPolicy(solver, config))`."
            )
        last = shown[len(shown) - count :]
        return last if last.dtype == np.uint8 else last.astype(np.float32)

    def _frames(self, shown: np.ndarray) -> np.ndarray:
        """Frames of a world as the model's `(T, 3, H, W)`, uint8 or float32 in [0, 1]."""
        if shown.ndim != 4 or 3 not in (shown.shape[1], shown.shape[-1]):
            raise ValueError(
                f"Expected frames (T, h, w, 3) or (T, 3, h, w) of each world, got {shown.shape}; give RGB, and leave "
                "the order of the dimensions to the policy's `transform`."
            )
        frames = shown if shown.shape[1] == 3 else shown.transpose(0, 3, 1, 2)
        if frames.dtype != np.uint8:
            if self.normalization is not None:
                mean, deviation = np.array(self.normalization, dtype=np.float32)[..., None, None]
                frames = frames * deviation + mean
            if not (frames.min() >= -ROUNDING and frames.max() <= 1 + ROUNDING):
                raise ValueError(
                    f"Expected frames in [0, 1], got {frames.min():.3g} to {frames.max():.3g}; if the policy's "
                    "`transform` normalizes them, give its mean and standard deviation as `normalization`."
                )
            frames = frames.clip(0, 1)
        height, width = size = self.pipeline.processor.codec.config.image_size
        if frames.shape[2] < height or frames.shape[3] < width:
            raise ValueError(
                f"Expected frames of at least {height}x{width}, the model's size, got "
                f"{frames.shape[2]}x{frames.shape[3]}; let the world draw them larger, as by `image_shape=(512, 512)`."
            )
        return resize_frames(frames, (height, width) if frames.shape[2:] != tuple(size) else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """What a world showed once."""

    episode: int
    """Its number of the episode; that of a data set, where one gives the first state."""

    step: int
    """Actions since the start of the episode, by the same count."""

    shown: dict[str, np.ndarray]
    """What the model is given of it: `pixels`, and states if it is told them."""

    action: np.ndarray
    """What led here `(A,)`; nothing is known of what led to the first moment."""

    def leads_to(self, other: _Moment, *, is_first: bool) -> bool:
        """Whether the other one is the next moment of the same episode."""
        # A data set's counts are those of the first moment alone.
        return other.step == 1 if is_first else (other.episode, other.step) == (self.episode, self.step + 1)


class HistoryPolicy:
    """
    A planning policy of stable-worldmodel that hands its solver all frames that the world model is given.

    They are `action_block` actions of the world apart, as those of training were. Before the first moment of an
    episode the world counts as having been at rest: that frame is repeated, and what was done before it is zeros.

    Actions are kept within the range of the world's, in which the model was trained; some solvers go beyond it. After
    an episode `WorldModelPolicy` alone would plan anew at every step of the next ones; here it keeps its plans.

    Args:
        policy (`stable_worldmodel.policy.WorldModelPolicy`):
            Its solver's model is a [`WorldModelCost`].

    Raises:
        ValueError: If the model is another one; or, when a world is set, if the model's actions have another range
            than the world's.

    Example:

    ```python
    >>> from types import SimpleNamespace
    >>> from rlvr_world_hf import MAEReward
    >>> pipeline = WorldModelPipeline.from_pretrained("pusht-rlvr")
    >>> solver = SimpleNamespace(model=WorldModelCost(pipeline, {MAEReward(): 1.0}))  # as `CEMSolver(cost)`
    >>> HistoryPolicy(SimpleNamespace(solver=solver)).cost.given_frames
    2

    ```
    """

    def __init__(self, policy: Any) -> None:
        cost = getattr(policy.solver, "model", None)
        if not isinstance(cost, WorldModelCost):
            raise ValueError(
                f"Expected a policy whose solver's model is a `WorldModelCost`, got a {type(cost).__name__}; use the "
                "policy itself."
            )
        self.policy = policy
        self.cost = cost
        self._worlds: list[deque[_Moment]] = []

    def set_env(self, env: Any) -> None:
        """
        Begin in worlds, of which nothing was seen yet.

        Args:
            env (`stable_worldmodel.world.env_pool.EnvPool`):
                The worlds.

        Raises:
            ValueError: If their actions have another range than the model's.
        """
        processor, block = self.cost.pipeline.processor, self.policy.cfg.action_block
        space = env.single_action_space
        ends = [np.tile(getattr(space, end, np.nan), block) for end in ("low", "high")]
        trained = [np.array(processor.action_low), np.array(processor.action_high)]
        if self.cost.to_actions is None and not all(map(_is_close, ends, trained)):
            raise ValueError(
                f"Expected actions of the model's range, {_ends(*trained)}, got {_ends(*ends)} in blocks of {block}; "
                "choose another `action_block`, or a checkpoint of this world."
            )
        self.policy.set_env(env)
        moments = block * (self.cost.given_frames - 1) + 1
        self._worlds = [deque(maxlen=moments) for _ in range(env.num_envs)]

    def get_action(self, info_dict: Mapping[str, Any], **options: Any) -> np.ndarray:
        """
        The next action in each world.

        Args:
            info_dict (`Mapping[str, Any]`):
                What the worlds show now.
            options (`Any`):
                Of the policy.

        Returns:
            `numpy.ndarray` of shape `(E, A)`: within the range of the world's actions; nan where an episode is over.

        Raises:
            ValueError: If the worlds do not show what is needed.
        """
        for world, moments in enumerate(self._worlds):
            self._look(info_dict, world, moments)
        handed = {**info_dict, **self._history()}
        if (is_new := handed.get("_needs_flush")) is not None:
            # Once raised for a new episode, the flag stays raised.
            handed["_needs_flush"] = is_new & (np.ravel(info_dict["step_idx"]) == 0)
        space = self.policy.env.single_action_space
        return np.clip(self.policy.get_action(handed, **options), space.low, space.high)

    def _look(self, info: Mapping[str, Any], world: int, moments: deque[_Moment]) -> None:
        """Remember what a world shows now."""
        names = ["pixels", self.cost.states] if self.cost.is_told_states else ["pixels"]
        # Copied, as the worlds write over what they showed.
        episode, step, action, *shown = (
            np.array(_entry(info, name)[world][-1]) for name in ("id", "step_idx", "action", *names)
        )
        now = _Moment(episode=int(episode), step=int(step), action=action, shown=dict(zip(names, shown, strict=True)))
        if moments and not moments[-1].leads_to(now, is_first=len(moments) == 1):
            moments.clear()
        moments.append(now)

    def _history(self) -> dict[str, np.ndarray]:
        """What the model is given `(E, K, ...)`, and what was done between `(E, K - 1, B * A)`."""
        block, given = self.policy.cfg.action_block, self.cost.given_frames
        history: dict[str, list[np.ndarray]] = {}
        for moments in self._worlds:
            at = [moments[max(0, len(moments) - 1 - block * back)] for back in reversed(range(given))]
            for name in at[-1].shown:
                history.setdefault(name, []).append(np.stack([moment.shown[name] for moment in at]))
            if given > 1:
                led = np.zeros((block * (given - 1), *at[-1].action.shape), dtype=np.float32)
                done = [moment.action for moment in list(moments)[1:]]
                led[len(led) - len(done) :] = np.reshape(done, (len(done), *led.shape[1:]))
                history.setdefault("past_actions", []).append(led.reshape(given - 1, -1))
        return {name: np.stack(of_worlds) for name, of_worlds in history.items()}


def _entry(info: Mapping[str, Any], name: str) -> Any:
    """What the worlds show by a name."""
    if name not in info:
        raise ValueError(
            f"Expected worlds that show `{name}`, got {', '.join(sorted(info))}; make them by "
            "`stable_worldmodel.World`, or name another entry for states."
        )
    return info[name]


def _is_close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.shape == theirs.shape and np.allclose(ours, theirs)


def _ends(low: np.ndarray, high: np.ndarray) -> str:
    return f"{len(low)} numbers from {low.min():g} to {high.max():g}"
