r"""
A yardstick for world models of PushT: a network that predicts the next state from the last two, without a frame.

It is given what frames show (where agent and block are, no velocities) and the action, in the block's own axes:

    x = (agent, its last move, the block's last move and turn, action, where the walls are)
    y = (the agent's move, the block's move and turn) = A x + MLP(x)

So it says what is possible with the same episodes where neither codes nor pixels cost anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import nn

from ...data.episode import Episode
from .ladder import read_states
from .law import ActionLaw, check_law
from .policies import WORLD_SIZE


class StateModel(nn.Module):
    """
    The network.

    Args:
        action_dims (`int`):
            Numbers of an action, `A`.
        action_law (`str`):
            What an action means, see `law.py`.
        width (`int`, *optional*, defaults to 512):
            Of a hidden layer.
        layers (`int`, *optional*, defaults to 3):
            Hidden layers.

    Example:

    ```python
    >>> model = StateModel(action_dims=10, action_law="relative", width=8)
    >>> model.predict(torch.zeros(4, 2, 5), torch.zeros(4, 3, 10)).shape
    torch.Size([4, 3, 5])

    ```
    """

    def __init__(self, *, action_dims: int, action_law: ActionLaw, width: int = 512, layers: int = 3) -> None:
        super().__init__()
        check_law(action_law)
        self.action_law = action_law
        sizes = [11 + action_dims, *[width] * layers]
        hidden = [
            part
            for size, wider in zip(sizes, sizes[1:], strict=False)
            for part in (nn.Linear(size, wider), nn.LayerNorm(wider), nn.SiLU())
        ]
        self.curved = nn.Sequential(*hidden, nn.Linear(width, 5))
        self.straight = nn.Linear(11 + action_dims, 5)
        for name, size in (("feature", 11 + action_dims), ("change", 5)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Changes `(B, 5)` of features `(B, F)`, both as [`standardize`] leaves them."""
        return self.straight(features) + self.curved(features)

    def standardize(self, features: torch.Tensor, changes: torch.Tensor) -> None:
        """Takes the mean and the scale of training data, features `(N, F)` and changes `(N, 5)`, as its units."""
        for name, values in (("feature", features), ("change", changes)):
            getattr(self, f"{name}_mean").copy_(values.mean(dim=0))
            getattr(self, f"{name}_scale").copy_(values.std(dim=0).clamp(min=1e-6))

    def in_units(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Values of `"feature"` or `"change"` in the units that the network computes in."""
        return (values - getattr(self, f"{name}_mean")) / getattr(self, f"{name}_scale")

    @torch.no_grad()
    def predict(self, given: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """
        Roll out on its own predictions.

        Args:
            given (`torch.Tensor` of shape `(B, 2, 5)`):
                The last two states, in the form of [`~rlvr_world_hf.worlds.pusht.ladder.read_states`].
            actions (`torch.Tensor` of shape `(B, S, A)`):
                From the last given state on.

        Returns:
            `torch.Tensor` of shape `(B, S, 5)`: the states that follow.
        """
        states = [*given.unbind(1)]
        for action in actions.unbind(1):
            features = read_features(states[-2], states[-1], action, action_law=self.action_law)
            changes = self(self.in_units("feature", features)) * self.change_scale + self.change_mean
            states.append(apply_changes(states[-1], changes))
        return torch.stack(states[2:], dim=1)


def read_features(
    before: torch.Tensor, now: torch.Tensor, actions: torch.Tensor, *, action_law: ActionLaw
) -> torch.Tensor:
    """
    What the network sees.

    Args:
        before (`torch.Tensor` of shape `(B, 5)`):
            States, in the form of [`~rlvr_world_hf.worlds.pusht.ladder.read_states`].
        now (`torch.Tensor` of shape `(B, 5)`):
            Those after them.
        actions (`torch.Tensor` of shape `(B, A)`):
            What is done now, by the law.
        action_law (`str`):
            What an action means.

    Returns:
        `torch.Tensor` of shape `(B, 11 + A)`: in the block's own axes, but for the last four, which say where the
        block is and how it is turned.
    """
    centre, angle = now[:, 2:4], now[:, 4]
    targets = rearrange(actions, "b (c two) -> b c two", two=2)
    if action_law == "absolute":
        targets = targets / WORLD_SIZE - centre[:, None]
    vectors = torch.cat(
        [torch.stack([now[:, :2] - centre, now[:, :2] - before[:, :2], centre - before[:, 2:4]], dim=1), targets],
        dim=1,
    )
    turned = (angle - before[:, 4]).sin()
    own = rearrange(_turn(vectors, -angle[:, None]), "b v two -> b (v two)")
    return torch.cat([own, turned[:, None], centre, angle.cos()[:, None], angle.sin()[:, None]], dim=1)


def read_changes(now: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """
    What the network is to predict.

    Args:
        now (`torch.Tensor` of shape `(B, 5)`):
            States, in the form of [`~rlvr_world_hf.worlds.pusht.ladder.read_states`].
        after (`torch.Tensor` of shape `(B, 5)`):
            Those that follow.

    Returns:
        `torch.Tensor` of shape `(B, 5)`: moves of agent and block in the block's own axes, and its turn.
    """
    moves = rearrange(after[:, :4] - now[:, :4], "b (v two) -> b v two", two=2)
    turned = after[:, 4] - now[:, 4]
    own = rearrange(_turn(moves, -now[:, 4, None]), "b v two -> b (v two)")
    return torch.cat([own, torch.atan2(turned.sin(), turned.cos())[:, None]], dim=1)


def apply_changes(now: torch.Tensor, changes: torch.Tensor) -> torch.Tensor:
    """
    The states after changes.

    Args:
        now (`torch.Tensor` of shape `(B, 5)`):
            States.
        changes (`torch.Tensor` of shape `(B, 5)`):
            As of [`read_changes`].

    Returns:
        `torch.Tensor` of shape `(B, 5)`: the states that follow.

    Example:

    ```python
    >>> now, after = torch.tensor([[0.1, 0.2, 0.5, 0.5, 3.0]]), torch.tensor([[0.2, 0.2, 0.5, 0.6, -3.0]])
    >>> apply_changes(now, read_changes(now, after)).allclose(after)
    True

    ```
    """
    moves = _turn(rearrange(changes[:, :4], "b (v two) -> b v two", two=2), now[:, 4, None])
    angle = now[:, 4] + changes[:, 4]
    angle = torch.atan2(angle.sin(), angle.cos())
    return torch.cat([now[:, :4] + rearrange(moves, "b v two -> b (v two)"), angle[:, None]], dim=1)


def train_state_model(
    episodes: Iterable[Episode],
    *,
    action_law: ActionLaw,
    updates: int,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    seed: int = 0,
    **sizes: Any,
) -> StateModel:
    """
    Train the network to predict one step, with a rate that falls to 0 as a cosine does.

    Args:
        episodes (`Iterable[Episode]`):
            Recorded with states of agent and block; frames are not read.
        action_law (`str`):
            That of the episodes.
        updates (`int`):
            Updates.
        batch_size (`int`, *optional*, defaults to 1024):
            Transitions of an update. Half of them are mirrored.
        learning_rate (`float`, *optional*, defaults to 1e-3):
            Largest rate of Adam.
        seed (`int`, *optional*, defaults to 0):
            Of weights and batches.
        sizes (`dict[str, int]`):
            `width` and `layers` of [`StateModel`].

    Returns:
        [`StateModel`]: trained.

    Raises:
        ValueError: If there is no episode of three frames.
    """
    parts: list[tuple[torch.Tensor, ...]] = []
    for episode in episodes:
        # Copied, as torch warns of arrays that are read-only, such as those of stored episodes.
        states, taken = (torch.from_numpy(np.array(values)) for values in (episode.states, episode.actions))
        states = read_states(states)
        parts.append((states[:-2], states[1:-1], states[2:], taken[1:-1]))
    if not any(len(part[0]) for part in parts):
        raise ValueError(f"Expected episodes of at least three frames to train on, got {len(parts)} shorter ones.")
    before, now, after, actions = (torch.cat(column) for column in zip(*parts, strict=True))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = StateModel(action_dims=actions.shape[1], action_law=action_law, **sizes)
    model.standardize(read_features(before, now, actions, action_law=action_law), read_changes(now, after))
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        rows = torch.randint(len(now), (batch_size,), generator=generator)
        first = [column[rows[: batch_size // 2]] for column in (before, now, after)]
        mirrored = [mirror_states(column[rows[batch_size // 2 :]]) for column in (before, now, after)]
        was, then, follows = (torch.cat(pair) for pair in zip(first, mirrored, strict=True))
        done = [actions[rows[: batch_size // 2]], mirror_actions(actions[rows[batch_size // 2 :]], action_law)]
        features = read_features(was, then, torch.cat(done), action_law=action_law)
        predicted = model(model.in_units("feature", features))
        # Absolute and not squared: most blocks do not move, and few move far.
        loss = nn.functional.smooth_l1_loss(predicted, model.in_units("change", read_changes(then, follows)), beta=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def mirror_states(states: torch.Tensor) -> torch.Tensor:
    """
    The states of a table seen in a mirror, left and right exchanged: the T is the same in it.

    Args:
        states (`torch.Tensor` of shape `(B, 5)`):
            In the form of [`~rlvr_world_hf.worlds.pusht.ladder.read_states`].

    Returns:
        `torch.Tensor` of shape `(B, 5)`: mirrored.
    """
    x, y, block_x, block_y, angle = states.unbind(1)
    return torch.stack([1 - x, y, 1 - block_x, block_y, -angle], dim=1)


def mirror_actions(actions: torch.Tensor, action_law: ActionLaw) -> torch.Tensor:
    """
    What is done in the mirror.

    Args:
        actions (`torch.Tensor` of shape `(B, A)`):
            By the law.
        action_law (`str`):
            What an action means.

    Returns:
        `torch.Tensor` of shape `(B, A)`: mirrored.
    """
    mirrored = actions.clone()
    mirrored[:, ::2] = (WORLD_SIZE if action_law == "absolute" else 0.0) - actions[:, ::2]
    return mirrored


def _turn(vectors: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Vectors `(B, V, 2)` turned by angles `(B, 1)`."""
    x, y = vectors.unbind(2)
    return torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], dim=2)
