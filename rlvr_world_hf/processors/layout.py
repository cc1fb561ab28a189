"""
Where each token of a world stands. Ids, lengths, ranges and masks are defined here and nowhere else.

    ids          [0, D) dynamics codes | [D, D + C) context codes | then sensor bins | action bins | bos | eos
    prompt       K context frames in full, then M observed step blocks; with M = 0, the last context frame's sensors
                 and actions. K = 0 where frames are coded on their own or there are none; C is 0 then, too
    completion   S step blocks
    step block   dynamics tokens of one frame, its sensor tokens, then the tokens of the action taken at it

`D`, `C` codebook sizes; `K` context frames; `M` observed steps; `S` steps of the horizon; `P` sensor, `A` action
dimensions. Without sensors `P` is 0 and there are no ids for them; without frames `D` is 0.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat


IGNORED_LABEL = -100  # what torch's cross-entropy leaves out


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLayout:
    """
    How a window of frames and actions is laid out in tokens, after RLVR-World's multi-step and single-step prediction
    ([paper](https://huggingface.co/papers/2505.13934), section 5.1; ids and offsets follow the authors' code).

    If each frame is coded on its own, there are no context frames, and the history is a sequence of observed steps.
    The same holds for sensors without frames.

    Args:
        context_codebook_size (`int`): codes of a context frame, `C`; 0 without context frames.
        dynamics_codebook_size (`int`): codes of a later frame, `D`; 0 for sensors without frames.
        context_grid (`tuple[int, int]`): rows and columns of a context frame's codes; `(0, 0)` without context frames.
        dynamics_grid (`tuple[int, int]`): rows and columns of a later frame's codes; `(0, 0)` for sensors without
            frames.
        action_bins (`int`): bins of each action dimension.
        action_dims (`int`): dimensions of an action, `A`; 0 for a world without actions.
        context_frames (`int`, *optional*, defaults to 1): context frames in the prompt, `K`; may be 0.
        observed_steps (`int`, *optional*, defaults to 1): later frames given in the prompt, `M`; 0 only where there
            are context frames.
        sensor_dims (`int`, *optional*, defaults to 0): dimensions of a step's sensors, `P`.
        sensor_bins (`int`, *optional*, defaults to 0): bins of each sensor dimension; 0 without sensors.
        sensors_first (`bool`, *optional*, defaults to `False`): whether a step's sensors stand before its codes. Codes
            that are drawn one by one are then all of one state, that which the sensors name.

    Raises:
        ValueError: for a size below 1 or a negative `action_dims`, `observed_steps` or `context_frames`; for context
            codes without context frames, for steps without frames and sensors, for `sensors_first` without sensors,
            and for a prompt without any step.

    Example:
        The official multi-step recipe on RT-1, seven steps after the context frame and one observed step:

        >>> layout = TokenLayout(
        ...     context_codebook_size=4375, dynamics_codebook_size=4375, context_grid=(32, 40), dynamics_grid=(8, 10),
        ...     action_bins=256, action_dims=13,
        ... )
        >>> layout.vocabulary_size, layout.prompt_length, layout.completion_length(7)
        (9008, 1373, 651)

        The official single-step recipe, four frames of history. The authors put `bos` before the predicted frame, and
        `eos` in the place of its action, which nothing depends on: their prompt is one token longer than this one, and
        their completion has 321 tokens. This layout ends a step with its action, as in multi-step prediction: the
        model writes 320 codes, then the world writes the action.

        >>> layout = TokenLayout(
        ...     context_codebook_size=0, dynamics_codebook_size=4375, context_grid=(0, 0), dynamics_grid=(16, 20),
        ...     action_bins=256, action_dims=13, context_frames=0, observed_steps=4,
        ... )
        >>> layout.vocabulary_size, layout.prompt_length, layout.completion_length(1)
        (4633, 1332, 333)
        >>> int(layout.model_token_mask(1).sum())
        320

        PushT without pixels: six numbers a step, two steps of history.

        >>> layout = TokenLayout(
        ...     context_codebook_size=0, dynamics_codebook_size=0, context_grid=(0, 0), dynamics_grid=(0, 0),
        ...     action_bins=256, action_dims=2, context_frames=0, observed_steps=2, sensor_dims=6, sensor_bins=512,
        ... )
        >>> layout.vocabulary_size, layout.prompt_length, layout.completion_length(4)
        (770, 16, 32)
    """

    context_codebook_size: int
    dynamics_codebook_size: int
    context_grid: tuple[int, int]
    dynamics_grid: tuple[int, int]
    action_bins: int
    action_dims: int
    context_frames: int = 1
    observed_steps: int = 1
    sensor_dims: int = 0
    sensor_bins: int = 0
    sensors_first: bool = False

    def __post_init__(self) -> None:
        """Checks the sizes; grids given as lists (JSON) become tuples."""
        for name in ("context_grid", "dynamics_grid"):
            rows, columns = getattr(self, name)
            # The record is frozen, which holds for plain assignment alone.
            object.__setattr__(self, name, (int(rows), int(columns)))
        context_sizes = [self.context_frames, self.context_codebook_size, *self.context_grid]
        may_be_zero = ["action_dims", "observed_steps", "sensors_first"]
        if not any(context_sizes):
            may_be_zero += ["context_frames", "context_codebook_size", "context_grid"]
        if not self.sensor_dims and not self.sensor_bins:
            may_be_zero += ["sensor_dims", "sensor_bins"]
        elif not any([*context_sizes, self.dynamics_codebook_size, *self.dynamics_grid]):
            may_be_zero += ["dynamics_codebook_size", "dynamics_grid"]
        for name, value in asdict(self).items():
            least = 0 if name in may_be_zero else 1
            if min(value if isinstance(value, tuple) else (value,)) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}; give the codec's or recipe's size.")
        if self.sensors_first and not self.sensor_dims:
            raise ValueError("`sensors_first` must be False without sensors, got True; leave it out.")
        if not self.context_frames + self.observed_steps:
            raise ValueError(
                "`observed_steps` must be at least 1 where there are no context frames, got 0; give the history's "
                "number of frames."
            )

    @property
    def sensor_offset(self) -> int:
        """Id of sensor bin 0."""
        return self.dynamics_codebook_size + self.context_codebook_size

    @property
    def action_offset(self) -> int:
        """Id of action bin 0."""
        return self.sensor_offset + self.sensor_bins

    @property
    def bos_id(self) -> int:
        """Id that opens a sequence. This layout never writes it; it is kept because the authors' vocabulary has it."""
        return self.action_offset + self.action_bins

    @property
    def eos_id(self) -> int:
        """Id that ends a sequence, also the padding id. Lengths are fixed, so no completion contains it."""
        return self.bos_id + 1

    @property
    def vocabulary_size(self) -> int:
        """Number of ids."""
        return self.eos_id + 1

    @property
    def context_length(self) -> int:
        """Tokens of one context frame."""
        return math.prod(self.context_grid)

    @property
    def dynamics_length(self) -> int:
        """Dynamics tokens of one later frame, `N`."""
        return math.prod(self.dynamics_grid)

    @property
    def step_length(self) -> int:
        """Tokens of one step block."""
        return self.predicted_length + self.action_dims

    @property
    def predicted_length(self) -> int:
        """Tokens of one step block that the model writes: dynamics tokens and sensor tokens."""
        return self.dynamics_length + self.sensor_dims

    @property
    def prompt_actions(self) -> int:
        """Actions in the prompt, and sensor states: one per observed step, or that of the last context frame alone."""
        return max(self.observed_steps, 1)

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt."""
        last = self.sensor_dims + self.action_dims
        observed = self.observed_steps * self.step_length if self.observed_steps else last
        return self.context_frames * self.context_length + observed

    def completion_length(self, horizon: int) -> int:
        """Tokens of a completion of `horizon` steps."""
        if horizon < 1:
            raise ValueError(f"`horizon` must be at least 1 step, got {horizon}.")
        return horizon * self.step_length

    def horizon(self, completion_length: int) -> int:
        """Steps of a completion of `completion_length` tokens: the inverse of `completion_length`."""
        if completion_length < 1 or completion_length % self.step_length:
            raise ValueError(
                f"A completion holds whole step blocks of {self.step_length} tokens, got {completion_length} tokens."
            )
        return completion_length // self.step_length

    def model_token_mask(self, horizon: int) -> torch.Tensor:
        """
        Which completion tokens the model writes: dynamics and sensor tokens. The world writes the actions, which have
        no loss.

        Args:
            horizon (`int`): steps of the completion, `S`.

        Returns:
            `torch.Tensor` of shape `(L,)`, bool.

        Example:
            >>> layout = TokenLayout(
            ...     context_codebook_size=8, dynamics_codebook_size=4, context_grid=(2, 2), dynamics_grid=(1, 2),
            ...     action_bins=3, action_dims=1,
            ... )
            >>> layout.model_token_mask(2).int().tolist()
            [1, 1, 0, 1, 1, 0]
        """
        return torch.arange(self.completion_length(horizon)) % self.step_length < self.predicted_length

    def token_ranges(self, horizon: int) -> torch.Tensor:
        """
        Valid ids of each completion position.

        Args:
            horizon (`int`): steps of the completion, `S`.

        Returns:
            `torch.Tensor` of shape `(L, 2)`, int64: lowest valid id, and one past the highest.
        """
        state = [
            ([0, self.dynamics_codebook_size], self.dynamics_length),
            ([self.sensor_offset, self.action_offset], self.sensor_dims),
        ]
        parts = [*self._ordered(state), ([self.action_offset, self.bos_id], self.action_dims)]
        step = torch.tensor([ids for ids, length in parts for _ in range(length)])  # (step_length, 2)
        return step.repeat(self.completion_length(horizon) // self.step_length, 1)

    def write_prompt(
        self,
        context_codes: torch.Tensor | None,
        observed_codes: torch.Tensor | None,
        action_bins: torch.Tensor,
        sensor_bins: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Token ids of a prompt.

        Args:
            context_codes (`torch.Tensor` of shape `(B, K, Nc)`, *optional*): codes of the context frames; `None` when
                the layout has none.
            observed_codes (`torch.Tensor` of shape `(B, M, N)`, *optional*): codes of the observed steps; `None` when
                the layout has none.
            action_bins (`torch.Tensor` of shape `(B, max(M, 1), A)`): bins of the prompt's actions.
            sensor_bins (`torch.Tensor` of shape `(B, max(M, 1), P)`, *optional*): bins of the prompt's sensors; `None`
                when the layout has none.

        Returns:
            `torch.Tensor` of shape `(B, prompt_length)`, int64.
        """
        observed = self.write_completion(observed_codes, action_bins, sensor_bins)
        if context_codes is None:
            return observed
        # Context codes come after dynamics codes among the ids, as in the authors' vocabulary.
        context = rearrange(context_codes.long(), "B K N -> B (K N)") + self.dynamics_codebook_size
        return torch.cat([context, observed], dim=1)

    def write_completion(
        self, dynamics_codes: torch.Tensor | None, action_bins: torch.Tensor, sensor_bins: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Token ids of step blocks.

        Args:
            dynamics_codes (`torch.Tensor` of shape `(B, S, N)`, *optional*): codes of the frames; `None` for a world
                without frames.
            action_bins (`torch.Tensor` of shape `(B, S, A)`): bins of the action taken at each step.
            sensor_bins (`torch.Tensor` of shape `(B, S, P)`, *optional*): bins of the sensors; `None` for a world
                without sensors.

        Returns:
            `torch.Tensor` of shape `(B, S * step_length)`, int64.
        """
        state = self._ordered([(dynamics_codes, 0), (sensor_bins, self.sensor_offset)])
        parts = [*state, (action_bins, self.action_offset)]
        blocks = torch.cat([ids.long() + offset for ids, offset in parts if ids is not None], dim=2)
        return rearrange(blocks, "B S L -> B (S L)")

    def read_dynamics(self, completion_ids: torch.Tensor) -> torch.Tensor:
        """
        Dynamics codes of a completion: the inverse of `write_completion` for the frames.

        Args:
            completion_ids (`torch.Tensor` of shape `(B, S * step_length)`, int): a completion's ids.

        Returns:
            `torch.Tensor` of shape `(B, S, N)`, int64.

        Raises:
            ValueError: for an id outside its position's range. Sampling by `token_ranges` cannot write one; the
                authors sample the whole vocabulary and clamp instead, see `clamp_completion`.
        """
        start = self.sensor_dims if self.sensors_first else 0
        return self._read_blocks(completion_ids)[..., start : start + self.dynamics_length]

    def read_sensors(self, completion_ids: torch.Tensor) -> torch.Tensor:
        """
        Sensor bins of a completion: the inverse of `write_completion` for the sensors.

        Args:
            completion_ids (`torch.Tensor` of shape `(B, S * step_length)`, int): a completion's ids.

        Returns:
            `torch.Tensor` of shape `(B, S, P)`, int64.

        Raises:
            ValueError: as `read_dynamics`.
        """
        start = 0 if self.sensors_first else self.dynamics_length
        return self._read_blocks(completion_ids)[..., start : start + self.sensor_dims] - self.sensor_offset

    def clamp_completion(self, completion_ids: torch.Tensor) -> torch.Tensor:
        """
        The nearest valid completion. The authors' code samples from the whole vocabulary, then clamps like this.

        Args:
            completion_ids (`torch.Tensor` of shape `(B, S * step_length)`, int): ids, valid or not.

        Returns:
            `torch.Tensor` of the same shape, int64: each id clamped to its position's range.
        """
        ranges = self.token_ranges(self.horizon(completion_ids.shape[1])).to(completion_ids.device)
        return completion_ids.long().clamp(ranges[:, 0], ranges[:, 1] - 1)

    def _ordered(self, parts: list[Any]) -> list[Any]:
        """What is given for a step's codes and its sensors, in the order in which they stand."""
        return parts[::-1] if self.sensors_first else parts

    def _read_blocks(self, completion_ids: torch.Tensor) -> torch.Tensor:
        """Step blocks `(B, S, L)`, int64, each id in its position's range."""
        ranges = self.token_ranges(self.horizon(completion_ids.shape[1])).to(completion_ids.device)
        invalid = ((completion_ids < ranges[:, 0]) | (completion_ids >= ranges[:, 1])).nonzero()
        if len(invalid):
            row, position = invalid[0].tolist()
            low, high = ranges[position].tolist()
            raise ValueError(
                f"Completion {row} has id {int(completion_ids[row, position])} at position {position}, where ids in "
                f"[{low}, {high}) are valid; sample with the processor's `token_ranges`."
            )
        return rearrange(completion_ids.long(), "B (S L) -> B S L", L=self.step_length)

    def labels(
        self,
        prompt_ids: torch.Tensor,
        completion_ids: torch.Tensor,
        reference_mask: torch.Tensor | np.ndarray | None = None,
    ) -> torch.Tensor:
        """
        Labels of likelihood training: ids the model writes, and -100 on the prompt, on actions and on padded steps.

        Args:
            prompt_ids (`torch.Tensor` of shape `(B, prompt_length)`, int): ids of the prompt.
            completion_ids (`torch.Tensor` of shape `(B, L)`, int): ids of the recorded completion.
            reference_mask (`torch.Tensor` or `np.ndarray` of shape `(B, S)`, bool, *optional*): False for padding.

        Returns:
            `torch.Tensor` of shape `(B, prompt_length + L)`, int64.
        """
        mask = self.model_token_mask(self.horizon(completion_ids.shape[1])).to(completion_ids.device)
        if reference_mask is not None:
            steps = torch.as_tensor(reference_mask, dtype=torch.bool, device=completion_ids.device)
            mask = mask & repeat(steps, "B S -> B (S L)", L=self.step_length)
        completion = completion_ids.long().masked_fill(~mask, IGNORED_LABEL)
        return torch.cat([torch.full_like(prompt_ids, IGNORED_LABEL, dtype=torch.long), completion], dim=1)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON: what `processor_config.json` stores. Without sensors, their fields are left out."""
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in fields.items() if value or not name.startswith("sensor")}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "TokenLayout":
        """
        The layout of `to_dict`'s fields.

        Args:
            fields (`dict[str, Any]`): whole numbers, and for grids lists of two.

        Returns:
            [`TokenLayout`]

        Raises:
            ValueError: for what is no mapping, for a field that is unknown, missing or not of whole numbers, and for
                the sizes that the class refuses.

        Example:
            >>> TokenLayout.from_dict({"action_bins": "many"})
            Traceback (most recent call last):
            ValueError: Expected as layout whole numbers under the names of a `TokenLayout`'s fields, got ...
        """
        sizes = fields.values() if isinstance(fields, Mapping) else [None]
        numbers = [number for size in sizes for number in (size if isinstance(size, list | tuple) else [size])]
        try:
            if any(not isinstance(number, int) for number in numbers):
                raise TypeError("not all are whole numbers")
            return cls(**fields)
        except TypeError as error:  # also of the constructor, for an unknown or a missing field
            raise ValueError(
                f"Expected as layout whole numbers under the names of a `TokenLayout`'s fields, got {fields!r}: "
                f"{error}; give what `to_dict` returned."
            ) from error
