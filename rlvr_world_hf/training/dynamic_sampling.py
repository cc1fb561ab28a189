r"""
Dynamic sampling: other prompts in place of those whose completions are all rewarded alike, which teach nothing.

    0 < std(r_1, ..., r_G)    of every group that is kept, as far as the rounds go

[DAPO](https://huggingface.co/papers/2503.14476), section 3.2 and equation 11. There batches are sampled until enough
groups are found; here a round samples as many groups as are missing, and the number of rounds is bounded. What stays
without a spread after the last round is trained on as it is, with an advantage of 0.

All processes know all rewards, so they make the same rounds. Prompts and noise of a round follow from the run's seed,
the update and the round: a resumed run, and any number of processes, draw the same.
"""

import copy
import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import IterableDataset
from einops import rearrange

from .grouped_rows import Rows, RowsReadOnce
from .grpo_config import WorldModelGRPOConfig
from .objective import Scores, advantages, own_part, weighted_sum


def refuse_what_cannot_be_drawn(args: WorldModelGRPOConfig, dataset: Any, first_row: dict[str, Any]) -> None:
    """
    Holds data to what `max_resampling_rounds` needs; without rounds, anything goes.

    Raises:
        ValueError: for a stream, and for images.
    """
    if not args.max_resampling_rounds:
        return
    if isinstance(dataset, IterableDataset):
        raise ValueError(
            f"`max_resampling_rounds={args.max_resampling_rounds}` draws prompts from the whole dataset, of which a "
            "stream shows only what comes next; leave it at 0, or load the rows as a `datasets.Dataset`."
        )
    if {"image", "images"} & first_row.keys():
        raise ValueError(
            f"`max_resampling_rounds={args.max_resampling_rounds}` cannot replace prompts with images; leave it at 0."
        )


def without_spread(scores: Scores, weights: torch.Tensor, group_size: int) -> torch.Tensor:
    """
    Which groups have no advantage to learn from, `(B,)`, bool: all their rewards are equal, at every step if steps
    have some. What cannot be scored counts as none; rewards have `weights` `(R,)`.

    Example:

    ```python
    >>> scores = Scores(rewards=torch.tensor([[1.0], [2.0], [3.0], [3.0], [4.0], [torch.nan]]))
    >>> without_spread(scores, torch.ones(1), 2)
    tensor([False,  True,  True])

    ```
    """
    values = weighted_sum(scores.rewards if scores.steps is None else scores.steps, weights)
    groups = rearrange(values.reshape(len(values), -1), "(B G) S -> B G S", G=group_size)
    highest, lowest = groups.nan_to_num(nan=-torch.inf).amax(dim=1), groups.nan_to_num(nan=torch.inf).amin(dim=1)
    return ~(highest > lowest).any(dim=1)


def replace_groups(trainer: Any, batch: dict[str, Any], place: tuple[int, ...]) -> dict[str, Any]:
    """
    A batch of rollouts with other groups in place of those without a spread, and with its advantages made anew.

    `batch` is this process's part, as a [`WorldModelGRPOTrainer`] has just answered it at a `place` in the run.
    Rewards in the log stay those of the prompts whose turn it was; it also tells how many rounds were made,
    prompts drawn in them, groups replaced, and groups left without a spread.
    """
    args, group_size, rows = trainer.args, trainer.num_generations, len(batch["prompt_ids"])
    first = trainer.accelerator.process_index * rows
    scores, weights, rounds, replaced, prompts = trainer._scores, trainer.reward_weights, 0, 0, 0
    lacking = without_spread(scores, weights, group_size)
    while lacking.any() and rounds < args.max_resampling_rounds:
        rounds += 1
        wanted = lacking.nonzero()[:, 0]
        # Each size of a batch would be compiled anew; a whole batch is compiled already.
        count = len(lacking) if args.compile_sampling else len(wanted)
        drawn, drawn_scores = _answer_others(trainer, count, (*place, rounds))
        prompts += count
        found = (~without_spread(drawn_scores, weights, group_size))[:count].nonzero()[:, 0][: len(wanted)]
        wanted = wanted[: len(found)]
        if len(found):
            target, source = (_completions(groups, group_size) for groups in (wanted, found))
            scores = _merged_scores(scores, drawn_scores, target, source)
            batch = _merged(trainer, batch, drawn, target - first, source)
            lacking[wanted], replaced = False, replaced + len(found)
    if replaced:
        trainer._scores = scores
        ours = advantages(scores, weights, group_size=group_size, args=args)
        assert ours is not None, "a normalization that is TRL's is refused with `max_resampling_rounds`"
        batch["advantages"] = own_part(ours, first, rows, trainer.modality)
        batch["num_items_in_batch"] = trainer.accelerator.gather(_loss_mask(batch).sum()).sum()
    counts = {"rounds": rounds, "drawn_prompts": prompts, "replaced_groups": replaced}
    counts["groups_without_spread"] = int(lacking.sum())
    for name, value in counts.items():
        trainer._metrics["train"][f"resampling/{name}"].append(float(value))
    return batch


