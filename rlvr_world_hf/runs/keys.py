"""
The keys of a part of a recipe: types, defaults and meaning, read from the dataclass or function that uses them.

Nothing is listed a second time: a stage's own keys are the fields of its settings, and keys that go on to another part
(a trainer's config, a world's function) are read from that part.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .yaml_text import parse_yaml


SettingsType = TypeVar("SettingsType")

FORWARDED = "arguments"
"""Name of the field of a settings dataclass that holds the keys forwarded to another part."""


class SettingTypeError(TypeError):
    """A setting of another type than its key; unlike other errors of type, it is the user's to mend."""


class Words(str):
    """
    A value of the command line, not yet read: [`convert`][] takes it literally for text, else as YAML.

    Example:

    ```python
    >>> convert(Words("no #1"), str, where="predict.action"), convert(Words("no #1"), bool, where="push.private")
    ('no #1', False)

    ```
    """

    def read(self, where: str) -> Any:
        """Its value as YAML; `where` names its key in a ValueError."""
        return parse_yaml(str(self), where=where)


def settled(values: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    """
    Values of a recipe, each [`Words`][] read as the type of its key.

    Args:
        values (`Mapping[str, Any]`):
            Values of a part of a recipe.
        settings (`Any`):
            What [`fill`][] made of them.

    Returns:
        `dict[str, Any]`: The values.

    Example:

    ```python
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Settings:
    ...     action: str = key("")
    >>> given = {"action": Words("no")}
    >>> settled(given, fill(Settings, given, where="predict"))
    {'action': 'no'}

    ```
    """
    own = keys_of(type(settings))
    plain = dict(values)
    for name, value in values.items():
        if isinstance(value, Words):
            filled = getattr(settings, name) if name in own else getattr(settings, FORWARDED)[name]
            plain[name] = str(value) if isinstance(filled, (str, Path)) else value.read(name)
    return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a recipe."""

    hint: Any
    """Type annotation that its value must fit."""

    default: Any
    """Value if the recipe does not set the key; `dataclasses.MISSING` if it must."""

    help: str
    """What it does, in one line; may be empty."""

    affects_result: bool = True
    """Whether the value affects the result. If not, a finished stage stays finished when the value changes."""

    counts_at_default: bool = True
    """Whether the default value counts among what shaped a result. Not for keys that were added when stages of their
    kind had been finished already: with the default these do what they did, and stay finished."""


def key(
    default: Any = dataclasses.MISSING, help: str = "", *, affects_result: bool = True, counts_at_default: bool = True
) -> Any:
    """
    A field of a settings dataclass, with its meaning for `--help`.

    Args:
        default (`Any`, *optional*):
            Its default. Lists and mappings are copied for each object.
        help (`str`, *optional*):
            One line for `--help`.
        affects_result (`bool`, *optional*, defaults to `True`):
            See [`Key`].
        counts_at_default (`bool`, *optional*, defaults to `True`):
            See [`Key`].

    Returns:
        `dataclasses.Field`: The field.

    Example:

    ```python
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Settings:
    ...     batch_size: int = key(64, "Windows a step.")
    >>> keys_of(Settings)["batch_size"].help
    'Windows a step.'

    ```
    """
    metadata = {"help": help, "affects_result": affects_result, "counts_at_default": counts_at_default}
    if isinstance(default, (list, dict)):
        # Dataclasses refuse a list or a mapping as a plain default.
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def keys_of(target: Callable[..., Any]) -> dict[str, Key]:
    """
    The keys of a dataclass (its fields) or of a function (its keyword-only arguments).

    Args:
        target (`Callable`):
            A dataclass, or a function.

    Returns:
        `dict[str, Key]`: The keys in their order.

    Example:

    ```python
    >>> def collect(seeds, *, length: int = 40): ...
    >>> keys_of(collect)["length"].default
    40

    ```
    """
    hints = _hints(target)
    if dataclasses.is_dataclass(target):
        return {
            field.name: Key(
                hint=hints.get(field.name, Any),
                default=_default(field),
                help=str(field.metadata.get("help", "")),
                affects_result=bool(field.metadata.get("affects_result", True)),
                counts_at_default=bool(field.metadata.get("counts_at_default", True)),
            )
            for field in dataclasses.fields(target)
            # Fields without `init` are computed by the dataclass and cannot be set.
            if field.init and field.name != FORWARDED
        }
    missing = inspect.Parameter.empty
    return {
        name: Key(
            hint=hints.get(name, Any),
            default=dataclasses.MISSING if parameter.default is missing else parameter.default,
            help="",
        )
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def fill(
    settings_class: type[SettingsType],
    values: Mapping[str, Any],
    *,
    where: str,
    forwards_to: Callable[..., Any] | None = None,
    reserved: Collection[str] = (),
) -> SettingsType:
    """
    Settings from the values of a recipe, with every key and every type checked.

    Args:
        settings_class (`type`):
            The dataclass to fill.
        values (`Mapping[str, Any]`):
            Values in the recipe.
        where (`str`):
            Name of that part of the recipe, for errors.
        forwards_to (`Callable`, *optional*):
            A dataclass or function whose keys are accepted, too; they are put into the field `arguments`.
        reserved (`Collection[str]`, *optional*):
            Keys of `forwards_to` that a recipe must not set here.

    Returns:
        An object of `settings_class`.

    Raises:
        ValueError: If a key is unknown, naming the nearest known one, a needed key is missing, or `settings_class`
            refuses a value.
        SettingTypeError: If a value has another type than its key.

    Example:

    ```python
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Settings:
    ...     batch_size: int = key(64)
    >>> fill(Settings, {"batch_size": 8}, where="pretrain").batch_size
    8
    >>> fill(Settings, {"batchsize": 8}, where="pretrain")
    Traceback (most recent call last):
    ...
    ValueError: pretrain: unknown key 'batchsize'; the nearest known key is 'batch_size'.

    ```
    """
    own = keys_of(settings_class)
    foreign = {} if forwards_to is None else keys_of(forwards_to)
    foreign = {name: known for name, known in foreign.items() if name not in reserved}
    check_known(values, [*own, *foreign], where=where)
    filled: dict[str, Any] = {}
    forwarded: dict[str, Any] = {}
    for name, value in values.items():
        known, target = (own, filled) if name in own else (foreign, forwarded)
        target[name] = convert(value, known[name].hint, where=f"{where}.{name}")
    # An own key hides a forwarded one of its name, as it does above.
    for name, known_key in {**foreign, **own}.items():
        if name not in values and known_key.default is dataclasses.MISSING:
            raise ValueError(f"{where}: the key {name!r} is missing; add `{name}: ...` to that part of the recipe.")
    if forwards_to is not None:
        filled[FORWARDED] = forwarded
    try:
        return settings_class(**filled)
    except ValueError as error:
        # Some errors name their key already.
        raise ValueError(f"{error}" if str(error).startswith(f"{where}.") else f"{where}: {error}") from error


def check_known(names: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """
    Refuse a name that is not among `known`.

    Args:
        names (`Iterable[str]`):
            What was given.
        known (`Iterable[str]`):
            What there is.
        where (`str`):
            What the names are keys of, for the error.

    Raises:
        ValueError: Naming the nearest known name.
    """
    known = list(known)
    for name in names:
        if name not in known:
            # No cutoff: however odd a name is, the error suggests one that exists.
            nearest = get_close_matches(str(name), known, n=1, cutoff=0.0)
            remedy = f"the nearest known key is {nearest[0]!r}" if nearest else "no key is known here"
            raise ValueError(f"{where}: unknown key {name!r}; {remedy}.")


def convert(value: Any, hint: Any, *, where: str) -> Any:
    """
    A value of a recipe as the type of its key.

    YAML reads `1e-4` as text and has no tuples or paths: these are converted, and nothing else is. [`Words`][] of the
    command line are text or a path as they stand, and YAML for any other type.

    Args:
        value (`Any`):
            As read from YAML, or `Words`.
        hint (`Any`):
            Type annotation of the key. Only plain types, lists, tuples, mappings and unions are checked.
        where (`str`):
            Name of the key, for errors.

    Returns:
        `Any`: The value.

    Raises:
        SettingTypeError: If the value is not of that type.
        ValueError: If a number is not finite, a path has a zero byte, or `Words` are not YAML.

    Example:

    ```python
    >>> convert("1e-4", float, where="grpo.learning_rate")
    0.0001
    >>> convert("many", int, where="grpo.max_steps")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    SettingTypeError: grpo.max_steps: expected int, got 'many' (str); give a value of that type.

    ```
    """
    origin, arguments = get_origin(hint), get_args(hint)
    is_union = origin in (Union, types.UnionType)
    if isinstance(value, Words) and not is_union:
        # An empty word would be the path of the working directory.
        value = str(value) if _is_literal(hint) and (value or hint is not Path) else value.read(where)
    if is_union:
        # Text comes last: it also takes that of a number. A path does, too.
        for choice in sorted(arguments, key=lambda choice: (choice is str, choice is Path)):
            try:
                return convert(value, choice, where=where)
            except SettingTypeError:
                continue
            except ValueError:
                if str not in arguments:
                    raise
    elif origin is Literal:
        if value in arguments:
            return value
    elif origin in (list, tuple):
        if isinstance(value, (list, tuple)):
            inner = arguments[0] if arguments else Any
            return origin(convert(item, inner, where=where) for item in value)
    elif origin in (dict, Mapping):
        if isinstance(value, Mapping):
            return _finite(value, where)
    elif origin is not None or not isinstance(hint, type) or hint is Any:
        return _finite(value, where)
    elif hint is types.NoneType:
        if value is None:
            return None
    elif hint is Path:
        if isinstance(value, (str, Path)):
            return _path(value, where)
    elif hint is float:
        number = _number(value)
        if number is not None:
            return _finite(number, where)
    elif hint is int:
        number = _number(value)
        if number is not None and number.is_integer():
            return int(number)
    # Of any other class, such as an enumeration, the part that has the key makes its own check.
    elif hint not in (bool, str, list, tuple, dict) or isinstance(value, hint):
        return _finite(value, where)
    expected = hint.__name__ if isinstance(hint, type) else str(hint)
    if isinstance(value, Words):
        value = value.read(where)
    raise SettingTypeError(
        f"{where}: expected {expected}, got {value!r} ({type(value).__name__}); give a value of that type."
    )


def _finite(value: Any, where: str) -> Any:
    """The value, if all of its numbers are finite, however deep they are."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, got {value!r}; give one.")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _finite(inner, f"{where}.{name}")
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _finite(inner, where)
    return value


def _path(value: str | Path, where: str) -> Path:
    """A path that the system takes; `~` is the home of the user."""
    if "\0" in str(value):
        raise ValueError(f"{where}: expected a path, got {str(value)!r} with a zero byte; leave the byte out.")
    return Path(value).expanduser()


def _is_literal(hint: Any) -> bool:
    """Whether a value of the command line stands for itself; YAML would read the `no` of an enumeration as false."""
    return hint in (str, Path) or (isinstance(hint, type) and issubclass(hint, Enum))


def _number(value: Any) -> float | None:
    # In Python `True` is an int, and in YAML 1.1 `1e-4` is text.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(target)
    # A name that is imported for type checkers only fails all at once: each annotation is then read alone.
    except NameError:
        return {name: _hint(text, target) for name, text in inspect.get_annotations(target).items()}


def _hint(text: Any, target: Callable[..., Any]) -> Any:
    if not isinstance(text, str):
        return text
    try:
        # The source text of a module, never of a recipe.
        return eval(text, vars(inspect.getmodule(target)))
    except NameError:  # imported for type checkers only, so no recipe can have such a value
        return Any
