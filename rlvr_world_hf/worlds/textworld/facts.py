"""
States that are sets of facts, such as `in(apple, fridge)`, and what an action changes in them.

A fact is written in one form only, lower case with single spaces, so facts are equal where their texts are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...states.answer import UnreadableAnswerError


FACT = re.compile(r"([\w/-]+)\(([^(),]+(?:,[^(),]+)*)\)")
"""A predicate and the names that it is true of."""

NO_CHANGE = "nothing changes"
"""The text of a change that adds and removes nothing."""


def canonical_fact(text: str) -> str:
    """
    A fact in its one form.

    Args:
        text (`str`):
            A predicate and names in brackets, in any case and spacing.

    Returns:
        `str`: in lower case, one space after each comma and within names.

    Raises:
        UnreadableAnswerError: if it is no fact.

    Example:

    ```python
    >>> canonical_fact("In(loaf  of bread,Fridge )")
    'in(loaf of bread, fridge)'

    ```
    """
    match = FACT.fullmatch(text.strip().lower())
    names = [" ".join(name.split()) for name in match[2].split(",")] if match else []
    if not match or not all(names):
        raise UnreadableAnswerError(f"Expected a fact such as 'in(apple, fridge)', got {text!r:.80}.")
    return f"{match[1]}({', '.join(names)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactChange:
    r"""
    The facts that one action adds and removes.

    `str` of it has a line `- fact` for each fact that ends and a line `+ fact` for each that begins, in alphabetical
    order; or the one line `nothing changes`.

    Raises:
        ValueError: If a fact is both added and removed.

    Example:

    ```python
    >>> change = FactChange.parse("+ held(apple)\n- in(apple, fridge)")
    >>> sorted(change.added), sorted(change.removed)
    (['held(apple)'], ['in(apple, fridge)'])
    >>> str(FactChange(added=frozenset(), removed=frozenset()))
    'nothing changes'

    ```
    """

    added: frozenset[str]
    """Facts that hold afterwards and did not before, in their one form."""

    removed: frozenset[str]
    """Facts that held before and do not afterwards."""

    def __post_init__(self) -> None:
        if both := self.added & self.removed:
            raise ValueError(f"Expected each fact to be added or removed, got both for {min(both)!r}.")

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    def __str__(self) -> str:
        lines = [f"- {fact}" for fact in sorted(self.removed)] + [f"+ {fact}" for fact in sorted(self.added)]
        return "\n".join(lines) or NO_CHANGE

    @property
    def signed_facts(self) -> frozenset[str]:
        """Each changed fact with its sign, as its line says it."""
        return frozenset({f"- {fact}" for fact in self.removed} | {f"+ {fact}" for fact in self.added})

    @classmethod
    def parse(cls, text: str) -> FactChange:
        """
        Read a change; the order of its lines, repeated and empty ones do not matter.

        Args:
            text (`str`):
                Lines `+ fact` and `- fact`, or the line `nothing changes`.

        Returns:
            `FactChange`: what it says.

        Raises:
            UnreadableAnswerError: if there is no line, a line is of neither kind, a fact is both added and removed, or
                `nothing changes` stands beside another line.
        """
        lines = {" ".join(line.lower().split()) for line in text.splitlines()} - {""}
        if lines == {NO_CHANGE}:
            return cls(added=frozenset(), removed=frozenset())
        if not lines or not all(line[0] in "+-" for line in lines):
            raise UnreadableAnswerError(
                f"Expected lines '+ fact' and '- fact', or only {NO_CHANGE!r}, got {text!r:.80}."
            )
        added, removed = (frozenset(canonical_fact(line[1:]) for line in lines if line[0] == sign) for sign in "+-")
        # Before `__post_init__` sees it, whose ValueError is a bug's and not that of an unreadable answer.
        if both := added & removed:
            raise UnreadableAnswerError(f"Expected each fact to be added or removed, got both for {min(both)!r}.")
        return cls(added=added, removed=removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactState:
    r"""
    A state as the set of the facts that hold; two are equal where the same facts hold.

    `str` of it is one fact a line, in alphabetical order.

    Example:

    ```python
    >>> state = FactState.parse("at(player, kitchen)\nclosed(fridge)")
    >>> opened = state.apply(FactChange.parse("- closed(fridge)\n+ open(fridge)"))
    >>> print(state.difference(opened))
    - closed(fridge)
    + open(fridge)

    ```
    """

    facts: frozenset[str]
    """The facts that hold, in their one form."""

    def __str__(self) -> str:
        return "\n".join(sorted(self.facts))

    @classmethod
    def parse(cls, text: str) -> FactState:
        """
        Read a state.

        Args:
            text (`str`):
                One fact a line, in any order.

        Returns:
            `FactState`: the state.

        Raises:
            UnreadableAnswerError: if a line is no fact.
        """
        return cls(facts=frozenset(canonical_fact(line) for line in text.splitlines() if line.strip()))

    def difference(self, following: FactState) -> FactChange:
        """
        What changes from this state to another.

        Args:
            following (`FactState`):
                The state afterwards.

        Returns:
            `FactChange`: the change that [`~FactState.apply`] turns into that state.
        """
        return FactChange(added=following.facts - self.facts, removed=self.facts - following.facts)

    def apply(self, change: FactChange) -> FactState:
        """
        The state after a change.

        Args:
            change (`FactChange`):
                What it adds although it holds, or removes although it does not, makes no difference.

        Returns:
            `FactState`: the state afterwards.
        """
        return FactState(facts=(self.facts - change.removed) | change.added)
