"""Where a predicted text differs from the reference, marked in Markdown."""

import difflib
import re


def mark_differences(predicted: str, reference: str) -> str:
    """
    A predicted text with what is too much in bold, and what is missing struck through.

    Args:
        predicted (`str`):
            What a model wrote.
        reference (`str`):
            What it should have written.

    Returns:
        `str`: Markdown; what would be marks in the texts has a backslash before it.

    Example:

    ```python
    >>> mark_differences("the box is open", "the old box is shut")
    'the ~~old~~ box is ~~shut~~ **open**'

    ```
    """
    old, new = (re.findall(r"\S+|\n", _escaped(text)) for text in (reference, predicted))
    marked: list[str] = []
    for kind, first, last, start, stop in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if kind == "equal":
            marked += new[start:stop]
        else:
            marked += [_wrapped(old[first:last], "~~"), _wrapped(new[start:stop], "**")]
    return re.sub(r" ?\n ?", "\n", " ".join(filter(None, marked))).strip()


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_~<])", r"\\\1", text)


def _wrapped(words: list[str], mark: str) -> str:
    """The words of each line between two marks."""
    lines = (line.strip() for line in " ".join(words).split("\n"))
    return "\n".join(line and f"{mark}{line}{mark}" for line in lines)
