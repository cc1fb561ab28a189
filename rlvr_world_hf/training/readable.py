"""
Completions as a person reads them, in place of their tokens, for TRL's table of them: console, parquet file, trackers.

    text       the answer as it was written; in the column `difference`, how it differs from what was recorded
    sensors    the predicted numbers, in the unit of the data, and the recorded ones
    frames     the error of each; the first ones also as pictures, which the trackers show in the column `image`
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image

from ..states.differences import mark_differences
from .grouped_rows import Rows


PICTURED = 16
"""Completions of a batch that are drawn, the first ones: a group of the usual size."""

SMALLEST = 48
"""Width in pixels at which a frame is drawn, at least."""

GAP = 4
"""White lines between two completions of a picture."""


def differences(completions: Sequence[Any], rows: Rows, *, find_answer: Callable[[str], str]) -> list[str | None]:
    """
    Where answers in text differ from what was recorded, marked in Markdown.

    Args:
        completions (`Sequence`):
            What the model wrote: texts, or the turns of conversations.
        rows (`list[dict]`):
            The row of each, with what was recorded as `completion`.
        find_answer (`Callable[[str], str]`):
            Finds the answer in a completion.

    Returns:
        `list[str | None]`: See [`~rlvr_world_hf.states.differences.mark_differences`]; `None` where nothing was
        recorded.

    Example:

    ```python
    >>> differences(["door is open"], [{"completion": "door is shut"}], find_answer=str.strip)
    ['door is ~~shut~~ **open**']

    ```
    """
    texts = [written if isinstance(written, str) else written[-1]["content"] for written in completions]
    recorded = [row.get("completion") for row in rows]
    return [
        mark_differences(find_answer(text), answer) if isinstance(answer, str) else None
        for text, answer in zip(texts, recorded, strict=True)
    ]


def situation(row: Mapping[str, Any]) -> str:
    """
    Which situation a row of frames or sensors is, in place of a prompt in text; empty where the row does not say.

    Example:

    ```python
    >>> situation({"episode": "door-lock/7", "start": 12})
    'door-lock/7 from step 12'

    ```
    """
    return f"{row['episode']} from step {int(row['start'])}" if {"episode", "start"} <= row.keys() else ""


def description(row: Mapping[str, Any], kinds: Sequence[str]) -> str:
    """
    What was predicted, in words and numbers.

    Args:
        row (`Mapping`):
            A row with its prediction: columns `predicted` and `reference`, and, of sensors beside frames,
            `predicted_states` and `reference_states`. Steps that are false in `reference_mask` are left out.
        kinds (`Sequence[str]`):
            What is predicted: `"frames"`, `"sensors"` or both.

    Returns:
        `str`: A sentence for each kind.

    Example:

    ```python
    >>> frames, states = torch.zeros(2, 3, 8, 8), torch.tensor([[0.5, 2.0], [1.0, 4.0]])
    >>> description({"predicted": frames + 0.25, "reference": frames}, ["frames"])
    '2 frames, mean absolute error 0.2500: 0.2500, 0.2500'
    >>> description({"predicted": states, "reference": states + 1}, ["sensors"])
    'sensor 0: 0.5, 1 (recorded 1.5, 2); sensor 1: 2, 4 (recorded 3, 5)'

    ```
    """
    sentences = []
    # Columns of what is predicted first have plain names; those of sensors beside frames end in `_states`.
    for kind, suffix in zip(kinds, ("", "_states"), strict=False):
        predicted, recorded = (row[name + suffix].detach() for name in ("predicted", "reference"))
        known = row.get("reference_mask")
        if known is not None:
            is_known = known.bool().to(predicted.device)
            predicted, recorded = predicted[is_known], recorded[is_known.to(recorded.device)]
        sentences.append(DESCRIBE[kind](predicted, recorded.to(predicted.device)))
    return "; ".join(sentences)


def _describe_frames(predicted: torch.Tensor, recorded: torch.Tensor) -> str:
    recorded = recorded / 255 if recorded.dtype == torch.uint8 else recorded
    errors = (predicted.float() - recorded).abs().mean(dim=(1, 2, 3)).tolist()
    listed = ", ".join(f"{error:.4f}" for error in errors)
    return f"{len(errors)} frames, mean absolute error {np.mean(errors):.4f}: {listed}" if errors else "0 frames"


def _describe_sensors(predicted: torch.Tensor, recorded: torch.Tensor) -> str:
    both = zip(predicted.float().T.tolist(), recorded.float().T.tolist(), strict=True)
    return "; ".join(
        f"sensor {number}: {_listed(values)} (recorded {_listed(truth)})"
        for number, (values, truth) in enumerate(both)
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


DESCRIBE = {"frames": _describe_frames, "sensors": _describe_sensors}
"""Function that describes each kind of state."""


def picture(row: Mapping[str, Any]) -> Image.Image:
    """
    The last given frame and what was recorded after it, above the same frame and what was predicted.

    Args:
        row (`Mapping`):
            A row with its prediction: columns `context`, `reference` and `predicted`, frames.

    Returns:
        `PIL.Image.Image`: Pixels are repeated until a frame is 48 wide, never smoothed.

    Example:

    ```python
    >>> frames = torch.zeros(2, 3, 16, 16)
    >>> picture({"context": frames[:1], "reference": frames, "predicted": frames}).size
    (144, 96)

    ```
    """
    given, recorded, predicted = (_as_bytes(row[name]) for name in ("context", "reference", "predicted"))
    lines = [torch.cat([given[-1:], frames]) for frames in (recorded, predicted)]
    drawn = rearrange(torch.stack(lines), "line T C H W -> (line H) (T W) C").numpy()
    times = -(-SMALLEST // given.shape[-1])
    return Image.fromarray(drawn.repeat(times, axis=0).repeat(times, axis=1))


def _as_bytes(frames: torch.Tensor) -> torch.Tensor:
    frames = frames.detach().cpu()
    return frames if frames.dtype == torch.uint8 else (frames.float().clamp(0, 1) * 255).round().to(torch.uint8)


def save_below_each_other(pictures: Sequence[Image.Image], file: Path) -> None:
    """
    Save pictures of one size as one, the first on top.

    Args:
        pictures (`Sequence[PIL.Image.Image]`):
            At least one.
        file (`Path`):
            PNG to write; its folder is made.
    """
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width, len(pictures) * (height + GAP) - GAP), "white")
    for number, drawn in enumerate(pictures):
        sheet.paste(drawn, (0, number * (height + GAP)))
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file)
