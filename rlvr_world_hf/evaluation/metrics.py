"""Measures of predictions, one value a prediction: the rewards' unsigned metrics, repetition and parse failures."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange, repeat

from ..rewards.base import VerifiableReward, mean_over_steps
from ..rewards.perceptual import LPIPSReward, find_trunk
from ..rewards.pixel import MAEReward, MSEReward, PixelReward, PSNRReward, SSIMReward
from ..rewards.repetition import repeated_steps
from ..rewards.sensor import SensorAccuracyReward, SensorMAEReward, SensorMSEReward, SensorReward
from .predictions import Predictions, RowBatch, repetition_of


logger = logging.getLogger(__name__)

BEST_OF = "_best_of_"
RATES = ("repetition_rate", "parse_failure")
"""Measured of every prediction beside the metrics asked for; both are better when lower."""

NO_STATES = "Predicted states need rows with `context_states` and `reference_states`; record them."
"""What is said of rows without the sensors that are predicted."""

Compared = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Predicted, recorded and given states."""


def standard_metrics(*, trunk_path: str | Path | None = None) -> list[VerifiableReward]:
    """
    The metrics of every video table; those of one world alone stand in its recipe.

    Args:
        trunk_path (`str` or `Path`, *optional*):
            File with LPIPS' trunk. By default LPIPS is measured if torch hub's cache holds it, and left out with a
            line in the log if not.

    Returns:
        `list[VerifiableReward]`: mae, mse, psnr, ssim and, where its trunk is, lpips, each over all pixels and over
        those that move.

    Raises:
        `FileNotFoundError`: If `trunk_path` is given and there is no such file.

    Example:

    ```python
    >>> [metric.name for metric in standard_metrics()][:4]
    ['mae', 'mae_moving', 'mse', 'mse_moving']

    ```
    """
    kinds: list[type[PixelReward]] = [MAEReward, MSEReward, PSNRReward, SSIMReward]
    metrics: list[VerifiableReward] = [kind(pixels=pixels) for kind in kinds for pixels in ("all", "moving")]
    try:
        trunk = find_trunk("vgg", trunk_path=trunk_path)
        metrics += [LPIPSReward(trunk_path=trunk, pixels=pixels) for pixels in ("all", "moving")]
    except FileNotFoundError as error:  # LPIPS is optional, a file that was asked for is not
        if trunk_path is not None:
            raise
        logger.info("LPIPS is left out: %s", error)
    return metrics


def metrics_of_processor(processor: Any, *, rewarded: Sequence[VerifiableReward | str] = ()) -> list[VerifiableReward]:
    """
    The standard metrics of what a processor predicts: [`standard_metrics`] of frames, and of sensors their errors.

    Args:
        processor (`WorldModelProcessor`):
            Whose predictions are to be measured.
        rewarded (`Sequence[VerifiableReward | str]`, *optional*):
            Rewards of the training, and further metrics of the table. The first scale among those of sensors is that
            of all sensor metrics; without one it is the range of each dimension in the processor.

    Returns:
        `list[VerifiableReward]`: for sensors, sensor_mae, sensor_mse and sensor_accuracy within 2 % of the scale.

    Example:

    ```python
    >>> from rlvr_world_hf import SensorWorldModelProcessor
    >>> processor = SensorWorldModelProcessor.from_ranges([0.0, -1.0], [512.0, 1.0], [-1.0], [1.0])
    >>> [(metric.name, metric.scale) for metric in metrics_of_processor(processor)][:1]
    [('sensor_mae', [512.0, 2.0])]

    ```
    """
    metrics = standard_metrics() if "frames" in processor.predicts else []
    if "sensors" in processor.predicts:
        scales = [reward.scale for reward in rewarded if isinstance(reward, SensorReward) and reward.scale]
        # A sensor that was constant in training has no range to divide by.
        ranges = [high - low or 1.0 for low, high in zip(processor.state_low, processor.state_high, strict=True)]
        scale = scales[0] if scales else ranges
        own = {reward.name: reward for reward in rewarded if isinstance(reward, SensorReward)}
        kinds = (SensorMAEReward, SensorMSEReward, SensorAccuracyReward)
        metrics += [own.get(kind.name) or kind(scale=scale) for kind in kinds]
    return metrics


