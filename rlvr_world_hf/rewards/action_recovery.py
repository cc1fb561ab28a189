r"""
Whether the action can be read from what is predicted: world models learn what usually follows, and may not listen.

    distance         e_s = \frac{1}{A} \sum_i |f_i(x_{s-1}, x_s) - a_{s,i}|
    log_probability  l_s = \frac{1}{A} \sum_i \log p_f(bin(a_{s,i}) | x_{s-1}, x_s)

with x the predicted frames, x_0 the last given one, a_s the action that leads to x_s, and f an inverse dynamics model,
which may be given x_{s-2}, too: the reward of RLIR (https://huggingface.co/papers/2509.23958). A pixel error hardly
sees an action whose effect is small.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from einops import rearrange

from .base import DISCOUNT, VerifiableReward, actions_between
from .inverse_dynamics import InverseDynamicsConfig, InverseDynamicsModel, load_inverse_model, locate_inverse_model


SCORES = ("distance", "log_probability")
"""What is made of an action that was read."""

LEAST_LOG_PROBABILITY = -20.0
"""Nats below which an action is as good as never read."""


class ActionRecoveryReward(VerifiableReward):
    """
    Minus the error of the action that an inverse dynamics model reads from consecutive predicted frames: in
    [-range, 0], in the action's own unit; 0 is an action that is read as it was given.

    It reads the predictions, the last given frame (`context`) and the actions, not the reference, so it also judges
    actions that were never recorded. Without a context the first step is left out; so are the first steps of an
    inverse model of more given frames than the context has.

    An error of 0 is not to be had: the model errs on true frames, too, and what is done may not show. Its error on
    what the codec makes of recorded frames, the row `tokenizer_floor` of a table, is what can be reached.

    A policy can learn to please this one network. Judge by another, trained with another seed and width on other
    episodes; see `docs/rewards.md`. A frame that shows nothing has the error of whatever the model reads there, so use
    it beside a reward that compares frames.

    Args:
        model (`str`, `Path` or [`InverseDynamicsModel`]):
            The inverse model: its folder, that of the run that trained it (`rlvr-world inverse RECIPE`) or of a world
            model saved with it, or a Hub id. It is loaded at the first use and not pickled, unless it is given as it
            is.
        score (`str`, *optional*, defaults to `"distance"`):
            `"distance"`, the mean absolute error; or `"log_probability"`, of the bins of the action, for a model with
            bins: in [-20, 0] nats, higher is better. The metric's names are `action_recovery_error` and
            `action_log_probability`.
        label (`str`, *optional*):
            End of the metric's name, to tell several inverse models apart, such as `"judge"`.
        batch_size (`int`, *optional*, defaults to `256`):
            Pairs of frames, or what the model is given, at a time, which bounds the memory.
        aggregation, discount (*optional*):
            Of the steps; see [`VerifiableReward`].

    Raises:
        ValueError: if `score` is none of the above or `batch_size` below 1; at the first use, if the model has no
            bins for its score, frames have another size than its own, or actions other dimensions or another unit.
        FileNotFoundError: at the first use, if there is no such model; it says how to train one.

    Example:

    ```python
    >>> import torch
    >>> from rlvr_world_hf.rewards.inverse_dynamics import InverseDynamicsConfig, InverseDynamicsModel
    >>> config = InverseDynamicsConfig(action_low=[-1.0], action_high=[1.0], image_size=16, width=8)
    >>> blind = InverseDynamicsModel(config).eval()
    >>> _ = torch.nn.init.zeros_(blind.head[-1].weight), torch.nn.init.zeros_(blind.head[-1].bias)  # reads 0 always
    >>> frames, actions = torch.rand(2, 3, 16, 16), torch.tensor([[0.5], [0.25]])
    >>> ActionRecoveryReward(blind)(predicted=[frames], reference=[frames], context=[frames[:1]], actions=[actions])
    [-0.375]

    ```
    """

    name, higher_is_better, best = "action_recovery_error", False, 0.0
    needs_actions = True
    differentiable = True
    alone = (
        "frames that the inverse model reads well earn the most, whatever they show; add a reward that compares "
        "frames, such as `MAEReward`"
    )

    def __init__(
        self,
        model: str | Path | InverseDynamicsModel,
        *,
        score: str = "distance",
        label: str = "",
        batch_size: int = 256,
        aggregation: str = "mean",
        discount: float = DISCOUNT,
    ) -> None:
        if score not in SCORES:
            raise ValueError(f"Expected `score` to be one of {', '.join(SCORES)}, got {score!r}.")
        if batch_size < 1:
            raise ValueError(f"Expected `batch_size` of at least 1, got {batch_size}.")
        if score == "log_probability":
            self.name, self.higher_is_better = "action_log_probability", True
        if label:
            self.name = f"{self.name}_{label}"
        super().__init__(aggregation=aggregation, discount=discount)
        self.score_kind = score
        self.batch_size = batch_size
        self.place = None if isinstance(model, InverseDynamicsModel) else str(model)
        self._model = model if isinstance(model, InverseDynamicsModel) else None

    def check_files(self) -> None:
        """Raise now what the first use would raise if the inverse model is not there."""
        # `outputs/pusht-inverse` may be a folder that is not there yet, or a Hub id: only the Hub tells.
        if self.place is not None:
            locate_inverse_model(self.place)

    @property
    def model(self) -> InverseDynamicsModel:
        """The inverse model, in evaluation mode and frozen; loaded at the first use."""
        if self._model is None:
            assert self.place is not None
            self._model = load_inverse_model(self.place)
        return self._model

    @property
    def floor(self) -> float:  # type: ignore[override] # in the unit of the actions, which the model knows
        """What an unreadable prediction gets: the largest range of an action, or the least log-probability."""
        return LEAST_LOG_PROBABILITY if self.score_kind == "log_probability" else _largest_range(self.model.config)

    def measure(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        actions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See [`VerifiableReward.measure`]; `actions` `(B, L, A)` are those from the last given frame on."""
        assert actions is not None, "refused before, as this reward needs them"
        steps, model = predicted.shape[1], self.model.to(predicted.device)
        done = actions_between(actions, steps)
        self._refuse_other_actions(done)
        given = model.config.given_frames
        known = predicted[:, :0] if context is None else context[:, -given:]
        lacking = given - known.shape[1]
        frames = torch.cat([predicted[:, :1].expand(-1, lacking, -1, -1, -1), known, predicted], dim=1)
        pairs = rearrange(frames.unfold(1, given + 1, 1), "b s c h w t -> (b s) t c h w")
        every = rearrange(done, "b s a -> (b s) a")
        pieces = zip(pairs.split(self.batch_size), every.split(self.batch_size), strict=True)
        measured = torch.cat([self._measured(model, some, of_these) for some, of_these in pieces])
        values = rearrange(measured, "(b s) -> b s", s=steps)
        if lacking:
            values = torch.cat([torch.full_like(values[:, :lacking], torch.nan), values[:, lacking:]], dim=1)
        return values

    def _measured(self, model: InverseDynamicsModel, pairs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        if self.score_kind == "log_probability":
            return model.log_probs(pairs.float(), actions).clamp(min=LEAST_LOG_PROBABILITY)
        error = (model(pairs.float()).actions - actions).abs().mean(dim=1)
        return error.clamp(max=_largest_range(model.config))

    def _refuse_other_actions(self, actions: torch.Tensor) -> None:
        config = self.model.config
        if actions.shape[2] != config.action_dims:
            raise ValueError(
                f"`{self.name}`: expected actions of {config.action_dims} dimensions, which the inverse model reads, "
                f"got {actions.shape[2]}; train one on such actions with `rlvr-world inverse RECIPE`."
            )
        low, high = (actions.new_tensor(values) for values in (config.action_low, config.action_high))
        span = high - low
        if ((actions < low - span) | (actions > high + span)).any():
            raise ValueError(
                f"`{self.name}`: expected actions about from {config.action_low} to {config.action_high}, the "
                f"ranges of the inverse model, got values from {actions.min():g} to {actions.max():g}; use a model of "
                "actions in the same unit and of the same law."
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({} if self.place is None else {"_model": None})


def inverse_model_of(rewards: Iterable[Any]) -> InverseDynamicsModel | None:
    """
    The inverse model among rewards, which is saved with the world model that they trained.

    Args:
        rewards (`Iterable[Callable]`):
            Rewards of any kind.

    Returns:
        `InverseDynamicsModel`: that of the first reward with one; `None` without any.

    Example:

    ```python
    >>> from rlvr_world_hf.rewards import MAEReward
    >>> inverse_model_of([MAEReward()]) is None
    True

    ```
    """
    return next((reward.model for reward in rewards if isinstance(reward, ActionRecoveryReward)), None)


def _largest_range(config: InverseDynamicsConfig) -> float:
    pairs = zip(config.action_low, config.action_high, strict=True)
    return max(high - low for low, high in pairs)
