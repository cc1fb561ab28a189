"""What is measured: predictions of held-out windows, by a checkpoint or by one of the two yardsticks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from transformers import PreTrainedModel

from ..processors.base import state_columns
from ..rewards.repetition import SAME_FRAME, repetition_rate
from ..rollouts.sampling import check_sampling, draw_uniforms, sample_completions


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """
    How predictions are drawn. The defaults draw from the model as it is, as RL does.

    Raises:
        ValueError: If a setting is out of range, or `reject_repetition` asked for at temperature 0.
    """

    temperature: float = 1.0
    """Divides the logits: 0, which takes the likeliest token, or from 0.001 to 1000."""

    top_k: int = 0
    """Only so many likeliest tokens are drawn from; 0 for all."""

    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability are drawn from."""

    reject_repetition: int = 0
    """Most draws of a prediction whose frames repeat, see [`first_without_repetition`]; 0 takes the first as it is."""

    def __post_init__(self) -> None:
        check_sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        if self.reject_repetition < 0 or (self.reject_repetition and self.temperature == 0):
            raise ValueError(
                "Expected `reject_repetition` of 0 or more draws, and a temperature above 0 where it is set, as the "
                f"likeliest tokens are the same in each, got {self.reject_repetition} draws at temperature "
                f"{self.temperature:g}."
            )

    def to_dict(self) -> dict[str, float]:
        """The settings as plain numbers, rejection where there is any."""
        return {name: value for name, value in asdict(self).items() if value or name != "reject_repetition"}


