"""The codec of a recipe: where it is, what identifies it, and how it is loaded."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..hub.convert import load_official_tokenizer
from ..hub.download import local_folder
from ..hub.official import find_official
from ..processors.base import TRUSTED_PACKAGES
from ..processors.weights import load_whole_codec
from .locations import bundled_names, bundled_path
from .progress import fingerprint
from .recipe import Recipe
from .stage import checkpoint_folder


logger = logging.getLogger(__name__)

SCRATCH, BUNDLED, NONE = "scratch", "bundled", "none"
"""Sources of a tokenizer beside a folder or Hub id: trained in the run, bundled with the library, not needed."""


def codec_place(recipe: Recipe, source: str) -> Path | str:
    """
    Where the codec of a recipe is.

    Args:
        recipe (`Recipe`):
            The recipe.
        source (`str`):
            `tokenizer.source`.

    Returns:
        `Path` or `str`: a folder, or a Hub id.

    Raises:
        FileNotFoundError: If none is bundled for the recipe's world.
    """
    if source == SCRATCH:
        return checkpoint_folder(recipe, "codec")
    if source == BUNDLED:
        return bundled_path(f"{recipe.world}-codec")
    return find_place(source)


def load_codec(place: Path | str) -> Any:
    """
    Load a codec.

    Args:
        place (`Path` or `str`):
            A folder, the name of a bundled codec, or a Hub id; also one of the authors'.

    Returns:
        `diffusers.ModelMixin`: float32, on the CPU, in evaluation mode.

    Raises:
        ValueError: If its class is not a public model of a trusted package, or its weights are not those that its
            settings declare.
        OSError: If there is no codec.
    """
    name = str(find_place(str(place)))
    if find_official(name) is not None:
        return load_official_tokenizer(local_folder(name)).float().eval()
    # Codecs that ship with the library are stored in bfloat16; all are computed with in float32.
    return load_whole_codec(codec_class(name), name).float().eval()


def take_weights(codec: torch.nn.Module, place: str) -> None:
    """
    Give a codec those weights of another that have the same name and shape, and log the ones that stay random.

    Args:
        codec (`torch.nn.Module`):
            Changed in place.
        place (`str`):
            Folder or Hub id of the other codec.

    Raises:
        FileNotFoundError: If there is no codec.
        ValueError: If no weight fits.
    """
    try:
        own, given = codec.state_dict(), load_codec(place).state_dict()
    # diffusers raises this for a folder or repository without `config.json`.
    except OSError as error:
        raise FileNotFoundError(
            f"tokenizer.start_from: expected a folder or Hub id of a codec, got {place}, which has none; train it "
            "with its own recipe first, or leave `tokenizer.start_from` out."
        ) from error
    # Codecs whose codes have another size share all weights but those around the quantizer.
    taken = {name: weights for name, weights in given.items() if name in own and own[name].shape == weights.shape}
    if not taken:
        raise ValueError(
            "tokenizer.start_from: expected a codec some of whose weights fit `tokenizer.codec`, got none in "
            f"{place}; give both the same class and sizes, or leave `tokenizer.start_from` out."
        )
    codec.load_state_dict(own | taken)
    left = ", ".join(sorted(own.keys() - taken.keys()))
    logger.info("tokenizer: weights of %s%s", place, f"; random: {left}" if left else "")


def weights_identity(codec: torch.nn.Module | None) -> str:
    """
    Identifies the weights of a loaded codec.

    Args:
        codec (`torch.nn.Module`, *optional*):
            The codec.

    Returns:
        `str`: sixteen hexadecimal digits; empty without a codec.
    """
    if codec is None:
        return ""
    sums = {
        name: [float(value.double().sum()), float(value.double().square().sum())]
        for name, value in codec.state_dict().items()
    }
    return fingerprint(sums)


def find_place(place: str) -> Path | str:
    """
    Where a checkpoint that a recipe names is.

    Args:
        place (`str`):
            A folder, the name of a bundled checkpoint, or a Hub id.

    Returns:
        `Path` or `str`: the folder, also of a bundled checkpoint; anything else as it is.

    Example:

    ```python
    >>> find_place("pusht-codec").name, find_place("owner/name")
    ('pusht-codec', 'owner/name')

    ```
    """
    if Path(place).is_dir():
        return Path(place)
    return bundled_path(place) if place in bundled_names() else place


def codec_class(place: str) -> Any:
    """
    The class that the `config.json` of a codec names, if it is a model of a trusted package.

    Args:
        place (`str`):
            Its folder or Hub id.

    Returns:
        `type`: a subclass of `diffusers.ModelMixin`.

    Raises:
        ValueError: If the class is none.

    Example:

    ```python
    >>> codec_class(str(find_place("pusht-codec"))).__name__
    'CompressiveTokenizer'

    ```
    """
    # `AutoModel` does not find this library's classes by their name; here it only reads it.
    from diffusers import AutoModel, ModelMixin

    name = AutoModel.load_config(place).get("_class_name", "")
    for package in TRUSTED_PACKAGES:
        found = getattr(import_module(package), name, None)
        if isinstance(found, type) and issubclass(found, ModelMixin):
            return found
    raise ValueError(
        f"tokenizer.source: expected a codec whose class is a public model of {' or '.join(TRUSTED_PACKAGES)}, got "
        f"{name!r} in {place}; a class of your own can be trained, but not loaded by a recipe."
    )
