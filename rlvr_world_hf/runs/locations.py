"""
Where the files that travel with the library lie: recipes, bundled checkpoints, pages, in a checkout or a wheel; and
where the cache lies.
"""

from pathlib import Path

from ..hub.bundled import bundled_names as bundled_names
from ..hub.bundled import bundled_path as bundled_path
from ..hub.bundled import shipped_folder as shipped_folder
from ..hub.bundled import unknown_name
from .progress import cache_folder
from .yaml_text import read_yaml


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
        raise FileNotFoundError(unknown_name("recipe", name, names, remedy="or give the path of a YAML file"))
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
        raise FileNotFoundError(unknown_name("finding", name, names, remedy="or give the path of a YAML file"))
    return shipped_folder("trainers") / "findings" / f"{name}.yaml"


def is_finding(name: str) -> bool:
    """
    Whether a name is that of a shipped finding, or the path of a YAML file that has the `rows` of one.

    Args:
        name (`str`):
            What may be a finding, or a recipe.

    Returns:
        `bool`: False for recipes, and for what is neither.

    Raises:
        ValueError: If the file is not YAML.

    Example:
        >>> is_finding("group_size"), is_finding("pusht/quickstart")
        (True, False)
    """
    if Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        content = read_yaml(Path(name))
        return isinstance(content, dict) and "rows" in content
    return name in finding_names()


def cache_root() -> Path:
    """
    Folder of what runs share, such as recorded episodes.

    Returns:
        `Path`: where the environment variable `RLVR_WORLD_CACHE` points, else `~/.cache/rlvr_world_hf`.

    Example:

    ```python
    >>> cache_folder("episodes", "1a2b").is_relative_to(cache_root())
    True

    ```
    """
    return cache_folder("episodes", "").parent
