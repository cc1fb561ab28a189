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
    # Words with the space after them, so that lines stay lines.
    old, new = (re.findall(r"\S+\s*|\s+", _escaped(text)) for text in (reference, predicted))
    marked = []
    for kind, first, last, start, stop in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if kind == "equal":
            marked.append("".join(new[start:stop]))
        else:
            marked += [_wrapped("".join(old[first:last]), "~~"), _wrapped("".join(new[start:stop]), "**")]
    return "".join(marked).strip()


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_~<])", r"\\\1", text)


def _wrapped(text: str, mark: str) -> str:
    """Each line of a text between two marks, with a space after it; nothing where there is nothing."""
    lines = ("" if not line.strip() else f"{mark}{line.strip()}{mark}" for line in text.split("\n"))
    wrapped = "\n".join(lines)
    return wrapped + " " if wrapped.strip() and not wrapped.endswith("\n") else wrapped
