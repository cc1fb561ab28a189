"""Many episodes inside one world model, each step of all of them predicted together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array

from .sliding_window import advance
from .world_model_env import WorldModelEnv


class WorldModelVectorEnv(VectorEnv[Any, Any, Any]):
    """
    `num_envs` [`WorldModelEnv`] with one world model, batched: environments that are equally far in their window, as
    they are as long as all began together, share one call of the model.

    Environment `i` does what a [`WorldModelEnv`] reset with seed `seed + i` does. An environment whose episode has
    ended begins a new one at the next step, whose action is not used and whose reward is 0 (gymnasium's
    `AutoresetMode.NEXT_STEP`).

    Args:
        pipeline ([`WorldModelPipeline`]):
            World model of frames, sensors or both.
        starts (`Sequence`):
            As of [`WorldModelEnv`], for all environments.
        num_envs (`int`):
            Number of environments.
        settings (`dict[str, Any]`, *optional*):
            Further arguments of [`WorldModelEnv`]. `reward` and `termination` are called for one state at a time.

    Raises:
        ValueError: as [`WorldModelEnv`], or if there is no environment.

    Example:

    ```python
    >>> from rlvr_world_hf import SensorWorldModelProcessor, WorldModelPipeline
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> processor = SensorWorldModelProcessor.from_ranges([0.0], [1.0], [-1.0], [1.0], sensor_bins=4, action_bins=4)
    >>> sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **sizes))
    >>> envs = WorldModelVectorEnv(WorldModelPipeline(model, processor), [{"context": [[0.5]]}], num_envs=3)
    >>> states, infos = envs.reset(seed=0)
    >>> states, rewards, terminations, truncations, infos = envs.step(envs.action_space.sample())
    >>> states.shape, rewards, truncations
    ((3, 1), array([0., 0., 0.]), array([False, False, False]))

    ```
    """

    def __init__(self, pipeline: Any, starts: Sequence[Any], *, num_envs: int, **settings: Any) -> None:
        if num_envs < 1:
            raise ValueError(f"Expected at least 1 environment, got `num_envs={num_envs}`.")
        self.envs = [WorldModelEnv(pipeline, starts, **settings) for _ in range(num_envs)]
        self.num_envs = num_envs
        self.pipeline = pipeline
        self.metadata = {**self.envs[0].metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode = self.envs[0].render_mode
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """
        Begin an episode in every environment.

        Args:
            seed (`int` or `Sequence[int]`, *optional*):
                A seed for each environment, or that of the first, from which the others count on.
            options (`dict`, *optional*):
                `{"start": [i, ...]}` begins at `starts[i]`, one index an environment.

        Returns:
            `tuple`: observations, stacked, and `{"start": array}`.

        Raises:
            ValueError: as [`WorldModelEnv.reset`], or for another number of seeds or starts than environments.
        """
        one = seed if isinstance(seed, int | np.integer) else None
        seeds = [None if one is None else int(one) + i for i in range(self.num_envs)]
        if seed is not None and one is None:
            seeds = _one_each(seed, "seed", self.num_envs)
        choices: list[dict[str, Any] | None] = [options] * self.num_envs
        if options and "start" in options:
            indices = _one_each(options["start"], "options['start']", self.num_envs)
            choices = [{**options, "start": index} for index in indices]
        results = [
            env.reset(seed=own, options=chosen) for env, own, chosen in zip(self.envs, seeds, choices, strict=True)
        ]
        return self._gather([result[0] for result in results], [result[1] for result in results])

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """
        Take one action in every environment.

        Args:
            actions (`numpy.ndarray` of shape `(num_envs, A)`):
                In the unit of the data, within `action_space`.

        Returns:
            `tuple`: observations, stacked; rewards `(num_envs,)`, float64; terminations and truncations `(num_envs,)`,
            bool; and a `dict`, with `start` of the environments that begin a new episode.

        Raises:
            ValueError: for actions of another shape, or beyond the ranges of the processor.
            gymnasium.error.ResetNeeded: before `reset`.
        """
        if np.shape(actions) != self.action_space.shape:
            raise ValueError(f"Expected actions of shape {self.action_space.shape}, got {np.shape(actions)}.")
        for env in self.envs:
            env.running_window(may_be_over=True)  # raises before any window has moved
        running = [(env, action) for env, action in zip(self.envs, actions, strict=True) if not env.is_over]
        is_running = [not env.is_over for env in self.envs]
        if running:
            checked = torch.stack([env.check_action(action) for env, action in running])
            windows = [env.running_window() for env, _ in running]
            advance(self.pipeline, windows, checked, **self.envs[0].sampling)
        observations, infos = [], []
        rewards, ends = np.zeros(self.num_envs), np.zeros((2, self.num_envs), dtype=bool)
        for i, env in enumerate(self.envs):
            if is_running[i]:
                observation, rewards[i], ends[0, i], ends[1, i], info = env.arrive()
            else:
                observation, info = env.reset()  # without a seed, so that the noise goes on
            observations.append(observation)
            infos.append(info)
        gathered, info = self._gather(observations, infos)
        return gathered, rewards, ends[0], ends[1], info

    def render(self) -> tuple[Any, ...] | None:
        """The present frame of each environment, where `render_mode` is `"rgb_array"`; else `None`."""
        return None if self.render_mode is None else tuple(env.render() for env in self.envs)

    def _gather(self, observations: list[Any], infos: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
        space = self.single_observation_space
        empty: Any = create_empty_array(space, n=self.num_envs)
        stacked = concatenate(space, observations, empty)
        gathered: dict[str, Any] = {}
        for i, info in enumerate(infos):
            gathered = self._add_info(gathered, info, i)
        return stacked, gathered


def _one_each(values: Any, name: str, num_envs: int) -> list[Any]:
    if np.ndim(values) != 1 or len(values) != num_envs:
        raise ValueError(f"Expected `{name}` to hold one number for each of {num_envs} environments, got {values!r}.")
    return list(values)
