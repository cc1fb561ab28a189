"""
Step blocks: what processors of frames, of sensors and of both share.

The model writes the state of a step, and the world writes the action taken at it. A `TokenLayout` gives the positions
of both.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import repeat
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import BatchFeature, PreTrainedTokenizerFast

from .base import WorldModelProcessor
from .bins import UniformBins
from .layout import TokenLayout


Array = torch.Tensor | np.ndarray


class StepBlockProcessor(WorldModelProcessor):
    """
    What processors of step blocks share: horizon, masks, ranges, labels, and uniform bins for actions and sensors.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            One word an id; see [`build_tokenizer`].
        layout ([`TokenLayout`] or `dict`):
            Ids, lengths and masks.
        action_low (`Sequence[float]` of length `A`):
            Lowest value of each action dimension.
        action_high (`Sequence[float]` of length `A`):
            Highest value of each action dimension.
        state_low (`Sequence[float]` of length `P`, *optional*):
            Lowest value of each sensor dimension; `None` without sensors.
        state_high (`Sequence[float]` of length `P`, *optional*):
            Highest value of each sensor dimension.
        fps (`float`, *optional*):
            Steps a second of the data.
        action_law (`str`, *optional*):
            What an action means, where the world has a choice, in that world's words; the processor does not use it:
            it is kept for its users. None for checkpoints from before there was a choice.
        action_matrix (`Sequence[Sequence[float]]` of shape `(A, A)`, *optional*):
            What is written of an action: this matrix times it, in the same ranges; by default the action itself. So
            forces can be written as the way that they lead, which a model need not learn then.

    Raises:
        ValueError: if tokenizer or ranges do not fit the layout.

    Example:
        >>> from rlvr_world_hf import SensorWorldModelProcessor
        >>> world = SensorWorldModelProcessor.from_ranges([0.0], [1.0], [-1.0], [1.0], sensor_bins=4, action_bins=2)
        >>> world.world_tokens(torch.tensor([[[-1.0], [1.0], [-1.0]]])).tolist()
        [[-1, 5, -1, 4]]
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        layout: TokenLayout | dict[str, Any],
        *,
        action_low: Sequence[float],
        action_high: Sequence[float],
        state_low: Sequence[float] | None,
        state_high: Sequence[float] | None,
        fps: float | None,
        action_law: str | None = None,
        action_matrix: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self.layout = layout if isinstance(layout, TokenLayout) else TokenLayout.from_dict(layout)
        # Lists of floats, as these arguments are saved as JSON.
        self.action_low = _to_floats(action_low, "action_low")
        self.action_high = _to_floats(action_high, "action_high")
        self.bins = UniformBins(low=self.action_low, high=self.action_high, bins=self.layout.action_bins)
        self.state_low = None if state_low is None else _to_floats(state_low, "state_low")
        self.state_high = None if state_high is None else _to_floats(state_high, "state_high")
        self.fps = fps
        self.action_law = action_law
        self.action_matrix = None if action_matrix is None else _to_matrix(action_matrix, len(self.action_low))
        sensor_dims = [len(ends or ()) for ends in (self.state_low, self.state_high)]
        _check_fit(self.layout, words=len(tokenizer), action_dims=len(self.action_low), sensor_dims=sensor_dims)
        super().__init__(tokenizer)

    def to_dict(self) -> dict[str, Any]:
        """As [`WorldModelProcessor.to_dict`], without ranges of sensors, law and matrix of actions if not given."""
        left_out = {"state_low", "state_high", "action_law", "action_matrix"}
        return {name: value for name, value in super().to_dict().items() if value is not None or name not in left_out}

    def __call__(
        self,
        context: Array,
        actions: Array,
        *,
        reference: Array | None = None,
        reference_mask: Array | None = None,
        **columns: Any,
    ) -> BatchFeature:
        """
        Model inputs: a prompt, or a whole sequence with labels if the reference is given.

        Args:
            context (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, ...)`): context frames and observed steps.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`): actions of the window.
            reference (`torch.Tensor` or `np.ndarray` of shape `(B, S, ...)`, *optional*): the states that follow.
            reference_mask (`torch.Tensor` or `np.ndarray` of shape `(B, S)`, bool, *optional*): False for padding.
            columns (`dict[str, Any]`, *optional*): further columns that `prompt_columns` and `reference_columns` name;
                `return_tensors="pt"` is accepted and changes nothing.

        Returns:
            [`~transformers.BatchFeature`]: `input_ids` `(B, L)`, and with a reference `labels` `(B, L)`, int64: -100
            on prompt, actions and padding.
        """
        returned = columns.pop("return_tensors", "pt")
        unknown = sorted(columns.keys() - {*self.prompt_columns, *self.reference_columns})
        if returned != "pt" or unknown:
            raise TypeError(
                f"Expected the processor's columns and `return_tensors='pt'` only, got {unknown or returned}."
            )
        if reference is None:
            prompt = {name: column for name, column in columns.items() if name in self.prompt_columns}
            return BatchFeature({"input_ids": self.encode_prompt(context, actions, **prompt)})
        prompt_ids, completion_ids = self.encode_window(context, reference, actions, **columns)
        labels = self.labels(prompt_ids, completion_ids, reference_mask)
        return BatchFeature({"input_ids": torch.cat([prompt_ids, completion_ids], dim=1), "labels": labels})

    @abstractmethod
    def encode_window(
        self, context: Any, reference: Any, actions: Any, *args: Any, **columns: Any
    ) -> tuple[torch.Tensor, ...]:
        """Prompt ids `(B, prompt_length)` and completion ids `(B, S * step_length)`, int64, of a window."""

    def encode_completion(self, reference: Array, context: Array, actions: Array, **columns: Any) -> torch.Tensor:
        """
        Token ids of the states that followed: the target of likelihood training.

        Args:
            reference (`torch.Tensor` or `np.ndarray` of shape `(B, S, ...)`): the recorded states.
            context (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, ...)`): as in `encode_prompt`.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`): `max(M, 1) + S` actions, or one fewer.
            columns (`dict[str, Any]`, *optional*): further columns that `prompt_columns` and `reference_columns` name.

        Returns:
            `torch.Tensor` of shape `(B, S * step_length)`, int64.

        Raises:
            ValueError: as `encode_prompt`.
        """
        return self.encode_window(context, reference, actions, **columns)[1]

    def horizon(self, completion_length: int) -> int:
        """Steps of a completion of `completion_length` tokens; see [`TokenLayout`]."""
        return self.layout.horizon(completion_length)

    def model_token_mask(self, horizon: int) -> torch.Tensor:
        """True where the model writes, bool `(S * step_length,)`; see [`TokenLayout`]."""
        return self.layout.model_token_mask(horizon)

    def token_ranges(self, horizon: int) -> torch.Tensor:
        """Valid ids `[low, high)` of each position, int64 `(S * step_length, 2)`; see [`TokenLayout`]."""
        return self.layout.token_ranges(horizon)

    def labels(
        self, prompt_ids: torch.Tensor, completion_ids: torch.Tensor, reference_mask: Array | None = None
    ) -> torch.Tensor:
        """Labels of prompt and completion, int64 `(B, L)`: -100 on prompt, actions, padding; see [`TokenLayout`]."""
        return self.layout.labels(prompt_ids, completion_ids, reference_mask)

    def world_tokens(self, actions: Array, *, horizon: int | None = None) -> torch.Tensor:
        """
        Completion ids that the world writes: the actions.

        Args:
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`):
                `max(M, 1) + S` actions; if the horizon is given, also one fewer, or more.
            horizon (`int`, *optional*):
                Steps to predict, `S`; by default all that the actions cover, `T - max(M, 1)`.

        Returns:
            `torch.Tensor` of shape `(B, S * step_length)`, int64; -1 where the model writes.

        Raises:
            ValueError: for a wrong shape, too few actions, or NaN.
        """
        if horizon is None:
            horizon = np.shape(actions)[1] - self.layout.prompt_actions
        mask = self.model_token_mask(horizon).to(self.device)
        bins = self._bin_completion_actions(actions, horizon)
        # Placeholders, in whose place -1 is written.
        codes, sensors = (
            bins.new_zeros(len(bins), horizon, length)
            for length in (self.layout.dynamics_length, self.layout.sensor_dims)
        )
        return self.layout.write_completion(codes, bins, sensors).masked_fill(mask, -1)

    def _bin_actions(self, actions: Array, batch: int | None, *, count: int) -> torch.Tensor:
        """Bins `(B, count, A)` of the first `count` actions."""
        actions = to_tensor(actions, "actions").to(self.device, torch.float32)
        dims = self.layout.action_dims
        if actions.ndim != 3 or actions.shape[2] != dims or actions.shape[1] < count:
            raise ValueError(f"Expected `actions` of shape (B, {count}, {dims}), got {tuple(actions.shape)}.")
        if batch is not None and len(actions) != batch:
            raise ValueError(f"Expected actions for each of {batch} contexts, got {len(actions)}.")
        written = actions[:, :count]
        if self.action_matrix is not None:
            # Not as a product of matrices, whose last bits depend on the size of a batch: a bin must not.
            written = (written[..., None, :] * written.new_tensor(self.action_matrix)).sum(dim=-1)
        return self.bins.encode(written)

    def _bin_completion_actions(self, actions: Array, horizon: int) -> torch.Tensor:
        """Bins `(B, S, A)` of the actions after the prompt's; the last one, if left out, repeats the one before."""
        start = self.layout.prompt_actions
        actions = to_tensor(actions, "actions")
        if actions.ndim == 3 and actions.shape[1] == start + horizon - 1:
            last = repeat(actions[:, -1], "B A -> B 1 A")
            actions = torch.cat([actions, last], dim=1)
        return self._bin_actions(actions, None, count=start + horizon)[:, start:]

    def _bin_states(
        self, states: Array, name: str, *, steps: int | None = None, batch: int | None = None
    ) -> torch.Tensor:
        """Bins `(B, T, P)` of states, checked for their number of steps and rows where these are given."""
        states = to_tensor(states, name).to(self.device, torch.float32)
        expected = ("B" if batch is None else batch, "T" if steps is None else steps, self.layout.sensor_dims)
        fits = states.ndim == 3 and all(
            isinstance(size, str) or size == given for size, given in zip(expected, states.shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"Expected `{name}` of shape ({', '.join(map(str, expected))}), got {tuple(states.shape)}; the last "
                "dimension holds the sensors in the order of their ranges."
            )
        return self._sensor_bins.encode(states)

    def _read_states(self, completion_ids: torch.Tensor) -> torch.Tensor:
        """Predicted states `(B, S, P)`, float32: centres of the bins, in the unit of the ranges."""
        return self._sensor_bins.decode(self.layout.read_sensors(completion_ids))

    @property
    def _sensor_bins(self) -> UniformBins:
        low, high = self.state_low or (), self.state_high or ()
        return UniformBins(low=low, high=high, bins=self.layout.sensor_bins)


def build_tokenizer(layout: TokenLayout) -> PreTrainedTokenizerFast:
    """
    A text tokenizer with one word per id, so that TRL and other tools for text can pad, print and read completions.

    Args:
        layout ([`TokenLayout`]): ids of the world.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: words `<d…>` dynamics, `<c…>` context, `<s…>` sensor, `<a…>` action,
        `<bos>`, `<eos>`, in the order of their ids; padded with `<eos>`.

    Example:
        >>> layout = TokenLayout(
        ...     context_codebook_size=8, dynamics_codebook_size=4, context_grid=(2, 2), dynamics_grid=(1, 2),
        ...     action_bins=3, action_dims=1,
        ... )
        >>> tokenizer = build_tokenizer(layout)
        >>> tokenizer.decode([3, 4, 12, layout.eos_id])
        '<d3> <c0> <a0> <eos>'
        >>> tokenizer("<d3> <c0> <a0> <eos>").input_ids
        [3, 4, 12, 16]
    """
    sizes = {
        "d": layout.dynamics_codebook_size,
        "c": layout.context_codebook_size,
        "s": layout.sensor_bins,
        "a": layout.action_bins,
    }
    words = [f"<{kind}{code}>" for kind, size in sizes.items() for code in range(size)] + ["<bos>", "<eos>"]
    # `<unk>` is no word of it, so that an unknown word raises and gets no id.
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    # Padded on the left, so that generation goes on at the last token of each prompt.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>", padding_side="left"
    )