UNRESTRICTED = Sampling()
"""The model as it is: temperature 1 over all valid tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBatch:
    """Some rows of a dataset as tensors on one device."""

    indices: list[int]
    """Which rows, `B` of them; a row's randomness hangs on this number."""

    context: torch.Tensor
    """Given frames, shape `(B, K, 3, H, W)`, float in `[0, 1]`, RGB; or given states `(B, K, P)`."""

    actions: torch.Tensor
    """Shape `(B, steps, A)`, float32."""

    reference: torch.Tensor
    """Frames to predict, shape `(B, S, 3, H, W)`, float in `[0, 1]`, RGB; or states `(B, S, P)`."""

    reference_mask: torch.Tensor
    """Shape `(B, S)`, bool: true where `reference` was recorded."""

    context_states: torch.Tensor | None = None
    """States `(B, K, P)`, float32, of the given frames, where the rows have them beside frames."""

    reference_states: torch.Tensor | None = None
    """States `(B, S, P)`, float32, of the frames to predict."""

    places: list[tuple[str, int]] | None = None
    """Of each row its episode and where in it it begins, if the rows say it: the columns `episode` and `start`."""

    def columns(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Some of its columns by name, such as those of a processor's prompt."""
        return {name: getattr(self, name) for name in names}

    @property
    def tolerance(self) -> float:
        """Largest difference of equal states: of frames half a level of uint8; of sensors none, as they are bins."""
        return SAME_FRAME if self.reference.ndim == 5 else 0.0

    def take(self, rows: torch.Tensor) -> "RowBatch":
        """The batch of some of its rows, by their place in it, shape `(R,)`, int64."""
        columns = ((field.name, getattr(self, field.name)) for field in fields(self))
        taken: dict[str, Any] = {name: column[rows] for name, column in columns if isinstance(column, torch.Tensor)}
        chosen = rows.tolist()
        places = None if self.places is None else [self.places[row] for row in chosen]
        return replace(self, indices=[self.indices[row] for row in chosen], places=places, **taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Predictions of a [`RowBatch`], `J` for each row."""

    predicted: torch.Tensor
    """Shape `(B, J, S, 3, H, W)`, float in `[0, 1]`, or `(B, J, S, P)`; zeros where unreadable."""

    readable: torch.Tensor
    """Shape `(B, J)`, bool: false where a completion could not be read."""

    predicted_states: torch.Tensor | None = None
    """Shape `(B, J, S, P)`, float32: predicted states beside predicted frames, where there are both."""


Predictor = Callable[[RowBatch], Predictions]


def row_batches(
    rows: Any, *, size: int, device: torch.device | str = "cpu", part: slice = slice(None)
) -> Iterator[RowBatch]:
    """
    Cut rows into batches.

    Args:
        rows (`datasets.Dataset` or `Sequence[Mapping]`):
            Rows with `context`, `actions`, `reference` and `reference_mask`, see `data.rows.window_rows`.
        size (`int`):
            Rows a batch, at least 1.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`):
            Where to put them.
        part (`slice`, *optional*):
            The batches to read, such as those of one process among several; all by default.

    Returns:
        `Iterator[RowBatch]`: in order, the last one possibly smaller.

    Example:

    ```python
    >>> frames = np.zeros((2, 3, 8, 8), np.uint8)
    >>> row = dict(context=frames[:1], actions=np.zeros((3, 2)), reference=frames, reference_mask=[True, False])
    >>> [batch.reference.shape[0] for batch in row_batches([row] * 5, size=2)]
    [2, 2, 1]

    ```
    """
    for start in range(0, len(rows), size)[part]:
        columns = _columns(rows[start : start + size])
        stacked = {name: _stack(columns[name]) for name in ("context", "actions", "reference", "reference_mask")}
        beside = [name for name in ("context_states", "reference_states") if name in columns]
        is_placed = "episode" in columns and "start" in columns
        yield RowBatch(
            indices=list(range(start, start + len(columns["reference"]))),
            context=_unit_range(stacked["context"]).to(device),
            actions=stacked["actions"].float().to(device),
            reference=_unit_range(stacked["reference"]).to(device),
            reference_mask=stacked["reference_mask"].bool().to(device),
            **{name: _stack(columns[name]).float().to(device) for name in beside},
            places=[*zip(columns["episode"], map(int, columns["start"]), strict=True)] if is_placed else None,
        )


def predict_copy_last(batch: RowBatch) -> Predictions:
    """
    Nothing moves: the last given state at every step. A world model that is worse has learned nothing to act on.

    Args:
        batch (`RowBatch`):
            Rows; of their reference, its length alone is read.

    Returns:
        `Predictions`: one a row.
    """
    predicted, states = (
        None if given is None else repeat(given[:, -1], "b ... -> b 1 s ...", s=batch.reference.shape[1])
        for given in (batch.context, batch.context_states)
    )
    assert predicted is not None
    readable = predicted.new_ones(predicted.shape[:2], dtype=torch.bool)
    return Predictions(predicted=predicted, readable=readable, predicted_states=states)


def predict_recorded(batch: RowBatch) -> Predictions:
    """
    What was recorded itself: what measures that read something from frames see in the truth.

    Args:
        batch (`RowBatch`):
            Rows; their reference is read.

    Returns:
        `Predictions`: one a row.
    """
    states = None if batch.reference_states is None else batch.reference_states[:, None]
    readable = batch.reference.new_ones((len(batch.reference), 1), dtype=torch.bool)
    return Predictions(predicted=batch.reference[:, None], readable=readable, predicted_states=states)


def predict_tokenizer_floor(batch: RowBatch, *, processor: Any) -> Predictions:
    """
    The reference written as its true tokens and read back: no model over these tokens can be better than about this.
    Of frames it is what the visual tokenizer loses, of sensors what their bins lose.

    Args:
        batch (`RowBatch`):
            Rows; their reference is read.
        processor (`WorldModelProcessor`):
            Writes and reads.

    Returns:
        `Predictions`: one a row.
    """
    completion_ids = processor.encode_completion(**batch.columns(_window_columns(processor)))
    return _decode(completion_ids, batch, processor)


@torch.no_grad()
def predict_checkpoint(
    batch: RowBatch,
    *,
    model: PreTrainedModel,
    processor: Any,
    sampling: Sampling = UNRESTRICTED,
    sampling_seeds: Sequence[int] = (0,),
    num_samples: int = 1,
) -> Predictions:
    """
    Multi-step prediction: the model writes the states, the world the actions.

    The noise of a prediction depends on sampling seed, row and sample alone: not on the batch, not on the checkpoint.
    With `sampling.reject_repetition`, a sample's first draw has the noise that it has without, its later draws that of
    further samples.

    Args:
        batch (`RowBatch`):
            Rows; their reference gives the horizon and is not read otherwise.
        model (`PreTrainedModel`):
            Causal transformer.
        processor (`WorldModelProcessor`):
            Its processor.
        sampling (`Sampling`, *optional*):
            Defaults to temperature 1 over all valid tokens.
        sampling_seeds (`Sequence[int]`, *optional*, defaults to `(0,)`):
            Seeds; each has its own predictions.
        num_samples (`int`, *optional*, defaults to 1):
            Predictions for each row and sampling seed.

    Returns:
        `Predictions`: `J = len(sampling_seeds) * num_samples` for each row, those of one seed together; at
        temperature 0
        all would be the same, and `J` is 1.
    """
    if sampling.temperature == 0:  # noise changes nothing then: one prediction stands for all
        sampling_seeds, num_samples = sampling_seeds[:1], 1
    draw = partial(
        _draw,
        model=model,
        processor=processor,
        sampling=sampling,
        sampling_seeds=sampling_seeds,
        num_samples=num_samples,
    )
    return first_without_repetition(batch, draw, draws=max(1, sampling.reject_repetition))


def first_without_repetition(
    batch: RowBatch, draw: Callable[[RowBatch, int], Predictions], *, draws: int
) -> Predictions:
    """
    Repetition rejection: of each prediction the first draw in which no frame repeats the one before; if there is none,
    the first of those with the fewest that do. An unreadable draw stands still.

    The paper compares its penalty for repetition with it (https://huggingface.co/papers/2505.13934), which needs no
    training. It costs up to `draws` times the sampling and decoding: a row is drawn again, all its predictions
    together, until none of them repeats.

    Args:
        batch (`RowBatch`):
            Rows, `B` of them; of the reference only its mask is read.
        draw (`Callable[[RowBatch, int], Predictions]`):
            Predicts some rows, with the noise of the draw of that number, from 0.
        draws (`int`):
            Most draws of a prediction, at least 1; with 1 nothing is rejected.

    Returns:
        `Predictions`: `J` for each row, as of the first draw.

    Example:

    ```python
    >>> frames = torch.zeros(1, 2, 3, 8, 8)
    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> batch = RowBatch(
    ...     indices=[0], context=frames[:, :1], actions=frames[:, :, 0, 0], reference=frames, reference_mask=mask
    ... )
    >>> moving = torch.tensor([0.0, 0.5]).view(1, 1, 2, 1, 1, 1).expand(1, 1, 2, 3, 8, 8)
    >>> drawn = [frames[:, None].clone(), moving]
    >>> readable = torch.ones(1, 1, dtype=torch.bool)
    >>> kept = first_without_repetition(
    ...     batch, lambda rows, number: Predictions(predicted=drawn[number], readable=readable), draws=2
    ... )
    >>> repetition_of(kept, batch)
    tensor([[0.]])

    ```
    """
    kept = draw(batch, 0)
    for number in range(1, draws):
        rates = repetition_of(kept, batch)
        rows = (rates > 0).any(dim=1).nonzero()[:, 0]
        if not len(rows):
            break
        part = batch.take(rows)
        drawn = draw(part, number)
        # Strictly: of equally good draws the first stays, so that the choice leans to none.
        better = repetition_of(drawn, part) < rates[rows]  # (rows, J)
        for name in (field.name for field in fields(Predictions) if getattr(kept, field.name) is not None):
            kept_rows, drawn_rows = getattr(kept, name)[rows], getattr(drawn, name)
            kept_rows[better] = drawn_rows[better]
            getattr(kept, name)[rows] = kept_rows
    return kept


def repetition_of(predictions: Predictions, batch: RowBatch) -> torch.Tensor:
    """
    The [`~rewards.repetition.repetition_rate`] of each prediction: frames that are the same in uint8, states in the
    same bins.

    Args:
        predictions (`Predictions`):
            `J` for each row.
        batch (`RowBatch`):
            The rows; steps that were not recorded do not count.

    Returns:
        `torch.Tensor` of shape `(B, J)`: in [0, 1]; nan for fewer than two recorded steps, 1 for an unreadable one.
    """
    rows, count = predictions.readable.shape
    repeated = repetition_rate(
        rearrange(predictions.predicted, "b j ... -> (b j) ..."),
        reference_mask=repeat(batch.reference_mask, "b s -> (b j) s", j=count),
        tolerance=batch.tolerance,
    )
    return rearrange(repeated, "(b j) -> b j", b=rows)


def row_seed(sampling_seed: int, index: int) -> int:
    """
    Seed of one row's predictions.

    Args:
        sampling_seed (`int`):
            Seed of the whole evaluation, not negative.
        index (`int`):
            Number of the row, not negative.

    Returns:
        `int`: 32 bits, different for every pair in practice.

    Example:

    ```python
    >>> row_seed(0, 1) == row_seed(1, 0)
    False

    ```
    """
    # A sum would give row 1 of seed 0 the noise of row 0 of seed 1, and average the same luck twice.
    return int(np.random.SeedSequence((sampling_seed, index)).generate_state(1)[0])


def _draw(
    batch: RowBatch,
    number: int,
    *,
    model: PreTrainedModel,
    processor: Any,
    sampling: Sampling,
    sampling_seeds: Sequence[int],
    num_samples: int,
) -> Predictions:
    """Samples of each seed from the noise of its samples from `number * num_samples` on, decoded."""
    horizon = batch.reference.shape[1]
    prompt_ids = processor.encode_prompt(**batch.columns(processor.prompt_columns))
    world_tokens = processor.world_tokens(batch.actions, horizon=horizon)
    seeds = [row_seed(seed, index) for index in batch.indices for seed in sampling_seeds]
    # Noise of the earlier draws is drawn again and left out: a draw must not depend on what was rejected before it.
    uniforms = draw_uniforms(seeds, (number + 1) * num_samples, world_tokens.shape[1])
    uniforms = rearrange(uniforms, "(b d n) l -> d (b n) l", d=number + 1, n=num_samples)[number]
    completion_ids = sample_completions(
        model,
        prompt_ids.to(model.device),
        world_tokens.to(model.device),
        processor.token_ranges(horizon),
        num_samples=len(sampling_seeds) * num_samples,
        uniforms=uniforms.to(model.device),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
    )
    return _decode(completion_ids, batch, processor)


def _decode(completion_ids: torch.Tensor, batch: RowBatch, processor: Any) -> Predictions:
    decoded = state_columns(processor.decode_state(completion_ids, batch.context))
    rows, stacked = len(batch.indices), {}
    for name, states in decoded.items():
        unreadable = torch.zeros_like(getattr(batch, name.replace("predicted", "reference"))[0])
        predicted = torch.stack([unreadable if state is None else state.to(unreadable) for state in states])
        stacked[name] = rearrange(predicted, "(b j) ... -> b j ...", b=rows)
    readable = torch.tensor([state is not None for state in decoded["predicted"]], device=batch.reference.device)
    return Predictions(readable=rearrange(readable, "(b j) -> b j", b=rows), **stacked)


def _window_columns(processor: Any) -> tuple[str, ...]:
    return (*processor.prompt_columns, *processor.reference_columns)


def _columns(rows: Any) -> Mapping[str, Sequence[Any]]:
    if isinstance(rows, Mapping):
        return rows
    return {name: [row[name] for row in rows] for name in rows[0]}


def _stack(values: Sequence[Any]) -> torch.Tensor:
    return torch.as_tensor(np.stack([np.asarray(value) for value in values]))


def _unit_range(frames: torch.Tensor) -> torch.Tensor:
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()