def measure(
    predictions: Predictions,
    batch: RowBatch,
    metrics: Sequence[VerifiableReward],
    *,
    group_size: int | None = None,
) -> dict[str, torch.Tensor]:
    """
    Measure each prediction: the mean over the recorded steps of its horizon.

    Args:
        predictions (`Predictions`):
            `J` predictions for each of `B` rows.
        batch (`RowBatch`):
            The rows.
        metrics (`Sequence[VerifiableReward]`):
            What to measure.
        group_size (`int`, *optional*):
            Predictions of a row that a metric of groups compares, one group after another; all of them by default.

    Returns:
        `dict[str, torch.Tensor]`: for each metric, what its `diagnose` reports, and each of `RATES`, a float tensor of
        shape `(B, J)`. It is nan where nothing was to be measured; an unreadable prediction gets the metric's floor,
        and nan where there is none.

    Example:

    ```python
    >>> frames = torch.zeros(1, 2, 3, 16, 16)
    >>> mask = torch.tensor([[True, False]])
    >>> batch = RowBatch(
    ...     indices=[0], context=frames[:, :1], actions=frames[:, :, 0, 0], reference=frames, reference_mask=mask
    ... )
    >>> predictions = Predictions(predicted=frames[:, None] + 0.25, readable=torch.ones(1, 1, dtype=torch.bool))
    >>> measure(predictions, batch, [MAEReward()])["mae"]
    tensor([[0.2500]])

    ```
    """
    rows, count = predictions.readable.shape
    # A metric takes one prediction an item, so rows and their predictions become one batch.
    first, second = _both_compared(predictions, batch)
    recorded = repeat(batch.reference_mask, "b s -> (b j) s", j=count)
    readable = rearrange(predictions.readable, "b j -> (b j)")
    values = {}
    for metric in metrics:
        if metric.name in RATES:  # as of a `RepetitionReward`: measured below
            continue
        if metric.needs_group:
            values[metric.name] = _beside_each_other(metric, predictions, batch, group_size or count)
            continue
        predicted, reference, context = second if metric.reads == "sensors" else first
        further = _further(metric, batch, count)
        value = metric.metric(predicted, reference, reference_mask=recorded, context=context, **further)
        values[metric.name] = value.where(readable, metric.floor)
        for name, steps in metric.diagnose(predicted, reference).items():
            values[name] = mean_over_steps(steps, recorded).where(readable, torch.nan)
    repeated = rearrange(repetition_of(predictions, batch), "b j -> (b j)")
    values["repetition_rate"] = repeated.where(readable, torch.nan)
    values["parse_failure"] = 1 - readable.float()
    return {name: rearrange(value, "(b j) -> b j", b=rows) for name, value in values.items()}


