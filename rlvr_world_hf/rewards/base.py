r"""
What every verifiable reward shares: aggregation over the horizon, direction, TRL's call, logging.

    reward(predicted, reference) = \pm \frac{\sum_{s \in S} w_s metric(predicted_s, reference_s)}{\sum_{s \in S} w_s}

with minus for metrics where lower is better, and S the steps at which there is something to measure. The weights w are
1 by default: the paper writes a sum over the horizon (https://huggingface.co/papers/2505.13934), its code takes the
mean; normalized within a group, the two give the same advantages. We follow the code, so that a reward does not depend
on the horizon. Two options of the code are kept: only the last step counts, or step s = 0, 1, ... has weight 0.9^s.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat

from .groups import Frames, Groups, GroupScores, Place, as_tensor


AGGREGATIONS = ("mean", "last", "discounted")
"""How the steps of a horizon become one number."""

DISCOUNT = 0.9
"""Weight of a step relative to the one before it in the discounted mean; the authors' code has this value."""

ROUNDING = 1e-3
"""How far a float may lie outside [0, 1]; it then counts as 0 or 1."""

BATCH_SIZE = 32
"""Completions measured at a time: so few nearly fit a CPU's cache, and pixel rewards are several times faster."""


class VerifiableReward(ABC):
    """
    A prediction metric on decoded states, signed so that higher is better.

    A subclass names its metric and measures it step by step; the same object is then a reward for our trainer, which
    asks for [`~VerifiableReward.score_groups`], for TRL, which calls it, and a measure for evaluation, which reads
    [`~VerifiableReward.metric`]. Instances can be pickled.

    A completion is measured alone, by [`~VerifiableReward.measure`], unless a subclass also has a
    [`~VerifiableReward.measure_groups`]: that one sees the completions of a prompt side by side, and all of them where
    `needs_group` is set.

    Args:
        aggregation (`str`, *optional*, defaults to `"mean"`):
            How the steps become one number: `"mean"`; `"last"`, the last step at which there is something to measure;
            or `"discounted"`, the mean in which step s has the weight `discount` to the power of s. The metric's name
            ends in `_last` or `_discounted`, so that a table can hold all three.
        discount (`float`, *optional*, defaults to `0.9`):
            In (0, 1]; for `"discounted"` only. Any but the default becomes part of the name, as in
            `mae_discounted_0.5`.

    Attributes:
        name (`str`):
            Name of the unsigned metric in tables, and of the reward in logs.
        higher_is_better (`bool`):
            Direction of the unsigned metric.
        best (`float`):
            Value of the unsigned metric on identical states.
        floor (`float`):
            Value of the unsigned metric that an unreadable prediction gets; where that depends on the size of a
            reference, see [`~VerifiableReward.floor_of`].
        reads (`str`):
            Kind of states it compares: `"frames"` by default; `"sensors"`; or `"states"`, what is predicted first,
            frames or sensors. In a world with both, sensor states are in the columns `predicted_states`,
            `reference_states` and `context_states`.
        diagnoses (`tuple[str, ...]`):
            Names of what [`~VerifiableReward.diagnose`] reports; none by default.
        needs_group (`bool`):
            Whether the reward of a completion depends on the others of its group; `False` by default. Its
            [`~VerifiableReward.measure_groups`] then gets whole groups only, and columns that do not tell the groups
            are refused.
        smallest_group (`int`):
            Completions that a group must have where the reward needs groups; 2 by default.
        needs_actions (`bool`):
            Whether it reads what was done; `False` by default. `measure` then gets a keyword `actions` `(B, L, A)`,
            the column of that name; see [`actions_between`].
        needs_place (`bool`):
            Whether it reads of which episode a row is, and where in it; `False` by default. `measure` then gets a
            keyword `places`, a list of `B` pairs of the columns `episode` and `start`. A measure of a table that knows
            the world asks for it.
        joins_steps (`bool`):
            Whether all steps are measured as one; `False` by default. `measure` then returns `(B, 1)`. Steps that are
            padding are 0 in both states, and `measure` gets a keyword `reference_mask` `(B, S)` where there is one.
        is_credit (`bool`):
            Whether its values, less their group's mean, are an unbiased credit, which other settings of the training
            would bend; the trainer refuses these. `False` by default.
        differentiable (`bool`):
            Whether its value changes smoothly with the prediction, so that a gradient can be followed through it;
            `False` by default.
        alone (`str`):
            What goes wrong where it is the only reward, with the remedy; the trainer warns of it. Empty by default.
        changes_no_value (`tuple[str, ...]`):
            Settings in which two rewards of one name may differ, as they change no value; `batch_size` by default. A
            table refuses two of one name that differ in others.

    Raises:
        ValueError: if `aggregation` or `discount` is none of the above.
        TypeError: when a subclass that measures leaves one of the four attributes out, or one that needs groups does
            not measure them.

    Example:

    ```python
    >>> import torch
    >>> class BrightnessReward(VerifiableReward):
    ...     name, higher_is_better, best, floor = "brightness_error", False, 0.0, 1.0
    ...
    ...     def measure(self, predicted, reference, *, context=None):
    ...         return (predicted.mean(dim=(-3, -2, -1)) - reference.mean(dim=(-3, -2, -1))).abs()
    >>> reward = BrightnessReward()
    >>> reward(predicted=[torch.ones(4, 3, 8, 8), None], reference=[torch.full((4, 3, 8, 8), 0.75)] * 2)
    [-0.25, -1.0]
    >>> BrightnessReward(aggregation="last").name
    'brightness_error_last'

    ```
    """

    name: str
    higher_is_better: bool
    best: float
    floor: float
    reads: str = "frames"
    diagnoses: tuple[str, ...] = ()
    needs_group: bool = False
    smallest_group: int = 2
    needs_actions: bool = False
    needs_place: bool = False
    joins_steps: bool = False
    is_credit: bool = False
    differentiable: bool = False
    alone: str = ""
    changes_no_value: tuple[str, ...] = ("batch_size",)

    # Defaults on the class, as a subclass may have a constructor that does not call this one.
    aggregation: str = "mean"
    discount: float = DISCOUNT

    def __init__(self, *, aggregation: str = "mean", discount: float = DISCOUNT) -> None:
        if aggregation not in AGGREGATIONS:
            raise ValueError(f"Expected `aggregation` to be one of {', '.join(AGGREGATIONS)}, got {aggregation!r}.")
        if not 0 < discount <= 1:
            raise ValueError(f"Expected `discount` in (0, 1], got {discount!r}.")
        if aggregation != "discounted" and discount != DISCOUNT:
            raise ValueError(
                f"`discount={discount!r}` has no meaning for `aggregation={aggregation!r}`; set "
                '`aggregation="discounted"`, or leave `discount` out.'
            )
        self.aggregation = aggregation
        self.discount = discount
        if aggregation != "mean":
            self.name = f"{self.name}_{aggregation}" + (f"_{discount:g}" if discount != DISCOUNT else "")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        missing = [key for key in ("name", "higher_is_better", "best", "floor") if not hasattr(cls, key)]
        # A subclass that is abstract itself, such as `PixelReward`, has no name yet.
        if missing and not getattr(cls.measure, "__isabstractmethod__", False):
            raise TypeError(
                f"`{cls.__name__}` has a `measure` but not all class attributes of a reward; set {', '.join(missing)}."
            )
        if cls.needs_group and cls.measure_groups is VerifiableReward.measure_groups:
            raise TypeError(
                f"`{cls.__name__}` says that it needs whole groups but measures each completion alone; give it a "
                "`measure_groups`, or leave `needs_group` out."
            )

    @property
    def __name__(self) -> str:
        # TRL logs a reward under this name, which a plain object lacks.
        return self.name

    @abstractmethod
    def measure(
        self, predicted: torch.Tensor, reference: torch.Tensor, *, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        The unsigned metric of each predicted step.

        Args:
            predicted (`torch.Tensor` of shape `(B, S, 3, H, W)`):
                Predicted frames, float in `[0, 1]`, RGB.
            reference (`torch.Tensor` of shape `(B, S, 3, H, W)`):
                Recorded frames, in the same form.
            context (`torch.Tensor` of shape `(B, K, 3, H, W)`, *optional*):
                Frames that were given, in the same form; the last one directly precedes the prediction.

        Returns:
            `torch.Tensor` of shape `(B, S)`: nan at steps with nothing to measure.
        """

    def measure_groups(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        **further: Any,
    ) -> torch.Tensor:
        """
        The unsigned metric of each predicted step of each completion of a group, by
        [`~VerifiableReward.measure`] unless a subclass has another way.

        Without `needs_group` a large group may come in parts. Unreadable predictions are left out, so that `G` can be
        smaller than the group, down to 1.

        Args:
            predicted (`torch.Tensor` of shape `(B, G, S, 3, H, W)`):
                Predicted frames of each group, float in `[0, 1]`, RGB.
            reference (`torch.Tensor` of shape `(B, S, 3, H, W)`):
                Recorded frames of each group, in the same form.
            context (`torch.Tensor` of shape `(B, K, 3, H, W)`, *optional*):
                Frames that were given to each group, in the same form.
            **further:
                `actions` `(B, L, A)` of each group, where the reward needs them; `places`, a list of `B`, where it
                needs those; `reference_mask` `(B, S)`, where it joins steps and there is one.

        Returns:
            `torch.Tensor` of shape `(B, G, S)`: nan at steps with nothing to measure.

        Example:

        ```python
        >>> import torch
        >>> class DistanceReward(VerifiableReward):
        ...     '''How far a prediction is from the others of its group: high where they differ.'''
        ...
        ...     name, higher_is_better, best, floor, needs_group = "distance", True, 1.0, 0.0, True
        ...
        ...     def measure(self, predicted, reference, *, context=None):
        ...         return torch.zeros(predicted.shape[:2])  # alone, it is far from none
        ...
        ...     def measure_groups(self, predicted, reference, *, context=None):
        ...         distances = (predicted[:, :, None] - predicted[:, None]).abs().mean(dim=(-3, -2, -1))
        ...         return distances.sum(dim=2) / max(predicted.shape[1] - 1, 1)
        >>> levels = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1, 1, 1).expand(1, 3, 1, 3, 8, 8)
        >>> DistanceReward().score_groups(levels, torch.zeros(1, 1, 3, 8, 8)).rewards
        tensor([[0.7500, 0.5000, 0.7500]])

        ```
        """
        size = predicted.shape[1]
        measured = self.measure(
            rearrange(predicted, "b g ... -> (b g) ..."),
            _for_each(reference, size),
            context=None if context is None else _for_each(context, size),
            **{name: _for_each(values, size) for name, values in further.items()},
        )
        return rearrange(measured, "(b g) ... -> b g ...", g=size)

    def floor_of(
        self, reference: torch.Tensor, *, reference_mask: torch.Tensor | None = None, beside: Sequence[float] = ()
    ) -> float:
        """
        Value of the unsigned metric that the unreadable predictions of a group get: the `floor`, unless a subclass has
        another.

        Args:
            reference (`torch.Tensor` of shape `(S, 3, H, W)` or `(S, P)`):
                What was recorded.
            reference_mask (`torch.Tensor` of shape `(S,)`, *optional*):
                False where it is padding.
            beside (`Sequence[float]`, *optional*):
                The unsigned metric of the readable predictions of the group.

        Returns:
            `float`: no better than that of any readable prediction.

        Example:

        ```python
        >>> import torch
        >>> from rlvr_world_hf.rewards import EnergyScoreReward, MAEReward
        >>> frames = torch.zeros(2, 3, 32, 32)
        >>> MAEReward().floor_of(frames), round(EnergyScoreReward().floor_of(frames), 3)
        (1.0, 104.512)

        ```
        """
        return self.floor

    def draw_law(
        self,
        reference: torch.Tensor,
        *,
        count: int,
        context: torch.Tensor,
        context_states: torch.Tensor | None = None,
        **further: Any,
    ) -> dict[str, torch.Tensor]:
        """
        Predictions as the law of the world has them, of a measure that knows it. A table that has such a measure has a
        row of them: what a model that knew the law would get.

        Args:
            reference (`torch.Tensor` of shape `(B, S, 3, H, W)` or `(B, S, P)`):
                What was recorded; its form alone is read.
            count (`int`):
                Predictions of each row.
            context (`torch.Tensor` of shape `(B, K, 3, H, W)` or `(B, K, P)`):
                What was given, of the same form.
            context_states (`torch.Tensor` of shape `(B, K, P)`, *optional*):
                States beside given frames, where there are any.
            **further:
                `actions` and `places`, where the reward needs them.

        Returns:
            `dict[str, torch.Tensor]`: `predicted` `(B, count, S, ...)`, in the form of the reference, and
            `predicted_states` `(B, count, S, P)` where there are states beside frames. They are others than those that
            predictions are measured against.

        Raises:
            NotImplementedError: of a reward that knows no law, as most.
        """
        raise NotImplementedError(f"`{self.name}` knows no law of a world to draw from.")

    @property
    def knows_law(self) -> bool:
        """Whether it has a [`~VerifiableReward.draw_law`]."""
        return type(self).draw_law is not VerifiableReward.draw_law

    def diagnose(self, predicted: torch.Tensor, reference: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Further metrics to report beside this one, each of shape `(B, S)`; none by default.

        Args:
            predicted (`torch.Tensor` of shape `(B, S, 3, H, W)`):
                Predicted frames, float in `[0, 1]`, RGB.
            reference (`torch.Tensor` of shape `(B, S, 3, H, W)`):
                Recorded frames, in the same form.

        Returns:
            `dict[str, torch.Tensor]`: by metric name.
        """
        return {}

    def measure_and_diagnose(
        self,
        predicted: torch.Tensor,
        reference: torch.Tensor,
        *,
        context: torch.Tensor | None = None,
        **further: Any,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """
        Both [`~VerifiableReward.measure_groups`] and [`~VerifiableReward.diagnose`], one after the other. Where both
        read the same from the predictions, a subclass can read it once.

        Takes the arguments of [`~VerifiableReward.measure_groups`].

        Returns:
            `tuple[torch.Tensor, dict[str, torch.Tensor]]`: the metric `(B, G, S)`, and by name what is diagnosed, each
            `(B, G, S)`.
        """
        size, diagnosed = predicted.shape[1], dict[str, torch.Tensor]()
        if type(self).diagnose is not VerifiableReward.diagnose:
            # Before measuring, which may compute in place.
            found = self.diagnose(rearrange(predicted, "b g ... -> (b g) ..."), _for_each(reference, size))
            diagnosed = {name: rearrange(steps, "(b g) s -> b g s", g=size) for name, steps in found.items()}
        return self.measure_groups(predicted, reference, context=context, **further), diagnosed

    def metric(
        self,
        predicted: Frames,
        reference: Frames,
        *,
        reference_mask: Frames | None = None,
        context: Frames | None = None,
        actions: Frames | None = None,
        places: Sequence[Place] | None = None,
        gradient: bool = False,
    ) -> torch.Tensor:
        """
        The unsigned metric of each sample alone, aggregated over the steps at which there is something to measure:
        by [`~VerifiableReward.measure`], also of a reward that needs groups.

        Args:
            predicted (`torch.Tensor` or `numpy.ndarray` of shape `(B, S, 3, H, W)`):
                Predicted frames, float in `[0, 1]` or uint8, RGB.
            reference (`torch.Tensor` or `numpy.ndarray` of shape `(B, S, 3, H, W)`):
                Recorded frames, float in `[0, 1]` or uint8, RGB.
            reference_mask (`torch.Tensor` or `numpy.ndarray` of shape `(B, S)`, *optional*):
                False where the reference is padding; such steps do not count.
            context (`torch.Tensor` or `numpy.ndarray` of shape `(B, K, 3, H, W)`, *optional*):
                Frames that were given, float in `[0, 1]` or uint8, RGB.
            actions (`torch.Tensor` or `numpy.ndarray` of shape `(B, L, A)`, *optional*):
                What was done, in the unit of the data; for rewards that need it, see [`actions_between`].
            places (`Sequence[tuple[str, int]]` of length `B`, *optional*):
                Name of the episode, and index in it of the first given frame; for rewards that need it.
            gradient (`bool`, *optional*, defaults to `False`):
                Whether gradients flow back to the predictions, of a reward that is `differentiable`.

        Returns:
            `torch.Tensor` of shape `(B,)`: nan where no step could be measured.

        Raises:
            ValueError: if the shapes of the two states differ, frames lie outside [0, 1] by more than rounding, a
                prediction is not finite, or there are no actions or places for a reward that needs them.
        """
        states, recorded, given = self._as_compared(predicted, reference, context)
        states, recorded = (self._joined(side, reference_mask) for side in (states, recorded))
        further = self._further(actions, places, reference_mask, states.device)
        with torch.set_grad_enabled(gradient):
            measured = self.measure(states, recorded, context=given, **further)
        self._refuse_infinite(measured, states)
        return self._shares(_without_padding(measured, reference_mask)).nanmean(dim=1)

    def score(
        self,
        predicted: Frames,
        reference: Frames,
        *,
        reference_mask: Frames | None = None,
        context: Frames | None = None,
        actions: Frames | None = None,
        places: Sequence[Place] | None = None,
        gradient: bool = False,
    ) -> torch.Tensor:
        """
        The reward of each sample: [`~VerifiableReward.metric`], negated where lower is better.

        Takes the arguments of [`~VerifiableReward.metric`] and raises what it raises.

        Returns:
            `torch.Tensor` of shape `(B,)`: higher is better; nan where no step could be measured.
        """
        given: dict[str, Any] = {"reference_mask": reference_mask, "context": context}
        given |= {"actions": actions, "places": places, "gradient": gradient}
        return self._signed(self.metric(predicted, reference, **given))

    def metric_of_groups(
        self,
        predicted: Sequence[Sequence[Frames | None] | Frames] | Frames,
        reference: Sequence[Frames] | Frames,
        *,
        reference_mask: Sequence[Frames] | Frames | None = None,
        context: Sequence[Frames] | Frames | None = None,
        actions: Sequence[Frames] | Frames | None = None,
        places: Sequence[Place] | None = None,
    ) -> torch.Tensor:
        """
        The unsigned metric of each prediction beside the others of its row, by
        [`~VerifiableReward.measure_groups`]: what a table holds of a reward that needs groups. Unlike in training,
        rows may have few predictions, and one alone.

        Takes the arguments of [`~VerifiableReward.score_groups`].

        Returns:
            `torch.Tensor` of shape `(B, G)`: the `floor` of an unreadable prediction; nan where there is nothing to
            measure.
        """
        groups = Groups.of_nested(predicted, reference, reference_mask, context, actions, places)
        measured, _ = self._measure_parts(groups, with_metrics=False)
        return self._signed(self._filled(groups, measured)[0]).unflatten(0, (len(predicted), -1))

    def score_groups(
        self,
        predicted: Sequence[Sequence[Frames | None] | Frames] | Frames,
        reference: Sequence[Frames | None] | Frames,
        *,
        reference_mask: Sequence[Frames] | Frames | None = None,
        context: Sequence[Frames] | Frames | None = None,
        actions: Sequence[Frames] | Frames | None = None,
        places: Sequence[Place] | None = None,
    ) -> GroupScores:
        """
        The rewards of groups of completions, each group with one reference; everything is measured once.

        References, and what was given, move to the device of the predictions in the form they come in, so uint8 as
        bytes, and become float there, once a group.

        A reward that `reads` sensors takes sensor states in the place of frames;
        [`~VerifiableReward.choose_columns`] picks those that a reward measures.

        Args:
            predicted (`torch.Tensor` of shape `(B, G, S, 3, H, W)`, or `Sequence` of `B` sequences of `G` arrays):
                Predicted frames, float in `[0, 1]` or uint8; `None` where a prediction could not be read.
            reference (`torch.Tensor` of shape `(B, S, 3, H, W)`, or `Sequence` of `B` arrays):
                Recorded frames, float in `[0, 1]` or uint8; `None` where there is nothing to compare with.
            reference_mask (`torch.Tensor` of shape `(B, S)`, or `Sequence` of `B` arrays, *optional*):
                False where the reference is padding.
            context (`torch.Tensor` of shape `(B, K, 3, H, W)`, or `Sequence` of `B` arrays, *optional*):
                Frames that were given, float in `[0, 1]` or uint8.
            actions (`torch.Tensor` of shape `(B, L, A)`, or `Sequence` of `B` arrays, *optional*):
                What was done, in the unit of the data; for rewards that need it.
            places (`Sequence[tuple[str, int]]` of length `B`, *optional*):
                Name of the episode, and index in it of the first given frame; for rewards that need it.

        Returns:
            [`GroupScores`]: rewards `(B, G)`, rewards by step `(B, G, S)`, and metrics to report.

        Raises:
            ValueError: if the columns differ in their number of groups, groups in size, groups are too small for a
                reward that needs them, or see [`~VerifiableReward.metric`].

        Example:

        ```python
        >>> import torch
        >>> from rlvr_world_hf.rewards import MAEReward
        >>> reference = torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8)
        >>> predicted = [[torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.5), None]]
        >>> MAEReward().score_groups(predicted, reference).rewards
        tensor([[ 0.0000, -0.5000, -1.0000]])

        ```
        """
        columns = {"predicted": predicted, "reference": reference, "reference_mask": reference_mask}
        self._check_lengths("a group", columns | {"context": context, "actions": actions, "places": places})
        if len(sizes := {len(group) for group in predicted} or {0}) > 1:
            raise ValueError(f"`{self.name}`: expected groups of one size, got {sorted(sizes)}; pass `None` for gaps.")
        if self.needs_group and len(predicted) and min(sizes) < self.smallest_group:
            raise ValueError(
                f"`{self.name}`: expected groups of at least {self.smallest_group} completions, which are compared, "
                f"got {min(sizes)}; raise `num_generations`."
            )
        groups = Groups.of_nested(predicted, reference, reference_mask, context, actions, places)
        measured, metrics = self._measure_parts(groups, with_metrics=True)
        rewards, steps = self._filled(groups, measured)
        shape = len(predicted), *sizes
        return GroupScores(rewards=rewards.unflatten(0, shape), steps=steps.unflatten(0, shape), metrics=metrics)

    def choose_columns(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """
        Of the columns of a batch, those that this reward measures, under the names of its arguments: frames, or the
        states beside them where it `reads` sensors. In a world of sensors alone they have the names of frames.

        Args:
            columns (`Mapping[str, Any]`):
                Columns by name, in groups or not: `predicted`, `reference`, and perhaps `reference_mask`, `context`,
                and the first two and the last with `_states` after their name. Others are ignored.

        Returns:
            `dict[str, Any]`: `predicted` and `reference`, `reference_mask` and `context` where there are any, and
            `actions`, and `places` of the columns `episode` and `start`, where the reward needs them; for
            [`~VerifiableReward.score_groups`], a call or [`~VerifiableReward.score_steps`].

        Raises:
            ValueError: if there is nothing predicted, no reference for it, or no actions or places where they are
                needed.

        Example:

        ```python
        >>> from rlvr_world_hf.rewards import MAEReward, SensorMAEReward
        >>> batch = {"predicted": "frames", "reference": "recorded", "reference_mask": "mask", "fps": [2.0]}
        >>> batch |= {"predicted_states": "states", "reference_states": "recorded states"}
        >>> MAEReward().choose_columns(batch)
        {'predicted': 'frames', 'reference': 'recorded', 'reference_mask': 'mask'}
        >>> SensorMAEReward().choose_columns(batch)
        {'predicted': 'states', 'reference': 'recorded states', 'reference_mask': 'mask'}

        ```
        """
        ending = "_states" if self.reads == "sensors" and "predicted_states" in columns else ""
        missing = [name for name in (f"predicted{ending}", f"reference{ending}") if name not in columns]
        if missing:
            raise ValueError(
                f"`{self.name}`: expected the columns `predicted{ending}` and `reference{ending}`, got "
                f"{sorted(columns)}; add {' and '.join(missing)}."
            )
        if self.needs_actions and columns.get("actions") is None:
            raise ValueError(
                f"`{self.name}`: expected the column `actions`, what was done from the last given state on, got "
                f"{sorted(columns)}; add it, or leave the reward out."
            )
        placed = [columns.get(name) for name in ("episode", "start")] if self.needs_place else []
        if None in placed:
            raise ValueError(
                f"`{self.name}`: expected the columns `episode` and `start`, where each row is from, got "
                f"{sorted(columns)}; give rows of `window_rows`, or leave the reward out."
            )
        names = {"predicted": f"predicted{ending}", "reference": f"reference{ending}"}
        names |= {"reference_mask": "reference_mask", "context": f"context{ending}"}
        names |= {"actions": "actions"} if self.needs_actions else {}
        chosen = {name: columns[column] for name, column in names.items() if columns.get(column) is not None}
        if placed:
            chosen["places"] = [(str(episode), int(start)) for episode, start in zip(*placed, strict=True)]
        return chosen

    def score_steps(
        self,
        *,
        predicted: Sequence[Frames | None] | Frames,
        reference: Sequence[Frames | None] | Frames,
        reference_mask: Sequence[Frames] | Frames | None = None,
        context: Sequence[Frames] | Frames | None = None,
        **columns: Any,
    ) -> torch.Tensor:
        """
        The reward of each step of each completion; its mean over the steps is what a call of this reward returns.

        Takes the columns of a call and raises what it raises. With another aggregation than the mean, each step is
        multiplied by its weight: with `"last"`, all steps but the last are 0.

        Returns:
            `torch.Tensor` of shape `(N, S)`: higher is better. An unreadable prediction has the signed `floor` at
            every step; nan where there is no reference or nothing to measure.

        Example:

        ```python
        >>> import torch
        >>> from rlvr_world_hf.rewards import MAEReward
        >>> reference = torch.zeros(2, 3, 8, 8)
        >>> predicted = torch.stack([reference[0], reference[1] + 0.5])
        >>> MAEReward().score_steps(predicted=[predicted, None], reference=[reference, reference])
        tensor([[ 0.0000, -0.5000],
                [-1.0000, -1.0000]])

        ```
        """
        columns |= {"predicted": predicted, "reference": reference, "reference_mask": reference_mask}
        groups = self._groups_of_columns(columns | {"context": context})
        measured, _ = self._measure_parts(groups, with_metrics=False)
        return self._filled(groups, measured)[1].cpu()

    def __call__(
        self,
        completions: Sequence[Any] | None = None,
        *,
        predicted: Sequence[Frames | None] | Frames,
        reference: Sequence[Frames | None] | Frames,
        reference_mask: Sequence[Frames] | Frames | None = None,
        context: Sequence[Frames] | Frames | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """
        The rewards of a batch, as TRL's trainers ask for them: one entry a completion in every column.

        Successive rows that hold the same objects as reference, mask and context are one group, whose reference is
        read once. From other columns, such as arrays, it is read once a completion.

        Args:
            completions (`Sequence`, *optional*):
                Not read: the decoded states are in the next columns.
            predicted (`Sequence` of arrays of shape `(S, 3, H, W)`):
                Predicted frames, float in `[0, 1]` or uint8; `None` where a prediction could not be read.
            reference (`Sequence` of arrays of shape `(S, 3, H, W)`):
                Recorded frames, float in `[0, 1]` or uint8; `None` where there is nothing to compare with.
            reference_mask (`Sequence` of arrays of shape `(S,)`, *optional*):
                False where the reference is padding.
            context (`Sequence` of arrays of shape `(K, 3, H, W)`, *optional*):
                Frames that were given, float in `[0, 1]` or uint8.
            log_metric (`Callable`, *optional*):
                Called with name and value: `parse_failure`, the rate of unreadable predictions among those with a
                reference, and the metrics of [`~VerifiableReward.diagnose`].
            **columns:
                Further columns from TRL. A reward that `reads` sensors takes the three columns of states from them; it
                ignores all others.

        Returns:
            `list[float | None]`: in the order of the batch. An unreadable prediction gets the signed `floor`; where
            there is no reference, or nothing in it to measure, the entry is `None`, which TRL leaves out.

        Raises:
            ValueError: if the columns differ in length, they do not tell groups to a reward that needs them, or see
                [`~VerifiableReward.metric`].
        """
        columns |= {"predicted": predicted, "reference": reference, "reference_mask": reference_mask}
        groups = self._groups_of_columns(columns | {"context": context})
        measured, metrics = self._measure_parts(groups, with_metrics=log_metric is not None)
        rewards: list[float | None] = [None] * len(groups.predicted)
        for row, floor in self._floors(groups, measured).items():
            rewards[row] = floor
        for rows, steps in measured:
            for row, value in zip(rows, steps.nanmean(dim=1).tolist(), strict=True):
                rewards[row] = None if math.isnan(value) else value
        if log_metric is not None:
            for name, value in metrics.items():
                log_metric(name, value)
        return rewards

    def _groups_of_columns(self, columns: dict[str, Any]) -> Groups:
        """The groups of a batch with one entry a completion in every column."""
        chosen = {"reference_mask": None, "context": None} | self.choose_columns(columns)
        self._check_lengths("a completion", chosen)
        groups = Groups.of_columns(**chosen, by_content=self.needs_group)
        sizes = {len(rows) for rows, state in zip(groups.members, groups.reference, strict=True) if state is not None}
        if self.needs_group and sizes and (len(sizes) > 1 or min(sizes) < self.smallest_group):
            raise ValueError(
                f"`{self.name}`: expected whole groups, all of one size of at least {self.smallest_group}, got groups "
                f"of {sorted(sizes)}. The completions of a group follow one another and hold the same reference, mask "
                "and context; where columns cannot tell, call `score_groups` with predictions of shape "
                "(B, G, S, ...), and where groups are smaller, raise `num_generations`."
            )
        return groups

    def _check_lengths(self, unit: str, columns: dict[str, Any]) -> None:
        lengths = {name: len(column) for name, column in columns.items() if column is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"`{self.name}`: expected one entry {unit} in every column, got {lengths}.")

    def _check_shapes(self, groups: Groups) -> None:
        for name in ("predicted", "reference", "reference_mask", "context", "actions"):
            column = getattr(groups, name)
            entries = () if column is None or isinstance(column, (torch.Tensor, np.ndarray)) else column
            shapes = {tuple(np.shape(entry)) for entry in entries if entry is not None}
            if len(shapes) > 1:
                raise ValueError(
                    f"`{self.name}`: expected entries of one shape in column `{name}`, got {sorted(shapes)}; pad the "
                    "references to one horizon and set `reference_mask`."
                )

    def _measure_parts(
        self, groups: Groups, *, with_metrics: bool
    ) -> tuple[list[tuple[list[int], torch.Tensor]], dict[str, float]]:
        """Rows of completions with the rewards `(rows, S)` of their steps, some groups at a time, and metrics."""
        self._check_shapes(groups)
        metrics: dict[str, float] = {}
        if with_metrics and groups.scorable:
            metrics["parse_failure"] = len(groups.unreadable) / len(groups.scorable)
        measured, diagnosed = [], dict[str, list[torch.Tensor]]()
        of_groups: list[int] = []
        for part in groups.parts(largest=BATCH_SIZE, whole=self.needs_group):
            if part.groups != of_groups:  # else the next piece of a large group
                of_groups, reference, context = part.groups, part.reference, part.context
            predicted, reference, context = self._as_compared(part.predicted, reference, context, size=part.size)
            mask = None if part.reference_mask is None else _for_each(part.reference_mask, part.size)
            predicted, reference = self._joined(predicted, mask), self._joined(reference, part.reference_mask)
            together = rearrange(predicted, "(b g) ... -> b g ...", g=part.size)
            further = self._further(part.actions, part.places, part.reference_mask, predicted.device)
            with torch.no_grad():
                if with_metrics:
                    values, found = self.measure_and_diagnose(together, reference, context=context, **further)
                else:
                    values, found = self.measure_groups(together, reference, context=context, **further), {}
            for name, steps in found.items():
                diagnosed.setdefault(name, []).append(mean_over_steps(steps.flatten(0, 1), mask))
            if values.shape[:2] != (len(reference), part.size) or values.ndim != 3:
                raise ValueError(
                    f"`{self.name}`: expected one value a step, in shape (B, G, S) with B, G = {len(reference)}, "
                    f"{part.size} where groups are measured, got {tuple(values.shape)}; correct `measure_groups`."
                )
            values = rearrange(values, "b g s -> (b g) s").to(predicted.device)
            self._refuse_infinite(values, predicted)
            measured.append((part.rows, self._shares(_without_padding(self._signed(values), mask))))
        return measured, metrics | {name: torch.cat(means).nanmean().item() for name, means in diagnosed.items()}

    def _filled(
        self, groups: Groups, measured: list[tuple[list[int], torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rewards of all completions, `(N,)`, and of their steps, `(N, S)`."""
        device = measured[0][1].device if measured else None
        rewards = torch.full((len(groups.predicted),), torch.nan, device=device)
        steps = torch.full((len(groups.predicted), groups.horizon), torch.nan, device=device)
        for row, floor in self._floors(groups, measured).items():
            rewards[row] = floor
            steps[row] = self._shares(torch.full_like(steps[:1], floor))[0]
        for rows, values in measured:
            if values.shape[1] not in (1, groups.horizon):
                raise ValueError(
                    f"`{self.name}`: expected one value for each of {groups.horizon} steps, got {values.shape[1]}; "
                    "return nan from `measure` at steps with nothing to measure."
                )
            rewards[rows] = values.nanmean(dim=1).float()
            steps[rows] = values.float()
        return rewards, steps

    def _floors(self, groups: Groups, measured: list[tuple[list[int], torch.Tensor]]) -> dict[int, float]:
        """The reward of each unreadable completion, by its row."""
        lost = set(groups.unreadable)
        if not lost:
            return {}
        found: dict[int, float] = {}
        for rows, steps in measured:
            found |= zip(rows, self._signed(steps.nanmean(dim=1)).tolist(), strict=True)  # unsigned again
        floors: dict[int, float] = {}
        for group, members in enumerate(groups.members):
            if of_group := [row for row in members if row in lost]:
                mask = None if groups.reference_mask is None else as_tensor(groups.reference_mask[group])
                beside = [found[row] for row in members if row in found and not math.isnan(found[row])]
                floor = self.floor_of(as_tensor(groups.reference[group]), reference_mask=mask, beside=beside)
                floors |= dict.fromkeys(of_group, floor if self.higher_is_better else -floor)
        return floors

    def _as_compared(
        self, predicted: Frames, reference: Frames, context: Frames | None, *, size: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Predictions, and for each `size` of them a reference and what was given: float, on one device."""
        predicted, reference = as_tensor(predicted), as_tensor(reference)
        expected = (reference.shape[0] * size, *reference.shape[1:])
        if predicted.shape != expected:
            raise ValueError(
                f"`{self.name}`: expected predicted and reference states of one shape, got {tuple(predicted.shape)} "
                f"and {expected}; cut both to the same steps and size."
            )
        if self.reads == "frames" and predicted.ndim != 5:
            raise ValueError(
                f"`{self.name}`: expected frames of shape (B, S, 3, H, W), got states of shape "
                f"{tuple(predicted.shape)}; for sensors use a reward such as `SensorMSEReward`."
            )
        predicted = self._as_states(predicted, "predicted")
        # Bytes move: they are a fourth of the floats.
        reference = self._as_states(reference.to(predicted.device), "reference")
        return predicted, reference, None if context is None else as_frames(as_tensor(context).to(predicted.device))

    def _further(
        self,
        actions: Frames | None,
        places: Sequence[Place] | None,
        reference_mask: Frames | None,
        device: torch.device,
    ) -> dict[str, Any]:
        """What `measure` is given beside states, of a reward that needs it: actions, places, and where steps count."""
        further: dict[str, Any] = {}
        if self.needs_place:
            if places is None:
                raise ValueError(
                    f"`{self.name}`: expected `places`, the episode of each row and where in it it begins, got None; "
                    "measure rows of `window_rows`, which say it."
                )
            further["places"] = list(places)
        if self.needs_actions:
            if actions is None:
                raise ValueError(
                    f"`{self.name}`: expected `actions` of shape (B, L, A), got None; pass what was done."
                )
            further["actions"] = as_tensor(actions).to(device).float()
        if self.joins_steps and reference_mask is not None:
            further["reference_mask"] = as_tensor(reference_mask).to(device, torch.bool)
        return further

    def _joined(self, states: torch.Tensor, mask: Frames | None) -> torch.Tensor:
        """States whose padding is 0 where all steps are measured as one; else as they are."""
        if not self.joins_steps or mask is None:
            return states
        is_recorded = as_tensor(mask).to(states.device, torch.bool)
        return states.masked_fill(~is_recorded.reshape(*is_recorded.shape, *[1] * (states.ndim - 2)), 0.0)

    def _as_states(self, states: torch.Tensor, column: str) -> torch.Tensor:
        """States as float. Outside [0, 1] a frame's error could be larger than the floor of the unreadable."""
        floats = as_frames(states)
        if states.dtype == torch.uint8 or not states.numel():
            return floats
        if not (self.reads == "frames" or (self.reads == "states" and states.ndim == 5)):
            # The sum is finite only if all values are, and needs no mask of the size of the states.
            if column == "predicted" and not torch.isfinite(floats.sum()):
                self._refuse_not_finite()
            return floats
        low, high = torch.stack(floats.aminmax()).tolist()  # both are nan if one value is
        if column == "predicted" and math.isnan(low):
            self._refuse_not_finite()
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise ValueError(
                f"`{self.name}`: expected `{column}` frames in [0, 1], got values from {low:g} to {high:g}; scale or "
                "clamp them, or pass uint8."
            )
        return floats.clamp(0, 1) if low < 0 or high > 1 else floats

    def _refuse_not_finite(self) -> None:
        raise ValueError(
            f"`{self.name}`: expected finite predicted states, got nan or infinity; pass `None` for a prediction "
            "that cannot be read."
        )

    def _refuse_infinite(self, measured: torch.Tensor, predicted: torch.Tensor) -> None:
        # A training step whose rewards are infinite would make every weight nan.
        if torch.isinf(measured).any():
            raise ValueError(
                f"`{self.name}`: expected predicted states whose error is a number, got values up to "
                f"{predicted.abs().max():g}; pass `None` for a prediction that cannot be read."
            )

    def _shares(self, steps: torch.Tensor) -> torch.Tensor:
        """Steps `(B, S)` times their weights, scaled so that the plain mean of the measured ones is the aggregate."""
        is_measured = ~steps.isnan()
        weights = step_weights(is_measured, aggregation=self.aggregation, discount=self.discount).to(steps.dtype)
        return steps * (weights * (is_measured.sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)))

    def _signed(self, values: torch.Tensor) -> torch.Tensor:
        return values if self.higher_is_better else 0.0 - values  # and not `-values`, which is -0.0 for a perfect one


def as_frames(frames: Frames) -> torch.Tensor:
    """
    Frames as a float tensor in `[0, 1]`.

    Args:
        frames (`torch.Tensor` or `numpy.ndarray` of any shape):
            uint8, or float in `[0, 1]`.

    Returns:
        `torch.Tensor` of the same shape: float32, or float64 if it was.

    Raises:
        TypeError: if the frames are neither uint8 nor float.

    Example:

    ```python
    >>> import numpy as np
    >>> as_frames(np.array([0, 51, 255], dtype=np.uint8))
    tensor([0.0000, 0.2000, 1.0000])

    ```
    """
    tensor = as_tensor(frames)
    if tensor.dtype == torch.uint8:
        # In place: `float` has made a copy.
        return tensor.float().div_(255)
    if not tensor.is_floating_point():
        raise TypeError(f"Expected frames as uint8 or as float in [0, 1], got {tensor.dtype}.")
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def actions_between(actions: torch.Tensor, steps: int) -> torch.Tensor:
    """
    The actions that lead from the last given state to the first predicted one, from that to the next, and so on.

    Rows hold the actions from the first observed step on, and one more, taken at the last predicted state, which leads
    nowhere; see [`~rlvr_world_hf.data.windows.Window`]. As many actions as steps are taken as they are.

    Args:
        actions (`torch.Tensor` of shape `(B, L, A)`):
            What was done.
        steps (`int`):
            Predicted states, `S`.

    Returns:
        `torch.Tensor` of shape `(B, S, A)`.

    Raises:
        ValueError: if there are fewer actions than steps.

    Example:

    ```python
    >>> import torch
    >>> actions_between(torch.arange(4.0).view(1, 4, 1), 2)[0, :, 0]  # of two observed steps, the second is now
    tensor([1., 2.])

    ```
    """
    count = actions.shape[1]
    if actions.ndim != 3 or count < steps:
        raise ValueError(
            f"Expected `actions` of shape (B, L, A), at least one for each of {steps} predicted states, got "
            f"{tuple(actions.shape)}; give those from the last given state on."
        )
    first = max(count - steps - 1, 0)
    return actions[:, first : first + steps]


def mean_over_steps(steps: torch.Tensor, reference_mask: Frames | None = None) -> torch.Tensor:
    """
    Mean over the horizon, leaving out padding and steps with nothing to measure.

    Args:
        steps (`torch.Tensor` of shape `(B, S)`):
            A metric step by step; nan where there is nothing to measure.
        reference_mask (`torch.Tensor` or `numpy.ndarray` of shape `(B, S)`, *optional*):
            False where the reference is padding.

    Returns:
        `torch.Tensor` of shape `(B,)`: nan where no step is left.

    Example:

    ```python
    >>> import torch
    >>> nan = torch.nan
    >>> mean_over_steps(torch.tensor([[1.0, 3.0, 9.0], [nan, 2.0, 9.0]]), torch.tensor([[True, True, False]] * 2))
    tensor([2., 2.])

    ```
    """
    return _without_padding(steps, reference_mask).nanmean(dim=1)


def step_weights(is_measured: torch.Tensor, *, aggregation: str, discount: float = DISCOUNT) -> torch.Tensor:
    """
    The weight of each step in the aggregate over the horizon.

    Args:
        is_measured (`torch.Tensor` of shape `(B, S)`):
            False at padding and at steps with nothing to measure.
        aggregation (`str`):
            `"mean"`, `"last"` or `"discounted"`; see [`VerifiableReward`].
        discount (`float`, *optional*, defaults to `0.9`):
            Weight of a step relative to the one before it.

    Returns:
        `torch.Tensor` of shape `(B, S)`: 0 where there is nothing to measure.

    Example:

    ```python
    >>> import torch
    >>> is_measured = torch.tensor([[True, True, False]])
    >>> step_weights(is_measured, aggregation="last"), step_weights(is_measured, aggregation="discounted")
    (tensor([[0., 1., 0.]]), tensor([[1.0000, 0.9000, 0.0000]]))

    ```
    """
    if aggregation == "last":  # only from the last one on is one step measured
        return (is_measured & (is_measured.flip(1).cumsum(dim=1).flip(1) == 1)).float()
    ratio = discount if aggregation == "discounted" else 1.0
    return is_measured * ratio ** torch.arange(is_measured.shape[1], device=is_measured.device)


def _without_padding(steps: torch.Tensor, reference_mask: Frames | None) -> torch.Tensor:
    """`steps` `(B, S)` with nan where the reference is padding."""
    if reference_mask is None:
        return steps
    return steps.masked_fill(~as_tensor(reference_mask).to(steps.device, torch.bool), torch.nan)


def _for_each(states: Any, size: int) -> Any:
    """Of each group's entry `(B, ...)`, or in a list of `B`, one for each of its completions: `(B * size, ...)`."""
    if isinstance(states, list):
        return [entry for entry in states for _ in range(size)]
    # Not a view that repeats one memory: a metric of a user may compute in place.
    return repeat(states, "b ... -> (b g) ...", g=size).contiguous()
