"""
Quests of TextWorld for an agent of text: goals of facts, and what follows a command by the game or a world model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...pipeline import WorldModelPipeline
from ...planning.planner import Planner
from ...planning.text_agent import Decide, Predict, TextAttempt, Value, attempt_goal, guided_actions, predicted_states
from .facts import FactChange, FactState
from .games import LOOKING, Playthrough, describe, import_textworld


@dataclass(frozen=True, slots=True, kw_only=True)
class FactGoal:
    """
    The value of a state as the share of a goal's facts that hold in it: in [0, 1]; 1 at the goal.

    Raises:
        ValueError: If there is no fact.

    Example:

    ```python
    >>> goal = FactGoal(facts=frozenset({"at(player, kitchen)", "held(apple)"}))
    >>> goal(FactState.parse("at(player, kitchen)"))
    0.5

    ```
    """

    facts: frozenset[str]
    """The facts to bring about, in their one form."""

    def __post_init__(self) -> None:
        if not self.facts:
            raise ValueError("Expected facts to bring about, got none; a goal without facts would always hold.")

    def __call__(self, state: FactState) -> float:
        """The share of the facts that hold."""
        return len(self.facts & state.facts) / len(self.facts)


def predicted_changes(
    pipeline: WorldModelPipeline, *, max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0
) -> Predict:
    """
    A world model of text as a function from pairs of state and command to states.

    Args:
        pipeline ([`WorldModelPipeline`]):
            Predicts what changes, as a [`~rlvr_world_hf.worlds.textworld.facts.FactChange`].
        max_new_tokens (`int`, *optional*, defaults to 64):
            Tokens after which an answer is cut off.
        temperature (`float`, *optional*, defaults to 0.0):
            Divides the logits; 0 takes the likeliest token.
        seed (`int`, *optional*, defaults to 0):
            Seed of the noise.

    Returns:
        `Callable`: states after pairs of state and command, all computed together; `None` where an answer is
        unreadable. What was predicted is remembered.
    """
    predict = predicted_states(
        pipeline,
        lambda state, answer: state.apply(FactChange.parse(answer)),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
    )
    # Commands of the training data are in lower case, as facts are.
    return lambda pairs: predict([(state, command.lower()) for state, command in pairs])


def true_changes(game: Any) -> Predict:
    """
    The game itself as a function from pairs of state and command to states: the best a world model can do.

    States are reached again by the commands that led to them, so only those can be asked for that follow from the
    start.

    Args:
        game (`textworld.generator.game.Game`):
            The game.

    Returns:
        `Callable`: states after pairs of state and command.

    Raises:
        ValueError: By what it returns, for a state that was not reached yet.
    """
    world = Playthrough(game)
    ways: dict[FactState, tuple[str, ...]] = {world.state: ()}
    known: dict[tuple[FactState, str], FactState] = {}

    def predict(pairs: Sequence[tuple[FactState, str]]) -> list[FactState]:
        for state, command in pairs:
            if (state, command) not in known:
                if state not in ways:
                    raise ValueError(
                        f"Expected a state that was reached from the start, got {str(state)!r:.80}; ask for those "
                        "before it first."
                    )
                again = Playthrough(game, restarts=False)
                for earlier in ways[state]:
                    again.play(earlier)
                following = again.play(command) if command in again.changing_actions else state
                known[state, command] = following
                ways.setdefault(following, (*ways[state], command))
        return [known[pair] for pair in pairs]

    return predict


def quest_goal(game: Any) -> FactGoal:
    """
    What a game's quests ask for.

    Args:
        game (`textworld.generator.game.Game`):
            The game.

    Returns:
        [`FactGoal`]: the facts that are to hold, in the form of [`~rlvr_world_hf.worlds.textworld.games.describe`].
    """
    logic = import_textworld().logic
    facts = []
    for quest in game.quests:
        for event in quest.win_events:
            for fact in event.condition.preconditions:
                # Quests speak of things by TextWorld's ids, states by their names.
                named = [logic.Variable(_name(game, thing), thing.type) for thing in fact.arguments]
                facts.append(logic.Proposition(fact.name, named))
    return FactGoal(facts=describe(facts).facts)


def attempt_game(game: Any, decide: Decide, *, commands: int = 10) -> TextAttempt:
    """
    Play a game towards its goal.

    Args:
        game (`textworld.generator.game.Game`):
            The game.
        decide (`Callable`):
            Gives the next command.
        commands (`int`, *optional*, defaults to 10):
            Most commands.

    Returns:
        [`TextAttempt`]: it ends with the command after which the goal holds or the game is lost, or where no command
        changes anything.
    """
    return attempt_goal(Playthrough(game, restarts=False), quest_goal(game), decide, limit=commands)


def guided_commands(predict: Predict, value: Value, planner: Planner, *, seed: int) -> Decide:
    """
    Decides by what a world model, or the game itself, predicts of the commands.

    The first command is one that is admissible now. Those after it may be any of the game, of which the predictions
    say which change something.

    Args:
        predict (`Callable`):
            States after pairs of state and command.
        value (`Callable`):
            Value of a state.
        planner ([`Planner`]):
            Of options, as [`EnumerationPlanner`].
        seed (`int`):
            Decides among equals.

    Returns:
        `Callable`: gives the next command.
    """
    return guided_actions(predict, value, planner, seed=seed, later=lambda world: changing(world.possible))


def changing(commands: Iterable[str]) -> list[str]:
    """
    The commands that may change something.

    Args:
        commands (`Iterable[str]`):
            Commands of TextWorld.

    Returns:
        `list[str]`: all but those that only look.
    """
    return [command for command in commands if command.split()[0] not in LOOKING]


def _name(game: Any, thing: Any) -> str:
    info = game.infos.get(thing.name)
    return str(info.name) if info is not None and info.name else str(thing.name)
