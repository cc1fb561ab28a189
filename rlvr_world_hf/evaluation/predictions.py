"""What is measured: predictions of held-out windows, by a checkpoint or by one of the two yardsticks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from transformers import PreTrainedModel

from ..processors.base import state_columns
from ..rollouts.sampling import draw_uniforms, sample_completions


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. The defaults draw from the model as it is, as RL does."""

    temperature: float = 1.0
    """Divides the logits; 0 takes the likeliest token."""

    top_k: int = 0
    """Only so many likeliest tokens are drawn from; 0 for all."""

    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability are drawn from."""

    def to_dict(self) -> dict[str, float]:
        """The three settings as plain numbers."""
        return asdict(self)


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

    def columns(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Some of its columns by name, such as those of a processor's prompt."""
        return {name: getattr(self, name) for name in names}


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


def row_batches(rows: Any, *, size: int, device: torch.device | str = "cpu") -> Iterator[RowBatch]:
    """
    Cut rows into batches.

    Args:
        rows (`datasets.Dataset` or `Sequence[Mapping]`):
            Rows with `context`, `actions`, `reference` and `reference_mask`, see `data.rows.window_rows`.
        size (`int`):
            Rows a batch, at least 1.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`):
            Where to put them.

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
    for start in range(0, len(rows), size):
        columns = _columns(rows[start : start + size])
        stacked = {name: _stack(columns[name]) for name in ("context", "actions", "reference", "reference_mask")}
        beside = [name for name in ("context_states", "reference_states") if name in columns]
        yield RowBatch(
            indices=list(range(start, start + len(columns["reference"]))),
            context=_unit_range(stacked["context"]).to(device),
            actions=stacked["actions"].float().to(device),
            reference=_unit_range(stacked["reference"]).to(device),
            reference_mask=stacked["reference_mask"].bool().to(device),
            **{name: _stack(columns[name]).float().to(device) for name in beside},
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
    if sampling.temperature == 0:
        sampling_seeds, num_samples = sampling_seeds[:1], 1
    horizon = batch.reference.shape[1]
    prompt_ids = processor.encode_prompt(**batch.columns(processor.prompt_columns))
    world_tokens = processor.world_tokens(batch.actions, horizon=horizon)
    seeds = [row_seed(seed, index) for index in batch.indices for seed in sampling_seeds]
    completion_ids = sample_completions(
        model,
        prompt_ids.to(model.device),
        world_tokens.to(model.device),
        processor.token_ranges(horizon),
        num_samples=len(sampling_seeds) * num_samples,
        uniforms=draw_uniforms(seeds, num_samples, world_tokens.shape[1]).to(model.device),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
    )
    return _decode(completion_ids, batch, processor)


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
    return int(np.random.SeedSequence((sampling_seed, index)).generate_state(1)[0])


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
