"""One table: yardsticks and checkpoints on the same held-out rows, with the same noise, by the same metrics."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..rewards.base import VerifiableReward
from .distinct import distinct_metrics
from .draws import BestSampling, Draws
from .flicker import measure_flicker
from .metrics import measure, metric_of, metrics_of_processor, predict_law, summarize_predictions
from .predictions import (
    UNRESTRICTED,
    Predictor,
    Sampling,
    predict_checkpoint,
    predict_copy_last,
    predict_recorded,
    predict_tokenizer_floor,
    row_batches,
)
from .results import Results, make_results
from .sharing import ALONE, Share


GRID = (
    Sampling(temperature=0.0),
    Sampling(temperature=0.4),
    Sampling(temperature=0.7),
    Sampling(temperature=1.0, top_k=5),
    Sampling(temperature=1.0, top_k=20),
    UNRESTRICTED,
)
"""Settings among which a row with best sampling chooses, greedy to unrestricted."""

GROUP_SAMPLES = 4
"""Predictions of a row by which sampling is chosen, where the metric compares them with each other."""

AS_IN_RL = Draws(sampling=UNRESTRICTED)
"""What RL improves is what is drawn at temperature 1 over all valid tokens, so that is what a table is of."""


def evaluate(
    checkpoints: Mapping[str, tuple[PreTrainedModel, Any]],
    rows: Any,
    *,
    recipe: str,
    rewarded: Sequence[VerifiableReward | str],
    training_seed: int = 0,
    draws: Draws = AS_IN_RL,
    best_sampling: BestSampling | None = None,
    metrics: Sequence[VerifiableReward] | None = None,
    batch_size: int = 128,
    share: Share = ALONE,
    with_recorded: bool = False,
) -> Results:
    """
    Measure `copy_last`, `tokenizer_floor` and each checkpoint, in one `results.json` record; where one of the metrics
    knows the law of the world, also `law`: predictions that are drawn from it.

    Every checkpoint sees the same noise, so differences between rows are not those of luck. For checkpoints in
    `best_sampling` a row `<name>_best_sampling` follows, its settings chosen on validation rows and recorded.

    Args:
        checkpoints (`Mapping[str, tuple]`):
            Row name -> model and processor, as in `base`, `control`, `rlvr`. The processor of the first one gives the
            tokenizer floor.
        rows (`datasets.Dataset` or `Sequence[Mapping]`):
            Held-out rows, see `data.rows.window_rows`.
        recipe (`str`):
            Name of the recipe.
        rewarded (`Sequence[VerifiableReward | str]`):
            Rewards of the training, or the names of their metrics. A reward whose metric is not among `metrics` is
            measured too.
        training_seed (`int`, *optional*, defaults to 0):
            Seed of the training run.
        draws ([`~rlvr_world_hf.evaluation.draws.Draws`], *optional*):
            Predictions of each row. Defaults to one for each of three seeds, at temperature 1 over all valid tokens.
        best_sampling ([`~rlvr_world_hf.evaluation.draws.BestSampling`], *optional*):
            How rows with best sampling are chosen; without it there are none.
        metrics (`Sequence[VerifiableReward]`, *optional*):
            What to measure. Defaults to [`metrics_of_processor`].
        batch_size (`int`, *optional*, defaults to 128):
            Predictions in memory at a time.
        share ([`~rlvr_world_hf.evaluation.sharing.Share`], *optional*):
            The batches of this process, where several measure together; each returns the whole record. All batches by
            default.
        with_recorded (`bool`, *optional*, defaults to `False`):
            Whether there is a row `recorded`: the truth, taken for a prediction, by which a measure that reads
            something from frames is itself measured.

    Returns:
        `dict`: a record for `write_results` and `merge_results`.

    Raises:
        `ValueError`: If there are no rows or checkpoints, a rewarded metric or `choose_by` is not among the metrics,
        two different ones of these have one name, or one compares predictions and there is one a row and seed.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0])
    >>> sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **sizes))
    >>> frames = torch.zeros(3, 3, 16, 16)
    >>> row = dict(context=frames[:1], actions=torch.zeros(3, 2), reference=frames[1:], reference_mask=[True, True])
    >>> results = evaluate({"base": (model, processor)}, [row], recipe="pusht/debug", rewarded=["mae"])
    >>> list(results["rows"]), results["rows"]["copy_last"]["mae"]["mean"]
    (['copy_last', 'tokenizer_floor', 'base'], 0.0)

    ```
    """
    if metrics is None:
        some = next(iter(checkpoints.values()), None)
        metrics = [] if some is None else metrics_of_processor(some[1], rewarded=rewarded)
    metrics = _with_rewards(metrics, rewarded)
    rewarded_names = [reward if isinstance(reward, str) else reward.name for reward in rewarded]
    choose_by = (best_sampling and best_sampling.choose_by) or next(iter(rewarded_names), None)
    _refuse_impossible(checkpoints, rows, metrics, [*rewarded_names, *filter(None, [choose_by])])
    draws.refuse_for(metrics)
    measure_rows = partial(
        measure_predictor,
        metrics=metrics,
        sampling_seeds=draws.seeds,
        num_samples=draws.num_samples,
        batch_size=batch_size,
        watched=choose_by,
        share=share,
    )
    model, processor = next(iter(checkpoints.values()))
    table = _yardsticks(processor, rows, measure_rows, device=model.device)
    if with_recorded:
        table["recorded"] = measure_rows(predict_recorded, rows, label="recorded", device=model.device)
    if (of_law := next((metric for metric in metrics if metric.knows_law), None)) is not None:
        law = partial(predict_law, metric=of_law, count=len(draws.seeds) * draws.num_samples)
        table["law"] = measure_rows(law, rows, label="law", device=model.device)
    used: dict[str, Sampling] = {}
    for name, (model, processor) in checkpoints.items():
        used[name] = draws.sampling
        if best_sampling is not None and name in best_sampling.checkpoints and choose_by is not None:
            used[f"{name}_best_sampling"] = choose_sampling(
                model,
                processor,
                best_sampling.rows,
                metric=_named(metrics, choose_by),
                grid=GRID if best_sampling.grid is None else best_sampling.grid,
                batch_size=batch_size,
                share=share,
            )
        for row in (name, f"{name}_best_sampling"):
            if row in used:
                predict = _checkpoint_predictor(model, processor, used[row], draws.seeds, draws.num_samples)
                table[row] = measure_rows(predict, rows, label=row, device=model.device)
    return make_results(
        table,
        recipe=recipe,
        samples=len(rows),
        training_seed=training_seed,
        sampling_seeds=draws.seeds,
        rewarded=rewarded_names,
        higher_is_better=_directions(metrics, table),
        sampling={row: settings.to_dict() for row, settings in used.items()},
    )


def evaluate_tokenizer(
    processor: Any,
    rows: Any,
    *,
    recipe: str,
    training_seed: int = 0,
    metrics: Sequence[VerifiableReward] | None = None,
    batch_size: int = 128,
) -> Results:
    """
    What a visual tokenizer loses: the rows `copy_last` and `tokenizer_floor`, without a model, as a `results.json`.

    The floor of frames has a column `flicker`, see [`~rlvr_world_hf.evaluation.flicker.measure_flicker`]: the least
    `tolerance` for [`~rlvr_world_hf.rewards.RepetitionReward`] with this tokenizer.

    Args:
        processor (`WorldModelProcessor`):
            Holds the tokenizer.
        rows (`datasets.Dataset` or `Sequence[Mapping]`):
            Held-out rows, see `data.rows.window_rows`.
        recipe (`str`):
            Name of the recipe.
        training_seed (`int`, *optional*, defaults to 0):
            Seed of the tokenizer's training.
        metrics (`Sequence[VerifiableReward]`, *optional*):
            What to measure. Defaults to [`metrics_of_processor`].
        batch_size (`int`, *optional*, defaults to 128):
            Reconstructions in memory at a time.

    Returns:
        `dict`: a record for `write_results`.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0])
    >>> frames = torch.zeros(3, 3, 16, 16)
    >>> row = dict(context=frames[:1], actions=torch.zeros(3, 2), reference=frames[1:], reference_mask=[True, True])
    >>> list(evaluate_tokenizer(processor, [row], recipe="pusht/codec")["rows"])
    ['copy_last', 'tokenizer_floor']

    ```
    """
    metrics = metrics_of_processor(processor) if metrics is None else metrics
    measure_rows = partial(measure_predictor, metrics=metrics, batch_size=batch_size)
    table = _yardsticks(processor, rows, measure_rows, device=processor.device)
    flicker = measure_flicker(processor.codec, rows)
    if flicker is not None:
        table["tokenizer_floor"]["flicker"] = [flicker]
    return make_results(
        table,
        recipe=recipe,
        samples=len(rows),
        training_seed=training_seed,
        sampling_seeds=[0],
        rewarded=[],
        higher_is_better=_directions(metrics, table),
    )


def measure_checkpoint(
    model: PreTrainedModel,
    processor: Any,
    rows: Any,
    *,
    metrics: Sequence[VerifiableReward] = (),
    rewarded: Sequence[VerifiableReward] = (),
    batch_size: int = 128,
) -> dict[str, float]:
    """
    Measure a checkpoint's likeliest predictions of some rows, without a record: what a training looks at meanwhile.

    Metrics that compare several predictions, such as the energy score, are left out: of one alone they would be a
    distance under the name of a score.

    Args:
        model (`PreTrainedModel`):
            Checkpoint, on any device.
        processor (`WorldModelProcessor`):
            Its processor.
        rows (`datasets.Dataset` or `Sequence[Mapping]`):
            Rows.
        metrics (`Sequence[VerifiableReward]`, *optional*):
            What to measure beside [`metrics_of_processor`].
        rewarded (`Sequence[VerifiableReward]`, *optional*):
            Rewards of the training, which are measured too.
        batch_size (`int`, *optional*, defaults to 128):
            Predictions in memory at a time.

    Returns:
        `dict[str, float]`: metric, and each of its diagnoses -> mean over the rows.
    """
    every = _with_rewards([*metrics_of_processor(processor, rewarded=[*rewarded, *metrics]), *metrics], rewarded)
    every = [metric for metric in every if not metric.needs_group]
    predict = _checkpoint_predictor(model, processor, Sampling(temperature=0.0), (0,), 1)
    measured = measure_predictor(
        predict, rows, metrics=every, batch_size=batch_size, device=model.device, shows_progress=False
    )
    return {name: values[0] for name, values in measured.items()}


@torch.no_grad()
def measure_predictor(
    predict: Predictor,
    rows: Any,
    *,
    metrics: Sequence[VerifiableReward],
    sampling_seeds: Sequence[int] = (0,),
    num_samples: int = 1,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    label: str = "",
    watched: str | None = None,
    share: Share = ALONE,
    shows_progress: bool = True,
) -> dict[str, list[float]]:
    """
    Measure one predictor on all rows, a batch at a time; only numbers are kept.

    A metric of groups, such as the energy score, compares the predictions of a row that are of one seed, so that its
    values are as many as there are seeds, and their spread is that of a score.

    Args:
        predict (`Callable[[RowBatch], Predictions]`):
            Gives `len(sampling_seeds) * num_samples` predictions a row, or one that stands for all of them.
        rows (`datasets.Dataset` or `Sequence[Mapping]`):
            Rows.
        metrics (`Sequence[VerifiableReward]`):
            What to measure.
        sampling_seeds (`Sequence[int]`, *optional*, defaults to `(0,)`):
            Seeds of the predictor.
        num_samples (`int`, *optional*, defaults to 1):
            Its predictions for each row and seed.
        batch_size (`int`, *optional*, defaults to 128):
            Predictions in memory at a time.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`):
            Where to compute.
        label (`str`, *optional*):
            What the progress bar calls it.
        watched (`str`, *optional*):
            Metric that the progress bar shows.
        share ([`~rlvr_world_hf.evaluation.sharing.Share`], *optional*):
            The batches of this process, where several measure together; all by default.
        shows_progress (`bool`, *optional*, defaults to `True`):
            Whether there is a progress bar, on the first process of a terminal.

    Returns:
        `dict[str, list[float]]`: metric -> one value a sampling seed.
    """
    predictions_a_row = len(sampling_seeds) * num_samples
    # Memory is taken by predictions, so rows a batch are fewer where each has several.
    size = max(1, batch_size // predictions_a_row)
    total = len(range(0, len(rows), size)[share.part])
    measured: list[dict[str, torch.Tensor]] = []
    with tqdm(
        row_batches(rows, size=size, device=device, part=share.part),
        total=total,
        desc=label,
        disable=None if share.is_first and shows_progress else True,
    ) as bar:
        for batch in bar:
            values = measure(predict(batch), batch, metrics, group_size=num_samples)
            # A yardstick's single prediction stands for every seed and sample.
            measured.append({name: value.expand(-1, predictions_a_row).cpu() for name, value in values.items()})
            if watched in values:
                bar.set_postfix({watched: float(torch.cat([part[watched] for part in measured]).nanmean())})
    collected: dict[str, list[torch.Tensor]] = {}
    for batch_values in share.join(measured):
        for name, value in batch_values.items():
            collected.setdefault(name, []).append(value)
    return summarize_predictions(
        {name: torch.cat(parts) for name, parts in collected.items()},
        num_samples=num_samples,
        # Of predictions that are compared with each other there is no best one.
        best_of={metric.name: metric.higher_is_better for metric in metrics if not metric.needs_group},
    )


def choose_sampling(
    model: PreTrainedModel,
    processor: Any,
    validation_rows: Any,
    *,
    metric: VerifiableReward,
    grid: Sequence[Sampling] = GRID,
    sampling_seed: int = 0,
    batch_size: int = 128,
    share: Share = ALONE,
) -> Sampling:
    """
    The settings of a grid that are best on validation rows.

    Args:
        model (`PreTrainedModel`):
            Checkpoint.
        processor (`WorldModelProcessor`):
            Its processor.
        validation_rows (`datasets.Dataset` or `Sequence[Mapping]`):
            Rows that are in neither training nor table.
        metric (`VerifiableReward`):
            What to choose by.
        grid (`Sequence[Sampling]`, *optional*):
            Settings to choose from; of equally good ones the first is taken. Defaults to `GRID`.
        sampling_seed (`int`, *optional*, defaults to 0):
            Seed of the noise.
        batch_size (`int`, *optional*, defaults to 128):
            Predictions in memory at a time.
        share ([`~rlvr_world_hf.evaluation.sharing.Share`], *optional*):
            The batches of this process, where several measure together; all by default.

    Returns:
        `Sampling`: the best.
    """
    sign = 1 if metric.higher_is_better else -1
    count = GROUP_SAMPLES if metric.needs_group else 1

    def quality(sampling: Sampling) -> float:
        predict = _checkpoint_predictor(model, processor, sampling, (sampling_seed,), count)
        label = f"temperature {sampling.temperature:g}, top-k {sampling.top_k}"
        values = measure_predictor(
            predict,
            validation_rows,
            metrics=[metric],
            num_samples=count,
            batch_size=batch_size,
            device=model.device,
            label=label,
            share=share,
        )
        return sign * values[metric.name][0]  # of the one seed

    return max(grid, key=quality)


def _yardsticks(
    processor: Any, rows: Any, measure_rows: Callable[..., dict[str, list[float]]], *, device: torch.device
) -> dict[str, dict[str, list[float]]]:
    """The rows that need no checkpoint: what standing still costs, and what the visual tokenizer or the bins lose."""
    floor = partial(predict_tokenizer_floor, processor=processor)
    return {
        "copy_last": measure_rows(predict_copy_last, rows, label="copy_last", device=device),
        "tokenizer_floor": measure_rows(floor, rows, label="tokenizer_floor", device=device),
    }


def _checkpoint_predictor(
    model: PreTrainedModel, processor: Any, sampling: Sampling, sampling_seeds: Sequence[int], num_samples: int
) -> Predictor:
    return partial(
        predict_checkpoint,
        model=model,
        processor=processor,
        sampling=sampling,
        sampling_seeds=sampling_seeds,
        num_samples=num_samples,
    )


def _directions(metrics: Sequence[VerifiableReward], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """Direction of all that was measured. What no metric asked for is a rate of failures: lower is better."""
    known = {metric.name: metric.higher_is_better for metric in metrics}
    measured = dict.fromkeys(name for values in rows.values() for name in values)
    return {name: known.get(metric_of(name), False) for name in measured}


def _with_rewards(
    metrics: Sequence[VerifiableReward], rewarded: Sequence[VerifiableReward | str]
) -> list[VerifiableReward]:
    """The metrics, and those of rewards that are not among them, as a user's own."""
    return distinct_metrics([*metrics, *(reward for reward in rewarded if not isinstance(reward, str))])


def _named(metrics: Sequence[VerifiableReward], name: str) -> VerifiableReward:
    return next(metric for metric in metrics if metric.name == name)


def _refuse_impossible(
    checkpoints: Mapping[str, Any], rows: Any, metrics: Sequence[VerifiableReward], needed: Sequence[str]
) -> None:
    if not checkpoints or not len(rows):
        raise ValueError(f"Evaluation needs checkpoints and rows, got {len(checkpoints)} and {len(rows)}.")
    names = [metric.name for metric in metrics]
    unknown = [name for name in dict.fromkeys(needed) if name not in names]
    if unknown:
        raise ValueError(
            f"{unknown} must be measured to be reported as rewarded or chosen by; the metrics are {names}."
        )
