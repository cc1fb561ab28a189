r"""
What a plan costs in a world model's imagination:

    J(a_1, ..., a_H) = cost(\hat{s}_1, ..., \hat{s}_H),   \hat{s}_{t} ~ p(s_t | s_{\le 0}, \hat{s}_{1:t-1}, a_{1:t})

What is given is computed once for all candidates: their actions are all that differs. Beyond the steps that a model
was trained on, windows slide over its own predictions, see `rollouts/sliding.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from einops import repeat

from ..pipeline import WorldModelPipeline
from ..processors.base import state_columns
from ..rewards.base import as_frames
from ..rollouts.sliding import Window, slide_windows


class ImaginedCost:
    """
    An objective for planners: the cost of what a world model predicts after each candidate.

    Args:
        pipeline ([`WorldModelPipeline`]):
            The world model, of frames, of sensors, or of both.
        frames (`torch.Tensor` or `numpy.ndarray` of shape `(K, 3, H, W)` or `(K, P)`):
            What is seen now: the given frames, uint8 or float in `[0, 1]`, RGB, oldest first; or, in a world of
            sensors, the given states.
        cost (`Callable`):
            Costs `(N,)` of predictions `(N, H, 3, H, W)`, such as a [`GoalCost`], or any callable of predicted states.
            One with a true attribute `needs_actions` is also given `actions` `(N, H, A)`.
        past_actions (array or tensor of shape `(T, A)`, *optional*):
            Actions before now, of which the last are used; needed where a model observes more than one step.
        states (array or tensor of shape `(K, P)`, *optional*):
            States of the given frames, where there are frames and sensors.
        to_actions (`Callable`, *optional*):
            Turns candidates `(N, H, D)` into actions `(N, H, A)` in the unit of the data, such as moves into targets;
            by default candidates are actions.
        window (`int`, *optional*):
            Most steps predicted at once, for example those of training; beyond them the window slides. By default all
            steps are predicted at once.
        temperature (`float`, *optional*, defaults to 0.0):
            Divides the logits; 0 takes the likeliest token, so that the same actions have the same cost.
        seed (`int`, *optional*, defaults to 0):
            Seed of the noise, where the temperature is above 0.

    Raises:
        ValueError: If the world is one of text, the window is below 1, or there are too few past actions.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, MAEReward, VideoWorldModelProcessor
    >>> from rlvr_world_hf.planning import ActionBox, CrossEntropyPlanner, GoalCost
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [-1.0], [1.0])
    >>> sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **sizes))
    >>> frame, goal = torch.zeros(1, 3, 16, 16), torch.ones(3, 16, 16)
    >>> objective = ImaginedCost(WorldModelPipeline(model, processor), frame, GoalCost(goal, {MAEReward(): 1.0}))
    >>> planner = CrossEntropyPlanner(horizon=2, candidates=8, elites=2)
    >>> planner.plan(objective, ActionBox(low=[-1.0], high=[1.0]), seed=0).actions.shape
    torch.Size([2, 1])

    ```
    """

    def __init__(
        self,
        pipeline: WorldModelPipeline,
        frames: Any,
        cost: Callable[..., torch.Tensor],
        *,
        past_actions: Any = None,
        states: Any = None,
        to_actions: Callable[[torch.Tensor], torch.Tensor] | None = None,
        window: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not hasattr(pipeline.processor, "layout"):
            raise ValueError(
                "Expected a world model of frames, of sensors, or of both, got one with a "
                f"`{type(pipeline.processor).__name__}`; plan in a world of text with "
                "`rlvr_world_hf.planning.TextCost`."
            )
        if window is not None and window < 1:
            raise ValueError(
                f"Expected a window of at least 1 step, got {window}; leave it out to predict all steps at once."
            )
        self.pipeline = pipeline
        self.frames = as_frames(frames)
        self.cost = cost
        self.past = _last_actions(past_actions, pipeline.processor.layout.prompt_actions - 1)
        self.states = None if states is None else torch.as_tensor(states, dtype=torch.float32)
        self.to_actions = to_actions
        self.window = window
        self.temperature = temperature
        self.seed = seed

    def __call__(self, candidates: torch.Tensor) -> torch.Tensor:
        """
        Costs of candidates.

        Args:
            candidates (`torch.Tensor` of shape `(N, H, D)`):
                Sequences of what a planner draws.

        Returns:
            `torch.Tensor` of shape `(N,)`: lower is better.
        """
        actions = self._actions(candidates)
        predicted = self._predict(actions)
        if getattr(self.cost, "needs_actions", False):
            return self.cost(predicted, actions=actions.to(self.pipeline.model.device))
        return self.cost(predicted)

    def predict(self, candidates: torch.Tensor) -> Any:
        """
        What the model predicts after candidates.

        Args:
            candidates (`torch.Tensor` of shape `(N, H, D)`):
                Sequences of what a planner draws.

        Returns:
            `torch.Tensor` of shape `(N, H, 3, H, W)` or `(N, H, P)`: predicted states; a mapping of both kinds where
            there are frames and sensors.
        """
        return self._predict(self._actions(candidates))

    def _actions(self, candidates: torch.Tensor) -> torch.Tensor:
        return candidates if self.to_actions is None else self.to_actions(candidates)

    def _predict(self, actions: torch.Tensor) -> Any:
        """What the model predicts after actions `(N, H, A)`."""
        steps, before = actions.shape[1], len(self.past)
        # Without past actions, `past` does not know `A` and cannot be joined.
        actions = torch.cat([self.past.expand(len(actions), before, -1), actions], dim=1) if before else actions
        first, *others = slide_windows(self.pipeline.processor.layout, steps=steps, horizon=self.window or steps)
        # The first window is given the same to all candidates, which is computed once; the others differ.
        predicted = self.pipeline.predict_candidates(
            self.frames,
            actions[:, first.actions],
            states=self.states,
            horizon=first.steps,
            temperature=self.temperature,
            seed=self.seed,
        )
        so_far = state_columns(predicted)
        for window in others:
            so_far = self._go_on(so_far, actions, window)
        return so_far if len(so_far) > 1 else so_far["predicted"]

    def _go_on(
        self, predicted: Mapping[str, torch.Tensor], actions: torch.Tensor, window: Window
    ) -> dict[str, torch.Tensor]:
        """What was predicted, and a further window of it, each candidate on its own last states."""
        seen = {}
        for name, given in (("predicted", self.frames), ("predicted_states", self.states)):
            if given is not None:
                of_all = repeat(given.to(predicted[name]), "k ... -> n k ...", n=len(actions))
                seen[name] = list(torch.cat([of_all, predicted[name]], dim=1)[:, window.given])
        following = self.pipeline.predict_batch(
            seen["predicted"],
            list(actions[:, window.actions]),
            states=seen.get("predicted_states"),
            horizon=window.steps,
            temperature=self.temperature,
            seed=self.seed + window.done,
        )
        further = {name: states[:, 0] for name, states in state_columns(following).items()}
        return {name: torch.cat([states, further[name]], dim=1) for name, states in predicted.items()}


def _last_actions(past: Any, count: int) -> torch.Tensor:
    """The last `count` of the past actions, `(count, A)`."""
    actions = torch.zeros(0, 0) if past is None else torch.as_tensor(past, dtype=torch.float32)
    if len(actions) < count:
        raise ValueError(
            f"Expected the last {count} actions before now, as the model observes more than one step, got "
            f"{len(actions)}; give `past_actions`."
        )
    return actions[len(actions) - count :]  # `count` may be 0, and `[-0:]` would be all
