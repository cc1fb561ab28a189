r"""
A world of two sensors with true chance, whose law is known: a marble on a board that the action tilts.

    m ~ p(m | a) = softmax(b_m + TILT a t_m),    m of three pegs
    s' = KEPT s + offset_m + N(0, NOISE^2)

So what may happen has three modes, in which both sensors move together, and whose probabilities depend on the action.
What a model predicts can be held against the law itself: whether it knows how sure it may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from einops import rearrange, repeat

from ..data.episode import Episode
from ..data.recording import record_episodes


OFFSETS = np.array([[-0.6, 0.4], [0.0, -0.5], [0.6, 0.4]])
"""Where each peg sends the marble, `(3, 2)`."""

KEPT = 0.3
"""Share of the state that stays."""

NOISE = 0.04
"""Standard deviation of the noise on each sensor."""

TILT = 1.5
"""How much an action of 1 favours the right peg over the middle one, in nats."""

SIDES, BIAS = np.array([-1.0, 0.0, 1.0]), np.array([0.0, 0.4, 0.0])
"""How an action favours each peg, and what favours it without one."""

STEPS_A_SECOND = 1.0
"""Steps a second, by which an episode says its pace."""

CARD = {
    "world": "a marble of chance",
    "data": "Episodes of a marble on a tilted board, drawn from a law that `worlds/chance.py` states.",
}
"""What a model card says of the world."""


def mode_probabilities(actions: np.ndarray) -> np.ndarray:
    """
    Probability of each peg.

    Args:
        actions (`numpy.ndarray` of shape `(..., 1)`):
            Tilts in `[-1, 1]`.

    Returns:
        `numpy.ndarray` of shape `(..., 3)`: they sum to 1.

    Example:

    ```python
    >>> mode_probabilities(np.array([[0.0], [1.0]])).round(2)
    array([[0.29, 0.43, 0.29],
           [0.04, 0.24, 0.72]])

    ```
    """
    logits = BIAS + TILT * np.asarray(actions, dtype=np.float64) * SIDES
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def draw_next(states: np.ndarray, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    Draw what happens next.

    Args:
        states (`numpy.ndarray` of shape `(N, 2)`):
            Where the marble is.
        actions (`numpy.ndarray` of shape `(N, 1)`):
            Tilts in `[-1, 1]`.
        rng (`numpy.random.Generator`):
            Source of all randomness.

    Returns:
        `numpy.ndarray` of shape `(N, 2)`: float64.
    """
    chosen = (rng.random((len(states), 1)) > mode_probabilities(actions).cumsum(axis=-1)[:, :-1]).sum(axis=-1)
    return KEPT * states + OFFSETS[chosen] + rng.normal(0, NOISE, states.shape)


def sample_law(states: np.ndarray, actions: np.ndarray, *, samples: int, seed: int) -> np.ndarray:
    """
    Samples of the law after each of some states and actions.

    Args:
        states (`numpy.ndarray` of shape `(B, 2)`):
            Where the marble is.
        actions (`numpy.ndarray` of shape `(B, 1)`):
            Tilts.
        samples (`int`):
            Number of samples of each.
        seed (`int`):
            Decides them.

    Returns:
        `numpy.ndarray` of shape `(B, samples, 2)`.

    Example:

    ```python
    >>> sample_law(np.zeros((4, 2)), np.zeros((4, 1)), samples=8, seed=0).shape
    (4, 8, 2)

    ```
    """
    given, done = (repeat(values, "b d -> (b n) d", n=samples) for values in (states, actions))
    drawn = draw_next(given, done, np.random.default_rng(seed))
    return rearrange(drawn, "(b n) d -> b n d", n=samples)


def modes_of(states: np.ndarray, following: np.ndarray) -> np.ndarray:
    """
    The peg that is nearest to what happened.

    Args:
        states (`numpy.ndarray` of shape `(..., 2)`):
            Where the marble was.
        following (`numpy.ndarray` of shape `(..., 2)`):
            Where it came to.

    Returns:
        `numpy.ndarray` of shape `(...)`: 0, 1 or 2.

    Example:

    ```python
    >>> modes_of(np.zeros(2), np.array([[-0.5, 0.4], [0.1, -0.4]]))
    array([0, 1])

    ```
    """
    moved = following - KEPT * states
    return np.linalg.norm(moved[..., None, :] - OFFSETS, axis=-1).argmin(axis=-1)


def collect_episode(seed: int, *, length: int) -> Episode:
    """
    Record one episode of random tilts.

    Args:
        seed (`int`):
            Decides it; the same seed gives the same episode.
        length (`int`):
            Number of steps.

    Returns:
        `Episode`: Without frames; actions `(length, 1)` in `[-1, 1]` and states `(length, 2)`.
    """
    rng = np.random.default_rng(seed)
    state = np.zeros((1, 2))
    states, actions = [], []
    for _ in range(length):
        action = rng.uniform(-1, 1, (1, 1))
        states.append(state[0])
        actions.append(action[0])
        state = draw_next(state, action, rng)
    return Episode(
        episode_id=f"chance-{seed}",
        frames=None,
        actions=np.stack(actions).astype(np.float32),
        fps=STEPS_A_SECOND,
        states=np.stack(states).astype(np.float32),
    )


def collect_episodes(seeds: list[int], *, length: int, processes: int = 1) -> Iterator[Episode]:
    """
    Record one episode for each seed, in order; see [`collect_episode`].

    Args:
        seeds (`list[int]`):
            One an episode.
        length (`int`):
            Number of steps of an episode.
        processes (`int`, *optional*, defaults to 1):
            Processes that share the work. The episodes do not depend on it.

    Returns:
        `Iterator[Episode]`: The episodes.

    Example:

    ```python
    >>> episode = next(collect_episodes([0], length=4))
    >>> episode.frames, episode.actions.shape, episode.states.shape
    (None, (4, 1), (4, 2))

    ```
    """
    return record_episodes(partial(collect_episode, length=length), seeds, processes=processes, chunk=64)
