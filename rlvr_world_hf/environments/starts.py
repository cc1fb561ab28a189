"""
Where an environment may begin: the last frames or states before the first decision, and what was done between them.

    episode    its first `K + M` frames
    row        `context` and `actions` as `window_rows` cuts them from anywhere in an episode

`K` context frames and `M` observed steps are the processor's, see `processors/layout.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..data.episode import Episode


State = dict[str, torch.Tensor]
"""One state by column: `context`, and `context_states` where there are frames and sensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What is known when the first action is to be chosen."""

    given: State
    """
    Given states, oldest first, the present one last: frames `(K + M, 3, H, W)`, float32 in `[0, 1]`, or sensors
    `(K + M, P)`, float32 in their unit.
    """

    past_actions: torch.Tensor
    """Actions from the first observed step up to the one before the present, `(max(M, 1) - 1, A)`, float32."""


def read_start(start: Any, processor: Any) -> Start:
    """
    The start that an episode or a row describes.

    Args:
        start ([`Episode`] or `Mapping`):
            An episode, whose first frames are taken; or a row with `context` `(K + M, ...)`, `actions` `(T, A)` from
            the first observed step on, of which the first `max(M, 1) - 1` are taken (they may be missing if that is
            0), and `context_states` `(K + M, P)` where there are frames and sensors.
        processor ([`StepBlockProcessor`]):
            Says what is needed.

    Returns:
        `Start`: of tensors on the CPU.

    Raises:
        TypeError: if it is neither.
        ValueError: if something is missing, or of another shape or range.

    Example:
        >>> from rlvr_world_hf import SensorWorldModelProcessor
        >>> processor = SensorWorldModelProcessor.from_ranges([0.0], [1.0], [-1.0], [1.0], observed_steps=2)
        >>> start = read_start({"context": np.array([[0.5], [0.75]]), "actions": np.array([[0.1]])}, processor)
        >>> start.given["context"].tolist(), start.past_actions.shape
        ([[0.5], [0.75]], torch.Size([1, 1]))
    """
    layout = processor.layout
    number, past = layout.context_frames + layout.observed_steps, layout.prompt_actions - 1
    row = _row_of(start, layout.context_frames, number)
    frames = None if "frames" not in processor.predicts else tuple(processor.codec.config.image_size)
    given = {"context": _read(row, "context", (number, 3, *frames) if frames else (number, layout.sensor_dims))}
    if frames and layout.sensor_dims:
        given["context_states"] = _read(row, "context_states", (number, layout.sensor_dims))
    actions = torch.zeros(0, layout.action_dims)
    if past:
        actions = _read(row, "actions", (None, layout.action_dims))
        if len(actions) < past:
            raise ValueError(
                f"Expected at least {past} `actions`, those between the observed steps, got {len(actions)}."
            )
    if frames and not (given["context"].min() >= 0 and given["context"].max() <= 1):
        raise ValueError("Expected frames as uint8, or float in [0, 1]; divide by 255.")
    return Start(given=given, past_actions=actions[:past])


def _row_of(start: Any, context_frames: int, number: int) -> Mapping[str, Any]:
    """The columns of a start; of an episode, its first `number` steps."""
    if isinstance(start, Mapping):
        return start
    if not isinstance(start, Episode):
        raise TypeError(
            f"Expected a start as an `Episode`, or a mapping with `context` and `actions`, got {type(start).__name__}."
        )
    # The action taken at the last context frame is in no prompt with observed steps, and without them none is read.
    row = {"context": start.observations[:number], "actions": start.actions[context_frames:]}
    if start.frames is not None and start.states is not None:
        row["context_states"] = start.states[:number]
    return row


def _read(row: Mapping[str, Any], name: str, shape: tuple[int | None, ...]) -> torch.Tensor:
    """A column as float32, its frames in `[0, 1]`."""
    if row.get(name) is None:
        raise ValueError(f"Expected a start with `{name}`, got {sorted(row)}.")
    values = row[name]
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = ", ".join("T" if size is None else str(size) for size in shape)
        raise ValueError(
            f"Expected `{name}` of a start of shape ({expected}), got {array.shape}; give as many frames or states as "
            "the processor's context frames and observed steps, of the size it was made for."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` of a start holds a value that is not finite; repair or drop it.")
    tensor = torch.from_numpy(array.astype(np.float32))
    return tensor / 255 if array.dtype == np.uint8 else tensor
