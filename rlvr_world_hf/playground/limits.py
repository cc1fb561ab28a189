"""
What a page loads of a repository that a visitor names, at most: read from settings and from the headers of the
weights, before anything is built.

The limits are those of a free Space, of 16 GB and 2 cores. It keeps three pairs of models a tab, so twelve models:
10 GB of float32 if all are of the largest size, and room for what they compute.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..processors.layout import TokenLayout
from ..processors.weights import stored_tensors


REMEDY = "Serve it yourself, which has no such limit: `rlvr-world demo FOLDER`."
"""What a refusal says at its end."""

MAX_BYTES = 1024**3
"""Most bytes of a repository's files."""

MAX_NUMBERS = 200_000_000
"""Most numbers in the weights of transformer and codec together: 0.8 GB of float32."""

MAX_TENSORS = 4096
"""Most tensors in them."""

MAX_HEADER = 2**20
"""Most bytes of a safetensors header, which lists the tensors."""

MAX_SETTINGS = 2**20
"""Most bytes of a file of settings."""

MAX_JSON = 32 * 2**20
"""Most bytes of another JSON file, such as a tokenizer."""

MAX_ENTRIES = 256
"""Most entries of a list in the settings."""

MAX_SIZE = 2**20
"""Greatest number in the settings that no other limit is for, such as a vocabulary or a longest sequence."""

NAMED = (
    (re.compile(r".*layers?|layers?_per_block|.*blocks?|.*depths?"), 64),
    (re.compile(r".*experts(_per_tok)?"), 64),
    (re.compile(r".*heads?"), 16),
    (re.compile(r"(image|sample|crop)_size|resolution"), 256),
    (re.compile(r".*channels"), 1024),
    (re.compile(r"(num|n)_(?!embd|positions|ctx|inner|vocab|words).*"), 1024),
)
"""Greatest numbers of layers, experts and heads, of a frame's sides in pixels, of channels, and of other parts."""

UNBOUNDED = re.compile(r".*theta|.*token_ids?")
"""Settings that cost nothing, whatever their number."""

MAX_CELLS = 64 * 64
"""Most places at which a codec computes the finest features of a frame."""

MAX_TOKENS = 2048
"""Most tokens of a prompt and the step behind it."""

MAX_GIVEN = 32
"""Most frames that a model is given."""

FRAME_RATES = (0.5, 50.0)
"""Fewest and most frames a second: each is so much simulation."""

SETTINGS = ("config.json", "processor_config.json")
"""Files of settings, in a checkpoint's folder and in its codec's."""


def refuse_too_large(folder: Path, *, name: str) -> None:
    """
    Raises where a checkpoint is, or says that it is, more than a page loads.

    Args:
        folder (`Path`):
            The checkpoint's folder.
        name (`str`):
            What the error calls it.

    Raises:
        ValueError: If it has an adapter apart; if files, headers, tensors, lists or numbers in the settings are too
            large; or if its settings are no JSON. The error names what, the limit, and what to do.

    Example:

    ```python
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "config.json").write_text('{"num_hidden_layers": 1000000}')
    ...     refuse_too_large(Path(folder), name="owner/name")
    Traceback (most recent call last):
    ...
    ValueError: Expected of owner/name num_hidden_layers of at most 64 in config.json, got 1000000. Serve ...

    ```
    """
    # The base of an adapter may be any repository, and what it adapts is found by a pattern of any cost.
    if any(folder.rglob("adapter_config.json")):
        raise ValueError(
            f"Expected of {name} a whole model, got an adapter. Merge it first: `save_world_model(..., "
            "merge_adapter=True)`."
        )
    for file in sorted(folder.rglob("*.json")):
        is_settings = file.name in SETTINGS
        most = MAX_SETTINGS if is_settings else MAX_JSON
        _refuse_more(name, f"bytes of {_place(file, folder)}", file.stat().st_size, most)
        if is_settings:
            settings = _read_settings(file, name=name)
            _refuse_large_settings(settings, name=name, place=_place(file, folder))
    _refuse_large_weights(folder, name=name)


def _refuse_large_weights(folder: Path, *, name: str) -> None:
    numbers = tensors = 0
    for file in sorted(folder.rglob("*.safetensors")):
        with file.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
        _refuse_more(name, f"bytes of the header of {_place(file, folder)}", header, MAX_HEADER)
        stored = stored_tensors(file.parent, file.name.removesuffix(".safetensors"))
        tensors += len(stored)
        numbers += sum(math.prod(tensor.shape) for tensor in stored.values())
    _refuse_more(name, "tensors", tensors, MAX_TENSORS)
    _refuse_more(name, "numbers in its weights", numbers, MAX_NUMBERS)


def _read_settings(file: Path, *, name: str) -> Mapping[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected of {name} JSON in {file.name}, got {error!s:.120}. Save it again.") from error
    if not isinstance(settings, Mapping):
        raise ValueError(f"Expected of {name} a JSON object in {file.name}, got {settings!r:.80}. Save it again.")
    return settings


def _refuse_large_settings(settings: Mapping[str, Any], *, name: str, place: str) -> None:
    for key, value in _values(settings):
        if isinstance(value, list):
            _refuse_more(name, f"entries of {key} in {place}", len(value), MAX_ENTRIES)
        elif not UNBOUNDED.fullmatch(key):
            most = next((most for pattern, most in NAMED if pattern.fullmatch(key)), MAX_SIZE)
            _refuse_more(name, f"{key}", abs(value), most, where=f" in {place}")
    sides: Any = settings.get("image_size")
    stem: Any = settings.get("stem_patch_size")
    if _are_numbers(sides) and _are_numbers([stem]) and stem > 0:
        cells = math.prod(side / stem for side in sides)
        _refuse_more(name, "patches of stem_patch_size in image_size", cells, MAX_CELLS, where=f" in {place}")
    _refuse_large_windows(settings, name=name, place=place)


def _refuse_large_windows(settings: Mapping[str, Any], *, name: str, place: str) -> None:
    """Of a processor: its prompts, and how much of the world is simulated for them."""
    layout, fps = settings.get("layout"), settings.get("fps")
    slowest, fastest = FRAME_RATES
    if fps is not None and not (_are_numbers([fps]) and slowest <= fps <= fastest):
        raise ValueError(
            f"Expected of {name} fps from {slowest:g} to {fastest:g} in {place}, got {fps!r:.40}. {REMEDY}"
        )
    if isinstance(layout, Mapping):
        sizes = TokenLayout.from_dict(dict(layout))
        given = sizes.context_frames + sizes.observed_steps
        _refuse_more(name, "frames given", given, MAX_GIVEN, where=f" in {place}")
        tokens = sizes.prompt_length + sizes.step_length
        _refuse_more(name, "tokens of a prompt and a step", tokens, MAX_TOKENS, where=f" in {place}")


def _refuse_more(name: str, what: str, given: float, most: float, *, where: str = "") -> None:
    if not given <= most:  # NaN is more, too
        raise ValueError(f"Expected of {name} {what} of at most {most}{where}, got {given:.12g}. {REMEDY}")


def _values(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of all numbers in JSON settings, and of all lists, whose items have the list's name."""
    waiting: list[tuple[str, Any]] = list(settings.items())
    while waiting:  # no recursion, as JSON may be deeper than Python allows
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.items()
        elif isinstance(value, list):
            yield name, value
            waiting += [(name, item) for item in value]
        elif _are_numbers([value]):
            yield name, value


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)


def _place(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
