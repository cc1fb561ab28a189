"""
What identifies files and code that a result depends on: their content, whatever they are called and however old.

Hashes of files are remembered in the cache by size and times, as git does, so a large folder is read once.
"""

from __future__ import annotations

import hashlib
import json
import os
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from ..hub.manifest import file_hash, file_times
from .locations import bundled_names, bundled_path
from .progress import cache_folder, fingerprint, write_json


OURS = __name__.partition(".")[0]

RECORDS = (
    "README.md", "results.json", "history.json", "done.json", "started.json", "trainer_state.json", "manifest.json",
)  # fmt: skip
"""Files beside weights that say something about them: they change while the checkpoint stays the same."""

LOADED = (".safetensors", ".bin", ".pth", ".json", ".jinja", ".model", ".txt")
"""Endings of the files that make a checkpoint."""

SETTLED_SECONDS = 2.0
"""A younger file may change again without another time, so its hash is not remembered; git does the same."""


def with_content(value: Any) -> Any:
    """
    A value with each `Path` in it replaced by what identifies the content of that file or folder.

    Args:
        value (`Any`):
            What JSON can hold, and paths.

    Returns:
        `Any`: The same with hashes; a path where there is nothing becomes `None`.

    Example:

    ```python
    >>> with_content({"episodes": [1, Path("no/such/folder")]})
    {'episodes': [1, None]}

    ```
    """
    files = [place for place in _paths(value) if place.is_file()]
    return _replaced(value, dict(zip(files, _hashes(files), strict=True)))


def content_hash(place: Path) -> str | None:
    """
    Identifies what a file holds, or all files below a folder with their names.

    Args:
        place (`Path`):
            The file or folder.

    Returns:
        `str`: Hexadecimal digits; `None` where there is nothing.
    """
    if place.is_file():
        return next(iter(_hashes([place])))
    return _folder_hash(place, place.rglob("*")) if place.is_dir() else None


def checkpoint_identity(place: Path | str) -> str:
    """
    Identifies a checkpoint: a folder by its weights and settings, a repository of the Hub by its commit.

    Args:
        place (`Path` or `str`):
            A folder, the name of a bundled checkpoint, or a Hub id.

    Returns:
        `str`: Sixteen hexadecimal digits; of a repository, `owner/name@commit`.

    Example:

    ```python
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> before = checkpoint_identity(folder)
    >>> (folder / "config.json").write_text("{}")
    2
    >>> checkpoint_identity(folder) == before
    False

    ```
    """
    folder = bundled_path(str(place)) if str(place) in bundled_names() and not Path(place).is_dir() else Path(place)
    if not folder.is_dir():
        return f"{place}@{_commit(str(place))}"
    files = (file for file in folder.rglob("*") if file.suffix in LOADED and file.name not in RECORDS)
    return _folder_hash(folder, files)


def named_folders(entries: Iterable[Mapping[str, Any]]) -> list[str] | None:
    """
    Identifies the folders that rewards or metrics of a recipe read, such as that of an inverse model.

    Args:
        entries (`Iterable[Mapping]`):
            The rewards or metrics, each with its `path` and what its constructor takes.

    Returns:
        `list[str]`: the identity of each folder that is named, in order; `None` where there is none.

    Example:

    ```python
    >>> named_folders([{"path": "rlvr_world_hf.rewards.MAEReward", "pixels": "all"}]) is None
    True

    ```
    """
    values = (value for entry in entries for name, value in entry.items() if name != "path")
    folders = [Path(v) for v in values if isinstance(v, (str, Path)) and str(v) and Path(v).is_dir()]
    if not folders:
        return None
    # Imported here, as torch takes seconds to load.
    from ..rewards.inverse_dynamics import FOLDER

    # Beside the inverse model of a run are records of its stages, which change while the model stays the same.
    read = [folder / FOLDER if (folder / FOLDER).is_dir() else folder for folder in folders]
    return [checkpoint_identity(folder) for folder in read]


def own_sources(value: Any) -> dict[str, str]:
    """
    Identifies the code of all that a value names by `path` and that did not come with this library: a user's rewards,
    metrics, codecs and worlds, with the modules of their base classes.

    Args:
        value (`Any`):
            Settings, which may hold mappings such as `{path: my_module.MyReward}` at any depth.

    Returns:
        `dict[str, str]`: module -> sixteen hexadecimal digits of its source.

    Example:

    ```python
    >>> own_sources([{"path": "rlvr_world_hf.rewards.MAEReward"}])
    {}

    ```
    """
    return {module: text for path in _named(value) for module, text in module_sources(path).items()}


