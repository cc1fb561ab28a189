"""
Text games in play: a state, an action, and what the game and each model say that it changes.

The game is TextWorld's own, so what truly happens is known for every command it understands; a state of the user's own
has no game behind it, and predictions stand alone.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...pipeline import WorldModelPipeline
from ...playground.play import MAX_SEED, read_sampling
from ...playground.values import is_unicode, read_text, read_whole
from ...states.answer import UnreadableAnswerError
from .facts import FactChange, FactState, canonical_fact
from .games import Playthrough, make_game
from .rewards import FactF1Reward, FactMatchReward


REWARDS = (FactMatchReward(), FactF1Reward())
"""What an answer earns, where it is known what truly happens."""

MAX_JSON = 10_000
"""Characters of a user's own state."""

MAX_FACTS = 100
"""Facts of a user's own state."""

MAX_ACTION = 120
"""Characters of an action."""

MAX_COMMANDS = 100
"""Commands after which a game ends."""

EXCERPT = 60
"""Characters of the line that a message shows."""


class MalformedStateError(ValueError):
    """
    A state that cannot be read, and where.

    Args:
        problem (`str`): what is wrong.
        text (`str`): what was given.
        position (`int`): the character of `text` at which it is wrong, from 0.

    Attributes:
        line (`int`): of the position, from 1.
        column (`int`): of the position, from 1.
        excerpt (`str`): the line, and below it a caret at the column.
    """

    def __init__(self, problem: str, text: str, position: int) -> None:
        before = text[:position]
        self.problem = problem
        self.line = before.count("\n") + 1
        self.column = position - (before.rfind("\n") + 1) + 1
        # A tab is one character and may be shown as eight: the caret would stand elsewhere.
        whole = text.split("\n")[self.line - 1].replace("\t", " ")
        first = max(0, min(self.column - 1 - EXCERPT // 2, len(whole) - EXCERPT))
        self.excerpt = f"{whole[first : first + EXCERPT]}\n{' ' * (self.column - 1 - first)}^"
        super().__init__(f"Line {self.line}, column {self.column}: {problem}\n{self.excerpt}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A game after some commands."""

    seed: int
    """The game."""

    commands: tuple[str, ...]
    """What was done."""

    state: FactState
    """What holds now."""

    changing_actions: tuple[str, ...]
    """Commands that would change it, in lower case."""

    no_op_actions: tuple[str, ...]
    """Commands that would change nothing, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says that an action changes."""

    model: str
    """The model's name."""

    text: str
    """Its words."""

    change: FactChange | None
    """What they say; `None` if they cannot be read."""

    problem: str
    """Why not; empty if they can."""

    rewards: dict[str, float] | None
    """What it earns, by the reward's name; `None` where it is not known what truly happens."""


class TextGames:
    """
    Games of TextWorld, none of them seen in training; their logic serves one call at a time.

    Args:
        rooms (`tuple[int, int]`, *optional*, defaults to `(1, 2)`):
            Fewest and most rooms.
        objects (`tuple[int, int]`, *optional*, defaults to `(2, 5)`):
            Fewest and most things.
        quest_length (`tuple[int, int]`, *optional*, defaults to `(1, 3)`):
            Shortest and longest quest.
    """

    def __init__(
        self,
        *,
        rooms: tuple[int, int] = (1, 2),
        objects: tuple[int, int] = (2, 5),
        quest_length: tuple[int, int] = (1, 3),
    ) -> None:
        self.sizes = {"rooms": rooms, "objects": objects, "quest_length": quest_length}
        self._lock = threading.Lock()
        # To make a game takes seconds. A cache of the object: a decorated method would keep every object alive.
        self._game = lru_cache(maxsize=16)(self._make_game)

    def situation(self, seed: int, commands: Sequence[str] = ()) -> Situation:
        """
        A game after some commands.

        Args:
            seed (`int`):
                Decides the game, in `[0, MAX_SEED]`.
            commands (`Sequence[str]`, *optional*):
                What was done, each a command that the game offered then; at most `MAX_COMMANDS`.

        Returns:
            [`Situation`]

        Raises:
            ImportError: If TextWorld is not installed.
            ValueError: If the seed is out of range, or a command was not offered.
        """
        with self._lock:
            return _look(seed, tuple(commands), self._playthrough(seed, commands))

    def outcome(self, situation: Situation, command: str) -> FactChange | None:
        """
        What a command truly changes.

        Args:
            situation ([`Situation`]):
                The game.
            command (`str`):
                In any case.

        Returns:
            `FactChange` or `None`: `None` if the game does not know the command, which is then not given to it.

        Raises:
            ImportError: If TextWorld is not installed.
        """
        command = command.strip().lower()
        if command in situation.no_op_actions:
            return FactChange(added=frozenset(), removed=frozenset())
        if command not in situation.changing_actions:
            return None
        with self._lock:
            game = self._playthrough(situation.seed, situation.commands)
            return situation.state.difference(game.play(_spelling(game)[command]))

    def follow(self, situation: Situation, command: str) -> tuple[Situation, bool]:
        """
        Do a command.

        Args:
            situation ([`Situation`]):
                The game.
            command (`str`):
                One that the game offers, in any case.

        Returns:
            `tuple[Situation, bool]`: the game afterwards, and whether it was over and has started anew.

        Raises:
            ImportError: If TextWorld is not installed.
            ValueError: If the game does not offer the command, or there were too many.
        """
        command = command.strip().lower()
        change = self.outcome(situation, command)
        following = self.situation(situation.seed, (*situation.commands, command))
        # A game that is over starts anew, in a state that the change does not lead to.
        return following, change is not None and following.state != situation.state.apply(change)

    def _make_game(self, seed: int) -> Any:
        # Sizes are drawn as in `collect_game`, so that with its ranges a seed is the same game.
        rng = np.random.default_rng([seed, 1])
        return make_game(seed, **{name: int(rng.integers(a, b + 1)) for name, (a, b) in self.sizes.items()})

    def _playthrough(self, seed: int, commands: Sequence[str]) -> Playthrough:
        if len(commands) > MAX_COMMANDS:
            raise ValueError(f"Expected at most {MAX_COMMANDS} commands, got {len(commands)}; start a new game.")
        game = Playthrough(self._game(read_whole("seed", seed, least=0, most=MAX_SEED)))
        for command in commands:
            spelling = _spelling(game)
            if command not in spelling:
                raise ValueError(
                    f"Expected a command that the game offers, got {command!r:.80}; see `changing_actions`."
                )
            game.play(spelling[command])
        return game


class TextPlayground:
    """
    Asks language world models of facts what an action changes. It keeps nothing between calls.

    Args:
        pipelines (`Mapping[str, WorldModelPipeline]`):
            The models by name, as in `base` and `rlvr`.

    Raises:
        ValueError: If there is no model, or one is not of states and actions in text.

    Example:

    ```python
    >>> class Opening:
    ...     class processor:
    ...         predicts, prompt_template = ("text",), "{state} > {action}"
    ...
    ...     def __call__(self, state, action, **sampling):
    ...         return [f"- closed(box){chr(10)}+ open(box)"]
    >>> playground = TextPlayground({"rlvr": Opening()})
    >>> state = FactState.parse("closed(box)")
    >>> truth = state.difference(FactState.parse("open(box)"))
    >>> [answer.rewards for answer in playground.predict(state, "open box", truth=truth)]
    [{'exact_match': 1.0, 'fact_f1': 1.0}]

    ```
    """

    def __init__(self, pipelines: Mapping[str, WorldModelPipeline]) -> None:
        if not pipelines:
            raise ValueError("Expected models by name, got none.")
        for name, pipeline in pipelines.items():
            processor = pipeline.processor
            if processor.predicts != ("text",) or processor.prompt_template is None:
                raise ValueError(f"{name!r} is no language world model with a template of `state` and `action`.")
        self.pipelines = dict(pipelines)

    def predict(
        self,
        state: FactState,
        action: str,
        *,
        truth: FactChange | None = None,
        samples: int = 1,
        temperature: float = 0.0,
        sampling_seed: int = 0,
    ) -> Iterator[Answer]:
        """
        What each model says.

        Args:
            state (`FactState`):
                What holds, at most `MAX_FACTS` facts.
            action (`str`):
                What is done, at most `MAX_ACTION` characters on one line.
            truth (`FactChange`, *optional*):
                What truly happens, if it is known.
            samples (`int`, *optional*, defaults to 1):
                Answers of each model, in `[1, MAX_SAMPLES]`.
            temperature (`float`, *optional*, defaults to 0.0):
                Divides the logits of the models, in `[0, MAX_TEMPERATURE]`; 0 takes the likeliest token, and all
                answers of a model are the same.
            sampling_seed (`int`, *optional*, defaults to 0):
                Seed of the models' noise, in `[0, MAX_SEED]`.

        Yields:
            [`Answer`]: each as soon as it is there, model by model.

        Raises:
            ValueError: If the action is empty or too long, there are too many facts, or a number is out of range.
        """
        how = read_sampling(samples=samples, temperature=temperature, sampling_seed=sampling_seed)
        action = " ".join(read_text("action", action, most=MAX_ACTION).lower().split())
        if not 0 < len(state.facts) <= MAX_FACTS:
            raise ValueError(f"Expected 1 to {MAX_FACTS} facts, got {len(state.facts)}; give some of them.")
        sampling = {"num_samples": how["samples"], "temperature": how["temperature"], "seed": how["sampling_seed"]}
        for name, pipeline in self.pipelines.items():
            texts = pipeline(str(state), action, **sampling)
            for text in texts:
                yield _judge(name, text, truth)


def read_state(text: str) -> FactState:
    """
    Read a user's own state.

    Args:
        text (`str`):
            JSON: a list of facts, each a string such as `"in(apple, fridge)"`, or an object that holds it as `facts`.

    Returns:
        `FactState`: the state.

    Raises:
        MalformedStateError: If it is not that; it says at which line and column, and shows the line.

    Example:

    ```python
    >>> sorted(read_state('{"facts": ["at(player, Kitchen)", "closed(fridge)"]}').facts)
    ['at(player, kitchen)', 'closed(fridge)']
    >>> read_state('["closed(fridge)",]')
    Traceback (most recent call last):
    ...
    rlvr_world_hf.worlds.textworld.playground.MalformedStateError: Line 1, column ...
    ["closed(fridge)",]
                     ^

    ```
    """
    if len(text) > MAX_JSON:
        raise MalformedStateError(f"The state is longer than {MAX_JSON:,} characters.", text, MAX_JSON)
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise MalformedStateError(f"{error.msg}.", text, error.pos) from error
    except RecursionError as error:
        raise MalformedStateError("Too many brackets inside each other.", text, 0) from error
    facts = parsed.get("facts") if isinstance(parsed, dict) else parsed
    start = len(text) - len(text.lstrip())
    if not isinstance(facts, list) or not facts:
        raise MalformedStateError('Expected a list of facts, or an object {"facts": [...]}.', text, start)
    if len(facts) > MAX_FACTS:
        raise MalformedStateError(f"Expected at most {MAX_FACTS} facts, got {len(facts)}.", text, start)
    read = set()
    # `json.loads` does not say where a value stood, so each fact is looked for behind the one before.
    position = start + 1
    for fact in facts:
        position = _find(text, fact, position)
        if not isinstance(fact, str):
            raise MalformedStateError(
                'Expected a fact in quotes such as "in(apple, fridge)".', text, min(position, len(text))
            )
        if not is_unicode(fact):
            raise MalformedStateError("Expected characters, got half of a surrogate pair.", text, position)
        try:
            read.add(canonical_fact(fact))
        except UnreadableAnswerError as error:
            raise MalformedStateError(str(error), text, position) from error
    return FactState(facts=frozenset(read))


def write_state(state: FactState) -> str:
    """
    A state as JSON that [`read_state`] reads.

    Args:
        state (`FactState`): the state.

    Returns:
        `str`: a list of facts, one a line.
    """
    return json.dumps(sorted(state.facts), indent=2, ensure_ascii=False)


def _find(text: str, value: Any, position: int) -> int:
    """Where a value of a list stands, as it is usually spelt; the place given if it is spelt otherwise."""
    spellings = (json.dumps(value), json.dumps(value, ensure_ascii=False))
    return next((at for spelling in spellings if (at := text.find(spelling, position)) >= 0), position)


def _judge(name: str, text: str, truth: FactChange | None) -> Answer:
    change, problem = None, ""
    try:
        change = FactChange.parse(text)
    except UnreadableAnswerError as error:
        problem = str(error)
    rewards = None
    if truth is not None:
        rewards = {
            reward.name: float(reward(completions=[text], ground_truth=[str(truth)])[0] or 0.0) for reward in REWARDS
        }
    return Answer(model=name, text=text, change=change, problem=problem, rewards=rewards)


def _look(seed: int, commands: tuple[str, ...], game: Playthrough) -> Situation:
    return Situation(
        seed=seed,
        commands=commands,
        state=game.state,
        changing_actions=tuple(sorted(command.lower() for command in game.changing_actions)),
        no_op_actions=tuple(sorted(command.lower() for command in game.no_op_actions)),
    )


def _spelling(game: Playthrough) -> dict[str, str]:
    """TextWorld's spelling of each command on offer, by the one in lower case."""
    return {command.lower(): command for command in (*game.changing_actions, *game.no_op_actions)}