def _answer_others(trainer: Any, count: int, place: tuple[int, ...]) -> tuple[dict[str, Any], Scores]:
    """This process's part of a batch of `count` groups, or of a few more, to share them evenly, and all rewards."""
    accelerator, group_size = trainer.accelerator, trainer.num_generations
    processes = accelerator.num_processes
    step = processes // math.gcd(processes, group_size)
    padded = -(-count // step) * step
    own = padded * group_size // processes
    source = trainer.train_dataset.dataset
    order = np.random.default_rng(place).permutation(len(source))  # its begin is the same for any count
    indices = np.repeat(np.resize(order, padded), group_size)[accelerator.process_index * own :][:own]
    # Not the dataset itself, which still holds the batch that TRL asks for again.
    rows: Rows = send_to_device(RowsReadOnce(source).__getitems__(indices.tolist()), accelerator.device)
    with _apart_from_the_log(trainer):
        return trainer._answered(rows, group_size, place), trainer._scores


@contextmanager
def _apart_from_the_log(trainer: Any) -> Iterator[None]:
    """Context in which a trainer logs to what is thrown away: the rewards of chosen prompts tell of no others."""
    names = ("_metrics", "_logs", "_scores", "log_completions")
    before = {name: getattr(trainer, name) for name in names}
    trainer._metrics = {mode: defaultdict(list) for mode in trainer._metrics}
    trainer._logs = copy.deepcopy(trainer._logs)
    trainer.log_completions = False  # pictures of completions would take the place of those of the log
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(trainer, name, value)


def _completions(groups: torch.Tensor, group_size: int) -> torch.Tensor:
    """Indices of the completions of some groups, those of a group together."""
    return (groups[:, None] * group_size + torch.arange(group_size, device=groups.device)).flatten()


def _merged_scores(scores: Scores, drawn: Scores, target: torch.Tensor, source: torch.Tensor) -> Scores:
    changed = {}
    for field in dataclasses.fields(Scores):
        value, other = getattr(scores, field.name), getattr(drawn, field.name)
        if value is not None:
            changed[field.name] = value.index_copy(0, target.to(value.device), other[source.to(other.device)])
    return Scores(**changed)


def _merged(
    trainer: Any, batch: dict[str, Any], drawn: dict[str, Any], target: torch.Tensor, source: torch.Tensor
) -> dict[str, Any]:
    """`batch` with completions `source` of all processes' `drawn` ones at the places `target`, if these are here."""
    rows = len(batch["prompt_ids"])
    is_here = (target >= 0) & (target < rows)
    target, source = target[is_here], source[is_here]
    merged = {}
    for name, value in batch.items():
        merged[name] = value
        if not value.ndim or name == "advantages":  # both are made anew
            continue
        padding = trainer._tokenizer.pad_token_id if name in ("prompt_ids", "completion_ids") else 0
        is_prompt = name in ("prompt_ids", "prompt_mask")  # TRL pads these on the left
        other = drawn[name]
        if value.ndim == 2:
            how = {"pad_index": padding, "pad_first": is_prompt}
            other = trainer.accelerator.pad_across_processes(other, dim=1, **how)
        other = trainer.accelerator.gather(other)
        if value.ndim == 2:  # after they were gathered: `value` is not as wide in every process
            value, other = _of_one_width([value, other], padding=padding, on_the_left=is_prompt)
        merged[name] = value.index_copy(0, target.to(value.device), other[source.to(other.device)])
    # Widths of all processes' parts need not agree: TRL compares no parts.
    return merged


def _of_one_width(values: list[torch.Tensor], *, padding: int, on_the_left: bool) -> list[torch.Tensor]:
    width = max(value.shape[1] for value in values)
    padded = []
    for value in values:
        missing = value.new_full((len(value), width - value.shape[1]), padding)
        padded.append(torch.cat([missing, value] if on_the_left else [value, missing], dim=1))
    return padded


def _loss_mask(batch: dict[str, Any]) -> torch.Tensor:
    """Where the policy wrote, as TRL counts it."""
    return batch["completion_mask"] * batch.get("tool_mask", 1)
