"""The table of a text world: yardsticks and checkpoints on the same held-out transitions, by the same metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from ..rewards.text import TextReward
from ..rollouts.text import sample_answers
from .distinct import distinct_metrics
from .draws import BestSampling, Draws
from .metrics import metric_of, summarize_predictions
from .predictions import Sampling
from .results import Results, make_results, summarize
from .sharing import ALONE, Share


GREEDY = Sampling(temperature=0.0)
"""The likeliest token: how the authors' code measures during training."""

GREEDY_DRAWS = Draws(sampling=GREEDY)
"""What a table of text is of, unless it is asked for something else."""

GRID = (GREEDY, Sampling(temperature=0.4), Sampling(temperature=0.7), Sampling(temperature=1.0))
"""Settings among which a row with best sampling chooses."""

CLASSES = {"changed": True, "unchanged": False}
"""Transitions measured apart, as in the paper: those that change something and those that do not."""

Values = dict[str, torch.Tensor]


def evaluate_answers(
    checkpoints: Mapping[str, tuple[PreTrainedModel, Any]],
    rows: Any,
    *,
    metrics: Sequence[TextReward],
    nothing_changes: Sequence[str],
    recipe: str,
    rewarded: Sequence[str],
    training_seed: int = 0,
    draws: Draws = GREEDY_DRAWS,
    best_sampling: BestSampling | None = None,
    given: Mapping[str, Sequence[str]] | None = None,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    share: Share = ALONE,
) -> Results:
    """
    Measure `nothing_changes`, `oracle` and each checkpoint, in one `results.json` record.

    Every metric comes three times: over all transitions, and as `<metric>_changed` and `<metric>_unchanged` over those
    that change something and those that do not. `groups` holds the means of each group of transitions.

    Args:
        checkpoints (`Mapping[str, tuple]`):
            Row name -> model and processor, as in `base`, `control`, `rlvr`.
        rows (`datasets.Dataset`):
            Held-out rows, see `data.transition.transition_row`.
        metrics (`Sequence[TextReward]`):
            What to measure.
        nothing_changes (`Sequence[str]`):
            For each row the answer that nothing changes: what a model that has learned nothing may always say.
        recipe (`str`):
            Name of the recipe.
        rewarded (`Sequence[str]`):
            Names of the metrics that were rewarded.
        training_seed (`int`, *optional*, defaults to 0):
            Seed of the training run.
        draws ([`~rlvr_world_hf.evaluation.draws.Draws`], *optional*):
            Answers to each row. Defaults to a greedy one for each of three seeds.
        best_sampling ([`~rlvr_world_hf.evaluation.draws.BestSampling`], *optional*):
            How rows with best sampling are chosen; without it there are none.
        given (`Mapping[str, Sequence[str]]`, *optional*):
            Row name -> one answer a row of the data, of whatever else is to be measured; before the checkpoints.
        max_new_tokens (`int`, *optional*, defaults to 256):
            Tokens after which an answer is cut off.
        batch_size (`int`, *optional*, defaults to 64):
            Answers in memory at a time.
        share ([`~rlvr_world_hf.evaluation.sharing.Share`], *optional*):
            The batches of answers of this process, where several measure together; each returns the whole record. All
            batches by default.

    Returns:
        `dict`: a record for `write_results` and `merge_results`.

    Raises:
        `ValueError`: If there are no rows or checkpoints, a rewarded metric or `choose_by` is not among the metrics,
        or two different ones of these have one name.
    """
    metrics = distinct_metrics(metrics)
    named = {metric.name: metric for metric in metrics}
    choose_by = (best_sampling and best_sampling.choose_by) or next(iter(rewarded), None)
    unknown = [name for name in (*rewarded, *filter(None, [choose_by])) if name not in named]
    if not checkpoints or not len(rows) or unknown:
        raise ValueError(
            f"Evaluation needs checkpoints, rows and the metrics {unknown or 'it is to measure'}, got "
            f"{len(checkpoints)} checkpoints, {len(rows)} rows and metrics {list(named)}."
        )
    answers = {
        "nothing_changes": [[answer] for answer in nothing_changes],
        "oracle": [[answer] for answer in rows["completion"]],
        **{name: [[answer] for answer in of_name] for name, of_name in (given or {}).items()},
    }
    limits: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "share": share}
    used: dict[str, Sampling] = {}
    for name, (model, processor) in checkpoints.items():
        used[name] = draws.sampling
        if best_sampling is not None and name in best_sampling.checkpoints and choose_by is not None:
            grid = GRID if best_sampling.grid is None else best_sampling.grid
            used[f"{name}_best_sampling"] = _choose(
                model, processor, best_sampling.rows, metric=named[choose_by], grid=grid, **limits
            )
        for row in filter(used.__contains__, (name, f"{name}_best_sampling")):
            answers[row] = predict_answers(
                model,
                processor,
                rows,
                sampling=used[row],
                sampling_seeds=draws.seeds,
                num_samples=draws.num_samples,
                label=row,
                **limits,
            )
    # A yardstick's single answer stands for every draw.
    values = {row: measure_answers(of_row, rows, metrics, count=draws.count) for row, of_row in answers.items()}
    directions = {name: metric.higher_is_better for name, metric in named.items()} | {"parse_failure": False}
    table = {
        row: _summaries(of_row, rows, directions, num_samples=draws.num_samples) for row, of_row in values.items()
    }
    measured = dict.fromkeys(name for of_row in table.values() for name in of_row)
    return make_results(
        table,
        recipe=recipe,
        samples=len(rows),
        training_seed=training_seed,
        sampling_seeds=draws.seeds,
        rewarded=rewarded,
        higher_is_better={name: directions[_metric_of_class(name)] for name in measured},
        sampling={row: settings.to_dict() for row, settings in used.items()},
        groups=_group_means(values, rows),
    )