def measure_steps(
    predictions: Predictions, batch: RowBatch, metrics: Sequence[VerifiableReward]
) -> dict[str, torch.Tensor]:
    """
    Measure each step of each prediction, where [`measure`] gives their mean.

    A metric of groups compares the predictions of a row at each step. One that measures all steps as one, as the
    energy score does, has no value of a step and is left out.

    Args:
        predictions (`Predictions`):
            `J` predictions for each of `B` rows, all readable.
        batch (`RowBatch`):
            The rows.
        metrics (`Sequence[VerifiableReward]`):
            What to measure.

    Returns:
        `dict[str, torch.Tensor]`: for each metric that has steps, what its `diagnose` reports, and `repetition_rate`,
        a float tensor of shape `(B, J, S)`, nan where nothing was recorded or to be measured. The last is 1 where a
        step repeats the one before, which is of the first one the last given.

    Example:

    ```python
    >>> frames = torch.zeros(1, 2, 3, 16, 16)
    >>> mask = torch.tensor([[True, False]])
    >>> batch = RowBatch(
    ...     indices=[0], context=frames[:, :1], actions=frames[:, :, 0, 0], reference=frames, reference_mask=mask
    ... )
    >>> predictions = Predictions(predicted=frames[:, None] + 0.25, readable=torch.ones(1, 1, dtype=torch.bool))
    >>> measure_steps(predictions, batch, [MAEReward()])
    {'mae': tensor([[[0.2500,    nan]]]), 'repetition_rate': tensor([[[0., nan]]])}

    ```
    """
    count = predictions.readable.shape[1]
    values: dict[str, torch.Tensor] = {}
    for metric in metrics:
        if metric.joins_steps:
            continue
        every, reference, context = _read_by(metric, predictions, batch)
        further = _further(metric, batch, 1)
        values[metric.name], found = metric.measure_and_diagnose(every, reference, context=context, **further)
        values |= found
    states, _, given = _compared(predictions.predicted, batch.reference, batch.context)
    states = torch.cat([given[:, -1:], states], dim=1)
    repeats = repeated_steps(states, tolerance=batch.tolerance).float()
    values["repetition_rate"] = rearrange(repeats, "(b j) s -> b j s", j=count)
    recorded = repeat(batch.reference_mask, "b s -> b j s", j=count)
    return {name: value.where(recorded, torch.nan) for name, value in values.items()}


def _both_compared(predictions: Predictions, batch: RowBatch) -> tuple[Compared, Compared]:
    """What metrics compare: the states that are predicted first, and sensors beside frames, where there are any."""
    first = _compared(predictions.predicted, batch.reference, batch.context)
    if predictions.predicted_states is None:
        return first, first
    return first, _compared(predictions.predicted_states, batch.reference_states, batch.context_states)


