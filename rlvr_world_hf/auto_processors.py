"""
Our processors as transformers' `AutoProcessor` finds them, without `trust_remote_code`, once this library is imported.

transformers looks the class that `processor_config.json` names up among those that were registered. To register a
class one must have loaded it, with torch and diffusers, and `import rlvr_world_hf` is to load neither: stand-ins of
that name are registered, as soon as something imports `AutoProcessor`, and load the class when they are used.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


HOST = "transformers.models.auto.processing_auto"
"""Module of `AutoProcessor`."""


class StandIn:
    """
    What `AutoProcessor` needs of a class: its name, and `from_pretrained`.

    Args:
        package (`str`): package that offers the class.
        name (`str`): name of the class.
    """

    def __init__(self, package: str, name: str) -> None:
        self.__name__ = name
        self.package = package

    def from_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """As the class's own, which is loaded now."""
        return getattr(import_module(self.package), self.__name__).from_pretrained(*args, **kwargs)


class AfterHost(MetaPathFinder):
    """Registers stand-ins as soon as the module of `AutoProcessor` is imported, whoever does it."""

    def __init__(self, stand_ins: Sequence[StandIn]) -> None:
        self.stand_ins = stand_ins

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The module's own spec, whose loader then registers; of other modules, nothing."""
        spec: ModuleSpec | None = PathFinder.find_spec(fullname, path) if fullname == HOST else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register(module, self.stand_ins)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register_processors(package: str, names: Iterable[str]) -> None:
    """
    Lets `AutoProcessor.from_pretrained` find processors, now or as soon as it is imported.

    Args:
        package (`str`):
            Package that offers the classes.
        names (`Iterable[str]`):
            Their names, as `processor_config.json` has them in `processor_class`.

    Example:
        >>> from transformers.models.auto.processing_auto import processor_class_from_name
        >>> processor_class_from_name("VideoWorldModelProcessor").__name__
        'VideoWorldModelProcessor'
    """
    stand_ins = [StandIn(package, name) for name in names]
    if HOST in sys.modules:
        register(sys.modules[HOST], stand_ins)
    else:
        sys.meta_path.insert(0, AfterHost(stand_ins))


def register(host: ModuleType, stand_ins: Iterable[StandIn]) -> None:
    """Registers stand-ins, under themselves: the host wants a class of settings as the key, and ours have none."""
    for stand_in in stand_ins:
        host.AutoProcessor.register(stand_in, stand_in)