@cache
def module_sources(path: str) -> dict[str, str]:
    """
    Identifies the code behind an import path, see [`own_sources`][]; empty for this library's own.

    Args:
        path (`str`):
            Import path of a class, or of a module.

    Returns:
        `dict[str, str]`: module -> digits, as they were when it was asked for first: what runs is what was imported,
        whatever becomes of the file. A module that cannot be imported is left out: it fails where it is used.
    """
    if path.partition(".")[0] == OURS:
        return {}
    found: dict[str, str] = {}
    for name in _modules(path):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
            found[name] = file_hash(Path(spec.origin))[:16]
    return found


def _paths(value: Any) -> Iterator[Path]:
    """Each path in a value."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _paths(item)


def _replaced(value: Any, hashes: Mapping[Path, str]) -> Any:
    """A value with the hash of each file in its place; that of a folder is made here."""
    if isinstance(value, Path):
        return hashes[value] if value in hashes else content_hash(value)
    if isinstance(value, Mapping):
        return {name: _replaced(item, hashes) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(item, hashes) for item in value]
    return value


def _named(value: Any) -> Iterator[str]:
    """Each `path` of the mappings in a value."""
    if isinstance(value, Mapping):
        if isinstance(value.get("path"), str):
            yield value["path"]
        for item in value.values():
            yield from _named(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _named(item)


def _modules(path: str) -> list[str]:
    """Modules with the code of a class or module: those of its base classes too, where no package installed them."""
    before, _, last = path.rpartition(".")
    try:
        return [import_module(path).__name__]
    except ImportError:
        pass  # not a module: a class, or a function that makes an object
    try:
        named = getattr(import_module(before), last) if before else None
    except (ImportError, AttributeError):
        return []
    if not isinstance(named, type):
        module = getattr(named, "__module__", None)
        return [module] if isinstance(module, str) and module.partition(".")[0] != OURS else []
    installed = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    bases = [base.__module__ for base in named.__mro__[1:] if base.__module__.partition(".")[0] != OURS]
    own = [name for name in bases if not str(getattr(find_spec(name), "origin", None) or "").startswith(installed)]
    return list(dict.fromkeys([named.__module__, *(name for name in own if name != "builtins")]))


@cache
def _commit(repository: str) -> str:
    """The commit of a repository of the Hub; without a connection, that of the copy in the cache, if there is one."""
    try:
        # Names the commit by its folder, and looks into the cache by itself.
        return Path(snapshot_download(repository, allow_patterns=["config.json"])).name
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError):
        return ""  # it fails where it is loaded, and says why


def _folder_hash(folder: Path, places: Iterable[Path]) -> str:
    files = sorted(place for place in places if place.is_file())
    names = [os.fsencode(file.relative_to(folder)).hex() for file in files]
    return fingerprint(dict(zip(names, _hashes(files), strict=True)))


def _hashes(files: list[Path]) -> list[str]:
    """Sixteen digits for each file, read only where its size or times are not those that are remembered."""
    found: dict[Path, str] = {}
    for folder in dict.fromkeys(file.parent for file in files):
        place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
        memory = cache_folder("hashes", f"{place}.json")
        known = _remembered(memory)
        fresh = dict(known)
        for file in (file for file in files if file.parent == folder):
            state = [file.stat().st_size, *file_times(file)]
            name = os.fsencode(file.name).hex()
            if known.get(name, [])[:3] != state:
                fresh[name] = [*state, file_hash(file)[:16]]
            found[file] = fresh[name][3]
            if time.time() - max(state[1:]) / 1e9 < SETTLED_SECONDS:
                del fresh[name]
        if fresh != known:
            _remember(memory, fresh)
    return [found[file] for file in files]


def _remembered(memory: Path) -> dict[str, Any]:
    # What was remembered is only a short cut: unreadable, it is made again.
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(memory: Path, known: Mapping[str, Any]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, known)
    except OSError:  # a cache that cannot be written to only makes this slower
        return
