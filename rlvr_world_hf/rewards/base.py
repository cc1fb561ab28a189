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
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch


Frames = torch.Tensor | np.ndarray

AGGREGATIONS = ("mean", "last", "discounted")
"""How the steps of a horizon become one number."""

DISCOUNT = 0.9
"""Weight of a step relative to the one before it in the discounted mean; the authors' code has this value."""

ROUNDING = 1e-3
"""How far a float may lie outside [0, 1]; it then counts as 0 or 1."""

BATCH_SIZE = 32
"""Samples measured at a time: so few nearly fit a CPU's cache, and pixel rewards are several times faster."""


class VerifiableReward(ABC):
    """
    A prediction metric on decoded states, signed so that higher is better.

    A subclass names its metric and measures it step by step; the same object is then a reward for TRL, which calls it,
    and a measure for evaluation, which reads [`~VerifiableReward.metric`]. Instances can be pickled.

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
            Value of the unsigned metric that an unreadable prediction gets.
        reads (`str`):
            Kind of states it compares: `"frames"` by default, or `"sensors"`. In a world with both, sensor states are
            in the columns `predicted_states`, `reference_states` and `context_states`.
        diagnoses (`tuple[str, ...]`):
            Names of what [`~VerifiableReward.diagnose`] reports; none by default.
        alone (`str`):
            What goes wrong where it is the only reward, with the remedy; the trainer warns of it. Empty by default.

    Raises:
        ValueError: if `aggregation` or `discount` is none of the above.
        TypeError: when a subclass that measures leaves one of the four attributes out.

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
    alone: str = ""

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

    def metric(
        self,
        predicted: Frames,
        reference: Frames,
        *,
        reference_mask: Frames | None = None,
        context: Frames | None = None,
    ) -> torch.Tensor:
        """
        The unsigned metric of each sample, aggregated over the steps at which there is something to measure.

        Args:
            predicted (`torch.Tensor` or `numpy.ndarray` of shape `(B, S, 3, H, W)`):
                Predicted frames, float in `[0, 1]` or uint8, RGB.
            reference (`torch.Tensor` or `numpy.ndarray` of shape `(B, S, 3, H, W)`):
                Recorded frames, float in `[0, 1]` or uint8, RGB.
            reference_mask (`torch.Tensor` or `numpy.ndarray` of shape `(B, S)`, *optional*):
                False where the reference is padding; such steps do not count.
            context (`torch.Tensor` or `numpy.ndarray` of shape `(B, K, 3, H, W)`, *optional*):
                Frames that were given, float in `[0, 1]` or uint8, RGB.

        Returns:
            `torch.Tensor` of shape `(B,)`: nan where no step could be measured.

        Raises:
            ValueError: if the shapes of the two states differ, frames lie outside [0, 1] by more than rounding, or a
                prediction is not finite.
        """
        measured = _without_padding(self._measure_checked(predicted, reference, context), reference_mask)
        return self._shares(measured).nanmean(dim=1)

    def score(
        self,
        predicted: Frames,
        reference: Frames,
        *,
        reference_mask: Frames | None = None,
        context: Frames | None = None,
    ) -> torch.Tensor:
        """
        The reward of each sample: [`~VerifiableReward.metric`], negated where lower is better.

        Takes the arguments of [`~VerifiableReward.metric`] and raises what it raises.

        Returns:
            `torch.Tensor` of shape `(B,)`: higher is better; nan where no step could be measured.
        """
        return self._signed(self.metric(predicted, reference, reference_mask=reference_mask, context=context))

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
        predicted, reference, context = self._read(predicted, reference, context, columns)
        self._check_columns(predicted=predicted, reference=reference, reference_mask=reference_mask, context=context)
        horizon = next((len(state) for state in reference if state is not None), 0)
        steps = torch.full((len(predicted), horizon), torch.nan)
        for row, state in enumerate(reference):
            if state is not None and predicted[row] is None:
                steps[row] = self._signed_floor
        for rows, states, references, masks, given in _readable_batches(predicted, reference, reference_mask, context):
            measured = self._signed(self._measure_checked(states, references, given))
            steps[rows] = _without_padding(measured, masks).float().cpu()
        return self._shares(steps)

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
            ValueError: if the columns differ in length, or see [`~VerifiableReward.metric`].
        """
        predicted, reference, context = self._read(predicted, reference, context, columns)
        self._check_columns(predicted=predicted, reference=reference, reference_mask=reference_mask, context=context)
        scorable = [row for row, state in enumerate(reference) if state is not None]
        unreadable = [row for row in scorable if predicted[row] is None]
        rewards: list[float | None] = [None] * len(predicted)
        for row in unreadable:
            rewards[row] = self._signed_floor
        if log_metric is not None and scorable:
            log_metric("parse_failure", len(unreadable) / len(scorable))
        diagnosed: dict[str, list[torch.Tensor]] = {}
        for rows, states, references, masks, given in _readable_batches(predicted, reference, reference_mask, context):
            scores = self.score(states, references, reference_mask=masks, context=given)
            for row, score in zip(rows, scores.tolist(), strict=True):
                rewards[row] = None if math.isnan(score) else score
            if log_metric is not None:
                for name, steps in self.diagnose(as_frames(states), as_frames(references).to(states.device)).items():
                    diagnosed.setdefault(name, []).append(mean_over_steps(steps, masks))
        if log_metric is not None:
            for name, values in diagnosed.items():
                log_metric(name, torch.cat(values).nanmean().item())
        return rewards

    def _read(self, predicted: Any, reference: Any, context: Any, columns: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Predicted, reference and given states of the kind that it reads."""
        if self.reads == "frames" or "predicted_states" not in columns:
            return predicted, reference, context
        return columns["predicted_states"], columns["reference_states"], columns.get("context_states")

    def _check_columns(self, **columns: Any) -> None:
        lengths = {name: len(column) for name, column in columns.items() if column is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"`{self.name}`: expected one entry a completion in every column, got {lengths}.")
        for name, column in columns.items():
            shapes = {tuple(np.shape(entry)) for entry in (() if column is None else column) if entry is not None}
            if len(shapes) > 1:
                raise ValueError(
                    f"`{self.name}`: expected entries of one shape in column `{name}`, got {sorted(shapes)}; pad the "
                    "references to one horizon and set `reference_mask`."
                )

    def _measure_checked(self, predicted: Frames, reference: Frames, context: Frames | None) -> torch.Tensor:
        """The unsigned metric of each step, `(B, S)`."""
        predicted, reference = _as_tensor(predicted), _as_tensor(reference)
        if predicted.shape != reference.shape:
            raise ValueError(
                f"`{self.name}`: expected predicted and reference states of one shape, got {tuple(predicted.shape)} "
                f"and {tuple(reference.shape)}; cut both to the same steps and size."
            )
        if self.reads == "frames" and predicted.ndim != 5:
            raise ValueError(
                f"`{self.name}`: expected frames of shape (B, S, 3, H, W), got states of shape "
                f"{tuple(predicted.shape)}; for sensors use a reward such as `SensorMSEReward`."
            )
        predicted = self._as_states(predicted, "predicted")
        reference = self._as_states(reference, "reference").to(predicted.device)
        # The sum is finite only if all values are, and needs no mask of the size of the frames.
        if not torch.isfinite(predicted.sum()):
            raise ValueError(
                f"`{self.name}`: expected finite predicted states, got nan or infinity; pass `None` for a prediction "
                "that cannot be read."
            )
        given = None if context is None else as_frames(context).to(predicted.device)
        with torch.no_grad():
            measured = self.measure(predicted, reference, context=given)
        # A training step whose rewards are infinite would make every weight nan.
        if torch.isinf(measured).any():
            raise ValueError(
                f"`{self.name}`: expected predicted states whose error is a number, got values up to "
                f"{predicted.abs().max():g}; pass `None` for a prediction that cannot be read."
            )
        return measured

    def _as_states(self, states: torch.Tensor, column: str) -> torch.Tensor:
        """States as float. Outside [0, 1] a frame's error could be larger than the floor of the unreadable."""
        floats = as_frames(states)
        if self.reads != "frames" or states.dtype == torch.uint8 or not states.numel():
            return floats
        low, high = torch.stack(floats.aminmax()).tolist()
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise ValueError(
                f"`{self.name}`: expected `{column}` frames in [0, 1], got values from {low:g} to {high:g}; scale or "
                "clamp them, or pass uint8."
            )
        return floats.clamp(0, 1) if low < 0 or high > 1 else floats

    def _shares(self, steps: torch.Tensor) -> torch.Tensor:
        """Steps `(B, S)` times their weights, scaled so that the plain mean of the measured ones is the aggregate."""
        is_measured = ~steps.isnan()
        weights = step_weights(is_measured, aggregation=self.aggregation, discount=self.discount).to(steps.dtype)
        return steps * (weights * (is_measured.sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)))

    @property
    def _signed_floor(self) -> float:
        return self.floor if self.higher_is_better else -self.floor

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
    tensor = _as_tensor(frames)
    if tensor.dtype == torch.uint8:
        # In place: `float` has made a copy.
        return tensor.float().div_(255)
    if not tensor.is_floating_point():
        raise TypeError(f"Expected frames as uint8 or as float in [0, 1], got {tensor.dtype}.")
    return tensor if tensor.dtype == torch.float64 else tensor.float()


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
    return steps.masked_fill(~_as_tensor(reference_mask).to(steps.device, torch.bool), torch.nan)


