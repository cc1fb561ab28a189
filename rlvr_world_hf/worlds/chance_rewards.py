r"""
How far predictions are from the law of the world of chance, which is known: measures for a table, and no rewards to
train on.

    D^2 = 2 E d(X, Y) - E d(X, X') - E d(Y, Y')

with X predicted, Y of the law, d the Euclidean norm, and pairs of a sample with itself left out, so that it is 0 in
expectation for the law itself (the energy distance of Szekely and Rizzo 2013,
https://doi.org/10.1016/j.jspi.2013.03.018).
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch

from ..rewards.base import VerifiableReward, actions_between
from .chance import mode_probabilities, modes_of, sample_law


SAMPLES = 256
"""Samples of the law for each state."""

SEED = 7
"""Of these samples, with the numbers of state and action: the same for every checkpoint, and others for each state."""

ROW_SEED = 8
"""Of the samples that are measured in their place, as the row `law` of a table."""

LIKELY = 0.05
"""Least probability of a mode that predictions should cover."""


class _OfLaw:
    """What one predicted step of a group has to do with the law after the given state and the action."""

    name: str
    needs_group, needs_actions, reads = True, True, "states"
    alone = "it knows the law of the world, which no training does; it is for tables"

    def measure(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        actions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]: of a prediction alone."""
        assert actions is not None, "refused before, as it needs them"
        return self.measure_groups(predicted[:, None], reference, context=context, actions=actions)[:, 0]

    def measure_groups(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        **further: torch.Tensor,
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure_groups`]: one value for all predictions of a state, `(B, G, 1)`."""
        if context is None or predicted.shape[2:] != (1, 2):
            raise ValueError(
                f"`{self.name}`: expected the given state as `context`, and predictions of one step of two sensors, "
                f"got {None if context is None else tuple(context.shape)} and {tuple(predicted.shape)}; measure the "
                "world of chance with `windows.horizon: 1`."
            )
        done = actions_between(further["actions"], 1)[:, 0]
        value = self.of_law(predicted[:, :, 0], context[:, -1], done)
        return value[:, None, None].expand(-1, predicted.shape[1], 1).to(predicted)

    def draw_law(
        self, reference: torch.Tensor, *, count: int, context: torch.Tensor, **further: Any
    ) -> dict[str, torch.Tensor]:
        """See [`VerifiableReward.draw_law`]."""
        done = actions_between(further["actions"], 1)[:, 0]
        drawn = _samples_of_law(context[:, -1], done, samples=count, seed=ROW_SEED)
        return {"predicted": drawn[:, :, None].to(reference)}

    def of_law(self, predicted: torch.Tensor, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Values `(B,)` of predictions `(B, G, 2)` after states `(B, 2)` and actions `(B, 1)`."""
        raise NotImplementedError("A measure of the law says what it is.")


class LawDistanceReward(_OfLaw, VerifiableReward):
    """
    The energy distance of a group of predictions to the law: 0 in expectation for the law itself; lower is better.

    A measure for tables: give `evaluate.num_samples` so many that a state has a few dozen predictions. What is left is
    noise of both samples, independent from state to state, and of mean 0: for predictions of the law itself its
    standard deviation is 0.023 a state with 32 of them, 0.012 with 64, of which the 256 samples of the law make 0.006;
    for predictions that are all the likeliest peg, 0.046. Over `N` states it is divided by the square root of `N`. The
    samples of the law are the same for each checkpoint, so that differences of checkpoints have less of it.

    Example:

    ```python
    >>> states, actions = torch.zeros(1, 1, 2), torch.zeros(1, 1, 1)
    >>> certain = torch.tensor([[[[0.0, -0.5]]] * 8])  # always the middle peg
    >>> LawDistanceReward().metric_of_groups(certain, states, context=states, actions=actions)[0, 0] > 0.4
    tensor(True)

    ```
    """

    name, higher_is_better, best, floor = "law_distance", False, 0.0, 4.0

    def of_law(self, predicted: torch.Tensor, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """See above."""
        law = _samples_of_law(states, actions).to(predicted)
        return 2 * torch.cdist(predicted, law).mean(dim=(1, 2)) - _apart(predicted) - _apart(law)


class ModeCoverageReward(_OfLaw, VerifiableReward):
    """
    Share of the likely modes of the law that a group of predictions comes to: in [0, 1]; 1 covers all.

    Likely is what has a probability of at least 0.05.

    Example:

    ```python
    >>> states, actions = torch.zeros(1, 1, 2), torch.zeros(1, 1, 1)
    >>> two_pegs = torch.tensor([[[[0.0, -0.5]], [[0.6, 0.4]]]])
    >>> ModeCoverageReward().metric_of_groups(two_pegs, states, context=states, actions=actions)
    tensor([[0.6667, 0.6667]])

    ```
    """

    name, higher_is_better, best, floor = "mode_coverage", True, 1.0, 0.0

    def of_law(self, predicted: torch.Tensor, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """See above."""
        likely = torch.from_numpy(mode_probabilities(actions.double().cpu().numpy())) >= LIKELY
        is_met = _shares(predicted, states) > 0
        return (is_met & likely).sum(dim=1) / likely.sum(dim=1)


class ModeEntropyReward(_OfLaw, VerifiableReward):
    """
    Entropy of the modes that a group of predictions comes to, in nats: in [0, 1.0986]; the law's own is the target,
    and 0 is certainty.

    Example:

    ```python
    >>> states, actions = torch.zeros(1, 1, 2), torch.zeros(1, 1, 1)
    >>> two_pegs = torch.tensor([[[[0.0, -0.5]], [[0.6, 0.4]]]])
    >>> ModeEntropyReward().metric_of_groups(two_pegs, states, context=states, actions=actions)
    tensor([[0.6931, 0.6931]])

    ```
    """

    name, higher_is_better, best, floor = "mode_entropy", True, 1.0986, 0.0

    def of_law(self, predicted: torch.Tensor, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """See above."""
        shares = _shares(predicted, states)
        return -(shares * shares.clamp(min=1e-12).log()).sum(dim=1)


class LawErrorReward(_OfLaw, VerifiableReward):
    """
    Mean distance of samples of the law to each other: the mean error that predictions of the law have in expectation,
    whatever was predicted. In [0, inf); what the energy score's first term is held against.

    Example:

    ```python
    >>> states, actions = torch.zeros(1, 1, 2), torch.zeros(1, 1, 1)
    >>> LawErrorReward().metric_of_groups(states[:, None], states, context=states, actions=actions).round(decimals=2)
    tensor([[0.7300]])

    ```
    """

    name, higher_is_better, best, floor = "law_error", False, 0.0, 4.0

    def of_law(self, predicted: torch.Tensor, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """See above."""
        return _apart(_samples_of_law(states, actions).to(predicted))


def _samples_of_law(
    states: torch.Tensor, actions: torch.Tensor, *, samples: int = SAMPLES, seed: int = SEED
) -> torch.Tensor:
    """Samples `(B, samples, 2)` after states `(B, 2)` and actions `(B, 1)`, whatever else is in the batch."""
    given = torch.cat([states, actions.to(states)], dim=1).double().cpu().numpy() + 0.0  # -0.0 is another 0 in bytes
    drawn = [
        sample_law(row[None, :2], row[None, 2:], samples=samples, seed=zlib.crc32(row.tobytes(), seed))
        for row in given
    ]
    return torch.from_numpy(np.concatenate(drawn))


def _apart(samples: torch.Tensor) -> torch.Tensor:
    """Mean distance `(B,)` of different ones of samples `(B, N, D)`; 0 for a single one."""
    size = samples.shape[1]
    return torch.cdist(samples, samples).sum(dim=(1, 2)) / max(size * (size - 1), 1)


def _shares(predicted: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Share of predictions `(B, G, 2)` that come to each mode, `(B, 3)`."""
    modes = torch.from_numpy(modes_of(states[:, None].double().cpu().numpy(), predicted.double().cpu().numpy()))
    return torch.nn.functional.one_hot(modes, 3).double().mean(dim=1)
