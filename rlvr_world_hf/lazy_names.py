"""Public names that load their module on first use, so that `import rlvr_world_hf` costs milliseconds and no torch."""

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_names(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """
    Makes the `__getattr__` and `__dir__` of a package from the imports under its `if TYPE_CHECKING:`.

    The names a type checker sees and the names a program gets are thereby one list, written once (PEP 562).

    Args:
        package (`str`):
            `__name__` of the package.
        file (`str`):
            `__file__` of the package: the source that holds the `if TYPE_CHECKING:` block.

    Returns:
        `tuple[Callable, Callable]`: the package's `__getattr__` and `__dir__`.

    Raises:
        AttributeError: by the returned `__getattr__`, for a name the package does not offer; it lists those it does.

    Example:
        >>> import rlvr_world_hf.rewards as rewards
        >>> __getattr__, __dir__ = lazy_names(rewards.__name__, rewards.__file__)
        >>> "MAEReward" in __dir__()
        True
    """
    homes = _homes(Path(file).read_text(encoding="utf-8"))

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(
                f"`{package}` has no public name {name!r}; it offers {', '.join(sorted(homes)) or 'none'}."
            )
        return getattr(import_module(f".{homes[name]}", package), name)

    def __dir__() -> list[str]:
        return sorted(homes)

    return __getattr__, __dir__


def _homes(source: str) -> dict[str, str]:
    blocks = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    guarded = (block for block in blocks if ast.unparse(block.test) == "TYPE_CHECKING")
    imports = (node for block in guarded for node in block.body if isinstance(node, ast.ImportFrom))
    return {alias.name: str(node.module) for node in imports for alias in node.names}
