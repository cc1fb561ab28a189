"""
What travels with the library: recipes, pages, and checkpoints that load by a short name, in a checkout or a wheel.

A checkpoint's name is its folder's in `model_cards/`: `pusht-codec` is `model_cards/pusht-codec/`, and `pusht-rlvr` is
`model_cards/pusht/rlvr/`. No list of them is kept; what holds weights is one.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path


_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(name: str) -> Path:
    """
    Finds a folder that ships with the library.

    A wheel holds it inside the package, a checkout beside the package.

    Args:
        name (`str`):
            The folder's name in the repository, such as `"trainers"` or `"model_cards"`.

    Returns:
        `pathlib.Path`: the folder.

    Raises:
        FileNotFoundError: if the folder lies in neither place.

    Example:
        >>> (shipped_folder("trainers") / "recipes").is_dir()
        True
    """
    places = [_PACKAGE / name, _PACKAGE.parent / name]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise FileNotFoundError(
            f"Expected the folder {name!r} of rlvr_world_hf at {places[0]} or {places[1]}; it is at neither. "
            "Reinstall the package, or run from a complete checkout."
        )
    return found


def bundled_names() -> list[str]:
    """
    Lists the checkpoints whose weights ship with the library.

    Returns:
        `list[str]`: names such as `"pusht-codec"` and `"pusht-rlvr"`, sorted.

    Example:
        >>> {"pusht-base", "pusht-codec", "pusht-rlvr", "textworld-rlvr"} <= {*bundled_names()}
        True
    """
    return sorted(_bundled_folders())


def bundled_path(name: str) -> Path:
    """
    Finds the folder of a checkpoint whose weights ship with the library, to be given to `from_pretrained`.

    Args:
        name (`str`):
            Name of the checkpoint, such as `"pusht-codec"`.

    Returns:
        `pathlib.Path`: the folder with `config.json` and the weights.

    Raises:
        FileNotFoundError: if no such checkpoint is bundled; the error names the nearest one.

    Example:
        >>> from rlvr_world_hf import CompressiveTokenizer
        >>> CompressiveTokenizer.from_pretrained(bundled_path("pusht-codec")).config.context_frames
        1
        >>> bundled_path("pusht-rlrv")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        FileNotFoundError: ... Did you mean 'pusht-rlvr'? ...
    """
    folders = _bundled_folders()
    if name not in folders:
        remedy = "or give a folder that exists or a Hub id, owner/name"
        raise FileNotFoundError(unknown_name("bundled checkpoint", name, sorted(folders), remedy=remedy))
    return folders[name]


def unknown_name(kind: str, name: str, names: Sequence[str], *, remedy: str) -> str:
    """
    What an error says of a name that nothing has.

    Args:
        kind (`str`):
            What should have the name, such as `"recipe"`.
        name (`str`):
            The name.
        names (`Sequence[str]`):
            The names that there are.
        remedy (`str`):
            What else may be given, such as `"or give the path of a YAML file"`.

    Returns:
        `str`: the message; it names the nearest one.

    Example:
        >>> unknown_name("recipe", "quikstart", ["debug", "quickstart"], remedy="or give a file")
        "Expected the name of a recipe, given 'quikstart'. Did you mean 'quickstart'? Choose among debug, quickstart,
        or give a file."
    """
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"Expected the name of a {kind}, given {name!r}.{hint} Choose among {', '.join(names) or 'none'}, {remedy}."


def _bundled_folders() -> dict[str, Path]:
    """By name; a folder that has a name itself comes before one whose parts make it up."""
    cards = shipped_folder("model_cards")
    inner, outer = ({path.parent for path in cards.glob(f"{depth}/*.safetensors")} for depth in ("*/*", "*"))
    of_runs = {f"{folder.parent.name}-{folder.name}": folder for folder in inner}
    return of_runs | {folder.name: folder for folder in outer}
