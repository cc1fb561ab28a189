"""
A world model one step at a time, on its own predictions.

    prompt  step 1  step 2  ...  step S  |  prompt, made of the last K + M states  step 1  ...

Within a window the model goes on from the tokens that it has written, as in multi-step prediction. After `S` steps,
those it was trained on, the window slides (see `rollouts/sliding.py`), and its last states are encoded anew. Within
one window the predictions are those of a `WorldModelPipeline` for the same actions and seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..processors.base import state_columns
from ..rollouts.sampling import draw_uniforms, sample_completions
from ..rollouts.sliding import window_after
from .starts import Start, State


GIVEN_AS = {"predicted": "context", "predicted_states": "context_states"}
"""Under which column a predicted state is given to the next window."""


class SlidingWindow:
    """
    What a world model has seen and written of one situation; [`advance`] moves it.

    Args:
        start ([`Start`]):
            Given states and past actions.
        processor ([`StepBlockProcessor`]):
            Of the model.
        horizon (`int`):
            Steps of a window, `S`.
        rng (`numpy.random.Generator`):
            Gives each window the seed of its noise.
    """

    def __init__(self, start: Start, processor: Any, *, horizon: int, rng: np.random.Generator) -> None:
        self.horizon = horizon
        self.rng = rng
        self.layout = processor.layout
        self.given = dict(start.given)  # sliding replaces its entries, and the start stays
        self.actions = start.past_actions
        self.predicted: list[State] = []
        self._open()

    @property
    def step(self) -> int:
        """Steps predicted in the present window."""
        return len(self.predicted)

    @property
    def present(self) -> State:
        """The last state by column, predicted or given."""
        return self.predicted[-1] if self.predicted else {name: states[-1] for name, states in self.given.items()}

    def act(self, action: torch.Tensor) -> None:
        """Takes an action `(A,)` at the present state, after sliding if the window is full."""
        if self.step == self.horizon:
            window = window_after(self.layout, self.step, steps=0)  # its own actions come one at a time
            for name, given in self.given.items():
                states = torch.cat([given, torch.stack([state[name] for state in self.predicted])])
                self.given[name] = states[window.given]
            self.actions = self.actions[window.actions]
            self.predicted = []
            self._open()
        self.actions = torch.cat([self.actions, action[None]])

    def _open(self) -> None:
        self.prompt_ids = torch.zeros(0, dtype=torch.long)
        self.completion_ids = torch.zeros(0, dtype=torch.long)
        self.seed = int(self.rng.integers(2**63 - 1))
        # For the whole window at once, as a pipeline draws them, so that both predict the same.
        self.uniforms = draw_uniforms([self.seed], 1, self.horizon * self.layout.step_length)[0]


def advance(
    pipeline: Any, windows: Sequence[SlidingWindow], actions: torch.Tensor, **sampling: float | int
) -> list[State]:
    """
    The states that follow in each situation, with one call of the model for all that are equally far in their window.

    Args:
        pipeline ([`WorldModelPipeline`]):
            Model and processor.
        windows (`Sequence[SlidingWindow]` of length `B`):
            The situations, changed in place. What is predicted of one does not depend on the others.
        actions (`torch.Tensor` of shape `(B, A)`):
            What is done in each, float in the unit of the data.
        sampling (`dict[str, float]`, *optional*):
            `temperature`, `top_k` and `top_p` of [`sample_completions`].

    Returns:
        `list` of length `B`: the next state by column, frames `(3, H, W)` float32 in `[0, 1]` or sensors `(P,)`
        float32, on the CPU.

    Raises:
        ValueError: as processor and [`sample_completions`].
    """
    for window, action in zip(windows, actions, strict=True):
        window.act(action)
    equally_far: dict[int, list[SlidingWindow]] = {}
    for window in windows:
        equally_far.setdefault(window.step, []).append(window)
    for step, group in equally_far.items():
        _predict(pipeline, group, step, sampling)
    return [window.present for window in windows]


def _predict(pipeline: Any, windows: Sequence[SlidingWindow], step: int, sampling: dict[str, Any]) -> None:
    """One more step of windows that have all predicted `step` steps."""
    model, processor = pipeline.model, pipeline.processor
    given = {name: torch.stack([window.given[name] for window in windows]) for name in windows[0].given}
    actions = torch.stack([window.actions for window in windows])  # (B, max(M, 1) + step, A)
    if step == 0:
        for window, ids in zip(windows, processor.encode_prompt(actions=actions, **given), strict=True):
            window.prompt_ids = ids
    prompt_ids = torch.stack([window.prompt_ids for window in windows])
    world_tokens = processor.world_tokens(actions, horizon=step + 1).to(model.device)
    written = world_tokens[:, : step * processor.layout.step_length]
    before = torch.stack([window.completion_ids for window in windows]).to(written)
    written.copy_(torch.where(written < 0, before, written))  # the model's own tokens, which it goes on from
    ids = sample_completions(
        model,
        prompt_ids.to(model.device),
        world_tokens,
        processor.token_ranges(step + 1),
        num_samples=1,
        uniforms=torch.stack([window.uniforms for window in windows])[:, : world_tokens.shape[1]],
        **sampling,
    )
    decoded = state_columns(processor.decode_state(ids[:, -processor.layout.step_length :], given["context"]))
    for row, window in enumerate(windows):
        window.completion_ids = ids[row].cpu()
        window.predicted.append({GIVEN_AS[name]: states[row, 0].cpu() for name, states in decoded.items()})