def _beside_each_other(metric: VerifiableReward, predictions: Predictions, batch: RowBatch, size: int) -> torch.Tensor:
    """Values `(B J,)` of a metric that compares predictions of a row with each other, so many at a time."""
    every, *of_rows = _read_by(metric, predictions, batch)
    count = predictions.readable.shape[1]
    size = min(size, count)  # a single prediction stands for all
    states, is_read = (rearrange(part, "b (g n) ... -> (b g) n ...", n=size) for part in (every, predictions.readable))
    pairs = zip(states, is_read.tolist(), strict=True)
    groups = [[state if read else None for state, read in zip(*group, strict=True)] for group in pairs]
    recorded, given, mask = (
        repeat(part, "b ... -> (b g) ...", g=count // size) for part in (*of_rows, batch.reference_mask)
    )
    further = _further(metric, batch, count // size)
    return metric.metric_of_groups(groups, recorded, reference_mask=mask, context=given, **further).flatten()


def _read_by(metric: VerifiableReward, predictions: Predictions, batch: RowBatch) -> Compared:
    """What a metric compares: predicted states `(B, J, S, ...)`, and recorded and given ones of each row."""
    if metric.reads != "sensors" or predictions.predicted_states is None:
        return predictions.predicted, batch.reference, batch.context
    if batch.reference_states is None or batch.context_states is None:
        raise ValueError(NO_STATES)
    return predictions.predicted_states, batch.reference_states, batch.context_states


def predict_law(batch: RowBatch, *, metric: VerifiableReward, count: int) -> Predictions:
    """
    Predictions by the law of the world, of a metric that knows it.

    Args:
        batch (`RowBatch`):
            Rows; of their reference, its form alone is read.
        metric ([`VerifiableReward`]):
            The metric, see [`VerifiableReward.draw_law`].
        count (`int`):
            Predictions of each row.

    Returns:
        `Predictions`: `count` of each row.

    Example:

    ```python
    >>> from rlvr_world_hf.worlds.chance_rewards import LawDistanceReward
    >>> states, mask = torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool)
    >>> given = dict(context=states, actions=torch.zeros(1, 2, 1), reference=states, reference_mask=mask)
    >>> predict_law(RowBatch(indices=[0], **given), metric=LawDistanceReward(), count=8).predicted.shape
    torch.Size([1, 8, 1, 2])

    ```
    """
    given: dict[str, Any] = {"context": batch.context, "context_states": batch.context_states}
    drawn = metric.draw_law(batch.reference, count=count, **given, **_further(metric, batch, 1))
    readable = torch.ones(len(batch.indices), count, dtype=torch.bool, device=batch.reference.device)
    return Predictions(readable=readable, **drawn)


def _further(metric: VerifiableReward, batch: RowBatch, count: int) -> dict[str, Any]:
    """What a metric needs beside states, of each of `count` predictions of a row."""
    further: dict[str, Any] = {}
    if metric.needs_actions:
        further["actions"] = repeat(batch.actions, "b l a -> (b j) l a", j=count)
    if metric.needs_place:
        places = batch.places
        further["places"] = None if places is None else [place for place in places for _ in range(count)]
    return further


def _compared(predicted: torch.Tensor, reference: torch.Tensor | None, context: torch.Tensor | None) -> Compared:
    """Predictions `(B, J, S, ...)` as `(B J, S, ...)`, and what was recorded and given of each."""
    if reference is None or context is None:
        raise ValueError(NO_STATES)
    recorded, given = (repeat(states, "b ... -> (b j) ...", j=predicted.shape[1]) for states in (reference, context))
    return rearrange(predicted, "b j ... -> (b j) ..."), recorded, given


def summarize_predictions(
    values: Mapping[str, torch.Tensor], *, num_samples: int, best_of: Mapping[str, bool]
) -> dict[str, list[float]]:
    """
    From one value a prediction to one value a sampling seed.

    A metric is the mean over samples and rows. With more than one sample, `<metric>_best_of_<N>` is the mean over
    rows of the best sample of `N`, chosen by that metric for each row on its own, as the authors' evaluation has it:
    for all samples, and for each smaller `N` that divides their number, as the mean over their groups of `N`.

    Args:
        values (`Mapping[str, torch.Tensor]`):
            Metric -> `(rows, seeds * num_samples)`, those of one seed together; nan is left out.
        num_samples (`int`):
            Predictions for each row and sampling seed.
        best_of (`Mapping[str, bool]`):
            Metrics to give as best of N too -> whether higher is better.

    Returns:
        `dict[str, list[float]]`: one number a sampling seed; nan if nothing was measured.

    Example:

    ```python
    >>> mae = {"mae": torch.tensor([[1.0, 3.0], [2.0, 0.0]])}
    >>> summarize_predictions(mae, num_samples=2, best_of={"mae": False})
    {'mae': [1.5], 'mae_best_of_2': [0.5]}

    ```
    """
    summary = {}
    for name, value in values.items():
        # float64: sums of ten thousands of values, whose differences between rows are small.
        of_seeds = rearrange(value.double(), "b (seeds n) -> seeds b n", n=num_samples)
        summary[name] = of_seeds.nanmean(dim=(1, 2)).tolist()
        if name in best_of:
            sign = 1 if best_of[name] else -1
            for count in (n for n in range(2, num_samples + 1) if num_samples % n == 0):
                groups = rearrange(sign * of_seeds, "seeds b (groups n) -> seeds (b groups) n", n=count)
                # nan loses against every sample, and stays nan only where all samples are.
                best = sign * groups.nan_to_num(nan=-torch.inf).amax(-1)
                summary[f"{name}{BEST_OF}{count}"] = best.where(best.isfinite(), torch.nan).nanmean(-1).tolist()
    return summary


def metric_of(name: str) -> str:
    """
    The metric that a name of [`summarize_predictions`] speaks of.

    Args:
        name (`str`):
            As in `mae` or `mae_best_of_5`.

    Returns:
        `str`: as in `mae`.
    """
    return name.split(BEST_OF)[0]
