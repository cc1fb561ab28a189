"""Finds the answer in a completion of a language model, which may begin with reasoning."""

from __future__ import annotations

import re
from collections.abc import Sequence


MARKERS = ("The final answer is:", "the final answer is:", "The final state is:", "the final state is:",
           "The final game state is:", "the final game state is:")  # fmt: skip
"""Phrases before an answer. The first one of this list that occurs in a text counts, as in the authors' code."""

REASON_BEGINS, REASON_ENDS = "<think>", "</think>"
"""What stands before and after the reasoning of a completion."""

SPECIAL_TOKEN = re.compile(r"<[|｜][^<>|｜\s]{1,64}[|｜]>|</?s>|<(?:pad|bos|eos|unk)>")
"""How tokenizers write their special tokens, such as `<|im_end|>`, `<｜end▁of▁sentence｜>` and `</s>`."""


class UnreadableAnswerError(ValueError):
    """A prediction that its world cannot read. It is data, not a bug: it gets the reward's floor and is counted."""


def find_answer(completion: str, markers: Sequence[str] = MARKERS) -> str:
    """
    The answer in a completion: what follows the last occurrence of a marker, without special tokens.

    Args:
        completion (`str`):
            What the model wrote.
        markers (`Sequence[str]`, *optional*, defaults to `MARKERS`):
            Phrases before the answer; the first one that occurs in the completion counts. If none does, the answer is
            the whole completion without the reasoning up to `</think>`.

    Returns:
        `str`: stripped; empty if nothing follows the marker.

    Example:

    ```python
    >>> find_answer("The cup falls. The final answer is: {'removed': [3]}<|im_end|>")
    "{'removed': [3]}"
    >>> find_answer("<think>it opens</think>door open")
    'door open'

    ```
    """
    text = SPECIAL_TOKEN.sub("", completion)
    marker = next((known for known in markers if known in text), REASON_ENDS)
    return text.rpartition(marker)[2].strip()


def find_reason(completion: str) -> str | None:
    """
    The reasoning in a completion: what stands before the last `</think>`, and after `<think>` if that is there.

    Args:
        completion (`str`):
            What the model wrote.

    Returns:
        `str` or `None`: stripped; `None` if there is no `</think>`.

    Example:

    ```python
    >>> find_reason("<think>it opens</think>door open"), find_reason("door open")
    ('it opens', None)

    ```
    """
    before, end, _ = SPECIAL_TOKEN.sub("", completion).rpartition(REASON_ENDS)
    return before.rpartition(REASON_BEGINS)[2].strip() if end else None


def with_reason(reason: str, answer: str) -> str:
    r"""
    An answer with its reason before it, as [`find_reason`] and [`find_answer`] read them.

    Args:
        reason (`str`):
            Lines; none for an empty reason.
        answer (`str`):
            The answer; if it is empty, it is to follow.

    Returns:
        `str`: the completion.

    Example:

    ```python
    >>> with_reason("yes closed(door)", "+ open(door)")
    '<think>\nyes closed(door)\n</think>\n+ open(door)'

    ```
    """
    return "\n".join([REASON_BEGINS, *reason.splitlines(), REASON_ENDS, answer])