def predict_answers(
    model: PreTrainedModel,
    processor: Any,
    rows: Any,
    *,
    sampling: Sampling = GREEDY,
    sampling_seeds: Sequence[int] = (0,),
    num_samples: int = 1,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    label: str | None = None,
    share: Share = ALONE,
) -> list[list[str]]:
    """
    A checkpoint's answers to the prompts of some rows.

    Args:
        model (`PreTrainedModel`):
            Checkpoint.
        processor (`LanguageWorldModelProcessor`):
            Its processor.
        rows (`datasets.Dataset`):
            Rows with `prompt`.
        sampling (`Sampling`, *optional*):
            How tokens are drawn; greedy by default.
        sampling_seeds (`Sequence[int]`, *optional*, defaults to `(0,)`):
            Seeds; each has its own answers.
        num_samples (`int`, *optional*, defaults to 1):
            Answers for each row and sampling seed.
        max_new_tokens (`int`, *optional*, defaults to 256):
            Tokens after which an answer is cut off.
        batch_size (`int`, *optional*, defaults to 64):
            Answers in memory at a time.
        label (`str`, *optional*):
            What the progress bar calls it.
        share ([`~rlvr_world_hf.evaluation.sharing.Share`], *optional*):
            The batches of this process, where several answer together; all by default.

    Returns:
        `list[list[str]]`: for each row its answers, those of one seed together; a single one at temperature 0, where
        all would be the same.
    """
    greedy = sampling.temperature == 0
    of_seeds = [
        share.fill(sample_answers(
            model, processor, rows["prompt"], num_samples=1 if greedy else num_samples, seed=seed,
            max_new_tokens=max_new_tokens, batch_size=batch_size, part=share.part,
            label=label if share.is_first else None,
            temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p,
        ))
        for seed in (sampling_seeds[:1] if greedy else sampling_seeds)
    ]  # fmt: skip
    return [[answer for of_seed in of_row for answer in of_seed] for of_row in zip(*of_seeds, strict=True)]


