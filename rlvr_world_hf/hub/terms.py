"""Terms under which weights come that a checkpoint was made from: its card names them, or it is not pushed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..processors.weights import read_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Terms of use that pass on to whatever is made from some weights."""

    licence: str
    """Their name on the Hub, for the metadata of a card."""

    notice: str
    """The sentence that has to go with the weights."""


GEMMA = Terms(
    licence="gemma",
    notice="Gemma is provided under and subject to the Gemma Terms of Use found at "
    "[ai.google.dev/gemma/terms](https://ai.google.dev/gemma/terms). These weights were made from a Gemma model of "
    "Google: they are modified, and the same terms hold for them.",
)
"""Those of Google's Gemma models, up to Gemma 3."""

WITHOUT_TERMS = ("gemma4", "gemma-4")
"""How architectures and names of Gemma 4 begin, which comes under the Apache licence."""


def terms_of(model_type: str) -> Terms | None:
    """
    The terms that come with models of an architecture.

    Args:
        model_type (`str`):
            As in `config.json`, such as `"gemma3_text"`.

    Returns:
        [`Terms`]: `None` where the licence of this library is all there is to name.

    Example:

    ```python
    >>> terms_of("gemma3_text").licence, terms_of("gemma4_text"), terms_of("llama")
    ('gemma', None, None)

    ```
    """
    # Whoever trains this architecture from nothing may leave the sentence out of a card of their own.
    return GEMMA if "gemma" in model_type and not model_type.startswith(WITHOUT_TERMS) else None


def terms_of_folder(folder: Path) -> Terms | None:
    """
    The terms of the weights in a folder.

    Args:
        folder (`Path`):
            A checkpoint, or an adapter as peft alone saves it.

    Returns:
        [`Terms`]: as of [`terms_of`]; of an adapter those of the model that it names, which is a folder or whose name
            tells.
    """
    if (folder / "config.json").is_file():
        return terms_of(str(read_settings(folder / "config.json").get("model_type")))
    adapter = folder / "adapter_config.json"
    settings: Mapping[str, Any] = read_settings(adapter) if adapter.is_file() else {}
    base = Path(str(settings.get("base_model_name_or_path")))
    return terms_of_folder(base) if (base / "config.json").is_file() else terms_of(base.name.lower())


def refuse_unnamed_terms(folder: Path, card: str) -> None:
    """
    Raises where a card does not name the terms of the weights that it goes with.

    Args:
        folder (`Path`):
            The checkpoint.
        card (`str`):
            Text of its card.

    Raises:
        ValueError: If the sentence is not in it.
    """
    terms = terms_of_folder(folder)
    if terms is not None and terms.notice not in card:
        raise ValueError(
            f"Expected in the card of {folder} the terms of the weights that it was made from, got none; add this "
            f"line to its README.md: {terms.notice}"
        )
