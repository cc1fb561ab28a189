"""Values that a visitor gives, read or refused in a sentence: what was expected, what was given, and what to do."""

import math
from numbers import Real
from reprlib import Repr
from typing import Any


SHORT = Repr()
"""How a value is shown in a sentence, however long it is."""

SHORT.maxlevel, SHORT.maxlist, SHORT.maxtuple, SHORT.maxdict = 2, 4, 4, 2
SHORT.maxstring, SHORT.maxlong, SHORT.maxother = 60, 40, 60


def read_whole(name: str, value: Any, *, least: int, most: int) -> int:
    """
    A whole number in a range.

    Args:
        name (`str`):
            What the sentence calls it.
        value (`Any`):
            What was given; `2.0` is a whole number, `"2"` and `True` are none.
        least (`int`):
            Least number that is allowed.
        most (`int`):
            Greatest number that is allowed.

    Returns:
        `int`: the number.

    Raises:
        ValueError: If it is none, or out of range.

    Example:

    ```python
    >>> read_whole("samples", 2.0, least=1, most=4)
    2
    >>> read_whole("samples", 2.5, least=1, most=4)
    Traceback (most recent call last):
    ...
    ValueError: Expected the samples to be a whole number from 1 to 4, got 2.5; give one in this range.

    ```
    """
    # Compared before it is rounded: NaN, infinity and whole numbers of any length can be.
    if _is_number(value) and least <= value <= most and value == math.floor(value):
        return int(value)
    raise ValueError(
        f"Expected the {name} to be a whole number from {least} to {most}, got {SHORT.repr(value)}; give one in this "
        "range."
    )


def read_number(name: str, value: Any, *, least: float, most: float) -> float:
    """
    A number in a range.

    Args:
        name (`str`):
            What the sentence calls it.
        value (`Any`):
            What was given.
        least (`float`):
            Least number that is allowed.
        most (`float`):
            Greatest number that is allowed.

    Returns:
        `float`: the number.

    Raises:
        ValueError: If it is none, NaN, or out of range.

    Example:

    ```python
    >>> read_number("temperature", float("nan"), least=0, most=2)
    Traceback (most recent call last):
    ...
    ValueError: Expected the temperature to be a number from 0 to 2, got nan; give one in this range.

    ```
    """
    if _is_number(value) and least <= value <= most:
        return float(value)
    raise ValueError(
        f"Expected the {name} to be a number from {least:g} to {most:g}, got {SHORT.repr(value)}; give one in this "
        "range."
    )


def read_text(name: str, value: Any, *, most: int) -> str:
    """
    A text of some length; blanks around it are left out.

    Args:
        name (`str`):
            What the sentence calls it.
        value (`Any`):
            What was given.
        most (`int`):
            Most characters that are allowed.

    Returns:
        `str`: the text, of at least one character.

    Raises:
        ValueError: If it is none, empty, too long, or has halves of surrogate pairs, which are no characters.

    Example:

    ```python
    >>> read_text("action", " open box ", most=120)
    'open box'
    >>> read_text("action", None, most=120)
    Traceback (most recent call last):
    ...
    ValueError: Expected the action to be a text of 1 to 120 characters, got None; type one.

    ```
    """
    if isinstance(value, str) and 0 < len(text := value.strip()) <= most and is_unicode(text):
        return text
    length = f" of {len(value)} characters" if isinstance(value, str) else ""
    raise ValueError(
        f"Expected the {name} to be a text of 1 to {most} characters, got {SHORT.repr(value)}{length}; type one."
    )


def is_unicode(text: str) -> bool:
    """
    Whether a text can be written as UTF-8: JSON may hold halves of surrogate pairs, at which tokenizers stop.

    Args:
        text (`str`):
            The text.

    Returns:
        `bool`: False if it holds such a half.
    """
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
