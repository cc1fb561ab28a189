"""Uses of world models, one a file: a function of the file's name, and `APPLICATION`, which says how it is run."""

from pkgutil import iter_modules


def application_names() -> list[str]:
    """
    Names of the applications, found by the names of their files; none is imported.

    Returns:
        `list[str]`: Names, sorted.

    Example:

    ```python
    >>> "planning_text" in application_names()
    True

    ```
    """
    return sorted(module.name for module in iter_modules(__path__))
