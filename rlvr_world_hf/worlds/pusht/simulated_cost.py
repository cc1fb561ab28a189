"""
The true physics in the place of a world model: the best that planning with a given planner and cost can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch

from .simulator import Recording


class SimulatedCost:
    """
    An objective for planners: the cost of what the true physics does after each candidate.

    Each candidate is played from the seed on, as gym-pusht cannot return to an earlier state exactly. So it takes as
    much physics as the episode is long, and does not depend on the other candidates.

    Args:
        recording ([`~rlvr_world_hf.worlds.pusht.simulator.Recording`]):
            The world as it is; it is left so.
        cost (`Callable`):
            Costs `(N,)` of frames `(N, S, 3, H, W)`, float in `[0, 1]`. One with a true attribute `needs_actions` is
            also given `actions` `(N, S, A)`.
        to_actions (`Callable`):
            Turns candidates `(N, H, D)` into actions `(N, H, A)` by the law of the recording.
        shows (`str`, *optional*, defaults to `"frames"`):
            What the cost is of: `"frames"`, or `"states"`, `(N, S, P)` as the recording has them, which no error of
            reading a frame enters.

    Example:

    ```python
    >>> from rlvr_world_hf.planning import GoalCost
    >>> from rlvr_world_hf import MAEReward
    >>> recording = Recording(0, image_size=32, frame_interval=0.5)
    >>> objective = SimulatedCost(recording, GoalCost(recording.frame(), {MAEReward(): 1.0}), lambda actions: actions)
    >>> objective(torch.zeros(1, 1, 10))  # stays
    tensor([0.])

    ```
    """

    def __init__(
        self,
        recording: Recording,
        cost: Callable[..., torch.Tensor],
        to_actions: Callable[[torch.Tensor], torch.Tensor],
        *,
        shows: Literal["frames", "states"] = "frames",
    ) -> None:
        self.recording = recording
        self.cost = cost
        self.to_actions = to_actions
        self.shows = shows

    def __call__(self, candidates: torch.Tensor) -> torch.Tensor:
        """Costs `(N,)` of candidates `(N, H, D)`."""
        actions = self.to_actions(candidates)
        predicted = self._predict(actions)
        if getattr(self.cost, "needs_actions", False):
            return self.cost(predicted, actions=actions)
        return self.cost(predicted)

    def predict(self, candidates: torch.Tensor) -> torch.Tensor:
        """
        What happens after candidates.

        Args:
            candidates (`torch.Tensor` of shape `(N, H, D)`):
                Sequences of what a planner draws.

        Returns:
            `torch.Tensor` of shape `(N, H, 3, H, W)`: float32 in `[0, 1]`, RGB; of states `(N, H, P)`, float32.
        """
        return self._predict(self.to_actions(candidates))

    def _predict(self, actions: torch.Tensor) -> torch.Tensor:
        """What happens after actions `(N, H, A)`."""
        # Double as in `attempt`, so that the physics agree to the last bit.
        followed = np.stack([np.stack(list(self._follow(sequence))) for sequence in actions.double().numpy()])
        shown = torch.from_numpy(followed).float()
        return shown / 255 if self.shows == "frames" else shown

    def _follow(self, actions: np.ndarray) -> Iterator[np.ndarray]:
        """The frame or state after each of the actions `(H, A)`."""
        again = self.recording.replay()  # as gym-pusht restores no velocities
        again.redraw_noise(0)  # nobody knows the noise to come
        for action in actions:
            again.act(action)
            yield again.frame() if self.shows == "frames" else again.state
