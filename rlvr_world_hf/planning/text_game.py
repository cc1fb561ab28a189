r"""
An agent of text: the controller of robots over the commands that a game admits, with a value in the place of a
distance.

    J(a_1, ..., a_H) = -\max_h \gamma^{h - 1} V(\hat{s}_h),   \hat{s}_h = \hat{s}_{h - 1} with the change that is
    predicted

RLVR-World's web agent (https://huggingface.co/papers/2505.13934, section 4) is the case H = 1 with a language model as
V. Here V is the share of a goal's facts that hold, or any callable of states. Equal pairs of state and command are
predicted once, and a command that is predicted to change nothing leads to a state that was seen before, so that the
tree of all sequences stays small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..data.textworld import LOOKING, Playthrough, describe, import_textworld
from ..pipeline import WorldModelPipeline
from ..rollouts.text import sample_answers
from ..states.answer import UnreadableAnswerError
from ..states.fact_state import FactChange, FactState
from .controller import RecedingHorizonController
from .planner import Planner


Value = Callable[[FactState], float]
"""How good a state is; higher is better."""

Predict = Callable[[Sequence[tuple[FactState, str]]], Sequence[FactState | None]]
"""States after commands; `None` where a prediction cannot be read."""

Decide = Callable[[Playthrough], str]
"""Looks at a game and gives the next command."""

DISCOUNT = 0.9
"""What a value is worth one command later, relative to now."""


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
            raise ValueError("Expected facts to bring about, got none; a goal that always holds is none.")

    def __call__(self, state: FactState) -> float:
        """The share of the facts that hold."""
        return len(self.facts & state.facts) / len(self.facts)


class TextCost:
    r"""
    An objective for planners: minus the best discounted value of what is predicted after each sequence of commands.

    A state whose prediction cannot be read is worth nothing, nor is what would follow from it.

    Args:
        state (`FactState`):
            The state now.
        predict (`Callable`):
            States after pairs of state and command, as [`predicted_changes`] gives them for a world model.
        value (`Callable`):
            Value of a state, at least 0.
        discount (`float`, *optional*, defaults to 0.9):
            In (0, 1].

    Raises:
        ValueError: If the discount is out of range.

    Example:

    ```python
    >>> rules = {"open door": "- closed(door)\n+ open(door)", "wait": "nothing changes"}
    >>> predict = lambda pairs: [state.apply(FactChange.parse(rules[command])) for state, command in pairs]
    >>> objective = TextCost(FactState.parse("closed(door)"), predict, FactGoal(facts=frozenset({"open(door)"})))
    >>> objective([("open door", "wait"), ("wait", "open door"), ("wait", "wait")]).tolist()
    [-1.0, -0.9, -0.0]

    ```
    """

    def __init__(self, state: FactState, predict: Predict, value: Value, *, discount: float = DISCOUNT) -> None:
        if not 0 < discount <= 1:
            raise ValueError(f"Expected a discount in (0, 1], got {discount}.")
        self.state = state
        self.predict = predict
        self.value = value
        self.discount = discount

    def __call__(self, candidates: Sequence[Sequence[str]]) -> torch.Tensor:
        """Costs `(N,)`, float64, of N sequences of commands, all of one length."""
        states: list[FactState | None] = [self.state] * len(candidates)
        best = torch.zeros(len(candidates), dtype=torch.float64)
        for step in range(len(candidates[0])):
            pairs = [None if s is None else (s, plan[step]) for s, plan in zip(states, candidates, strict=True)]
            distinct = list(dict.fromkeys(pair for pair in pairs if pair is not None))
            following = dict(zip(distinct, self.predict(distinct) if distinct else (), strict=True))
            states = [None if pair is None else following[pair] for pair in pairs]
            worth = {s: self.discount**step * self.value(s) for s in dict.fromkeys(states) if s is not None}
            gained = torch.tensor([0.0 if s is None else worth[s] for s in states], dtype=torch.float64)
            best = torch.maximum(best, gained)
        return -best


def predicted_changes(
    pipeline: WorldModelPipeline, *, max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0
) -> Predict:
    """
    A world model of text as a function from pairs of state and command to states.

    Args:
        pipeline ([`WorldModelPipeline`]):
            Predicts what changes, as a [`~rlvr_world_hf.states.FactChange`].
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
    known: dict[tuple[FactState, str], FactState | None] = {}

    def predict(pairs: Sequence[tuple[FactState, str]]) -> list[FactState | None]:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        prompts = [pipeline.processor.write_prompt(str(state), command.lower()) for state, command in new]
        answers = sample_answers(
            pipeline.model,
            pipeline.processor,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        for pair, (answer,) in zip(new, answers, strict=True):
            known[pair] = _after(pair[0], pipeline.processor.find_answer(answer))
        return [known[pair] for pair in pairs]

    return predict


def true_changes(game: Any) -> Predict:
    """
    The game itself as a function from pairs of state and command to states: the ceiling.

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
                again = Playthrough(game)
                for earlier in ways[state]:
                    again.play(earlier)
                is_over = again.state != state  # a game that was won has begun anew: nothing follows
                following = state if is_over or command not in again.effective else again.play(command)
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
        [`FactGoal`]: the facts that are to hold, in the form of [`~rlvr_world_hf.data.textworld.describe`].
    """
    logic = import_textworld().logic
    facts = []
    for quest in game.quests:
        for event in quest.win_events:
            for fact in event.condition.preconditions:
                named = [logic.Variable(_name(game, thing), thing.type) for thing in fact.arguments]
                facts.append(logic.Proposition(fact.name, named))
    return FactGoal(facts=describe(facts).facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class GameAttempt:
    """How a game went."""

    is_success: bool
    """Whether all facts of the goal held after some command."""

    value: float
    """Share of the goal's facts that held at the end, in [0, 1]."""

    commands: tuple[str, ...]
    """What was done."""

    seconds: tuple[float, ...]
    """What each decision took."""


def attempt_game(game: Any, decide: Decide, *, commands: int = 10) -> GameAttempt:
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
        [`GameAttempt`]: it ends with the command after which the goal holds, or where no command changes anything.
    """
    world, goal = Playthrough(game), quest_goal(game)
    state = world.state
    done: list[str] = []
    seconds: list[float] = []
    while len(done) < commands and goal(state) < 1 and world.effective:
        begin = time.perf_counter()
        command = decide(world)
        seconds.append(time.perf_counter() - begin)
        state = world.play(command)
        done.append(command)
    value = goal(state)
    return GameAttempt(is_success=value == 1, value=value, commands=tuple(done), seconds=tuple(seconds))


def reactive_commands(seed: int) -> Decide:
    """
    Decides without looking ahead: at random among the commands that are admissible and not mere looking.

    Args:
        seed (`int`):
            Of the draws.

    Returns:
        `Callable`: gives the next command.
    """
    generator = torch.Generator().manual_seed(seed)

    def decide(world: Playthrough) -> str:
        commands = sorted(world.effective)
        return commands[int(torch.randint(len(commands), (), generator=generator))]

    return decide


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
    controller = RecedingHorizonController(planner)
    step = 0

    def decide(world: Playthrough) -> str:
        nonlocal step
        step += 1
        later = sorted(changing(world.possible))
        space = [sorted(world.effective), *[later] * (planner.horizon - 1)]
        plan = controller.decide(TextCost(world.state, predict, value), space, seed=seed + step)
        return str(plan.actions[0])

    return decide


def changing(commands: Iterable[str]) -> list[str]:
    """
    The commands that may change something.

    Args:
        commands (`Iterable[str]`):
            Commands of TextWorld.

    Returns:
        `list[str]`: those that are no mere looking.
    """
    return [command for command in commands if command.split()[0] not in LOOKING]


def _after(state: FactState, answer: str) -> FactState | None:
    try:
        return state.apply(FactChange.parse(answer))
    except UnreadableAnswerError:
        return None


def _name(game: Any, thing: Any) -> str:
    info = game.infos.get(thing.name)
    return str(info.name) if info is not None and info.name else str(thing.name)
