r"""
An agent of text: the same controller as for robots chooses among the actions that a world admits, and the value of a
state takes the place of a distance.

    J(a_1, ..., a_H) = -\max_h \gamma^{h - 1} V(\hat{s}_h),   \hat{s}_h = \hat{s}_{h - 1} with the change that is
    predicted

RLVR-World's web agent (https://huggingface.co/papers/2505.13934, section 4) is the case H = 1 with a language model as
V. Here V is any callable of states. Equal pairs of state and action are predicted once, and an action that is
predicted to change nothing leads to a state that was seen before, so that the tree of all sequences stays small.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..pipeline import WorldModelPipeline
from ..rollouts.text import sample_answers
from ..states.answer import UnreadableAnswerError
from .controller import RecedingHorizonController
from .planner import Planner


Value = Callable[[Any], float]
"""How good a state is: finite and at least 0; higher is better. A prediction that cannot be read is worth 0."""

Predict = Callable[[Sequence[tuple[Any, str]]], Sequence[Any]]
"""States after pairs of state and action; `None` where a prediction cannot be read."""

DISCOUNT = 0.9
"""What a value is worth one action later, relative to now."""


class TextEnvironment(Protocol):
    """A world of text in play: a game, or a visit to a site."""

    @property
    def state(self) -> Any:
        """The present state, hashable; its `str` stands in the prompt of a world model."""

    @property
    def changing_actions(self) -> Sequence[str]:
        """The actions that may change something now."""

    def play(self, action: str, /) -> Any:
        """Act, and return the state that it leads to."""


Decide = Callable[[Any], str]
"""Looks at what is played, a [`TextEnvironment`], and gives the next action."""


class TextCost:
    r"""
    An objective for planners: minus the best discounted value of what is predicted after each sequence of actions.

    A state whose prediction cannot be read is worth 0, and so is all that would follow from it. Values are at least 0
    for two reasons: an unreadable prediction must not be better than a bad state, and a discount would make a negative
    value better the later it comes.

    Args:
        state (`Any`):
            The state now, hashable.
        predict (`Callable`):
            States after pairs of state and action, as [`predicted_states`] gives them for a world model.
        value (`Callable`):
            Value of a state, finite and at least 0, such as `1 / (1 + distance)` in place of `-distance`.
        discount (`float`, *optional*, defaults to 0.9):
            In (0, 1].

    Raises:
        ValueError: If the discount is out of range; by a call, if a value is.

    Example:

    ```python
    >>> predict = lambda pairs: ["open" if "open" in (state, action) else "shut" for state, action in pairs]
    >>> objective = TextCost("shut", predict, lambda state: float(state == "open"))
    >>> objective([("open", "wait"), ("wait", "open"), ("wait", "wait")]).tolist()
    [-1.0, -0.9, -0.0]

    ```
    """

    def __init__(self, state: Any, predict: Predict, value: Value, *, discount: float = DISCOUNT) -> None:
        if not 0 < discount <= 1:
            raise ValueError(f"Expected a discount in (0, 1], got {discount}.")
        self.state = state
        self.predict = predict
        self.value = value
        self.discount = discount

    def __call__(self, candidates: Sequence[Sequence[str]]) -> torch.Tensor:
        """Costs `(N,)`, float64, of N sequences of actions, all of one length."""
        states: list[Any] = [self.state] * len(candidates)
        best = torch.zeros(len(candidates), dtype=torch.float64)
        for step in range(len(candidates[0])):
            pairs = [None if s is None else (s, plan[step]) for s, plan in zip(states, candidates, strict=True)]
            # Not a set, whose order differs from process to process: a pair's seed depends on its place.
            distinct = list(dict.fromkeys(pair for pair in pairs if pair is not None))
            following = dict(zip(distinct, self.predict(distinct) if distinct else (), strict=True))
            states = [None if pair is None else following[pair] for pair in pairs]
            # A value may cost a model's call: one a state.
            worth = {s: self.discount**step * self._valued(s) for s in dict.fromkeys(states) if s is not None}
            gained = torch.tensor([0.0 if s is None else worth[s] for s in states], dtype=torch.float64)
            best = torch.maximum(best, gained)
        return -best

    def _valued(self, state: Any) -> float:
        value = self.value(state)
        if not 0 <= value < math.inf:
            raise ValueError(
                f"Expected a finite value of at least 0, got {value} of the state {str(state)!r:.80}; map it, such as "
                "`1 / (1 + distance)` in place of `-distance`."
            )
        return value


def predicted_states(
    pipeline: WorldModelPipeline,
    follow: Callable[[Any, str], Any],
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
) -> Predict:
    """
    A world model of text as a function from pairs of state and action to states.

    Args:
        pipeline ([`WorldModelPipeline`]):
            Predicts what changes.
        follow (`Callable`):
            The state after a state and an answer; raises [`~rlvr_world_hf.states.answer.UnreadableAnswerError`] where
            the answer cannot be read.
        max_new_tokens (`int`, *optional*, defaults to 64):
            Tokens after which an answer is cut off.
        temperature (`float`, *optional*, defaults to 0.0):
            Divides the logits; 0 takes the likeliest token.
        seed (`int`, *optional*, defaults to 0):
            Seed of the noise.

    Returns:
        `Callable`: states after pairs of state and action, all computed together; `None` where an answer is
        unreadable. What was predicted is remembered.

    Example:

    ```python
    >>> from rlvr_world_hf import LanguageWorldModelProcessor
    >>> from rlvr_world_hf.training.language import build_language_policy, train_text_tokenizer
    >>> tokenizer = train_text_tokenizer(["open door", "shut door"], vocab_size=264)
    >>> sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    >>> model = build_language_policy(tokenizer, **sizes, seed=0).eval()
    >>> processor = LanguageWorldModelProcessor(tokenizer, prompt_template="{state} > {action}")
    >>> pipeline = WorldModelPipeline(model, processor)
    >>> predict = predicted_states(pipeline, lambda state, answer: (state, answer), max_new_tokens=2)
    >>> ((state, answer),) = predict([("door : shut", "open door")])
    >>> state, isinstance(answer, str)  # a state and what the model wrote; a real `follow` applies the change
    ('door : shut', True)

    ```
    """
    known: dict[tuple[Any, str], Any] = {}

    def after(state: Any, completion: str) -> Any:
        try:
            return follow(state, pipeline.processor.find_answer(completion))
        except UnreadableAnswerError:  # data, and no bug: worth 0
            return None

    def predict(pairs: Sequence[tuple[Any, str]]) -> list[Any]:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        answers = sample_answers(
            pipeline.model,
            pipeline.processor,
            [pipeline.processor.write_prompt(str(state), action) for state, action in new],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        known.update({pair: after(pair[0], answer) for pair, (answer,) in zip(new, answers, strict=True)})
        return [known[pair] for pair in pairs]

    return predict


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAttempt:
    """How an attempt went."""

    is_success: bool
    """Whether the goal was reached after some action."""

    value: float
    """Value of the last state."""

    commands: tuple[str, ...]
    """What was done."""

    seconds: tuple[float, ...]
    """Seconds that each decision took."""


def attempt_goal(world: TextEnvironment, goal: Value, decide: Decide, *, limit: int) -> TextAttempt:
    """
    Play towards a goal.

    Args:
        world ([`TextEnvironment`]):
            The world, at its start.
        goal (`Callable`):
            Value of a state, 1 where the goal is reached and less elsewhere.
        decide (`Callable`):
            Gives the next action.
        limit (`int`):
            Most actions.

    Returns:
        [`TextAttempt`]: it ends with the action after which the goal is reached, or where none changes anything.
    """
    state = world.state
    done: list[str] = []
    seconds: list[float] = []
    while len(done) < limit and goal(state) < 1 and world.changing_actions:
        begin = time.perf_counter()
        action = decide(world)
        seconds.append(time.perf_counter() - begin)
        state = world.play(action)
        done.append(action)
    value = goal(state)
    return TextAttempt(is_success=value == 1, value=value, commands=tuple(done), seconds=tuple(seconds))


def reactive_actions(seed: int) -> Decide:
    """
    Decides without looking ahead: at random among the actions that may change something.

    Args:
        seed (`int`):
            Seed of the draws.

    Returns:
        `Callable`: gives the next action.
    """
    generator = torch.Generator().manual_seed(seed)
    return lambda world: _draw(world.changing_actions, generator)


def matching_actions(wording: str, seed: int) -> Decide:
    """
    Decides without looking ahead: the action that has most words in common with what is asked for.

    In a state that was seen before, actions that were not tried there come first.

    Args:
        wording (`str`):
            What is asked for.
        seed (`int`):
            Decides among equals.

    Returns:
        `Callable`: gives the next action.
    """
    generator, wanted = torch.Generator().manual_seed(seed), _words(wording)
    done: set[tuple[Any, str]] = set()

    def decide(world: TextEnvironment) -> str:
        actions = world.changing_actions
        # Or it would take the same wrong action for ever.
        untried = [action for action in actions if (world.state, action) not in done] or actions
        shared = {action: len(wanted & _words(action)) for action in untried}
        action = _draw([action for action in shared if shared[action] == max(shared.values())], generator)
        done.add((world.state, action))
        return action

    return decide


def guided_actions(
    predict: Predict,
    value: Value,
    planner: Planner,
    *,
    seed: int,
    later: Callable[[Any], Sequence[str]] = lambda world: (),
) -> Decide:
    """
    Decides by what a world model, or the world itself, predicts of the actions.

    Args:
        predict (`Callable`):
            States after pairs of state and action.
        value (`Callable`):
            Value of a state, finite and at least 0; see [`TextCost`].
        planner ([`Planner`]):
            Of options, as [`EnumerationPlanner`].
        seed (`int`):
            Decides among equals.
        later (`Callable`, *optional*):
            What may be done after the first action, for planners that look further.

    Returns:
        `Callable`: gives the next action.

    Example:

    ```python
    >>> from types import SimpleNamespace
    >>> from rlvr_world_hf.planning import EnumerationPlanner
    >>> predict = lambda pairs: ["open" if action == "open door" else state for state, action in pairs]
    >>> decide = guided_actions(predict, lambda state: float(state == "open"), EnumerationPlanner(), seed=0)
    >>> decide(SimpleNamespace(state="shut", changing_actions=["go north", "open door"]))
    'open door'

    ```
    """
    controller = RecedingHorizonController(planner)
    step = 0

    def decide(world: TextEnvironment) -> str:
        nonlocal step
        step += 1
        # Sorted, so that a seed decides alike among equals, however the world lists its actions.
        space = [sorted(world.changing_actions), *[sorted(later(world))] * (planner.horizon - 1)]
        plan = controller.decide(TextCost(world.state, predict, value), space, seed=seed + step)
        return str(plan.actions[0])

    return decide


def _draw(actions: Sequence[str], generator: torch.Generator) -> str:
    return sorted(actions)[int(torch.randint(len(actions), (), generator=generator))]


def _words(text: str) -> set[str]:
    return {word.strip("[]()'\".,").casefold() for word in text.split()} - {""}