def _readable_batches(
    predicted: Any, reference: Any, reference_mask: Any, context: Any
) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]]:
    """Row numbers, predictions, references, masks and contexts of what can be compared, some rows at a time."""
    pairs = enumerate(zip(predicted, reference, strict=True))
    readable = [row for row, (state, recorded) in pairs if state is not None and recorded is not None]
    for start in range(0, len(readable), BATCH_SIZE):
        rows = readable[start : start + BATCH_SIZE]
        masks = None if reference_mask is None else _take(reference_mask, rows)
        given = None if context is None else _take(context, rows)
        yield rows, _take(predicted, rows), _take(reference, rows), masks, given


def _as_tensor(array: Any) -> torch.Tensor:
    """Shares memory if possible. Read-only arrays are copied, as torch warns of them."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        array = array.copy()
    try:
        return torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"Expected a state as an array of numbers, got {type(array).__name__}: {error}.") from error


def _take(column: Any, rows: list[int]) -> torch.Tensor:
    """Rows of a column as one tensor; a column that is one array is not copied if all of its rows are taken."""
    if isinstance(column, (torch.Tensor, np.ndarray)):
        return _as_tensor(column if len(rows) == len(column) else column[rows])
    return torch.stack([_as_tensor(column[row]) for row in rows])
