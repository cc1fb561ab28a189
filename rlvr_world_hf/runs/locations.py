"""Where the files that travel with the library lie: recipes, bundled checkpoints, pages, in a checkout or a wheel."""

import difflib
from pathlib import Path

import yaml


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


def recipe_names() -> list[str]:
    """
    Lists the recipes that ship with the library.

    Returns:
        `list[str]`: names of the form `"<world>/<name>"`, sorted.

    Example:
        >>> "pusht/quickstart" in recipe_names()
        True
    """
    recipes = shipped_folder("trainers") / "recipes"
    return sorted(path.relative_to(recipes).with_suffix("").as_posix() for path in recipes.glob("*/*.yaml"))


def recipe_path(name: str) -> Path:
    """
    Finds the file of a recipe.

    Args:
        name (`str`):
            Name of a shipped recipe, such as `"pusht/quickstart"`, or the path of a YAML file of your own.

    Returns:
        `pathlib.Path`: the YAML file.

    Raises:
        FileNotFoundError: if there is neither such a recipe nor such a file; the error names the nearest recipe.

    Example:
        >>> recipe_path("pusht/quickstart").name
        'quickstart.yaml'
        >>> recipe_path("pusht/quikstart")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        FileNotFoundError: ... Did you mean 'pusht/quickstart'? ...
    """
    if Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        return Path(name)
    names = recipe_names()
    if name not in names:
        raise FileNotFoundError(_unknown("recipe", name, names, remedy="or give the path of a YAML file"))
    return shipped_folder("trainers") / "recipes" / f"{name}.yaml"


def finding_names() -> list[str]:
    """
    Lists the findings that ship with the library.

    Returns:
        `list[str]`: their names, sorted.

    Example:
        >>> "group_size" in finding_names()
        True
    """
    return sorted(path.stem for path in (shipped_folder("trainers") / "findings").glob("*.yaml"))


def finding_path(name: str) -> Path:
    """
    Finds the file of a finding.

    Args:
        name (`str`):
            Name of a shipped finding, such as `"group_size"`, or the path of a YAML file of your own.

    Returns:
        `pathlib.Path`: the YAML file.

    Raises:
        FileNotFoundError: if there is neither such a finding nor such a file; the error names the nearest finding.

    Example:
        >>> finding_path("group_size").name
        'group_size.yaml'
    """
    if Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        return Path(name)
    names = finding_names()
    if name not in names:
        raise FileNotFoundError(_unknown("finding", name, names, remedy="or give the path of a YAML file"))
    return shipped_folder("trainers") / "findings" / f"{name}.yaml"


def is_finding(name: str) -> bool:
    """
    Whether a name is that of a shipped finding, or the path of a YAML file that has the `rows` of one.

    Args:
        name (`str`):
            What may be a finding, or a recipe.

    Returns:
        `bool`: False for recipes, and for what is neither.

    Example:
        >>> is_finding("group_size"), is_finding("pusht/quickstart")
        (True, False)
    """
    if Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        return isinstance(content, dict) and "rows" in content
    return name in finding_names()


def bundled_names() -> list[str]:
    """
    Lists the checkpoints whose weights ship with the library.

    Returns:
        `list[str]`: folder names such as `"pusht-codec"`, sorted.
    """
    weights = shipped_folder("model_cards").glob("*/*.safetensors")
    return sorted({path.parent.name for path in weights})


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
    """
    names = bundled_names()
    if name not in names:
        raise FileNotFoundError(_unknown("bundled checkpoint", name, names, remedy="or give a folder or a Hub id"))
    return shipped_folder("model_cards") / name


def _unknown(kind: str, name: str, names: list[str], *, remedy: str) -> str:
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"Expected the name of a {kind}, given {name!r}.{hint} Choose among {', '.join(names) or 'none'}, {remedy}."
