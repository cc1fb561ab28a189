"""Whether the folders and Hub repositories that a recipe names hold what it takes them for, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ..hub.checkpoint import refuse_incomplete
from ..hub.convert import WEIGHTS as OFFICIAL_WEIGHTS
from ..hub.download import find_file
from ..hub.official import find_official
from ..hub.transformer import refuse_other_weights
from ..processors.weights import CODEC_WEIGHTS, read_settings, stored_tensors
from .codec import codec_class, find_place


def check_world_model(place: str | Path, *, where: str) -> None:
    """
    Refuse a place that holds no world model.

    Args:
        place (`str` or `Path`):
            Folder, bundled name or Hub id. Of a Hub id, only the small files are looked for, in the cache first.
        where (`str`):
            Key of the recipe, for errors.

    Raises:
        FileNotFoundError: If there is nothing, or it lacks a file.
        ValueError: If it is a checkpoint of another kind, or a file is damaged.

    Example:

    ```python
    >>> check_world_model("pusht-base", where="pretrain.start_from")
    >>> check_world_model("pusht-codec", where="pretrain.start_from")
    Traceback (most recent call last):
    ...
    FileNotFoundError: pretrain.start_from: expected a world model, got 'pusht-codec': ...

    ```
    """
    with _named(where, "a world model", place):
        known = find_official(place)
        if known is not None and known.kind != "video":
            raise ValueError(f"the authors' {known.kind}")
        config = find_file(find_place(str(place)), "config.json")
        if known is None:
            find_file(find_place(str(place)), "processor_config.json")
            if _is_local(place):
                refuse_incomplete(config.parent, name=str(place))
                refuse_other_weights(config.parent)


def check_language_model(place: str | Path, *, where: str) -> None:
    """
    Refuse a place that holds no causal language model; arguments and errors as in [`check_world_model`].

    Example:

    ```python
    >>> check_language_model("textworld-rlvr", where="pretrain.start_from")

    ```
    """
    with _named(where, "a causal language model", place):
        config = find_file(find_place(str(place)), "config.json")
        if _is_local(place):
            refuse_other_weights(config.parent)
        kind = read_settings(config).get("model_type")
        if not isinstance(kind, str) or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise ValueError(f"its config.json has model_type {kind!r}")


def check_text_tokenizer(place: str | Path, *, where: str) -> None:
    """
    Refuse a place that holds no tokenizer of text; arguments and errors as in [`check_world_model`].

    Example:

    ```python
    >>> check_text_tokenizer("textworld-rlvr", where="tokenizer.source")

    ```
    """
    with _named(where, "a text tokenizer, or `scratch` to train one", place):
        find_file(find_place(str(place)), "tokenizer_config.json")


def check_codec(place: str | Path, *, where: str) -> None:
    """
    Refuse a place that holds no codec; arguments and errors as in [`check_world_model`].

    Example:

    ```python
    >>> check_codec("pusht-codec", where="tokenizer.source")
    >>> check_codec("pusht-base", where="tokenizer.source")
    Traceback (most recent call last):
    ...
    ValueError: tokenizer.source: expected a codec, got 'pusht-base': ...

    ```
    """
    with _named(where, "a codec", place):
        config = find_file(find_place(str(place)), "config.json")
        known = find_official(place)
        if known is not None:
            if known.kind != "codec":
                raise ValueError(f"the authors' {known.kind}")
            has_weights = any((config.parent / name).is_file() for name in OFFICIAL_WEIGHTS)
        else:
            codec_class(str(config.parent))
            has_weights = not _is_local(place) or bool(stored_tensors(config.parent, CODEC_WEIGHTS))
        if _is_local(place) and not has_weights:
            raise FileNotFoundError(f"it has no {CODEC_WEIGHTS}.safetensors")


def _is_local(place: str | Path) -> bool:
    return Path(find_place(str(place))).is_dir()


@contextmanager
def _named(where: str, expected: str, place: str | Path) -> Iterator[None]:
    """A block whose errors name the key of the recipe."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        told = str(error).rstrip(".")
        raise kind(
            f"{where}: expected {expected}, got {str(place)!r}: {told}. Give its folder or Hub id, owner/name."
        ) from error
