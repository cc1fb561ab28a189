r"""
How far predictions are from the law of what follows in PushT with noise on what is done: a measure for a table, and no
reward to train on.

    D^2 = 2 E d(X, Y) - E d(X, X') - E d(Y, Y')

with X predicted, Y simulated with other noise from the same situation under the same actions (`continuations.py`), and
d the Euclidean norm of the difference of two whole answers: where agent and block are at each step. Pairs of a sample
with itself are left out, so that it is 0 in expectation for the law itself (the energy distance of Szekely and Rizzo
2013, https://doi.org/10.1016/j.jspi.2013.03.018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from einops import rearrange

from ...rewards.base import VerifiableReward, actions_between
from .agent import locate_agent
from .block import locate_block
from .continuations import continue_episode, continue_recording, return_to_step
from .policies import WORLD_SIZE
from .pose import pose_of_states


UNSEEN = (0.5, 0.5, 1.0)
"""Where a thing counts that a frame does not show: about a frame's width from wherever it may be shown."""

NEAR = 2 / WORLD_SIZE
"""How far a thing may be from where the episode, played again, has it: what reading a frame leaves open."""

SOME_SIZE = 64
"""Pixels of a recording whose frames nobody asks for."""

REMEMBERED = 4096
"""Situations whose continuations are kept, for the next checkpoint."""


class ContinuationDistanceReward(VerifiableReward):
    """
    The energy distance of a group of predictions to what the simulator gives with other noise: 0 in expectation for
    the law itself; lower is better.

    An answer is where agent and block are at each step, as fractions of the frame. Both sides are read in the same
    way: from frames, or as the sensor states say it. Noise may push both out of the frame; a thing that a frame does
    not show is at a place of its own, one frame's width or a little more from all others.

    A measure for tables: give `evaluate.num_samples` so many that a row has a few dozen predictions. It has to know
    which step of which episode a row is (the columns `episode` and `start`), and plays it again; so the noise and the
    interval must be those that the episodes were recorded with. The continuations of a situation are the same for each
    checkpoint. To draw 64 of four frames takes about a second, once a situation and process.

    Args:
        action_noise (`float`, *optional*, defaults to 20.0):
            `collect.action_noise`, in world units.
        frame_interval (`float`, *optional*, defaults to 0.5):
            `collect.frame_interval`, in seconds.
        samples (`int`, *optional*, defaults to 64):
            Continuations of a situation.
        reads (`str`, *optional*, defaults to `"states"`):
            What an answer is read from: `"states"`, what is predicted first, frames or sensors; or `"sensors"`, those
            beside frames. The metric's name then ends in `_sensors`.

    Raises:
        ValueError: if `reads` is none of the above or `samples` below 2; when called, if an episode was recorded with
            other settings, or is none of PushT with relative actions.

    Example:

    ```python
    >>> from rlvr_world_hf.worlds.pusht.simulator import collect_episode
    >>> episode = collect_episode(3, length=4, image_size=32, frame_interval=0.5, action_noise=20.0)
    >>> frames, done = torch.from_numpy(episode.frames) / 255, torch.from_numpy(episode.actions)
    >>> row = {"context": frames[None, :2], "actions": done[None, 1:], "places": [(episode.episode_id, 0)]}
    >>> certain = frames[None, None, 2:].expand(1, 8, 2, 3, 32, 32)  # always what happened, as if nothing else could
    >>> ContinuationDistanceReward().metric_of_groups(certain, frames[None, 2:], **row)[0, 0] > 0.01
    tensor(True)

    ```
    """

    name, higher_is_better, best, floor = "law_distance", False, 0.0, 4.0  # of one step
    needs_group, needs_actions, needs_place, joins_steps = True, True, True, True
    alone = "it knows the law of the world, which no training does; it is for tables"

    def __init__(
        self,
        *,
        action_noise: float = 20.0,
        frame_interval: float = 0.5,
        samples: int = 64,
        reads: str = "states",
    ) -> None:
        if reads not in ("states", "sensors"):
            raise ValueError(f'Expected `reads` to be "states" or "sensors", got {reads!r}.')
        if samples < 2:
            raise ValueError(f"Expected `samples` of at least 2, which are compared, got {samples}.")
        self.reads, self.samples = reads, samples
        self.action_noise, self.frame_interval = action_noise, frame_interval
        if reads == "sensors":
            self.name = f"{self.name}_sensors"
        super().__init__()

    def measure(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        **further: Any,
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]: of a prediction alone, `(B, 1)`."""
        return self.measure_groups(predicted[:, None], reference, context=context, **further)[:, 0]

    def measure_groups(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        **further: Any,
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure_groups`]: one value for all predictions and steps of a row, `(B, G, 1)`."""
        if context is None:
            raise ValueError(f"`{self.name}`: expected what was given as `context`, got none; measure whole rows.")
        size, steps = predicted.shape[1:3]
        done = actions_between(further["actions"], steps).cpu().numpy()
        law = torch.stack(
            [
                self._law(place, given, taken)
                for place, given, taken in zip(further["places"], context, done, strict=True)
            ]
        )
        found = _places(predicted)
        mask = further.get("reference_mask")
        counts = torch.ones_like(found[:, :1, :, :1]) if mask is None else mask[:, None, :, None].to(found)
        some, others = (rearrange(side * counts, "b n s d -> b n (s d)") for side in (found, law.to(found)))
        distance = 2 * _distances(some, others).mean(dim=(1, 2)) - _apart(some) - _apart(others)
        return distance[:, None, None].expand(-1, size, 1).to(predicted)

    def floor_of(
        self, reference: torch.Tensor, *, reference_mask: torch.Tensor | None = None, beside: Sequence[float] = ()
    ) -> float:
        """See [`VerifiableReward.floor_of`]: that of predictions in the opposite corner, or worse."""
        return max([self.floor * math.sqrt(len(reference)), *beside])

    def draw_law(
        self,
        reference: torch.Tensor,
        *,
        count: int,
        context: torch.Tensor,
        context_states: torch.Tensor | None = None,
        **further: Any,
    ) -> dict[str, torch.Tensor]:
        """See [`VerifiableReward.draw_law`]: further continuations of each row."""
        done = actions_between(further["actions"], reference.shape[1]).cpu().numpy()
        given, is_drawn = context.shape[1], context.ndim == 5
        settings = self._settings(context[0], context[0] if context_states is None else context_states[0])
        settings |= {"samples": count, "first": self.samples, "frames": is_drawn}
        found = [
            continue_episode(episode, start + given - 1, actions, **settings)
            for (episode, start), actions in zip(further["places"], done, strict=True)
        ]
        states = torch.from_numpy(np.stack([one.states for one in found])).to(reference)
        if not is_drawn:
            return {"predicted": states}
        frames = torch.stack([_as_measured(one.frames) for one in found if one.frames is not None]).to(reference)
        return {"predicted": frames} | ({} if context_states is None else {"predicted_states": states})

    def _settings(self, context: torch.Tensor, states: torch.Tensor) -> dict[str, Any]:
        """How an episode was recorded, of which `(K, ...)` and perhaps other states were given."""
        return {
            "image_size": context.shape[-1] if context.ndim == 4 else SOME_SIZE,
            "states": "agent" if states.shape[1:] == (2,) else "agent_and_block",
            "action_noise": self.action_noise,
            "frame_interval": self.frame_interval,
        }

    def _law(self, place: tuple[str, int], context: torch.Tensor, actions: np.ndarray) -> torch.Tensor:
        """Where things may be, `(samples, S, D)`, after a row's given states `(K, ...)` and actions `(S, A)`."""
        (episode, start), count = place, len(actions)
        step, taken = start + len(context) - 1, actions.astype(np.float32).tobytes()
        now, law = _continued(
            episode,
            step,
            taken,
            count,
            samples=self.samples,
            is_drawn=context.ndim == 4,
            **self._settings(context, context),
        )
        shown = _places(context[-1:])[0].to(now)
        if not torch.allclose(shown, now, rtol=0, atol=NEAR):
            raise ValueError(
                f"`{self.name}`: expected episodes recorded with `action_noise` {self.action_noise:g} and "
                f"`frame_interval` {self.frame_interval:g}, got {episode}, whose frame {step} shows things "
                f"at {_rounded(shown)}, and, played again, at {_rounded(now)}; give the metric the settings of "
                "`collect`."
            )
        return law


