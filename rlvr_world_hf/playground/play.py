"""What a visitor of a video world has seen so far: the same actions in the true world and in each model."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..rewards.pixel import MAEReward, PSNRReward, SSIMReward
from ..rollouts.sampling import TEMPERATURES
from .values import read_number, read_whole


SIMULATOR = "simulator"
"""Name of the simulator's row beside those of the models."""

METRICS = (MAEReward(), PSNRReward(), SSIMReward())
"""What each predicted frame is measured by, against the simulator's."""

MAX_SAMPLES = 4
"""Predictions of each model at a time."""

MAX_TEMPERATURE = 2.0
"""Highest sampling temperature."""

MAX_SEED = 2**31 - 1
"""Highest seed."""

Target = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The way to targets: what to do in `S` steps."""

    targets: tuple[Target, ...] = ()
    """The targets walked to, in world units; those beyond the last step are left out."""

    aims: np.ndarray
    """Where each step aims, shape `(S, 2)`, in world units."""

    actions: np.ndarray
    """What to do, shape `(S, A)`, float64, in the unit of the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What simulator and `G` predictions of each model have made of a start, over `S` steps so far."""

    seed: int
    """The start: seed of an episode."""

    given: np.ndarray
    """The frames that the models were given, shape `(K, H, W, 3)`, uint8 RGB; the last one is the start."""

    before: np.ndarray
    """What the scripted policy did up to the start, shape `(B, A)`, float64, in the unit of the data."""

    agent: np.ndarray
    """Where the agent stands now, shape `(2,)`, in world units."""

    actions: np.ndarray
    """What was done since the start, shape `(S, A)`, float64, in the unit of the data: the same for all."""

    truth: np.ndarray
    """What happened in the simulator, shape `(S, H, W, 3)`, uint8 RGB."""

    predicted: dict[str, np.ndarray]
    """For each model, shape `(G, S, H, W, 3)`, uint8 RGB."""

    metrics: dict[str, dict[str, np.ndarray]]
    """For each model and metric, shape `(G, S)`: of each frame against the simulator's."""

    repeated: dict[str, np.ndarray]
    """For each model, shape `(G, S)`: True where a frame equals the predicted one before it."""

    given_states: np.ndarray | None = None
    """States of the given frames, shape `(K, P)`, float32, where the models are told them."""

    predicted_states: dict[str, np.ndarray] = field(default_factory=dict)
    """For each model, shape `(G, S, P)`, float32, where they are told them; else empty."""

    replayed: int = 0
    """Recorded actions that were replayed."""

    @property
    def steps(self) -> int:
        """Steps since the start, `S`."""
        return len(self.actions)

    @property
    def now(self) -> np.ndarray:
        """The simulator's present frame, shape `(H, W, 3)`, uint8 RGB."""
        return self.truth[-1] if len(self.truth) else self.given[-1]


def read_sampling(*, samples: Any, temperature: Any, sampling_seed: Any) -> dict[str, Any]:
    """
    How a visitor wants models to predict.

    Args:
        samples (`Any`):
            Predictions of each model: a whole number in `[1, MAX_SAMPLES]`.
        temperature (`Any`):
            Divides the logits: a number in `[0, MAX_TEMPERATURE]`, above 0 at least that of `TEMPERATURES`.
        sampling_seed (`Any`):
            Seed of the noise: a whole number in `[0, MAX_SEED]`.

    Returns:
        `dict[str, Any]`: the same by name, as `int` and `float`.

    Raises:
        ValueError: If one is something else.

    Example:

    ```python
    >>> read_sampling(samples=1, temperature=1e-300, sampling_seed=0)
    Traceback (most recent call last):
    ...
    ValueError: Expected the temperature to be 0, or a number from 0.001 to 2, got 1e-300; 0 takes the likeliest token.

    ```
    """
    count = read_whole("number of samples", samples, least=1, most=MAX_SAMPLES)
    divisor = read_number("temperature", temperature, least=0, most=MAX_TEMPERATURE)
    least, _ = TEMPERATURES
    if 0 < divisor < least:
        raise ValueError(
            f"Expected the temperature to be 0, or a number from {least:g} to {MAX_TEMPERATURE:g}, got {divisor:g}; 0 "
            "takes the likeliest token."
        )
    seed = read_whole("seed of the sampling", sampling_seed, least=0, most=MAX_SEED)
    return {"samples": count, "temperature": divisor, "sampling_seed": seed}