def to_tensor(array: Array, name: str) -> torch.Tensor:
    """
    An array as a tensor that shares its memory where it can.

    Args:
        array (`torch.Tensor` or `np.ndarray`): the array.
        name (`str`): what an error calls it.

    Returns:
        `torch.Tensor`: of the same shape and type.

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(array, torch.Tensor | np.ndarray):
        raise TypeError(f"Expected `{name}` as a torch tensor or numpy array, got {type(array).__name__}.")
    # torch warns about memory it may not write to, such as a dataset's; such an array is copied.
    return torch.as_tensor(np.require(array, requirements="W") if isinstance(array, np.ndarray) else array)


def check_batches(completion_ids: torch.Tensor, contexts: int) -> None:
    """
    Raises unless each context has the same number of completions.

    Args:
        completion_ids (`torch.Tensor` of shape `(B, L)`): completions.
        contexts (`int`): number of contexts.

    Raises:
        ValueError: if `B` is no multiple of it.
    """
    if len(completion_ids) % contexts:
        raise ValueError(
            f"Expected the same number of completions for each context, got {len(completion_ids)} completions of "
            f"{contexts} contexts."
        )


def _to_floats(values: Sequence[float], name: str) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected as `{name}` one number for each dimension, got {values!r}; give the ends of the world's ranges."
        ) from error


def _to_matrix(rows: Sequence[Sequence[float]], dims: int) -> list[list[float]]:
    matrix = [_to_floats(row, "action_matrix") for row in rows]
    if len(matrix) != dims or any(len(row) != dims for row in matrix):
        raise ValueError(
            f"Expected `action_matrix` of shape ({dims}, {dims}), a row for each number that is written of an action, "
            f"got rows of {[len(row) for row in matrix]} numbers."
        )
    return matrix


def _check_fit(layout: TokenLayout, *, words: int, action_dims: int, sensor_dims: Sequence[int]) -> None:
    """Raises where tokenizer or ranges contradict the layout."""
    if words != layout.vocabulary_size:
        raise ValueError(f"The layout has {layout.vocabulary_size} ids, the tokenizer {words}; use `build_tokenizer`.")
    if action_dims != layout.action_dims:
        raise ValueError(f"The layout has {layout.action_dims} action dimensions, the ranges have {action_dims}.")
    if any(given != layout.sensor_dims for given in sensor_dims):
        raise ValueError(f"The layout has {layout.sensor_dims} sensor dimensions, the ranges have {sensor_dims}.")
