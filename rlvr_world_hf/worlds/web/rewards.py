r"""
How well a page change is predicted: precision, recall and F1 of its items.

A section of the prediction and the same of the reference are compared as sets of lines:

    hits = sum over sections of |predicted & reference|, without elements of which the prediction contradicts itself
    precision = hits / sum of |predicted|,  recall = hits / sum of |reference|
    F1 = 2 * precision * recall / (precision + recall)

Source: RLVR-World, https://huggingface.co/papers/2505.13934, section on web pages, and the authors' code.
"""

from __future__ import annotations

import re
from collections import Counter

from ...rewards.text import TextReward
from ...states.answer import UnreadableAnswerError, find_answer
from .change import PageChange, parse_page_change


UNEQUAL_COST = 10_000
"""What the authors' matching charges for a pair of different lines; equal ones cost nothing."""

NUMBER = re.compile(r"\[\d+\]")

Item = tuple[int, str]
"""Place of a section, and a line in it."""


def page_change_scores(predicted: PageChange, reference: PageChange) -> tuple[float, float, float]:
    """
    Precision, recall and F1 of the items of a page change, pooled over its sections.

    Two lines about one number contradict each other: an element has one name and one value, and is deleted or updated.
    Where a prediction has more lines about a number than the reference, none of them is a hit. New elements are
    numbered apart from those that were there.

    Args:
        predicted (`PageChange`):
            The predicted change.
        reference (`PageChange`):
            The recorded change.

    Returns:
        `tuple[float, float, float]`: precision, recall and F1, in [0, 1]; 1 is perfect. All are 1 if both changes are
        empty, and 0 if only one is.

    Example:

    ```python
    >>> page_change_scores(PageChange(new=("a", "b")), PageChange(new=("b",), deleted=("c",)))
    (0.5, 0.5, 0.5)
    >>> both = ("[2] checkbox 'Milk' checked: True", "[2] checkbox 'Milk' checked: False")
    >>> page_change_scores(PageChange(updated=both), PageChange(updated=both[:1]))
    (0.0, 0.0, 0.0)
    >>> page_change_scores(PageChange(), PageChange())
    (1.0, 1.0, 1.0)

    ```
    """
    if predicted.is_empty and reference.is_empty:
        return 1.0, 1.0, 1.0
    return _scores(predicted, reference, _consistent_hits(predicted, reference))


class PageChangeReward(TextReward):
    r"""
    F1 of the predicted items of a page change: in [0, 1]; 1 is perfect, and an unreadable answer gets 0.

    The prediction is the answer in the completion, and an answer without any section is unreadable. Where nothing
    changes, the recorded text has sections that say `None`, and the answer that says so too gets 1, any other 0.
    A recorded text without any section leaves nothing to measure.

    The authors' code, which `parity=True` computes, differs in five points:

    - The whole completion is read: a line of reasoning that starts like a section opens one.
    - Special tokens stay: glued to the last item, they spoil it; on a line of their own, they are an item.
    - `None` is an item like others, so that it earns credit, and that a forgotten one costs some.
    - A recorded text without any section gives 0.
    - Both values of a checkbox earn 2/3 where one of them is right; here contradictory lines earn nothing.

    Args:
        parity (`bool`, *optional*, defaults to `False`):
            Whether to compute what the authors' code does. The metric's name then ends in `_official`.
        matching_cost (`float`, *optional*, defaults to 0):
            The authors' `p`, 0 in their recipe and 0 without parity: the largest cost at which a pair of lines counts
            as a hit, where equal lines cost 0 and others 10,000. Any but 0 becomes part of the name.
        processes (`int`, *optional*, defaults to 1):
            See [`TextReward`].

    Raises:
        ValueError: if a matching cost is asked for without parity, or `processes` is negative.

    Example:

    ```python
    >>> reference = "New items:\nNone\n\nDeleted items:\n[3] button 'Save'\n\nUpdated items:\n[2] link 'Cart'"
    >>> completions = [f"<think>Saved.</think>{reference}<|im_end|>", "Deleted items:\n[3] button 'Save'", "Nothing."]
    >>> [round(reward, 3) for reward in PageChangeReward()(completions=completions, ground_truth=[reference] * 3)]
    [1.0, 0.667, 0.0]

    ```
    """

    name, higher_is_better, best, floor, columns = "page_change_f1", True, 1.0, 0.0, ("ground_truth",)

    def __init__(self, *, parity: bool = False, matching_cost: float = 0.0, processes: int = 1) -> None:
        if matching_cost and not parity:
            raise ValueError(f"Expected `matching_cost` to be 0 without `parity=True`, got {matching_cost}.")
        super().__init__(processes=processes)
        if parity:
            self.name = f"{self.name}_official" + (f"_{matching_cost:g}" if matching_cost else "")
        self.parity = parity
        self.matching_cost = matching_cost

    def measure(self, completion: str, *, ground_truth: str) -> float | None:
        """See [`TextReward.measure`]."""
        predicted = parse_page_change(completion if self.parity else find_answer(completion), none_is_item=self.parity)
        try:
            reference = parse_page_change(ground_truth, none_is_item=self.parity)
        except UnreadableAnswerError:
            return 0.0 if self.parity else None
        if self.parity:
            pairs = zip(predicted.sections, reference.sections, strict=True)
            return _scores(predicted, reference, sum(self._matched(set(x), set(y)) for x, y in pairs))[-1]
        return page_change_scores(predicted, reference)[-1]

    def _matched(self, predicted: set[str], reference: set[str]) -> int:
        """Pairs of the cheapest matching that cost no more than is allowed."""
        # Costs are 0 or 10,000 alone, so the cheapest matching is known without a solver.
        if self.matching_cost < 0:
            return 0
        if self.matching_cost >= UNEQUAL_COST:
            return min(len(predicted), len(reference))
        return len(predicted & reference)


def _consistent_hits(predicted: PageChange, reference: PageChange) -> int:
    said, recorded = _items(predicted), _items(reference)
    lines_said, lines_recorded = Counter(map(_element, said)), Counter(map(_element, recorded))
    return sum(lines_said[_element(item)] <= lines_recorded[_element(item)] for item in said & recorded)


def _items(change: PageChange) -> set[Item]:
    return {(place, line) for place, lines in enumerate(change.sections) for line in lines}


def _element(item: Item) -> Item:
    """What a line is about: the number of a new element or of one that was there; without a number, itself."""
    place, line = item
    number = NUMBER.match(line)
    return (min(place, 1), number[0]) if number else item


def _scores(predicted: PageChange, reference: PageChange, hits: int) -> tuple[float, float, float]:
    if not hits:
        return 0.0, 0.0, 0.0
    precision, recall = hits / len(_items(predicted)), hits / len(_items(reference))
    return precision, recall, 2 * precision * recall / (precision + recall)