@lru_cache(maxsize=REMEMBERED)
def _continued(
    episode: str, step: int, actions: bytes, count: int, *, samples: int, is_drawn: bool, **settings: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where things are at a step of an episode, `(D,)`, and where they may be after `count` actions, `(N, S, D)`."""
    recording = return_to_step(episode, step, **settings)
    done = np.frombuffer(actions, np.float32).reshape(count, -1)
    found = continue_recording(recording, done, samples=samples, frames=is_drawn)
    now, after = (recording.state, found.states) if found.frames is None else (recording.frame(), found.frames)
    return _places(_as_measured(now)), _places(_as_measured(after))


def _as_measured(states: np.ndarray) -> torch.Tensor:
    """Frames or states of the simulator as rewards get them."""
    return torch.from_numpy(states).float() / (255 if states.dtype == np.uint8 else 1)


def _places(states: torch.Tensor) -> torch.Tensor:
    """
    Where agent and block are: of states `(..., 2)` the agent `(..., 2)`, of states `(..., 6)` both `(..., 4)`, of
    frames `(..., 3, H, W)` both, and for each a number that is 1 where it is not seen, `(..., 6)`.
    """
    agent = states[..., :2].float() / WORLD_SIZE
    if states.shape[-1] == 2:
        return agent
    if states.shape[-1] == 6:
        return torch.cat([agent, pose_of_states(states)[..., :2].float()], dim=-1)
    seen = torch.stack([locate_agent(states), locate_block(states)], dim=-2).float()  # (..., 2, 2)
    found = torch.cat([seen, torch.zeros_like(seen[..., :1])], dim=-1)
    found = torch.where(seen[..., :1].isnan(), found.new_tensor(UNSEEN), found)
    return rearrange(found, "... things three -> ... (things three)")


def _rounded(places: torch.Tensor) -> list[float]:
    return [round(value, 3) for value in places.tolist()]


def _distances(some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    # By differences: products would lose the distances of near ones.
    return torch.cdist(some, others, compute_mode="donot_use_mm_for_euclid_dist")


def _apart(samples: torch.Tensor) -> torch.Tensor:
    """Mean distance `(B,)` of different ones of samples `(B, N, D)`; 0 for a single one."""
    size = samples.shape[1]
    return _distances(samples, samples).sum(dim=(1, 2)) / max(size * (size - 1), 1)
