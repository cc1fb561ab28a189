"""
PushT from where a world model takes itself: windows that begin with frames which it predicted, and go on with what
truly follows them.

    record      an episode, by a policy as of all episodes
    roll out    the model predicts its frames from the first ones and the recorded actions
    read        where agent and block are in one of the predicted frames; one in which that cannot be read is left out
    continue    the simulator, put there, does the recorded actions that follow; as they are relative, they fit
    window      the predicted frames that a model is given, and those of the simulator

So a model that is trained on these windows, by RL or by likelihood, learns to go on from its own errors of up to
`deepest` frames, where recorded windows show it the truth alone (rollouts from the model's own states,
https://huggingface.co/papers/2603.25685). A window is an episode of its own, so that a recipe with `world: own_states`
goes through all stages as any other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ...data.episode import Episode
from ...data.recording import record_episodes
from ...data.rows import window_rows
from ...environments.long_rollouts import GREEDY, predict_autoregressively
from ...evaluation.predictions import Sampling, row_batches
from ...pipeline import WorldModelPipeline
from .agent import locate_agent
from .form import PushTForm
from .law import follow_actions
from .policies import WORLD_SIZE
from .pose import block_of_pose, read_pose
from .simulator import CARD as RECORDED_CARD
from .simulator import UNNAMED_LAW as UNNAMED_LAW
from .simulator import Recording, collect_episode
from .simulator import processor_settings as processor_settings


CARD = {
    **RECORDED_CARD,
    "data": f"{RECORDED_CARD['data']} A window's given frames are those that `collect.model` predicted, "
    "`collect.shallowest` to `collect.deepest` of them in a row; what follows is the simulator's, from there on.",
}
"""What a model card says of the world."""

CHECKPOINTS = ("model",)
"""Keys that name checkpoints: episodes count as others where these hold other weights."""

ROLLOUTS_AT_ONCE = 32
"""Rollouts that are predicted together."""

Truth = Literal["read", "recorded"]
"""What follows predicted frames: the simulator from where they show agent and block, or what was recorded."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """An episode, and what a model predicted of it."""

    recorded: Episode
    """The episode, with frames."""

    frames: np.ndarray
    """`(T, 3, H, W)`, uint8 RGB, of as many steps as were rolled out: the first are given, the others predicted."""

    agent: np.ndarray
    """
    `(T, 2)`, float32: where the agent is, in world units, as the model says it or else as its frame shows it; nan
    where neither does.
    """


def collect_episodes(
    seeds: list[int],
    *,
    length: int,
    model: Path = Path("pusht-base"),
    truth: Truth = "read",
    shallowest: int = 5,
    deepest: int = 30,
    share: int = 5,
    window: int = 4,
    temperature: float = 0.0,
    policies: dict[str, float] | None = None,
    processes: int = 1,
) -> Iterator[Episode]:
    """
    One window for each seed, in order.

    Seeds from a multiple of `share` on have one rollout, each its own part of its depths, of which it draws one. Where
    no frame of a part can be read, the recorded window of that depth stands in its place, and its name says so
    (`-recorded-`); both are counted in the log.

    Args:
        seeds (`list[int]`):
            One a window.
        length (`int`):
            Frames of a window: those that the model is given, all of them predicted, and those that follow. For one
            window an episode it is `windows.context_frames + windows.observed_steps + windows.horizon`.
        model (`Path`, *optional*, defaults to `"pusht-base"`):
            World model of PushT's frames, by relative actions: a folder, bundled name or Hub id. For a second round,
            what the first one made of it.
        truth (`str`, *optional*, defaults to `"read"`):
            What follows: `"read"`, the simulator from the pose that is read from the last predicted frame, so that a
            window holds one physics; or `"recorded"`, what was recorded, so that a model is to find back to it.
        shallowest (`int`, *optional*, defaults to 5):
            Fewest frames that were predicted in a row, the given ones included; at least as many as are given.
        deepest (`int`, *optional*, defaults to 30):
            Most frames.
        share (`int`, *optional*, defaults to 5):
            Windows of one rollout.
        window (`int`, *optional*, defaults to 4):
            Steps that the model was trained to predict at once; beyond them its window slides.
        temperature (`float`, *optional*, defaults to 0.0):
            Divides the logits of the rollouts; 0 takes the likeliest token.
        policies (`dict[str, float]`, *optional*):
            As of [`~rlvr_world_hf.worlds.pusht.simulator.collect_episodes`].
        processes (`int`, *optional*, defaults to 1):
            Processes that record. The windows do not depend on it.

    Returns:
        `Iterator[Episode]`: Windows `(length, ...)`, with the agent's position as states.

    Raises:
        ValueError: If the model is another one, or a number does not fit the others.

    Example:

    ```python
    >>> window = next(collect_episodes([0], length=4, deepest=6, share=1))
    >>> window.episode_id, window.frames.shape, window.actions.shape
    ('pusht-...-0-own-...', (4, 3, 64, 64), (4, 10))

    ```
    """
    pipeline = WorldModelPipeline.from_pretrained(str(model))
    form = PushTForm.of(pipeline.processor, name=str(model))
    given = form.given_frames
    if form.action_law != "relative":
        raise ValueError(
            f"Expected a world model of relative actions, which mean the same wherever the agent is, got one of the "
            f"{form.action_law} law; train one with `collect.action_law: relative`."
        )
    if not (given < length and given <= shallowest <= deepest and 1 <= share <= deepest - shallowest + 1):
        raise ValueError(
            f"Expected a `length` beyond the {given} given frames, `shallowest` of at least {given}, `deepest` not "
            f"below it, and a `share` of 1 to as many depths as there are, got {length}, {shallowest}, {deepest} and "
            f"{share}; let a window be longer, or ask for other depths."
        )
    record = partial(
        collect_episode,
        length=deepest + length,
        image_size=form.image_size,
        frame_interval=form.frame_interval,
        policies=policies,
    )
    groups = [(first, [*of_first]) for first, of_first in groupby(seeds, key=lambda seed: seed - seed % share)]
    recorded = record_episodes(record, [first for first, _ in groups], processes=processes)
    parts = np.array_split(np.arange(shallowest, deepest + 1), share)
    how: dict[str, Any] = {"steps": deepest, "window": window, "sampling": Sampling(temperature=temperature)}
    left_out, replaced, remaining = 0, 0, iter(groups)
    while at_once := [*islice(remaining, ROLLOUTS_AT_ONCE)]:
        firsts = [first for first, _ in at_once]
        rollouts = roll_out(pipeline, [*islice(recorded, len(firsts))], seeds=firsts, **how)
        for rollout, (first, of_first) in zip(rollouts, at_once, strict=True):
            for seed in of_first:
                depths = np.random.default_rng([seed, 9]).permutation(parts[seed - first]).tolist()
                grown, unreadable = _first_readable(rollout, depths, given=given, length=length, truth=truth)
                left_out, replaced = left_out + unreadable, replaced + (grown is None)
                yield _recorded_window(rollout, depths[0], length=length) if grown is None else grown
    told = "own states: %d predicted frames could not be read and were left out; %d of %d windows are recorded instead"
    logger.info(told, left_out, replaced, len(seeds))


def roll_out(
    pipeline: Any,
    episodes: Sequence[Episode],
    *,
    steps: int,
    window: int,
    seeds: Sequence[int],
    sampling: Sampling = GREEDY,
) -> list[Rollout]:
    """
    What a model predicts of episodes from their first frames on.

    Args:
        pipeline ([`WorldModelPipeline`]):
            World model of PushT's frames.
        episodes (`Sequence[Episode]`):
            With frames, and the agent's position as states.
        steps (`int`):
            Frames to predict.
        window (`int`):
            Most frames at once.
        seeds (`Sequence[int]`):
            One an episode, for the noise.
        sampling ([`Sampling`], *optional*):
            How tokens are drawn; the likeliest by default.

    Returns:
        `list[Rollout]`: one an episode.
    """
    layout, processor = pipeline.processor.layout, pipeline.processor
    cut = {"context_frames": layout.context_frames, "observed_steps": layout.observed_steps, "horizon": steps}
    rows = window_rows(episodes, **cut, stride=max(map(len, episodes)))
    (batch,) = row_batches(rows, size=len(rows))
    # The noise is that of the seed, whatever else is predicted beside it.
    found = predict_autoregressively(
        replace(batch, indices=[*seeds]), pipeline=pipeline, horizon=window, sampling=sampling
    )
    frames = torch.cat([batch.context, found.predicted[:, 0].to(batch.context)], dim=1)  # (B, T, 3, H, W)
    if "sensors" in processor.predicts:
        assert batch.context_states is not None and found.predicted_states is not None  # as they are predicted
        agent = torch.cat([batch.context_states, found.predicted_states[:, 0].to(batch.context_states)], dim=1)
    else:
        agent = locate_agent(frames) * WORLD_SIZE
    shown = (frames * 255).round().to(torch.uint8)
    return [
        Rollout(recorded=episode, frames=of_frames, agent=of_agent)
        for episode, of_frames, of_agent in zip(episodes, shown.numpy(), agent.float().numpy(), strict=True)
    ]


def grow_window(rollout: Rollout, depth: int, *, given: int, length: int, truth: Truth) -> Episode | None:
    """
    The window after so many predicted frames.

    Args:
        rollout ([`Rollout`]):
            The episode and its predictions.
        depth (`int`):
            Frames predicted in a row, of which the last ones are given.
        given (`int`):
            Frames that are given.
        length (`int`):
            Frames of the window.
        truth (`str`):
            What follows, as of [`collect_episodes`].

    Returns:
        `Episode`: the window; `None` where the frame to go on from cannot be read. Its action `t` leads from its frame
        `t` to the next: those between predicted frames are those that they were predicted under.
    """
    recorded = rollout.recorded
    first, last, end = depth, depth + given - 1, depth + length
    seen, agent = rollout.frames[first : last + 1], rollout.agent[first : last + 1]
    if np.isnan(agent).any():
        return None
    if truth == "recorded":
        assert recorded.states is not None  # recorded with them
        frames, states = recorded.required_frames[last + 1 : end], recorded.states[last + 1 : end]
    else:
        state = read_state(seen[-1], velocity=_velocity(recorded.actions[:last]))
        if state is None:
            return None
        taken = recorded.actions[last : end - 1]
        frames, states = continue_from(state, taken, image_size=seen.shape[-1], frame_interval=1 / recorded.fps)
    return Episode(
        episode_id=f"{recorded.episode_id}-own-{depth}",
        frames=np.concatenate([seen, frames]),
        actions=recorded.actions[first:end],
        states=np.concatenate([agent, states]).astype(np.float32),
        fps=recorded.fps,
    )


def read_state(frame: np.ndarray, *, velocity: np.ndarray) -> np.ndarray | None:
    """
    The state that a frame shows, for [`~rlvr_world_hf.worlds.pusht.simulator.Recording.put`].

    Args:
        frame (`numpy.ndarray` of shape `(3, H, W)`):
            Predicted or recorded, uint8 RGB.
        velocity (`numpy.ndarray` of shape `(2,)`):
            Of the agent, which no frame shows, in world units a second.

    Returns:
        `numpy.ndarray` of shape `(7,)`: float64; `None` where the frame shows no agent, or no block.
    """
    shown = torch.from_numpy(frame).float() / 255
    agent, block = locate_agent(shown) * WORLD_SIZE, block_of_pose(read_pose(shown))
    state = np.concatenate([agent.numpy(), block.numpy(), velocity]).astype(np.float64)
    return None if np.isnan(state).any() else state


def continue_from(
    state: np.ndarray, actions: np.ndarray, *, image_size: int, frame_interval: float
) -> tuple[np.ndarray, np.ndarray]:
    """
    What the simulator shows after relative actions from a state on.

    Args:
        state (`numpy.ndarray` of shape `(7,)`):
            As [`read_state`] gives it.
        actions (`numpy.ndarray` of shape `(S, A)`):
            Relative actions, the first of them done in that state.
        image_size (`int`):
            Height and width of frames in pixels.
        frame_interval (`float`):
            Seconds between two frames.

    Returns:
        `tuple[numpy.ndarray, numpy.ndarray]`: frames after each action `(S, 3, H, W)`, uint8 RGB, and where the agent
        is `(S, 2)`, float32, in world units.

    Example:

    ```python
    >>> state = np.array([100.0, 100.0, 300.0, 300.0, 0.0, 0.0, 0.0])
    >>> frames, agent = continue_from(state, np.full((2, 10), 0.5), image_size=32, frame_interval=0.5)
    >>> frames.shape, bool((agent > 150).all())
    ((2, 3, 32, 32), True)

    ```
    """
    recording = Recording(0, image_size=image_size, frame_interval=frame_interval, frames=False)
    recording.put(state)
    frames, states = [], []
    for action in actions:
        recording.act(action)
        frames.append(recording.frame())
        states.append(recording.state.astype(np.float32))
    return np.stack(frames), np.stack(states)


def _velocity(actions: np.ndarray) -> np.ndarray:
    """Of the agent after relative actions `(T, A)` from the start of an episode, wherever it was."""
    # Recordings begin at rest, and targets are relative to where the agent is.
    _, velocity = follow_actions(np.zeros(2), np.zeros(2), actions.reshape(-1))
    return velocity


def _first_readable(rollout: Rollout, depths: Sequence[int], **how: Any) -> tuple[Episode | None, int]:
    """The window of the first depth whose frame can be read, and how many before it cannot; `None` if none can."""
    for unreadable, depth in enumerate(depths):
        if (grown := grow_window(rollout, depth, **how)) is not None:
            return grown, unreadable
    return None, len(depths)


def _recorded_window(rollout: Rollout, depth: int, *, length: int) -> Episode:
    """The window of that depth as it was recorded."""
    recorded, part = rollout.recorded, slice(depth, depth + length)
    arrays = {name: getattr(recorded, name)[part] for name in ("frames", "actions", "states")}
    return replace(recorded, episode_id=f"{recorded.episode_id}-recorded-{depth}", **arrays)
