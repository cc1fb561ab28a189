"""Finds the answer in a completion of a language model, which may begin with reasoning."""

from __future__ import annotations

import re
from collections.abc import Sequence


MARKERS = ("The final answer is:", "the final answer is:", "The final state is:", "the final state is:",
           "The final game state is:", "the final game state is:")  # fmt: skip
"""Phrases before an answer. The first one of this list that occurs in a text counts, as in the authors' code."""

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
    marker = next((known for known in markers if known in text), "</think>")
    return text.rpartition(marker)[2].strip()
