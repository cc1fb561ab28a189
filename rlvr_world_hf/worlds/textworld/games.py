"""
Transitions of TextWorld: generated text games of rooms, doors, containers, keys and food.

TextWorld (https://huggingface.co/papers/1806.11532) generates a game from a seed and knows its true state as logical
facts. Games are played by its own logic (`.json` games), which needs neither Inform 7 nor a Z-machine; the commands
chosen here are those on which it agrees with the compiled game.

The recorded facts say the same as TextWorld's in fewer words (see [`describe`]): a connection of two rooms and its
door are one fact, and which ways are free follows from it and from `open(door)`.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.recording import record_episodes
from ...data.transition import Transition
from .facts import NO_CHANGE, FactChange, FactState, canonical_fact
from .reasons import LOOKING
from .reasons import write_reason as write_reason  # a recipe's world is asked for it


if TYPE_CHECKING:
    from textworld.generator.game import Game

CARD = {
    "world": "TextWorld games",
    "data": "Games that [TextWorld](https://github.com/microsoft/TextWorld) (MIT) generates, played at random; those "
    "of the test split are in no other.",
}
"""What a model card says of the world."""

PROMPT_TEMPLATE = "{state}\n> {action}\n"
"""The prompt: the facts, one a line, and the command."""

SILENCED = dict.fromkeys(("UnsupportedGameWarning", "TruncatedInputActionWarning"), type("NoWarning", (Warning,), {}))
"""Warnings of jericho that TextWorld silences when it is imported; none of ours is among them."""

NAMED_KINDS = ("c", "d", "f", "k", "o", "r", "s")
"""Containers, doors, food, keys, other things, rooms and supporters, as TextWorld calls them."""

PATIENCE = 100
"""Commands in a row without a new transition, after which a small game is given up as exhausted."""


def describe(facts: Iterable[Any]) -> FactState:
    """
    TextWorld's facts in few words, without loss.

    `at(player, r)` and `held(o)` replace `at(P, r)` and `in(o, I)`; `north_of(r, r')` and `west_of(r, r')` stand once
    for each connection and name its door, if it has one; `free` and `link` follow from them. `edible(f)` stands for
    every food, which is TextWorld's own rule for what can be eaten.

    Args:
        facts (`Iterable[textworld.logic.Proposition]`):
            The facts with the names of things, as TextWorld's `EnvInfos(facts=True)` gives them.

    Returns:
        `FactState`: the same state.

    Example:

    ```python
    >>> logic = import_textworld().logic
    >>> Proposition, Variable = logic.Proposition, logic.Variable
    >>> player, kitchen, apple = Variable("P"), Variable("kitchen", "r"), Variable("apple", "f")
    >>> print(describe([Proposition("at", [player, kitchen]), Proposition("in", [apple, Variable("I")])]))
    at(player, kitchen)
    edible(apple)
    held(apple)

    ```
    """
    facts = list(facts)
    doors = {(fact.names[0], fact.names[2]): fact.names[1] for fact in facts if fact.name == "link"}
    written = {f"edible({thing.name})" for fact in facts for thing in fact.arguments if thing.type == "f"}
    for fact in facts:
        names = list(fact.names)
        if fact.name in ("north_of", "west_of"):
            door = doors.get((names[0], names[1]))
            written.add(f"{fact.name}({', '.join(names + [door] * (door is not None))})")
        elif fact.name == "in" and names[1] == "I":
            written.add(f"held({names[0]})")
        elif fact.name == "at" and names[0] == "P":
            written.add(f"at(player, {names[1]})")
        elif fact.name not in ("east_of", "edible", "free", "link", "south_of"):
            written.add(f"{fact.name}({', '.join(names)})")
    return FactState(facts=frozenset(canonical_fact(fact) for fact in written))


def import_textworld() -> Any:
    """
    TextWorld's package. On its way it imports jericho, a Z-machine that games in `.json` have no use for and that is
    compiled when it is installed; where that is missing, an all but empty module stands in.

    Returns:
        `ModuleType`: `textworld`.

    Raises:
        ImportError: If TextWorld is not installed.
    """
    if "jericho" not in sys.modules and find_spec("jericho") is None:
        sys.modules["jericho"] = ModuleType("jericho")
        sys.modules["jericho"].__dict__.update(SILENCED)
    try:
        import textworld
        import textworld.generator
    except ImportError as error:
        raise ImportError("TextWorld is missing: install it with `pip install 'rlvr-world-hf[textworld]'`.") from error
    return textworld


def make_game(seed: int, *, rooms: int, objects: int, quest_length: int) -> Game:
    """
    Generate a game.

    Args:
        seed (`int`):
            Decides the map, the things, the quest and the names.
        rooms (`int`):
            Number of rooms.
        objects (`int`):
            Number of things, containers and supporters included; more where the quest needs more.
        quest_length (`int`):
            Number of commands that solve it.

    Returns:
        `textworld.generator.game.Game`: The game.

    Raises:
        ImportError: If TextWorld is not installed.
    """
    textworld = import_textworld()
    options = textworld.GameOptions()
    options.seeds = seed
    options.nb_rooms, options.nb_objects, options.quest_length = rooms, objects, quest_length
    return textworld.generator.make_game(options)


class Playthrough:
    """
    A game in play: its state, and the commands that would change it or would not.

    Args:
        game (`textworld.generator.game.Game`):
            The game.
        restarts (`bool`, *optional*, defaults to `True`):
            Whether a game that is won or lost starts anew, to be recorded further. An attempt has one chance: it stays
            at its end, and no command changes anything.
    """

    def __init__(self, game: Game, *, restarts: bool = True) -> None:
        self.restarts = restarts
        self.is_over = False
        textworld = import_textworld()
        asked = textworld.EnvInfos(
            facts=True, admissible_commands=True, policy_commands=True, possible_admissible_commands=True
        )
        # TextWorld starts a game from a file alone, and has read it once the game is started.
        with TemporaryDirectory(prefix="textworld_") as folder:
            path = Path(folder) / "game.json"
            game.save(str(path))
            self.world = textworld.start(str(path), asked)
        self._restart()

    @property
    def state(self) -> FactState:
        """The present state."""
        return describe(self._infos["facts"])

    @property
    def walkthrough(self) -> list[str]:
        """Commands that solve the game from here; none if it cannot be solved any more."""
        return list(self._infos["policy_commands"])

    @property
    def changing_actions(self) -> list[str]:
        """The commands that would change the state; none in a game that is over."""
        if self.is_over:
            return []
        return [command for command in self._infos["admissible_commands"] if _verb(command) not in LOOKING]

    @property
    def possible(self) -> list[str]:
        """All commands that some state of this game admits, in alphabetical order; most change nothing now."""
        return sorted(self._infos["possible_admissible_commands"])

    @property
    def no_op_actions(self) -> list[str]:
        """
        Commands that change nothing: looking, and what is not possible now, such as opening what is open.

        `take apple` is left out where the apple lies in or on something: compiled games forgive its missing `from`.
        """
        admissible, facts = set(self._infos["admissible_commands"]), self._infos["facts"]
        looking = {command for command in admissible if _verb(command) in LOOKING}
        impossible = {c for c in self._infos["possible_admissible_commands"] if _verb(c) not in LOOKING} - admissible
        inedible = {f"eat {thing.name}" for fact in facts for thing in fact.arguments if thing.type in ("k", "o")}
        stored = {f"take {fact.names[0]}" for fact in facts if fact.name in ("in", "on") and fact.names[1] != "I"}
        return sorted((looking | impossible | inedible) - stored)

    def play(self, command: str) -> FactState:
        """
        Give a command, in TextWorld's spelling, and return the state it leads to. A game that ends starts anew, if it
        `restarts`.

        Raises:
            ValueError: If the game is over.
        """
        if self.is_over:
            raise ValueError(f"Expected no command after the end of the game, got {command!r}; start a new one.")
        self._infos, _, self.is_over = self.world.step(command)
        # Before the restart: the command that wins has an effect of its own.
        following = self.state
        if self.is_over and self.restarts:
            self._restart()
        return following

    def _restart(self) -> None:
        self._infos = self.world.reset()
        self.is_over = False


def collect_game(
    seed: int,
    *,
    length: int = 40,
    rooms: tuple[int, int] = (1, 4),
    objects: tuple[int, int] = (3, 8),
    quest_length: tuple[int, int] = (2, 5),
    unchanged: float = 0.3,
    walkthrough: float = 0.3,
) -> list[Transition]:
    """
    Record different transitions of one game, each (state, command) once; see [`collect_transitions`].

    Args:
        seed (`int`):
            Decides the game and how it is played; the same seed gives the same transitions.
        length (`int`, *optional*, defaults to 40):
            Most transitions.
        rooms (`tuple[int, int]`, *optional*, defaults to `(1, 4)`):
            Fewest and most rooms.
        objects (`tuple[int, int]`, *optional*, defaults to `(3, 8)`):
            Fewest and most things.
        quest_length (`tuple[int, int]`, *optional*, defaults to `(2, 5)`):
            Shortest and longest quest.
        unchanged (`float`, *optional*, defaults to 0.3):
            Share of commands that change nothing.
        walkthrough (`float`, *optional*, defaults to 0.3):
            Share of the others that follow the way to the game's end.

    Returns:
        `list[Transition]`: At most `length` transitions.

    Raises:
        ValueError: If a share is not in [0, 1].
    """
    for name, share in {"unchanged": unchanged, "walkthrough": walkthrough}.items():
        if not 0 <= share <= 1:
            raise ValueError(f"Expected `{name}` to be in [0, 1], got {share}.")
    rng = np.random.default_rng([seed, 1])
    size = {"rooms": rooms, "objects": objects, "quest_length": quest_length}
    drawn = {name: int(rng.integers(least, most + 1)) for name, (least, most) in size.items()}
    game = Playthrough(make_game(seed, **drawn))
    recorded: dict[tuple[FactState, str], Transition] = {}
    changes_nothing = rng.random() < unchanged
    last_new = played = 0
    while len(recorded) < length and played - last_new < PATIENCE:
        state = game.state
        no_ops = game.no_op_actions if changes_nothing else []
        fresh = [command for command in no_ops if (state, command) not in recorded]
        follows_quest = not fresh and game.walkthrough and rng.random() < walkthrough
        others = fresh or game.changing_actions or game.no_op_actions
        command = game.walkthrough[0] if follows_quest else _draw(rng, others)
        following = game.play(command)
        played += 1
        if (state, command) not in recorded:
            transition_id = f"textworld-{seed}-{len(recorded)}"
            # Facts are in lower case, so the recorded command is, too; the game wants its own spelling.
            recorded[state, command] = _transition(transition_id, state, command.lower(), following)
            # Not at each command: those that change something come again unrecorded, and their share would fall.
            changes_nothing = rng.random() < unchanged
            last_new = played
    return list(recorded.values())


def collect_transitions(
    seeds: list[int],
    *,
    length: int = 40,
    rooms: tuple[int, int] = (1, 4),
    objects: tuple[int, int] = (3, 8),
    quest_length: tuple[int, int] = (2, 5),
    unchanged: float = 0.3,
    walkthrough: float = 0.3,
    processes: int = 2,
) -> Iterator[Transition]:
    r"""
    Generate and play one game for each seed, in order.

    A command is drawn by its verb first, so that a rare verb is drawn as often as any other. A command that was
    recorded in the same state before is played, to go on, but not recorded again. A game that is won starts anew.

    Args:
        seeds (`list[int]`):
            One a game.
        length (`int`, *optional*, defaults to 40):
            Transitions of a game; fewer where a small game has no more.
        rooms (`tuple[int, int]`, *optional*, defaults to `(1, 4)`):
            Fewest and most rooms of a game.
        objects (`tuple[int, int]`, *optional*, defaults to `(3, 8)`):
            Fewest and most things of a game; a quest may need more.
        quest_length (`tuple[int, int]`, *optional*, defaults to `(2, 5)`):
            Fewest and most commands that solve a game.
        unchanged (`float`, *optional*, defaults to 0.3):
            Share of transitions that change nothing: looking, going where no way leads, opening what is open. The
            paper's 100 changed to 40 unchanged are 0.286.
        walkthrough (`float`, *optional*, defaults to 0.3):
            Share of the other commands that follow the way to the game's end; the rest are random.
        processes (`int`, *optional*, defaults to 2):
            Processes that share the work. The transitions do not depend on it.

    Returns:
        `Iterator[Transition]`: States as `str` of a [`~rlvr_world_hf.worlds.textworld.facts.FactState`]; answers, and
        what they are compared with, as `str` of a [`~rlvr_world_hf.worlds.textworld.facts.FactChange`]. Their group is
        the verb.

    Raises:
        ImportError: If TextWorld is not installed.
        ValueError: If a share is not in [0, 1].

    Example:

    ```python
    >>> small = {"rooms": (2, 2), "objects": (2, 2), "quest_length": (1, 1)}
    >>> transition = next(collect_transitions([5], unchanged=0.0, processes=1, **small))
    >>> print(transition.prompt + transition.answer)
    at(bureau, study)
    at(player, study)
    held(spoon)
    open(bureau)
    west_of(kitchenette, study)
    > insert spoon into bureau
    - held(spoon)
    + in(spoon, bureau)

    ```
    """
    record = partial(
        collect_game,
        length=length,
        rooms=rooms,
        objects=objects,
        quest_length=quest_length,
        unchanged=unchanged,
        walkthrough=walkthrough,
    )
    return chain.from_iterable(record_episodes(record, seeds, processes=processes))


def _transition(transition_id: str, state: FactState, action: str, following: FactState) -> Transition:
    change = state.difference(following)
    return Transition(
        transition_id=transition_id,
        group=_verb(action),
        prompt=PROMPT_TEMPLATE.format(state=state, action=action),
        answer=str(change),
        state=str(state),
        action=action,
        next_state=str(change),
        is_changed=bool(change),
    )


def _verb(command: str) -> str:
    return command.split()[0]


def _draw(rng: np.random.Generator, commands: list[str]) -> str:
    """One of the commands, by its verb first."""
    by_verb = defaultdict(list)
    # In an order that is the same in each process, or the same draw would be another command.
    for command in sorted(commands):
        by_verb[_verb(command)].append(command)
    of_verb = by_verb[str(rng.choice(sorted(by_verb)))]
    return of_verb[int(rng.integers(len(of_verb)))]


def nothing_changes(state: str) -> str:
    """The answer that nothing changes; the same in each state."""
    return NO_CHANGE


def transfer_change(transition: Mapping[str, Any], state: str) -> str:
    r"""
    The answer that a state changes as it did in a recorded transition: facts end that hold, and others begin.

    Args:
        transition (`Mapping[str, Any]`):
            A recorded row, with the change as `ground_truth`.
        state (`str`):
            The state.

    Returns:
        `str`: The answer.

    Example:

    ```python
    >>> transfer_change({"ground_truth": "- closed(box)\n+ open(box)"}, "open(door)\nclosed(box)")
    '- closed(box)\n+ open(box)'
    >>> transfer_change({"ground_truth": "- closed(box)\n+ open(box)"}, "open(box)")
    'nothing changes'

    ```
    """
    here = FactState.parse(state)
    return str(here.difference(here.apply(FactChange.parse(transition["ground_truth"]))))


def lexicon() -> Iterator[str]:
    r"""
    Each name that TextWorld's grammar gives to a thing or a room, as states, answers and commands have it.

    Yields:
        `str`: a short text with one name.

    Raises:
        ImportError: If TextWorld is not installed.

    Example:

    ```python
    >>> next(text for text in lexicon() if "chest" in text)
    '+ in(chest, chest)\n> take chest from chest'

    ```
    """
    generator = import_textworld().generator
    grammar = generator.Grammar(rng=np.random.RandomState(0))
    for kind in NAMED_KINDS:
        for name in grammar.get_all_names_for_type(kind, include_adj=grammar.options.include_adj):
            # In facts, which are in lower case, at their beginning and after a space; and in commands.
            yield f"+ in({name.lower()}, {name.lower()})\n> take {name} from {name}"
