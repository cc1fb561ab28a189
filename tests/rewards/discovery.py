"""All rewards there are: those for any world in `rewards/`, and those of a world in its `rewards.py`."""

import inspect
import pkgutil
from importlib import import_module

import rlvr_world_hf.rewards
import rlvr_world_hf.worlds


def is_of_rewards(module: str) -> bool:
    """Whether a module is one in which rewards lie; `tests/test_house.py` holds worlds to it."""
    package, _, rest = module.partition(".")
    return package == "rlvr_world_hf" and (rest.startswith("rewards.") or rest.endswith("rewards"))


def reward_classes(base: type) -> list[type]:
    """The concrete subclasses of a base class, by their names."""
    rooms = (rlvr_world_hf.rewards, rlvr_world_hf.worlds)
    found = [module.name for room in rooms for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")]
    for name in filter(is_of_rewards, found):
        import_module(name)
    ours = [cls for cls in _subclasses(base) if is_of_rewards(cls.__module__)]
    return sorted((cls for cls in ours if not inspect.isabstract(cls)), key=lambda cls: cls.__name__)


def _subclasses(cls: type) -> set[type]:
    return {cls} | {found for child in cls.__subclasses__() for found in _subclasses(child)}
