"""
Why a command changes a state or does not: the facts that it needs, in turn, up to the first one that does not hold.

A reason has a line for each fact that the command needs: `yes fact` where it holds in the state, `no fact` where it
does not, after which nothing more is said. A command changes something if, and only if, no line says no; commands that
only look need nothing and have the one line `it only looks`. So every reason can be checked against the prompt:

    at(player, attic)                 > insert spoon into bureau
    at(bureau, attic)                 yes at(player, attic)
    closed(bureau)                    yes held(spoon)
    held(spoon)                       yes at(bureau, attic)
                                      no open(bureau)

A name that no fact tells, such as where a way that is not there would lead, is `?`. The rules are those of TextWorld
(https://huggingface.co/papers/1806.11532) for the kinds of things that its games have here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...states.answer import UnreadableAnswerError
from .facts import FactState, canonical_fact


LOOKING = ("look", "inventory", "examine")
"""Verbs that never change anything."""

ONLY_LOOKS = "it only looks"
"""The reason of a command that only looks."""

UNKNOWN = "?"
"""Stands for a name that no fact tells."""

SIGNS = {"yes": True, "no": False}
"""How a line begins whose fact holds, and one whose fact does not."""

COMMAND = re.compile(
    r"(go) (north|south|east|west)|(unlock|lock) (.+) with (.+)|(insert) (.+) into (.+)|(put) (.+) on (.+)|"
    r"(take) (.+) from (.+)|(take|drop|eat|open|close) (.+)"
)
"""Commands that may change something: a verb, and what it is about."""

WAYS = {"north": ("north_of", 1), "south": ("north_of", 0), "west": ("west_of", 1), "east": ("west_of", 0)}
"""The predicate of the way in each direction, and which of its two rooms one leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    r"""
    The facts that a command needs, as far as they were looked at.

    Example:

    ```python
    >>> reason = Reason.parse("yes at(player, attic)\nno held(spoon)")
    >>> reason.allows, str(reason)
    (False, 'yes at(player, attic)\nno held(spoon)')

    ```
    """

    needs: tuple[tuple[bool, str], ...]
    """Whether each needed fact holds, and the fact in its one form; none of a command that only looks."""

    @property
    def allows(self) -> bool:
        """Whether the command changes something."""
        return bool(self.needs) and all(holds for holds, _ in self.needs)

    def __str__(self) -> str:
        words = {holds: word for word, holds in SIGNS.items()}
        return "\n".join(f"{words[holds]} {fact}" for holds, fact in self.needs) or ONLY_LOOKS

    @classmethod
    def parse(cls, text: str) -> Reason:
        """
        Read a reason.

        Args:
            text (`str`):
                Lines `yes fact` and `no fact`, or the line `it only looks`.

        Returns:
            `Reason`: what it says.

        Raises:
            UnreadableAnswerError: if there is no line, or one is of neither kind.
        """
        lines = [" ".join(line.lower().split()) for line in text.splitlines() if line.strip()]
        if lines == [ONLY_LOOKS]:
            return cls(needs=())
        parted = [line.partition(" ") for line in lines]
        if not parted or not all(sign in SIGNS for sign, _, _ in parted):
            raise UnreadableAnswerError(
                f"Expected lines 'yes fact' and 'no fact', or only {ONLY_LOOKS!r}, got {text!r:.80}."
            )
        return cls(needs=tuple((SIGNS[sign], canonical_fact(fact)) for sign, _, fact in parted))


def explain(state: FactState, action: str) -> Reason:
    r"""
    Why a command changes a state or does not.

    Args:
        state (`FactState`):
            The state.
        action (`str`):
            A command, in the spelling of TextWorld; in any case.

    Returns:
        `Reason`: the facts that it needs, up to the first that does not hold.

    Raises:
        ValueError: If it is no command of these games.

    Example:

    ```python
    >>> state = FactState.parse("at(player, attic)\nnorth_of(yard, attic, hatch)\nclosed(hatch)")
    >>> print(explain(state, "go north"))
    yes at(player, attic)
    yes north_of(yard, attic, hatch)
    no open(hatch)
    >>> print(explain(state, "open hatch"), explain(state, "look"), sep="\n")
    yes at(player, attic)
    yes north_of(yard, attic, hatch)
    yes closed(hatch)
    it only looks

    ```
    """
    command = " ".join(action.lower().split())
    if command.partition(" ")[0] in LOOKING:
        return Reason(needs=())
    match = COMMAND.fullmatch(command)
    if match is None:
        raise ValueError(
            f"Expected a command of these games, such as 'open hatch' or 'take key from box', got {action!r}."
        )
    verb, *things = filter(None, match.groups())
    needs: list[tuple[bool, str]] = []
    for fact in _needed(state, verb, things):
        needs.append((fact in state.facts, fact))
        if fact not in state.facts:
            break
    return Reason(needs=tuple(needs))


def write_reason(state: str, action: str) -> str:
    """
    Why a command changes a state or does not, as a model is to write it before its answer.

    Args:
        state (`str`):
            The state, one fact a line.
        action (`str`):
            The command.

    Returns:
        `str`: The lines of the [`Reason`].
    """
    return str(explain(FactState.parse(state), action))


def _needed(state: FactState, verb: str, things: list[str]) -> Iterator[str]:
    """The facts that a command needs, in the order in which a reason names them."""
    room = _find(state, "at", {0: "player"}).removesuffix(")").partition(", ")[2]
    yield f"at(player, {room})"
    first, second = (*things, "")[:2]
    if verb == "go":
        predicate, place = WAYS[first]
        way = _find(state, predicate, {place: room})
        yield way
        doors = _names(way)[2:]
        yield from (f"open({door})" for door in doors)
    elif verb in ("open", "close", "lock", "unlock"):
        yield _reach(state, first, room)
        if second:
            yield f"held({second})"
            yield f"match({second}, {first})"
        before = {"open": "closed", "close": "open", "lock": "closed", "unlock": "locked"}[verb]
        yield f"{before}({first})"
    elif verb == "take" and second:
        yield f"at({second}, {room})"
        if _has_lid(state, second):
            yield f"open({second})"
            yield f"in({first}, {second})"
        else:
            yield f"on({first}, {second})"
    elif verb == "take":
        yield f"at({first}, {room})"
    else:  # to drop, eat, insert or put something
        yield f"held({first})"
        if verb == "eat":
            yield f"edible({first})"
        if second:
            yield f"at({second}, {room})"
        if verb == "insert":
            yield f"open({second})"


def _reach(state: FactState, thing: str, room: str) -> str:
    """That a thing is here: in the room, or a door of it."""
    ways = (_find(state, predicate, {place: room, 2: thing}) for predicate, place in WAYS.values())
    return next((way for way in ways if way in state.facts), f"at({thing}, {room})")


def _has_lid(state: FactState, thing: str) -> bool:
    return any(f"{lid}({thing})" in state.facts for lid in ("open", "closed", "locked"))


def _find(state: FactState, predicate: str, known: dict[int, str]) -> str:
    """The fact of a predicate with these names at their places; else one of two unknown names but for these."""
    for fact in sorted(state.facts):
        names = _names(fact)
        is_of_it = fact.startswith(f"{predicate}(") and len(names) > max(known)
        if is_of_it and all(names[place] == name for place, name in known.items()):
            return fact
    return f"{predicate}({', '.join(known.get(place, UNKNOWN) for place in range(2))})"


def _names(fact: str) -> list[str]:
    return fact.rstrip(")").partition("(")[2].split(", ")