def measure_language_checkpoint(
    model: PreTrainedModel,
    processor: Any,
    rows: Any,
    *,
    metrics: Sequence[TextReward],
    max_new_tokens: int = 256,
    batch_size: int = 64,
) -> dict[str, float]:
    """
    Measure one checkpoint's likeliest answers, without a record: what a training looks at while it goes on.

    Args:
        model (`PreTrainedModel`):
            Checkpoint.
        processor (`LanguageWorldModelProcessor`):
            Its processor.
        rows (`datasets.Dataset`):
            Rows.
        metrics (`Sequence[TextReward]`):
            What to measure.
        max_new_tokens (`int`, *optional*, defaults to 256):
            Tokens after which an answer is cut off.
        batch_size (`int`, *optional*, defaults to 64):
            Answers in memory at a time.

    Returns:
        `dict[str, float]`: metric, also apart for transitions that change something and those that do not -> mean.
    """
    answers = predict_answers(model, processor, rows, max_new_tokens=max_new_tokens, batch_size=batch_size)
    values = measure_answers(answers, rows, metrics)
    directions = {metric.name: metric.higher_is_better for metric in metrics}
    return {name: of_seeds[0] for name, of_seeds in _summaries(values, rows, directions, num_samples=1).items()}


def measure_answers(
    answers: Sequence[Sequence[str]], rows: Any, metrics: Sequence[TextReward], *, count: int | None = None
) -> Values:
    """
    Measure each answer.

    Args:
        answers (`Sequence[Sequence[str]]`):
            For each row as many answers.
        rows (`datasets.Dataset`):
            The rows.
        metrics (`Sequence[TextReward]`):
            What to measure.
        count (`int`, *optional*):
            Values a row; a single answer stands for all of them.

    Returns:
        `dict[str, torch.Tensor]`: for each metric, and `parse_failure` by the first one, a float tensor of shape
        `(rows, count)`.
    """
    each = len(answers[0])
    flat = [answer for of_row in answers for answer in of_row]
    values: Values = {}
    for metric in metrics:
        columns = {name: [value for value in rows[name] for _ in range(each)] for name in metric.columns}
        measured, readable = metric.metric(flat, **columns)
        values[metric.name] = torch.tensor(measured, dtype=torch.float64)
        values.setdefault("parse_failure", 1 - torch.tensor(readable, dtype=torch.float64))
    return {name: value.view(-1, each).expand(-1, count or each) for name, value in values.items()}


def _choose(
    model: PreTrainedModel, processor: Any, rows: Any, *, metric: TextReward, grid: Sequence[Sampling], **options: Any
) -> Sampling:
    sign = 1 if metric.higher_is_better else -1

    def quality(sampling: Sampling) -> float:
        label = f"temperature {sampling.temperature:g}"
        answers = predict_answers(model, processor, rows, sampling=sampling, label=label, **options)
        return sign * float(measure_answers(answers, rows, [metric])[metric.name].nanmean())

    return max(grid, key=quality)  # of equally good ones the first


def _summaries(
    values: Values, rows: Any, directions: Mapping[str, bool], *, num_samples: int
) -> dict[str, list[float]]:
    """One number a seed: of all rows, then of each class."""
    best_of = {name: better for name, better in directions.items() if name != "parse_failure"}
    summary = summarize_predictions(values, num_samples=num_samples, best_of=best_of)
    # "Nothing changes" is right wherever nothing does: a mean over all rows hides how well changes are predicted.
    changed = torch.tensor(rows["is_changed"], dtype=torch.bool)
    for label, wanted in CLASSES.items():
        of_class = {name: value[changed == wanted] for name, value in values.items() if name != "parse_failure"}
        if (changed == wanted).any():
            means = summarize_predictions(of_class, num_samples=num_samples, best_of={})
            summary |= {f"{name}_{label}": value for name, value in means.items()}
    return summary


def _metric_of_class(name: str) -> str:
    for label in CLASSES:
        name = name.removesuffix(f"_{label}")
    return metric_of(name)


def _group_means(values: Mapping[str, Values], rows: Any) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[int]] = {}
    for index, group in enumerate(rows["group"]):
        groups.setdefault(group, []).append(index)
    return {
        group: {
            "samples": len(indices),
            "rows": {
                row: {name: summarize([float(value[indices].nanmean())])["mean"] for name, value in of_row.items()}
                for row, of_row in values.items()
            },
        }
        for group, indices in sorted(groups.items())
    }
